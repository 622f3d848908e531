// An adapter that is going to be written: its file, its config, and the tasks that fill it. Pure.

import { fail, quote } from "../errors.ts";
import { factorFlops, factorTaskBytes, sketchDirections, worthSketching } from "../kernel/factor-cost.ts";
import type { FactorProgram } from "../kernel/factor-program.ts";
import { maxMatrixBytes } from "../kernel/matrix-cost.ts";
import type { MergeTask, TaskInput } from "../kernel/program.ts";
import { workerBytesFor } from "../kernel/run.ts";
import { readerBytes } from "../kernel/view.ts";
import { maxRank } from "../tensor/adapter.ts";
import { type Config, textConfig } from "../tensor/config.ts";
import { byteWidth, type FloatDtype } from "../tensor/dtype.ts";
import { type EncodedHeader, layoutHeader, type NewTensor } from "../tensor/encode.ts";
import { runtimeBytes, runtimeBytesPerWorker } from "./memory.ts";

/** Key of the signs that sketches start from. Any number would do; another one gives other last digits. */
const sketchKey = [0x4c6f5241, 0x736b6574] as const;

/** How singular components are found. */
export const svdNames = ["auto", "exact", "sketch"] as const;
export type Svd = (typeof svdNames)[number];

export interface AdapterShape {
  readonly rank: number;
  /** α; null: the rank, so that the scale is 1. */
  readonly alpha: number | null;
  readonly dtype: FloatDtype;
  readonly svd: Svd;
  /** Weights of the base lie as [in, out]. */
  readonly transposed: boolean;
}

interface TypedInput extends TaskInput {
  readonly dtype: FloatDtype;
}

/** A module with factors: of a delta (base and fine-tune), or of pairs A_0, B_0, A_1, … with their coefficients. */
export interface AdaptedModule {
  /** Without `.weight`. */
  readonly path: string;
  /** The weight's shape as it is stored. */
  readonly shape: readonly [number, number];
  readonly inputs: readonly TypedInput[];
  readonly pairs: readonly { readonly rank: number; readonly coefficient: number }[] | null;
}

/** A tensor that is stored whole. */
export interface SavedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  readonly input: TypedInput;
  /** With the whole module, or as the bias of a linear layer. */
  readonly as: "module" | "bias";
}

export interface PlannedModule {
  readonly module: AdaptedModule;
  readonly rank: number;
  readonly task: MergeTask;
  readonly program: FactorProgram;
}

export interface AdapterPlan {
  readonly header: EncodedHeader;
  readonly modules: readonly PlannedModule[];
  readonly saved: readonly { readonly tensor: SavedTensor; readonly task: MergeTask }[];
  readonly config: Config;
  readonly workers: number;
  readonly workerBytes: number;
  readonly peakBytes: number;
  readonly bytesRead: number;
  readonly flops: number;
}

export interface AdapterContext {
  readonly shape: AdapterShape;
  /** What `base_model_name_or_path` says. */
  readonly baseName: string;
  readonly baseConfig: Config | null;
  /** Names of the base's tensors. */
  readonly names: ReadonlySet<string>;
  /** Input files of the job; the adapter's comes after them. */
  readonly files: number;
  readonly workers: number;
  readonly memoryBytes: number;
}

/** GPT-2 and its forerunner keep weights of linear layers as [in, out] (Conv1D). */
export function isTransposed(config: Config | null): boolean {
  return config !== null && ["gpt2", "openai-gpt"].includes(String(config.model_type));
}

