// The kernels of a node on this machine: a pool of threads, to which a task's bytes go through shared memory.

import { createThreadPool } from "../exec/threads.ts";
import { compileKernel, kernelSha256 } from "../kernel/kernel.ts";
import type { Task } from "../kernel/program.ts";
import type { NodeKernels } from "../remote/kernels.ts";
import type { Range } from "../remote/ranges.ts";
import { outputBytes } from "../remote/wire.ts";

/** A task with its inputs, and a place for its output. */
export type SharedTask = Task & {
  readonly shared: {
    readonly ranges: readonly Range[];
    readonly bytes: SharedArrayBuffer;
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
  return {
    sha256: kernelSha256,
    cores: workers,
    async run(task, { ranges, bytes }, signal) {
      const input = new SharedArrayBuffer(bytes.length);
      new Uint8Array(input).set(bytes);
      const output = new SharedArrayBuffer(outputBytes(task));
      const shared: SharedTask = { ...task, shared: { ranges, bytes: input, output } };
      const receipt = await pool.run(shared, signal);
      return { receipt, output: new Uint8Array(output).slice() };
    },
    close: () => pool.close(),
  };
}
