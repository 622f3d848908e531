// recipe + headers → plan. Pure: everything that can be known before a tensor byte is read is decided, checked and written down
// here.

import { toBase64 } from "../bytes/base64.ts";
import { BraidError, type Diagnostic, fail, isBraidError, quote } from "../errors.ts";
import { lineCount } from "../kernel/lines.ts";
import { roundingKey } from "../kernel/mask.ts";
import { matrixFlops, matrixTaskBytes } from "../kernel/matrix-cost.ts";
import { type Policy, type Program, rowColumns, type Survey, sampledFrom } from "../kernel/program.ts";
import { moveSource, moveView, readerBytes, type View } from "../kernel/view.ts";
import { nothingDropped } from "../methods/delta.ts";
import type { Compiled, Method, MethodInput } from "../methods/method.ts";
import type { TensorAssignment } from "../recipe/assign.ts";
import type { ParsedRecipe } from "../recipe/recipe.ts";
import {
  byteWidth,
  type Dtype,
  dtypeBits,
  type FloatDtype,
  floatDtypes,
  isFloat,
  promote,
  torchNames,
} from "../tensor/dtype.ts";
import { layoutShards } from "../tensor/shards.ts";
import { type Elsewhere, openTensors, planMemory } from "./memory.ts";
import { findTensor, type InputModel, type Override, storedDtype } from "./model.ts";
import { type Plan, type PlanFile, type PlanTensor, readWidth } from "./plan.ts";

export interface BuildOptions {
  readonly seed: string;
  readonly mergekit: boolean;
  readonly policy: Policy;
  readonly rounding: "nearest" | "stochastic";
  readonly shardBytes: number;
  readonly workers: number;
  readonly memoryBytes: number;
  readonly sliceElements: number | null;
  readonly elsewhere?: Elsewhere;
  readonly allowMissing: boolean;
  readonly kernelSha256: string;
  /** Goes into `__metadata__` of every output file. */
  readonly recipeSha256: string;
  /** Tokens of the vocabularies that rows are matched by. */
  readonly tokens: number;
}

export interface Built {
  readonly plan: Plan;
  readonly warnings: readonly Diagnostic[];
}

/** Errors shown at once; a wrong base repeats the same one for every tensor. */
const maxErrors = 20;