/** @throws `memory-budget` where a matrix does not fit, `usage` for a rank or alpha out of range. */
export function planAdapter(
  modules: readonly AdaptedModule[],
  saved: readonly SavedTensor[],
  context: AdapterContext,
): AdapterPlan {
  const { shape, files } = context;
  checkShape(shape);
  const targets = new Set(modules.map((m) => m.path));
  const drafts = modules.map((module) => ({ module, rank: rankOf(module, shape) }));
  const tensors: NewTensor[] = [];
  for (const { module, rank } of drafts) {
    const [out, inner] = sides(module, shape);
    tensors.push({ name: key(`${module.path}.lora_A.weight`), dtype: shape.dtype, shape: [rank, inner] });
    tensors.push({ name: key(`${module.path}.lora_B.weight`), dtype: shape.dtype, shape: [out, rank] });
  }
  for (const { name, input, shape: own } of saved) {
    tensors.push({ name: savedKey(name, targets), dtype: input.dtype, shape: own });
  }
  const header = layoutHeader(tensors);
  let id = 0;
  const at = (name: string) => ({ file: files, start: header.tensors.get(name)!.start });
  const policy = { nonFinite: "error", overflow: "error" } as const;
  const planned = drafts.map(({ module, rank }): PlannedModule => {
    const [rows, columns] = module.pairs ? sides(module, shape) : module.shape;
    const program: FactorProgram = {
      op: "factor",
      inputs: module.inputs.map((i) => i.dtype),
      out: shape.dtype,
      rows,
      columns,
      rank,
      scale: (shape.alpha ?? shape.rank) / shape.rank,
      transposed: !module.pairs && shape.transposed,
      b: at(key(`${module.path}.lora_B.weight`)),
      source: module.pairs
        ? { op: "pairs", pairs: module.pairs }
        : { op: "delta", sketch: sketchOf(rank, rows, columns, shape) },
    };
    const inputs = module.inputs.map(({ dtype: _, ...input }) => input);
    const output = at(key(`${module.path}.lora_A.weight`));
    return {
      module,
      rank,
      program,
      task: { kind: "merge", id: id++, first: 0, count: rows * columns, inputs, output, program, policy },
    };
  });
  const copies = saved.map((tensor) => {
    const { dtype, ...input } = tensor.input;
    const output = at(savedKey(tensor.name, targets));
    const program = copyOf(tensor.input);
    const task: MergeTask = {
      kind: "merge",
      id: id++,
      first: 0,
      count: tensor.count,
      inputs: [input],
      output,
      program,
      policy,
    };
    return { tensor, task };
  });
  return {
    header,
    modules: planned,
    saved: copies,
    config: configOf(drafts, saved, targets, context),
    ...planMemory(planned, saved, context),
    bytesRead:
      planned.reduce((sum, p) => sum + readOf(p), 0) +
      saved.reduce((sum, t) => sum + t.count * byteWidth(t.input.dtype), 0),
    flops: planned.reduce((sum, p) => sum + factorFlops(p.program), 0),
  };
}

function readOf({ module: { pairs, inputs }, program: { rows, columns } }: PlannedModule): number {
  const counts = pairs ? pairs.flatMap(({ rank }) => [rank * columns, rank * rows]) : inputs.map(() => rows * columns);
  return inputs.reduce((sum, { dtype }, i) => sum + counts[i]! * byteWidth(dtype), 0);
}

function checkShape({ rank, alpha, dtype }: AdapterShape): void {
  if (!Number.isInteger(rank) || rank < 1 || rank > maxRank)
    fail("usage", `Cannot make an adapter of rank ${rank}: it must be a whole number from 1 to ${maxRank}`);
  if (alpha !== null && !(alpha > 0 && Number.isFinite(alpha)))
    fail("usage", `Cannot make an adapter with alpha ${alpha}: it must be a number above 0`);
  if (!["F32", "BF16", "F16"].includes(dtype))
    fail("usage", `Cannot store an adapter as ${dtype}: PEFT loads F32, BF16 and F16`);
}

/** [out, in] of a module. */
function sides({ shape }: AdaptedModule, { transposed }: AdapterShape): readonly [number, number] {
  return transposed ? [shape[1], shape[0]] : shape;
}

/** No more than the matrix has; pairs that are put side by side keep the rank that they have together. */
function rankOf({ shape, pairs }: AdaptedModule, { rank }: AdapterShape): number {
  const together = pairs ? pairs.reduce((sum, p) => sum + p.rank, 0) : Number.POSITIVE_INFINITY;
  return together <= rank ? together : Math.min(rank, shape[0], shape[1]);
}

function sketchOf(rank: number, rows: number, columns: number, { svd }: AdapterShape) {
  const directions = sketchDirections(rank, rows, columns);
  if (svd === "exact" || (svd === "auto" && !worthSketching(rank, rows, columns))) return null;
  return { key: sketchKey, directions };
}

const key = (name: string) => `base_model.model.${name}`;

/** A bias of an adapted module belongs to the layer inside of it. */
function savedKey(name: string, targets: ReadonlySet<string>): string {
  const path = name.replace(/\.bias$/, "");
  return key(name.endsWith(".bias") && targets.has(path) ? `${path}.base_layer.bias` : name);
}

function copyOf({ dtype, view }: TypedInput): MergeTask["program"] {
  if (!view) return { op: "copy", byteWidth: byteWidth(dtype) };
  const terms = [{ input: 0, weight: 1, scale: 1, keep: {} }];
  return { op: "merge", inputs: [dtype], out: dtype, base: null, terms, combine: { op: "sum" }, lambda: 1 };
}

