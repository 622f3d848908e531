// The kernels of a node on this machine: a pool of threads. Bytes that came with a task go there and back through shared memory;
// what lies on this disk is read and written by the threads themselves.

import { createThreadPool } from "../exec/threads.ts";
import { compileKernel, kernelSha256 } from "../kernel/kernel.ts";
import type { Task } from "../kernel/program.ts";
import type { NodeKernels, TaskResult } from "../remote/kernels.ts";
import type { TaskPlaces } from "../remote/places.ts";
import type { Range } from "../remote/ranges.ts";
import { outputBytes } from "../remote/wire.ts";

/** A task with its inputs or where they are, and a place for its output. */
export type SharedTask = Task & {
  readonly shared: {
    readonly inputs: { readonly ranges: readonly Range[]; readonly bytes: SharedArrayBuffer } | TaskPlaces;
    readonly output: SharedArrayBuffer;
  };
};

const entry = new URL("./serve-worker.ts", import.meta.url);

export function createThreadKernels(workers: number, workerBytes: number): NodeKernels & { close(): Promise<void> } {
  const pool = createThreadPool({
    module: compileKernel(),
    workers,
    job: { files: [], workerBytes, sync: false },
    entry,
  });
  const run = async (
    task: Task,
    inputs: SharedTask["shared"]["inputs"],
    length: number,
    signal: AbortSignal,
  ): Promise<TaskResult> => {
    const output = new SharedArrayBuffer(length);
    const shared: SharedTask = { ...task, shared: { inputs, output } };
    const receipt = await pool.run(shared, signal);
    return { receipt, output: new Uint8Array(output).slice() };
  };
  return {
    sha256: kernelSha256,
    cores: workers,
    run(task, { ranges, bytes }, signal) {
      const shared = new SharedArrayBuffer(bytes.length);
      new Uint8Array(shared).set(bytes);
      return run(task, { ranges, bytes: shared }, outputBytes(task), signal);
    },
    async runPlaced(task, places, signal) {
      const written = places.output !== null;
      const result = await run(task, places, written ? 0 : outputBytes(task), signal);
      return written ? { ...result, written } : result;
    },
    close: () => pool.close(),
  };
}
