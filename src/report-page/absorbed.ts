// Changes that were lost when the output was stored: elements where the merged value in f32 is not the base's, and the stored one is
// what the base itself would be stored as (methods: rounding absorption). The merge is run again, in f32 and into memory, by the same
// kernels; nothing here computes a value.

import type { ByteSink } from "../bytes/sink.ts";
import type { ByteSource } from "../bytes/source.ts";
import { Conductor } from "../exec/conduct.ts";
import { drive } from "../exec/drive.ts";
import type { Executor } from "../exec/executor.ts";
import type { Opener } from "../exec/files.ts";
import { createInlineExecutor } from "../exec/inline.ts";
import type { Host } from "../host.ts";
import type { MergeProgram, MergeReceipt, MergeTask, Task } from "../kernel/program.ts";
import type { Plan, PlanTensor } from "../plan/plan.ts";
import type { Prepared } from "../prepare.ts";
import { Progress } from "../progress.ts";
import { byteWidth, type FloatDtype, isFloat } from "../tensor/dtype.ts";
import type { Absorbed } from "./facts.ts";

export interface AbsorbedOptions {
  /** The same recipe with float32 outputs: the same tensors in the same order, in small slices. */
  readonly wide: Prepared;
  /** The plan that was carried out. */
  readonly plan: Plan;
  /** Index of the base among the recipe's models. */
  readonly base: number;
  /** The output, file by file, in the order of the plan's outputs. */
  readonly stored: readonly ByteSource[];
  readonly module: WebAssembly.Module;
  readonly opener: Opener;
  readonly host: Host;
  /** Merge every n-th slice of a tensor only. */
  readonly every: number;
}

/** Slices are held whole, four times: 256 Ki elements are 4 MiB. */
export const absorbedSlice = 262_144;

/** Takes what a task writes. */
class Capture implements ByteSink {
  readonly name = "memory";
  private start = 0;
  private bytes = new Uint8Array(0);

  expect(start: number, byteLength: number): void {
    this.start = start;
    this.bytes = new Uint8Array(byteLength);
  }

  write(position: number, data: Uint8Array): void {
    this.bytes.set(data, position - this.start);
  }

  take(): Uint8Array {
    return this.bytes;
  }

  sync(): void {}
  close(): void {}
}

/** x as a dtype stores it. */
function copyOf(input: FloatDtype, out: FloatDtype): MergeProgram {
  return {
    op: "merge",
    inputs: [input],
    out,
    base: null,
    terms: [{ input: 0, weight: 1, scale: 1, keep: {} }],
    combine: { op: "sum" },
    lambda: 1,
  };
}

const nothing = (task: MergeTask): MergeReceipt => ({
  kind: "merge",
  id: task.id,
  nonFinite: [],
  overflow: { count: 0, first: -1 },
  kept: [],
  differs: -1,
  nanoseconds: { read: 0, compute: 0, write: 0 },
});

interface Count {
  readonly name: string;
  elements: number;
  changed: number;
  absorbed: number;
}

