// What an EMR export will write, and the tasks that fill it. Pure.

import { fail, quote } from "../errors.ts";
import type { MergeTask } from "../kernel/program.ts";
import { type UnifyProgram, unifyTaskBytes } from "../kernel/unify-program.ts";
import { readerBytes } from "../kernel/view.ts";
import { byteWidth } from "../tensor/dtype.ts";
import { emrUnifiedName, maskByteLength } from "../tensor/emr.ts";
import { type EncodedHeader, layoutHeader } from "../tensor/encode.ts";
import { runtimeBytes, runtimeBytesPerWorker } from "./memory.ts";
import { type Plan, type PlanTensor, readWidth } from "./plan.ts";

const MiB = 1024 * 1024;

export interface EmrFile {
  readonly name: string;
  readonly header: EncodedHeader;
}

export interface EmrPlanModel {
  /** Index into the plan's inputs. */
  readonly model: number;
  /** Without the ending. */
  readonly name: string;
  readonly file: string;
}

export interface EmrTensor {
  readonly tensor: PlanTensor;
  readonly program: UnifyProgram;
  /** The models of its terms, in their order: indices into `models` of the export. */
  readonly terms: readonly number[];
  readonly tasks: readonly MergeTask[];
}

export interface EmrPlan {
  /** The unified delta's, then one a model. */
  readonly files: readonly EmrFile[];
  readonly models: readonly EmrPlanModel[];
  readonly tensors: readonly EmrTensor[];
  readonly workers: number;
  readonly workerBytes: number;
  readonly peakBytes: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** @throws `recipe-unsupported` for what an export cannot say, `memory-budget`. */
export function planEmr(plan: Plan, recipeSha256: string): EmrPlan {
  const base = baseOf(plan);
  const models = namesOf(plan, base);
  const place = new Map(models.map(({ model }, i) => [model, i]));
  const merged = plan.tensors.filter((t) => t.program.op === "merge" && t.count > 0);
  for (const t of merged) assertPlain(plan, t, base);
  const metadata = new Map([["braid_recipe_sha256", recipeSha256]]);
  const files: EmrFile[] = [
    { name: emrUnifiedName, header: layoutHeader(merged, metadata) },
    ...models.map(({ model, file }) => ({
      name: file,
      header: layoutHeader(
        merged
          .filter((t) => t.inputs.some((i) => i.model === model))
          .map(({ name, count }) => ({ name, dtype: "U8" as const, shape: [maskByteLength(count)] })),
        metadata,
      ),
    })),
  ];
  const firstFile = plan.inputFiles.length;
  const at = (file: number, name: string) => ({
    file: firstFile + file,
    start: files[file]!.header.tensors.get(name)!.start,
  });
  let id = 0;
  const tensors = merged.map((tensor): EmrTensor => {
    const { name, count, inputs } = tensor;
    const terms = inputs.flatMap((input, i) =>
      input.model === base ? [] : [{ input: i, of: place.get(input.model)! }],
    );
    if (tensor.program.op !== "merge") throw new TypeError("expected a merge");
    const program: UnifyProgram = {
      op: "unify",
      inputs: tensor.program.inputs,
      out: tensor.program.out,
      base: inputs.findIndex((i) => i.model === base),
      terms: terms.map(({ input, of }) => ({ input, mask: at(1 + of, name) })),
    };
    const tasks: MergeTask[] = [];
    const { sliceElements } = plan.memory;
    for (let first = 0; first < count; first += sliceElements)
      tasks.push({
        kind: "merge",
        id: id++,
        first,
        count: Math.min(sliceElements, count - first),
        inputs: inputs.map(({ file, start, view }) => ({ file, start, ...(view ? { view } : {}) })),
        output: at(0, name),
        program,
        policy: plan.policy,
      });
    return { tensor, program, terms: terms.map((t) => t.of), tasks };
  });
  return {
    files,
    models,
    tensors,
    ...memoryOf(plan, tensors),
    bytesRead: merged.reduce((sum, t) => sum + t.count * readWidth(t), 0),
    bytesWritten: tensors.reduce(
      (sum, { tensor: t, program, terms }) =>
        sum + t.count * byteWidth(program.out) + terms.length * maskByteLength(t.count),
      0,
    ),
  };
}

function baseOf(plan: Plan): number {
  for (const { program, inputs } of plan.tensors)
    if (program.op === "merge" && program.base !== null) return inputs[program.base]!.model;
  return fail("tensor-missing", "Cannot export masks: the recipe merges no tensor");
}

/** What a model out of an export could not be rebuilt from. */
function assertPlain(plan: Plan, { name, program, inputs }: PlanTensor, base: number): void {
  const faults = (): [what: string, hint: string] | null => {
    if (program.op !== "merge" || program.combine.op !== "unify")
      return ["it is not merged by emr", "Use merge_method: emr."];
    if (program.lambda !== 1) return ["lambda is not 1", "Leave lambda out: the scale of each model takes its place."];
    if (program.terms.some(({ keep, scale }) => scale !== 1 || Object.keys(keep).length > 0))
      return ["a random drop comes first", "Leave dare out: the masks say what stays."];
    const own = inputs.find((i) => i.model === base)!;
    if (own.tensor !== name)
      return [`it is ${quote(own.tensor)} in the base`, "Write the recipe with models:, without slices."];
    if (own.view?.op === "rows")
      return [
        "its rows are not the base's",
        "Leave tokenizer_source out, or set it to base, so that the base's vocabulary stays.",
      ];
    if (plan.policy.nonFinite !== "error")
      return ["--non-finite is not error", "Deltas that are not finite have no sign."];
    return null;
  };
  const fault = faults();
  if (fault) fail("recipe-unsupported", `Cannot export masks of ${quote(name)}: ${fault[0]}`, { hint: fault[1] });
}

/** A name for each model, made of the last part of its reference: it becomes a file's. */
function namesOf(plan: Plan, base: number): EmrPlanModel[] {
  const taken = new Set(["unified"]);
  return plan.inputs.flatMap(({ reference }, model) => {
    if (model === base) return [];
    const last = reference.split(/[/\\]/).filter(Boolean).at(-1) ?? "";
    const plain =
      last
        .replace(/\.safetensors$/, "")
        .replace(/[^\w.-]+/g, "-")
        .replace(/^[^A-Za-z0-9]+/, "") || "model";
    let name = plain;
    for (let n = 2; taken.has(name.toLowerCase()); n++) name = `${plain}-${n}`;
    taken.add(name.toLowerCase());
    return [{ model, name, file: `${name}.safetensors` }];
  });
}

function memoryOf(plan: Plan, tensors: readonly EmrTensor[]): Pick<EmrPlan, "workers" | "workerBytes" | "peakBytes"> {
  const { workers, limitBytes } = plan.memory;
  const workerBytes = tensors.reduce((most, { tensor, program }) => {
    const viewBytes = tensor.inputs.reduce((sum, i) => sum + readerBytes(i), 0);
    return Math.max(most, unifyTaskBytes(program, viewBytes));
  }, 0);
  const peakBytes = Math.max(plan.memory.peakBytes, runtimeBytes + workers * (runtimeBytesPerWorker + workerBytes));
  if (peakBytes > limitBytes)
    fail(
      "memory-budget",
      `Cannot export masks within ${Math.floor(limitBytes / MiB)} MiB: this plan needs ${Math.ceil(peakBytes / MiB)} MiB with ${workers} workers`,
      { hint: `Use --memory ${Math.ceil(peakBytes / MiB)}MiB or more, or fewer --workers.` },
    );
  return { workers, workerBytes, peakBytes };
}