/** @throws BraidError with every tensor that cannot be merged. */
export function buildPlan(
  recipe: ParsedRecipe,
  assignments: readonly TensorAssignment[],
  checkpoints: readonly InputModel[],
  method: Method,
  options: BuildOptions,
): Built {
  const errors: Diagnostic[] = [];
  const warnings = new Map<string, Diagnostic>();
  const warn = (message: string, hint?: string) =>
    warnings.set(message, { kind: "recipe-parameter", message, ...(hint ? { hint } : {}) });
  if (options.policy.nonFinite === "base" && recipe.base === null) {
    fail("usage", "Cannot replace non-finite elements by the base's: the recipe has no base_model", {
      hint: "Use --non-finite error or keep.",
    });
  }

  const firstFile: number[] = [];
  const inputFiles: PlanFile[] = [];
  for (const c of checkpoints) {
    firstFile.push(inputFiles.length);
    for (const f of c.files)
      inputFiles.push({ location: f.location, byteLength: f.byteLength, headerSha256: f.headerSha256 });
  }

  const drafts: Draft[] = [];
  for (const assignment of assignments) {
    try {
      const drafted = draft(recipe, assignment, checkpoints, firstFile, method, options, warn);
      if (drafted) drafts.push(drafted);
    } catch (e) {
      if (!isBraidError(e)) throw e;
      errors.push(...e.diagnostics);
    }
  }
  if (errors.length > 0) throw new BraidError(merged(errors));
  if (drafts.some(drops)) warnings.delete(`${method.name}: ${nothingDropped}`);
  checkShared(drafts);
  if (drafts.length === 0)
    fail("tensor-missing", "Cannot merge: the models have no tensor in common that the recipe asks for");

  const metadata = new Map([["braid_recipe_sha256", options.recipeSha256]]);
  const files = layoutShards(drafts, { shardBytes: options.shardBytes, metadata });
  const place = new Map(
    files.flatMap((f, file) => [...f.tensors].map(([name, range]) => [name, { file, start: range.start }] as const)),
  );
  const tensors = drafts.map(
    ({ name, dtype, shape, count, inputs, compiled, program }): PlanTensor => ({
      name,
      dtype,
      shape,
      count,
      inputs,
      output: place.get(name)!,
      surveys: compiled?.surveys ?? [],
      program,
      solve: compiled?.solve ?? {},
    }),
  );
  // In the order of the output's bytes, so that files fill from their start and can be hashed and flushed behind the writers.
  tensors.sort((a, b) => a.output.file - b.output.file || a.output.start - b.output.start);
  const parameters = tensors.reduce((sum, t) => sum + t.count, 0);
  const together = tensors.filter((t) => t.surveys.some(isOfModel));
  const allTogether = together.reduce((sum, t) => sum + t.count, 0);
  const allInputs = together.flatMap((t) => t.inputs.map((i) => i.dtype));
  const passesOf = (survey: Survey, count: number) =>
    isOfModel(survey) ? roundsOf(survey, allTogether, allInputs) : roundsOf(survey, count, survey.inputs);
  const viewBytes = (t: PlanTensor) => t.inputs.reduce((sum, i) => sum + readerBytes(i), 0);
  const matrices = tensors.flatMap((t) => (t.program.op === "matrix" ? [{ tensor: t, program: t.program }] : []));
  const memory = planMemory(
    {
      inputs: Math.max(...tensors.map((t) => Math.max(t.inputs.length, ...t.surveys.map(widthOf)))),
      bytesPerElement: Math.max(
        ...tensors.map((t) => t.inputs.reduce((sum, i) => sum + byteWidth(i.dtype), byteWidth(t.dtype))),
      ),
      surveyOperands: Math.max(...tensors.map((t) => Math.max(0, ...t.surveys.map(widthOf)))),
      lineBytes: lineBytes(tensors),
      viewBytes: Math.max(...tensors.map(viewBytes)),
      rows: tensors.flatMap((t) => {
        const columns = t.program.op === "merge" ? rowColumns(t.program.terms) : 0;
        if (columns === 0) return [];
        const inputs = Math.max(t.inputs.length, ...t.surveys.map((s) => s.operands.length));
        return [{ columns, inputs, bytesPerElement: readWidth(t) + byteWidth(t.dtype) }];
      }),
      matrices: matrices.map(({ tensor, program }) => ({
        name: tensor.name,
        shape: tensor.shape,
        bytes: matrixTaskBytes(program, viewBytes(tensor)),
      })),
      parameters,
      headerBytes: checkpoints.length * files.reduce((sum, f) => sum + f.header.length, 0),
      runs: runsOf(tensors),
      tokens: options.tokens,
    },
    options.workers,
    options.memoryBytes,
    options.sliceElements,
    options.elsewhere,
  );
  const plan: Plan = {
    format: "braid-plan-1",
    method: method.name,
    seed: options.seed,
    kernelSha256: options.kernelSha256,
    inputs: checkpoints.map((c, i) => ({
      reference: c.reference,
      folder: c.folder,
      files: inputFiles.slice(firstFile[i]!, firstFile[i]! + c.files.length),
    })),
    inputFiles,
    outputs: files.map((f) => ({ name: f.name, byteLength: f.byteLength, header: toBase64(f.header) })),
    tensors,
    policy: options.policy,
    parameters,
    bytesRead: tensors.reduce(
      (sum, t) => sum + t.count * readWidth(t) * (1 + t.surveys.reduce((n, s) => n + passesOf(s, t.count), 0)),
      0,
    ),
    bytesWritten: tensors.reduce((sum, t) => sum + t.count * byteWidth(t.dtype), 0),
    flops: matrices.reduce((sum, { program }) => sum + matrixFlops(program), 0),
    memory,
  };
  return { plan, warnings: [...warnings.values()] };
}