function configOf(
  drafts: readonly { readonly module: AdaptedModule; readonly rank: number }[],
  saved: readonly SavedTensor[],
  targets: ReadonlySet<string>,
  { shape, baseName, baseConfig, names }: AdapterContext,
): Config {
  const alpha = shape.alpha ?? shape.rank;
  const odd = drafts.filter((d) => d.rank !== shape.rank);
  const exactly = (path: string) => path.replace(/[.]/g, "\\.");
  const whole = new Set(saved.filter((t) => t.as === "module").map((t) => t.name.replace(/\.[^.]+$/, "")));
  return {
    alpha_pattern: Object.fromEntries(odd.map((d) => [exactly(d.module.path), (alpha * d.rank) / shape.rank])),
    base_model_name_or_path: baseName,
    bias: saved.some((t) => t.as === "bias") ? "all" : "none",
    fan_in_fan_out: shape.transposed,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: alpha,
    lora_dropout: 0,
    modules_to_save: whole.size > 0 ? [...whole].sort() : null,
    peft_type: "LORA",
    r: shape.rank,
    rank_pattern: Object.fromEntries(odd.map((d) => [exactly(d.module.path), d.rank])),
    target_modules: targetNames(targets, names),
    task_type: taskType(baseConfig),
    use_dora: false,
    use_rslora: false,
  };
}

/** Last parts of the paths where they name these modules and no others; whole paths otherwise. */
function targetNames(targets: ReadonlySet<string>, names: ReadonlySet<string>): string[] {
  const last = (path: string) => path.slice(path.lastIndexOf(".") + 1);
  const short = new Set([...targets].map(last));
  for (const name of names) {
    const path = name.replace(/\.[^.]+$/, "");
    if (short.has(last(path)) && !targets.has(path)) return [...targets].sort();
  }
  return [...short].sort();
}

function taskType(config: Config | null): string | null {
  const named = config && (config.architectures ?? textConfig(config).architectures);
  const [name] = Array.isArray(named) ? named.map(String) : [];
  if (!name) return "CAUSAL_LM";
  if (/(ForCausalLM|LMHeadModel)$/.test(name)) return "CAUSAL_LM";
  if (name.endsWith("ForSequenceClassification")) return "SEQ_CLS";
  if (name.endsWith("ForTokenClassification")) return "TOKEN_CLS";
  return /T5|Bart|mBart|Pegasus/.test(name) ? "SEQ_2_SEQ_LM" : null;
}

/** As many workers as the largest matrix leaves memory for. */
function planMemory(
  planned: readonly PlannedModule[],
  saved: readonly SavedTensor[],
  { workers: asked, memoryBytes }: AdapterContext,
): Pick<AdapterPlan, "workers" | "workerBytes" | "peakBytes"> {
  const views = (inputs: readonly TaskInput[]) => inputs.reduce((sum, i) => sum + readerBytes(i), 0);
  let [largest, most] = [planned[0]?.module.path ?? "", 0];
  for (const p of planned) {
    const bytes = factorTaskBytes(p.program, views(p.module.inputs));
    if (bytes > most) [largest, most] = [p.module.path, bytes];
  }
  const mib = (bytes: number) => Math.ceil(bytes / 2 ** 20);
  if (most > maxMatrixBytes)
    fail(
      "memory-budget",
      `Cannot factor ${quote(largest)}: that takes ${mib(most)} MiB, and a worker can have ${mib(maxMatrixBytes)} MiB`,
      {
        hint: "Use --svd sketch or a smaller --rank.",
      },
    );
  // Surveys and copies read two inputs of up to 8 bytes an element.
  const workerBytes =
    workerBytesFor(2, 24) +
    saved.reduce((n, t) => Math.max(n, views([t.input])), 0) +
    planned.reduce((n, p) => Math.max(n, views(p.module.inputs)), 0);
  const each = runtimeBytesPerWorker + Math.max(workerBytes, most);
  const least = runtimeBytes + each;
  if (least > memoryBytes)
    fail(
      "memory-budget",
      `Cannot factor ${quote(largest)} within ${mib(memoryBytes)} MiB: one worker needs ${mib(least)} MiB`,
      {
        hint: `Use --memory ${mib(least)}MiB or more.`,
      },
    );
  const tasks = planned.length + saved.length;
  const workers = Math.max(1, Math.min(asked, tasks, Math.floor((memoryBytes - runtimeBytes) / each)));
  return { workers, workerBytes, peakBytes: runtimeBytes + workers * each };
}
