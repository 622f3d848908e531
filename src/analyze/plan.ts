// What an analysis reads: the plan of a task arithmetic of the same models, so that adapters, shards, scaled fp8, tied heads and
// missing tensors are what they are to a merge, and so are the errors.

import { fail, quote } from "../errors.ts";
import type { Host, MergeRequest } from "../host.ts";
import { defaultRequest } from "../host.ts";
import { censusBytes } from "../kernel/census.ts";
import { maxCensusElements, maxCensusOperands } from "../kernel/census-program.ts";
import { kernelSha256 } from "../kernel/kernel.ts";
import { type TaskInput, tileElements } from "../kernel/program.ts";
import { maxStrideElements, workerBytesFor } from "../kernel/run.ts";
import { readerBytes } from "../kernel/view.ts";
import { catalogue, methods } from "../methods/index.ts";
import { openModels } from "../models.ts";
import { buildPlan } from "../plan/build.ts";
import { matches } from "../plan/delta.ts";
import { openTensors, runtimeBytes, runtimeBytesPerWorker } from "../plan/memory.ts";
import { type InputModel, tensorNames } from "../plan/model.ts";
import type { Plan, PlanFile, PlanTensor } from "../plan/plan.ts";
import { assignTensors } from "../recipe/assign.ts";
import { layerOf } from "../recipe/layers.ts";
import { parseRecipe } from "../recipe/recipe.ts";
import { byteWidth, type FloatDtype } from "../tensor/dtype.ts";
import type { TensorKind } from "./analysis.ts";
import { kindOf } from "./kinds.ts";
import type { configurations } from "./model-cypher.ts";

/** What a user can ask of an analysis beside the models. */
export interface AnalyzeRequest {
  /** Substrings of tensor names, in which `*` stands for anything: only those that hold one of them, and none that holds one of these. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** What counts as the largest elements of a tensor. */
  readonly topShare: number;
  readonly workers: number | null;
  readonly memoryBytes: number;
  readonly sliceElements: number | null;
  readonly allowMissing: boolean;
  /** Where paths of models begin that are not found from here, as those of a recipe do in its folder. */
  readonly folder?: string;
  /** Preset of ModelCypher's report. */
  readonly modelCypher: keyof typeof configurations;
}

export const defaultAnalysis: AnalyzeRequest = {
  include: [],
  exclude: [],
  topShare: 0.2,
  workers: null,
  memoryBytes: defaultRequest.memoryBytes,
  sliceElements: null,
  allowMissing: false,
  modelCypher: "default",
};

export interface AnalysisTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  readonly kind: TensorKind;
  readonly stack: string | null;
  readonly layer: number | null;
  /** The base's, then those of the models that have it. */
  readonly inputs: readonly TaskInput[];
  readonly dtypes: readonly FloatDtype[];
  /** Which models those are. */
  readonly present: readonly number[];
}

export interface AnalysisPlan {
  readonly base: InputModel;
  readonly models: readonly InputModel[];
  readonly inputFiles: readonly PlanFile[];
  readonly tensors: readonly AnalysisTensor[];
  readonly leftOut: readonly string[];
  readonly sliceElements: number;
  readonly workers: number;
  readonly workerBytes: number;
  readonly peakBytes: number;
  readonly limitBytes: number;
  readonly bytesRead: number;
}

/** What a layer keeps of a model: its bins of magnitudes. f32 deltas fill some 4,000, those of bf16 fewer; with signs, twice as many. */
const spreadBytes = 4096 * 18;
/** What collectors let lie of parts that were added: some 400 KiB come of a slice. Deno took 5 to 10 MiB more than without. */
const garbageBytes = 16 * 2 ** 20;
/** What is kept of a model in a tensor that is done. */
const tensorBytes = 4096;

/**
 * Opens the models and plans; no tensor is read.
 *
 * @throws BraidError with all that is wrong with any model, or with all tensors that do not fit together.
 */
export async function planAnalysis(
  base: string,
  names: readonly string[],
  request: AnalyzeRequest,
  host: Host,
): Promise<AnalysisPlan> {
  checkNames(base, names);
  const text = recipeText(base, names);
  const merge: MergeRequest = {
    ...defaultRequest,
    recipe: { text, file: "analysis", folder: request.folder ?? host.cwd },
    ...request,
  };
  const known = catalogue(false);
  const recipe = parseRecipe(text, "analysis", known)[0]!;
  const opened = (await openModels(recipe, merge, host, new Map())).map((o) => filtered(o.model, request));
  const listed = opened.map(({ model }) => tensorNames(model));
  const everything = new Set(opened.flatMap(({ all }) => [...all]));
  for (const pattern of [...request.include, ...request.exclude])
    if (![...everything].some((name) => matches(pattern, name)))
      fail("usage", `Cannot analyse: no tensor's name holds ${quote(pattern)}`);
  if (opened.some(({ model }) => tensorNames(model).size === 0))
    fail("tensor-missing", "Cannot analyse: no tensor is left of the models");
  const assigned = assignTensors(
    recipe,
    known,
    (m) => listed[m]!,
    () => {},
  );
  const { plan } = buildPlan(
    recipe,
    assigned,
    opened.map(({ model }) => model),
    methods.get("task_arithmetic")!,
    {
      seed: "42",
      mergekit: false,
      policy: { nonFinite: "keep", overflow: "inf" },
      rounding: "nearest",
      shardBytes: defaultRequest.outShardBytes,
      workers: request.workers ?? host.cores,
      memoryBytes: request.memoryBytes,
      sliceElements: request.sliceElements,
      allowMissing: request.allowMissing,
      kernelSha256,
      recipeSha256: "",
      tokens: 0,
    },
  );
  // The recipe's models come in the order of the arguments, but for a base that is one of them, which was refused.
  const at = recipe.base!;
  const order = opened.flatMap((_, i) => (i === at ? [] : [i]));
  const tensors = plan.tensors.flatMap((t) => tensorOf(t, order));
  if (tensors.length === 0) fail("tensor-missing", "Cannot analyse: the models have no tensor of numbers in common");
  const kept = new Set(tensors.map((t) => t.name));
  return {
    base: opened[at]!.model,
    models: order.map((i) => opened[i]!.model),
    inputFiles: plan.inputFiles,
    tensors,
    leftOut: [...opened[at]!.all].filter((name) => !kept.has(name)).sort(),
    ...memoryOf(plan, tensors, order.length, request, host),
    bytesRead: tensors.reduce((sum, t) => sum + t.count * t.dtypes.reduce((n, d) => n + byteWidth(d), 0), 0),
  };
}

