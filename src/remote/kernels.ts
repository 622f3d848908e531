// What runs a node's tasks: one kernel in this thread here, a pool of threads in src/cli/serve.ts.

import { createKernel, kernelSha256 } from "../kernel/kernel.ts";
import type { Location, Receipt, Task } from "../kernel/program.ts";
import { Runner } from "../kernel/run.ts";
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
}

export interface NodeKernels {
  readonly sha256: string;
  /** Tasks that run at the same time. */
  readonly cores: number;
  run(task: Task, data: TaskData, signal: AbortSignal): Promise<TaskResult>;
  close?(): Promise<void>;
}

export interface InlineKernelsOptions {
  readonly module: WebAssembly.Module;
  readonly workerBytes: number;
  /** Milliseconds with fractions. */
  readonly now: () => number;
}

/** What any small task takes, a test merge among them. */
const leastBytes = 8 << 20;

/** Runs tasks in this thread, the output into the bytes given. One at a time. */
export function createTaskRunner({ module, workerBytes, now }: InlineKernelsOptions) {
  const kernel = createKernel(module, Math.max(leastBytes, workerBytes));
  return (task: Task, { ranges, bytes }: TaskData, output: Uint8Array, signal?: AbortSignal): Promise<Receipt> => {
    const start = task.kind === "merge" ? task.output.start + (task.first * output.length) / task.count : 0;
    const io = {
      read: rangeReader(ranges, bytes).read,
      write: (at: Location, offset: number, data: Uint8Array) => output.set(data, at.start + offset - start),
    };
    return new Runner(kernel, io, now).run(task, signal);
  };
}

/** Runs tasks one after the other in this thread. */
export function createInlineKernels(options: InlineKernelsOptions): NodeKernels {
  const run = createTaskRunner(options);
  let last: Promise<unknown> = Promise.resolve();
  const runNext = async (task: Task, data: TaskData, signal: AbortSignal): Promise<TaskResult> => {
    signal.throwIfAborted();
    const output = new Uint8Array(outputBytes(task));
    return { receipt: await run(task, data, output, signal), output };
  };
  return {
    sha256: kernelSha256,
    cores: 1,
    run(task, data, signal) {
      const result = last.then(() => runNext(task, data, signal));
      last = result.catch(() => {});
      return result;
    },
  };
}