function drops({ program }: Draft): boolean {
  return program.op === "merge" && program.terms.some(({ keep }) => keep.random || keep.magnitude || keep.rows);
}

/** Tensors that are ranked together have one density: refused with the tensors that differ. */
function checkShared(drafts: readonly Draft[]): void {
  const names = new Set(drafts.flatMap((d) => Object.keys(d.compiled?.shared ?? {})));
  for (const name of names) {
    const values = new Map<number | string, string[]>();
    for (const d of drafts) {
      const value = d.compiled?.shared?.[name];
      if (value !== undefined) values.set(value, [...(values.get(value) ?? []), d.name]);
    }
    if (values.size === 1) continue;
    const list = [...values].map(([value, tensors]) => {
      const more = tensors.length > 1 ? ` and ${tensors.length - 1} more` : "";
      return `${value} for ${quote(tensors[0]!)}${more}`;
    });
    fail("recipe-parameter", `Cannot rank all tensors together: ${name} is ${list.join(", ")}`, {
      hint: "Use one value for all tensors, or scope tensor.",
    });
  }
}

/** Operands of a survey's widest round: a window has two ends to look for. */
function widthOf(survey: Survey): number {
  if (survey.op !== "threshold") return survey.operands.length;
  return survey.operands.reduce((sum, o) => sum + (o.gamma === undefined ? 1 : 2), 0);
}

/** Whether a survey ranks or adds up all tensors together. */
function isOfModel(survey: Survey): boolean {
  return "scope" in survey && survey.scope === "model";
}