function checkNames(base: string, names: readonly string[]): void {
  if (names.length > maxCensusOperands)
    fail("usage", `Cannot analyse ${names.length} models at once: the limit is ${maxCensusOperands}`);
  names.forEach((name, i) => {
    if (name === base) fail("usage", `Cannot analyse ${quote(name)} against itself: it is the base`);
    if (names.indexOf(name) !== i) fail("usage", `Cannot analyse: ${quote(name)} is named twice`);
  });
}

/** JSON is YAML. */
export function recipeText(base: string, names: readonly string[]): string {
  const models = names.map((model) => ({ model }));
  return JSON.stringify({ merge_method: "task_arithmetic", base_model: base, models });
}

function filtered(model: InputModel, { include, exclude }: AnalyzeRequest): { model: InputModel; all: Set<string> } {
  const all = new Set(tensorNames(model));
  const out = [...all].filter(
    (name) => (include.length > 0 && !include.some((p) => matches(p, name))) || exclude.some((p) => matches(p, name)),
  );
  return { model: { ...model, hidden: new Set([...model.hidden, ...out]) }, all };
}

function tensorOf({ name, shape, count, inputs, program }: PlanTensor, order: readonly number[]): AnalysisTensor[] {
  if (program.op !== "merge" || program.base === null || program.terms.length === 0 || count === 0) return [];
  const used = [program.base, ...program.terms.map((t) => t.input)];
  const at = layerOf(name);
  return [
    {
      name,
      shape,
      count,
      kind: kindOf(name),
      stack: at ? at.prefix.replace(/\.$/, "") : null,
      layer: at ? at.layer : null,
      inputs: used.map((i) => {
        const { file, start, view } = inputs[i]!;
        return { file, start, ...(view ? { view } : {}) };
      }),
      dtypes: used.map((i) => program.inputs[i]!),
      present: program.terms.map((t) => order.indexOf(inputs[t.input]!.model)),
    },
  ];
}

function memoryOf(
  plan: Plan,
  tensors: readonly AnalysisTensor[],
  models: number,
  request: AnalyzeRequest,
  host: Host,
): Pick<AnalysisPlan, "sliceElements" | "workers" | "workerBytes" | "peakBytes" | "limitBytes"> {
  const workers = request.workers ?? host.cores;
  const { limitBytes } = plan.memory;
  const layers = new Set(tensors.map((t) => (t.stack === null ? t.name : `${t.stack}.${t.layer}`))).size;
  const kinds = new Set(tensors.map((t) => t.kind)).size;
  const headers = plan.outputs.reduce((sum, f) => sum + f.header.length, 0) * (models + 1);
  const coordinator =
    models * ((layers + 2 * (kinds + 1 + 2 * openTensors)) * spreadBytes + tensors.length * tensorBytes) + 6 * headers;
  const workerBytes = (stride: number) =>
    tensors.reduce((most, { inputs, dtypes }) => {
      const perElement = dtypes.reduce((n, d) => n + byteWidth(d), 0);
      const views = inputs.reduce((n, i) => n + readerBytes(i), 0);
      const census = censusBytes(inputs.length - 1) + perElement * stride + 64 * (inputs.length + 3);
      return Math.max(most, views + Math.max(census, workerBytesFor(inputs.length, perElement, stride)));
    }, 0);
  const cost = (stride: number) =>
    runtimeBytes + garbageBytes + coordinator + workers * (runtimeBytesPerWorker + workerBytes(stride));
  let stride = maxStrideElements;
  while (stride > tileElements && cost(stride) > limitBytes) stride /= 2;
  const MiB = 2 ** 20;
  const needed = Math.ceil(cost(stride) / MiB);
  if (cost(stride) > limitBytes)
    fail(
      "memory-budget",
      `Cannot analyse within ${Math.floor(limitBytes / MiB)} MiB: ${models} models need ${needed} MiB with ${workers} workers`,
      { hint: `Use --memory ${needed}MiB or more, or fewer --workers.` },
    );
  const sliceElements = Math.min(maxCensusElements, plan.memory.sliceElements);
  return { sliceElements, workers, workerBytes: workerBytes(stride), peakBytes: cost(stride), limitBytes };
}
