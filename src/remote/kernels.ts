// What runs a node's tasks: one kernel in this thread here, a pool of threads in src/cli/serve.ts.

import { createKernel, kernelSha256 } from "../kernel/kernel.ts";
import type { Location, Receipt, Task } from "../kernel/program.ts";
import { Runner, type TaskIo } from "../kernel/run.ts";
import type { TaskPlaces } from "./places.ts";
import { type Range, rangeReader } from "./ranges.ts";
import { outputBytes } from "./wire.ts";

/** What a task reads: the bytes of its ranges, one after the other. */
export interface TaskData {
  readonly ranges: readonly Range[];
  readonly bytes: Uint8Array;
}

export interface TaskResult {
  readonly receipt: Receipt;
  readonly output: Uint8Array<ArrayBuffer>;
  /** The output is in its file, and `output` is empty. */
  readonly written?: boolean;
}

export interface NodeKernels {
  readonly sha256: string;
  /** Tasks that run at the same time; of a node that others help, it changes. */
  readonly cores: number;
  /** `job`: whose task it is, for kernels that must know whom they gave what. */
  run(task: Task, data: TaskData, signal: AbortSignal, job?: string): Promise<TaskResult>;
  /** Runs a task whose files are all on this machine, without carrying their bytes. */
  readonly runPlaced?: ((task: Task, places: TaskPlaces, signal: AbortSignal) => Promise<TaskResult>) | undefined;
  /** Whether answers to this job turned out wrong after they were given. Only kernels that others help have it. */
  recalled?(job: string): boolean;
  close?(): Promise<void>;
}

/** What a coordinator computes itself, in its own thread. */
export interface OwnKernels extends NodeKernels {
  /** Runs a task from and to wherever `io` leads. */
  runOn(task: Task, io: TaskIo): Promise<Receipt>;
}

export interface InlineKernelsOptions {
  readonly module: WebAssembly.Module;
  readonly workerBytes: number;
  /** Milliseconds with fractions. */
  readonly now: () => number;
}

/** What any small task takes, a test merge among them. */
const leastBytes = 8 << 20;

/** Runs tasks in this thread, from and to wherever `io` leads. One at a time. */
export function createTaskRunner({ module, workerBytes, now }: InlineKernelsOptions) {
  const kernel = createKernel(module, Math.max(leastBytes, workerBytes));
  return (task: Task, io: TaskIo, signal?: AbortSignal): Promise<Receipt> =>
    new Runner(kernel, io, now).run(task, signal);
}

/** Where the slice of a task begins in its output file. */
export const sliceStart = (task: Task): number =>
  task.kind === "merge" ? task.output.start + task.first * (outputBytes(task) / task.count) : 0;

/** Takes the output of a task into memory. */
export function writerInto(task: Task, output: Uint8Array): TaskIo["write"] {
  const start = sliceStart(task);
  return (at: Location, offset, data) => output.set(data, at.start + offset - start);
}

/** From carried bytes into the bytes given. */
export const carriedIo = (task: Task, { ranges, bytes }: TaskData, output: Uint8Array): TaskIo => ({
  read: rangeReader(ranges, bytes).read,
  write: writerInto(task, output),
});

/** Runs tasks one after the other in this thread. */
export function createInlineKernels(options: InlineKernelsOptions): OwnKernels {
  const run = createTaskRunner(options);
  let last: Promise<unknown> = Promise.resolve();
  const runNext = async (task: Task, data: TaskData, signal: AbortSignal): Promise<TaskResult> => {
    signal.throwIfAborted();
    const output = new Uint8Array(outputBytes(task));
    return { receipt: await run(task, carriedIo(task, data, output), signal), output };
  };
  return {
    sha256: kernelSha256,
    cores: 1,
    run(task, data, signal) {
      const result = last.then(() => runNext(task, data, signal));
      last = result.catch(() => {});
      return result;
    },
    runOn(task, io) {
      const result = last.then(() => run(task, io));
      last = result.catch(() => {});
      return result;
    },
  };
}