/** Bytes of the sums and coefficients of lines, for the tensors that need most of them and may be open together. */
function lineBytes(tensors: readonly PlanTensor[]): number {
  const each = tensors.map(({ surveys, count }) =>
    surveys.reduce((sum, s) => {
      if (s.op !== "dots" || !s.lines) return sum;
      const n = s.operands.length;
      return sum + lineCount(s.lines, count) * ((n * (n + 1)) / 2 + n) * 8;
    }, 0),
  );
  return each
    .sort((a, b) => b - a)
    .slice(0, openTensors)
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** Passes over the data that a survey mostly takes. Threshold keys of bf16 and f16 are found in one, where there is a sample. */
function roundsOf(survey: Survey, count: number, inputs: readonly Dtype[]): number {
  if (survey.op !== "threshold") return 1;
  const varied = survey.operands.some((o) => o.variance || o.keep.rows);
  const search = count < sampledFrom || inputs.includes("F32") || varied ? 2 : 1;
  return search + (survey.operands.some((o) => o.ties === "exact") ? 1 : 0);
}

interface Draft {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly count: number;
  readonly inputs: PlanTensor["inputs"];
  readonly compiled: Compiled | null;
  readonly program: Program;
}

interface Found {
  readonly model: number;
  readonly info: Override;
  readonly parameters: Readonly<Record<string, unknown>>;
}

function draft(
  recipe: ParsedRecipe,
  assignment: TensorAssignment,
  checkpoints: readonly InputModel[],
  firstFile: readonly number[],
  method: Method,
  options: BuildOptions,
  warn: (message: string, hint?: string) => void,
): Draft | null {
  const { name } = assignment;
  const found: Found[] = [];
  for (const input of assignment.inputs) {
    const checkpoint = checkpoints[input.model]!;
    const info = findTensor(checkpoint, input.tensor);
    if (info) {
      found.push({ model: input.model, info, parameters: input.parameters });
      continue;
    }
    // mergekit's architecture tables call biases optional; without tables the name says it.
    if (!options.allowMissing && !input.tensor.endsWith(".bias")) {
      fail(
        "tensor-missing",
        `Cannot merge ${quote(name)}: model ${quote(checkpoint.reference)} has no tensor ${quote(input.tensor)}`,
        {
          hint: "Are these models of one architecture? --allow-missing merges each tensor from the models that have it.",
        },
      );
    }
    warn(`${quote(checkpoint.reference)} has no ${quote(input.tensor)}: it is merged from the other models`);
  }
  const first = found[0];
  if (!first) fail("tensor-missing", `Cannot merge ${quote(name)}: no model has it`);
  checkShapes(name, found, checkpoints);
  const { shape, count } = first.info;
  const inputs = found.map(({ model, info }) => ({
    file: firstFile[model]! + info.file,
    start: info.start,
    ...viewOf(info, model, firstFile),
    dtype: info.dtype,
    model,
    tensor: info.name,
  }));

  const asked = recipe.outDtype ?? recipe.dtype ?? null;
  const stays = found.length === 1 && asked === null && dtypeBits[first.info.dtype] % 8 === 0;
  const copied = isWholeNumbers(first.info.dtype) || (stays && method.copies?.(first.parameters) === true);
  if (found.every((f) => !isFloat(f.info.dtype)) && copied) {
    const odd = found.find((f) => f.info.dtype !== first.info.dtype);
    if (odd)
      fail(
        "dtype-unsupported",
        `Cannot copy ${quote(name)}: it is ${first.info.dtype} in ${quote(checkpoints[first.model]!.reference)} and ${odd.info.dtype} in ${quote(checkpoints[odd.model]!.reference)}`,
      );
    return {
      name,
      dtype: first.info.dtype,
      shape,
      count,
      inputs,
      compiled: null,
      program: { op: "copy", byteWidth: byteWidth(first.info.dtype) },
    };
  }
  const out = outputDtype(recipe, name, found, checkpoints);
  const nonBase = recipe.models.map((_, i) => i).filter((i) => i !== assignment.base);
  const methodInputs = found.map(
    (f, input): MethodInput => ({
      input,
      dtype: f.info.dtype as FloatDtype,
      model: checkpoints[f.model]!.reference,
      isBase: f.model === assignment.base,
      modelIndex: nonBase.indexOf(f.model),
      parameters: f.parameters,
    }),
  );
  const { lambda } = assignment.shared;
  if (typeof lambda === "number" && (lambda > 2 || lambda < -1))
    warn(`${method.name}: lambda is ${lambda > 2 ? "above 2" : "below -1"}, which is seldom meant`);
  const whole = method.compile({
    name,
    shape,
    count,
    inputs: methodInputs,
    out,
    parameters: assignment.shared,
    seed: options.seed,
    mergekit: options.mergekit,
    models: assignment.inputs.filter((i) => i.model !== assignment.base).length,
  });
  const rounded = (program: Compiled["program"]): Compiled["program"] => {
    if (options.rounding === "nearest") return program;
    if (program.op === "merge") return { ...program, rounding: { key: roundingKey(options.seed, name) } };
    warn(`${method.name} rounds whole matrices to the nearest; --rounding stochastic has no effect on them`);
    return program;
  };
  // Nothing to survey and nothing to merge: a tensor of no elements is only named in the header.
  const compiled: Compiled =
    count === 0 && whole.program.op === "merge"
      ? { ...whole, surveys: [], program: { ...whole.program, terms: [], lambda: 1, baseWeight: 1 } }
      : whole;
  for (const note of compiled.notes) warn(`${method.name}: ${note}`);
  if (compiled.omit) return null;
  const copies = compiled.copies && first.info.dtype === out && !inputs[0]!.view;
  const program = copies ? ({ op: "copy", byteWidth: byteWidth(out) } as const) : rounded(compiled.program);
  return { name, dtype: out, shape, count, inputs, compiled, program };
}

/** Runs of all views of rows; tensors that share a layout share them. */
function runsOf(tensors: readonly PlanTensor[]): number {
  const lists = new Set(
    tensors.flatMap((t) => t.inputs.flatMap(({ view }) => (view?.op === "rows" ? [view.runs] : []))),
  );
  return [...lists].reduce((sum, runs) => sum + runs.length, 0);
}

/** The view of an input, its files counted over all models. */
function viewOf({ view, across }: Override, model: number, firstFile: readonly number[]): { view?: View } {
  if (across) {
    const sources = across.view.sources.map((s, i) => moveSource(s, firstFile[across.models[i]!]!));
    return { view: { ...across.view, sources } };
  }
  return view ? { view: moveView(view, firstFile[model]!) } : {};
}

function isWholeNumbers(dtype: Dtype): boolean {
  return /^(BOOL|[UI](8|16|32|64))$/.test(dtype);
}

function outputDtype(
  recipe: ParsedRecipe,
  name: string,
  found: readonly Found[],
  checkpoints: readonly InputModel[],
): FloatDtype {
  for (const f of found) {
    if (isFloat(f.info.dtype)) continue;
    fail(
      "dtype-unsupported",
      `Cannot merge ${quote(name)} of ${quote(checkpoints[f.model]!.reference)}: its dtype is ${f.info.dtype}, Braid merges ${floatDtypes.join(", ")}`,
    );
  }
  const asked = recipe.outDtype ?? recipe.dtype;
  if (asked === undefined || asked === null) return found.map((f) => storedDtype(f.info)).reduce(promote);
  const dtype = (Object.keys(torchNames) as (keyof typeof torchNames)[]).find((d) => torchNames[d] === asked);
  if (dtype === undefined || !isFloat(dtype as Dtype)) {
    fail(
      "dtype-unsupported",
      `Cannot write ${quote(String(asked))}: the output dtype is one of ${floatDtypes.map((d) => torchNames[d]).join(", ")}`,
    );
  }
  return dtype as FloatDtype;
}

function checkShapes(name: string, found: readonly Found[], checkpoints: readonly InputModel[]): void {
  const first = found[0]!;
  for (const f of found) {
    const same =
      f.info.shape.length === first.info.shape.length && f.info.shape.every((d, i) => d === first.info.shape[i]);
    if (same) continue;
    const [a, b] = [first, f].map((x) => `[${x.info.shape.join(", ")}] in ${quote(checkpoints[x.model]!.reference)}`);
    const rest =
      f.info.shape.length === first.info.shape.length &&
      f.info.shape.slice(1).every((d, i) => d === first.info.shape[i + 1]);
    if (rest && /(embed|wte|lm_head|output)/.test(name)) {
      fail(
        "vocabulary-mismatch",
        `Cannot merge ${quote(name)}: vocabulary sizes differ, ${first.info.shape[0]} and ${f.info.shape[0]} (${a}, ${b})`,
        {
          hint: "The models use different tokenizers or padding. tokenizer_source: base (or union, or a model) brings them to one vocabulary.",
        },
      );
    }
    fail("shape-mismatch", `Cannot merge ${quote(name)}: its shape is ${a} and ${b}`, {
      hint: "Only models of one architecture and size can be merged.",
    });
  }
}

/** One line for each distinct cause: the same message about other tensors is counted, not repeated. */
function merged(errors: readonly Diagnostic[]): Diagnostic[] {
  const groups = new Map<string, { first: Diagnostic; more: number }>();
  for (const e of errors) {
    const key = `${e.kind} ${e.message
      .replace(/"[^"]*"/, "…")
      .replace(/\[[^\]]*\]/g, "[]")
      .replace(/"model\.[^"]*"/g, "…")}`;
    const group = groups.get(key);
    if (group) group.more++;
    else groups.set(key, { first: e, more: 0 });
  }
  return [...groups.values()]
    .slice(0, maxErrors)
    .map(({ first, more }) =>
      more === 0 ? first : { ...first, message: `${first.message} (and ${more} more tensors)` },
    );
}
