// A pool of worker threads on node:worker_threads, the one thread interface that Bun, Deno, Node and a compiled binary share.

import { Worker } from "node:worker_threads";
import type { Executor } from "./executor.ts";
import { createPool, type PoolOptions } from "./pool.ts";

export interface ThreadPoolOptions extends Omit<PoolOptions, "start" | "flags"> {
  /** src/cli/worker.ts, or what a bundler made of it. */
  readonly entry: URL | string;
}

/** A pool of `workers` threads. They share memory with this one, so a task that nobody waits for stops at its next stride. */
export function createThreadPool({ entry, ...options }: ThreadPoolOptions): Executor {
  return createPool({
    ...options,
    start(hear, gone) {
      // Workers need no environment, and so get no token out of it.
      const worker = new Worker(entry, { env: {} });
      worker.on("message", hear);
      worker.on("messageerror", (error) => gone(`its message cannot be read: ${error}`));
      worker.on("error", (error) => gone(error instanceof Error ? error.message : String(error)));
      worker.on("exit", (code) => gone(`exit code ${code}`));
      return { post: (message) => worker.postMessage(message), terminate: () => worker.terminate() };
    },
    flags: (length) => new Int32Array(new SharedArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT)),
  });
}
