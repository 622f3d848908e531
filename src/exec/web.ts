// A pool of Web Workers: the executor of a page. Without the headers that isolate a page there is no shared memory, so nothing here
// needs any: each worker has a memory of its own, and what must stop is ended.

import type { Executor } from "./executor.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { createPool, type PoolOptions } from "./pool.ts";

/** The little of a Web Worker that this takes. */
export interface WebWorker {
  postMessage(message: ToWorker): void;
  terminate(): void;
  addEventListener(type: "message", listener: (event: { readonly data: FromWorker }) => void): void;
  addEventListener(type: "error", listener: (event: { readonly message?: string }) => void): void;
  addEventListener(type: "messageerror", listener: () => void): void;
}

export interface WebPoolOptions extends Omit<PoolOptions, "start" | "flags"> {
  /** Starts a worker that runs `createWorkerLoop` (worker.ts). Bundlers want `new Worker(new URL(…))` written out, so it is the caller's. */
  readonly createWorker: () => WebWorker;
}

/**
 * A pool of `workers` Web Workers. A task that was aborted runs to its end in its worker, unless the worker is ended first, as
 * `close` does after its grace: tasks are slices, a few milliseconds long.
 */
export function createWebPool({ createWorker, ...options }: WebPoolOptions): Executor {
  return createPool({
    ...options,
    start(hear, gone) {
      const worker = createWorker();
      worker.addEventListener("message", (event) => hear(event.data));
      worker.addEventListener("messageerror", () => gone("its message cannot be read"));
      worker.addEventListener("error", (event) => gone(event.message || "its script cannot be loaded"));
      return { post: (message) => worker.postMessage(message), terminate: () => worker.terminate() };
    },
    flags: (length) => new Int32Array(length),
  });
}