/** Reads every input once more. Rejects as a merge does. */
export async function countAbsorbed(options: AbsorbedOptions): Promise<Absorbed> {
  const { wide, plan, base, stored, module, opener, host, every } = options;
  const { plan: widePlan, method } = wide;
  const capture = new Capture();
  const inputFiles = widePlan.inputFiles.length;
  const inner = createInlineExecutor({
    module,
    job: {
      files: [
        ...widePlan.inputFiles.map((f) => ({ path: f.location, mode: "read" as const })),
        { path: "memory", mode: "write" as const },
      ],
      workerBytes: widePlan.memory.workerBytes,
      sync: false,
    },
    now: () => host.now(),
    opener: { source: (path) => opener.source(path), sink: () => capture },
  });
  const narrow = new Map(plan.tensors.map((t) => [t.name, t]));
  const counts = new Map<PlanTensor, Count>();
  const places = new Map(widePlan.tensors.map((t) => [`${t.output.file} ${t.output.start}`, t]));
  let leftOut = 0;
  for (const t of widePlan.tensors) {
    if (!countable(t, base)) leftOut++;
    else counts.set(t, { name: t.name, elements: 0, changed: 0, absorbed: 0 });
  }

  /** Bytes that a program makes of a task's slice. */
  const run = async (task: MergeTask, program: MergeProgram, inputs: MergeTask["inputs"], signal: AbortSignal) => {
    const width = byteWidth(program.out);
    capture.expect(task.first * width, task.count * width);
    const receipt = await inner.run(
      {
        ...task,
        inputs,
        program,
        output: { file: inputFiles, start: 0 },
        policy: { nonFinite: "keep", overflow: "inf" },
      },
      signal,
    );
    return { bytes: capture.take(), receipt: receipt as MergeReceipt };
  };

  const count = async (task: MergeTask, tensor: PlanTensor, signal: AbortSignal): Promise<MergeReceipt> => {
    const { program } = task;
    const into = counts.get(tensor);
    const there = narrow.get(tensor.name);
    if (!into || !there || program.op !== "merge" || Math.floor(task.first / absorbedSlice) % every !== 0)
      return nothing(task);
    const at = tensor.inputs.findIndex((i) => i.model === base);
    const from = [task.inputs[at]!];
    const dtype = program.inputs[at]!;
    const out = there.dtype as FloatDtype;
    const merged = await run(task, { ...program, out: "F32" }, task.inputs, signal);
    const plain = await run(task, copyOf(dtype, "F32"), from, signal);
    const rounded = await run(task, copyOf(dtype, out), from, signal);
    const written = new Uint8Array(task.count * byteWidth(out));
    await stored[there.output.file]!.read(there.output.start + task.first * byteWidth(out), written);
    const [changed, absorbed] = compare(merged.bytes, plain.bytes, rounded.bytes, written, task.count);
    into.elements += task.count;
    into.changed += changed;
    into.absorbed += absorbed;
    return { ...merged.receipt, id: task.id };
  };

  const executor: Executor = {
    capacity: 1,
    run: (task: Task, signal) => {
      if (task.kind === "survey") return inner.run(task, signal);
      return count(task, places.get(`${task.output.file - inputFiles} ${task.output.start}`)!, signal);
    },
    close: () => inner.close(),
  };
  const progress = new Progress(host, host.now(), widePlan.bytesRead + widePlan.bytesWritten);
  const conductor = new Conductor(widePlan, method, {
    outcome: () => {},
    kept: () => {},
    beat: () => {},
    progress: (bytes, tensor, task) => progress.done(task.id, bytes, tensor.name),
  });
  try {
    await drive(conductor, executor, host.signal);
  } finally {
    await executor.close();
  }
  progress.end();
  return { tensors: [...counts.values()].filter((c) => c.elements > 0), leftOut, every };
}

/** Whether a tensor is merged element by element, and has a base. */
function countable({ program, dtype, inputs }: PlanTensor, base: number): boolean {
  return program.op === "merge" && isFloat(dtype) && inputs.some((i) => i.model === base);
}

/** How many f32 of `merged` are not those of `plain`, and at how many of these the bytes stored are those of the rounded base. */
function compare(
  merged: Uint8Array,
  plain: Uint8Array,
  rounded: Uint8Array,
  written: Uint8Array,
  elements: number,
): [changed: number, absorbed: number] {
  const words = (bytes: Uint8Array) => new Uint32Array(bytes.buffer, bytes.byteOffset, elements);
  const [m, b] = [words(merged), words(plain)];
  const width = written.length / Math.max(elements, 1);
  const units = (bytes: Uint8Array) =>
    width === 1
      ? bytes
      : width === 2
        ? new Uint16Array(bytes.buffer, bytes.byteOffset, elements)
        : new Uint32Array(bytes.buffer, bytes.byteOffset, (elements * width) / 4);
  const [r, w] = [units(rounded), units(written)];
  const [wide, minus] = [width === 8, 0x80000000];
  let [changed, absorbed] = [0, 0];
  for (let i = 0; i < elements; i++) {
    // −0 and +0 are one value: a sum with nothing turns one into the other.
    if (m[i] === b[i] || ((m[i]! | b[i]!) & ~minus) === 0) continue;
    changed++;
    if (wide ? r[2 * i] === w[2 * i] && r[2 * i + 1] === w[2 * i + 1] : r[i] === w[i]) absorbed++;
  }
  return [changed, absorbed];
}
