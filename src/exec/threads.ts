// A pool of worker threads on node:worker_threads, the one thread interface that Bun, Deno, Node and a compiled binary share.

import { Worker } from "node:worker_threads";
import type { Executor } from "./executor.ts";
import { createPool, type PoolOptions } from "./pool.ts";

export interface ThreadPoolOptions extends Omit<PoolOptions, "start" | "flags"> {
  /** src/cli/worker.ts, or what a bundler made of it. */
  readonly entry: URL | string;
  /** Of the same entry: taken before others are started. */
  readonly early?: EarlyThreads;
}

/** A pool of `workers` threads. They share memory with this one, so a task that nobody waits for stops at its next stride. */
export function createThreadPool({ entry, early, ...options }: ThreadPoolOptions): Executor {
  return createPool({
    ...options,
    start(hear, gone) {
      const worker = early?.take() ?? startThread(entry);
      worker.on("message", hear);
      worker.on("messageerror", (error) => gone(`its message cannot be read: ${error}`));
      worker.on("error", (error) => gone(error instanceof Error ? error.message : String(error)));
      worker.on("exit", (code) => gone(`exit code ${code}`));
      return { post: (message) => worker.postMessage(message), terminate: () => worker.terminate() };
    },
    flags: (length) => new Int32Array(new SharedArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT)),
  });
}

/** Workers need no environment, and so get no token out of it. */
const startThread = (entry: URL | string): Worker => new Worker(entry, { env: {} });

/** Threads that load while a merge is planned, before it is known what they will do: they take as long for it as the plan. */
export class EarlyThreads {
  private readonly idle: Worker[] = [];

  /** One that cannot be started, or stops, is no error yet: the pool starts another in its place, and is told why. */
  constructor(entry: URL | string, count: number) {
    for (let i = 0; i < count; i++) {
      let worker: Worker;
      try {
        worker = startThread(entry);
      } catch {
        return;
      }
      this.idle.push(worker);
      const forget = () => void this.take(worker);
      worker.once("error", forget).once("exit", forget);
    }
  }

  /** A thread that nobody has taken, or null. */
  take(wanted = this.idle[0]): Worker | null {
    const at = wanted ? this.idle.indexOf(wanted) : -1;
    return this.idle.splice(at, at < 0 ? 0 : 1)[0] ?? null;
  }

  /** Ends those that nobody took. */
  end(): void {
    for (const worker of this.idle.splice(0)) worker.terminate();
  }
}
