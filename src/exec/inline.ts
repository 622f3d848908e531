// The executor without threads: for tests, for tiny merges and for places that have none.

import type { Receipt, Task } from "../kernel/program.ts";
import type { Executor, Job } from "./executor.ts";
import { JobFiles, type Opener } from "./files.ts";
import { type CreateRunner, createTaskRunner } from "./worker.ts";

export interface InlineOptions {
  readonly module: WebAssembly.Module;
  readonly job: Job;
  /** Milliseconds with fractions. */
  readonly now: () => number;
  readonly opener: Opener;
  readonly createRunner?: CreateRunner;
}

/** Local I/O answers at once, so tasks would run back to back and a signal would never be heard: give way this often. */
const giveWayMs = 50;

export function createInlineExecutor({
  module,
  job,
  now,
  opener,
  createRunner = createTaskRunner,
}: InlineOptions): Executor {
  const files = new JobFiles(job.files, opener);
  let current: AbortSignal | null = null;
  let onBeat: ((share: number) => void) | undefined;
  const runTask = createRunner(
    module,
    job,
    {
      read(at, offset, target) {
        current?.throwIfAborted();
        return files.read(at, offset, target);
      },
      write(at, offset, data) {
        current?.throwIfAborted();
        return files.write(at, offset, data);
      },
      beat(share) {
        onBeat?.(share);
        if (now() - gaveWay < giveWayMs) return current?.throwIfAborted();
        return giveWay().then(() => current?.throwIfAborted());
      },
    },
    now,
  );
  let last: Promise<unknown> = Promise.resolve();
  let gaveWay = now();
  let broken = false;
  let closing: Promise<void> | null = null;

  async function giveWay(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    gaveWay = now();
  }

  async function runNext(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt> {
    if (now() - gaveWay >= giveWayMs) await giveWay();
    signal.throwIfAborted();
    current = signal;
    onBeat = beat;
    try {
      return await runTask(task);
    } catch (e) {
      broken = true;
      throw e;
    } finally {
      current = null;
    }
  }
  return {
    capacity: 1,
    surveysMerges: true,
    run(task, signal, beat) {
      if (closing) return Promise.reject(new Error("The executor is closed"));
      const result = last.then(() => runNext(task, signal, beat));
      last = result.catch(() => {});
      return result;
    },
    close() {
      closing ??= last.then(async () => {
        try {
          if (!broken && job.sync !== false) await files.sync();
        } finally {
          await files.close();
        }
      });
      return closing;
    },
  };
}
