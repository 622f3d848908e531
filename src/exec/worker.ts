// The loop of a worker, whatever carries its messages: one kernel instance, one memory, one task at a time, in order.

import { createKernel } from "../kernel/kernel.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import { Runner, type TaskIo } from "../kernel/run.ts";
import type { Job } from "./executor.ts";
import { JobFiles, type Opener } from "./files.ts";
import { errorToWire, type FromWorker, type ToWorker, transferList } from "./messages.ts";

/** What a worker needs from the thread it lives in. */
export interface WorkerHost {
  post(message: FromWorker, transfer: ArrayBuffer[]): void;
  /** Milliseconds with fractions. */
  now(): number;
  /** When `now` was 0, in milliseconds of a clock that all threads share. */
  readonly timeOrigin?: number;
  readonly opener: Opener;
  /** Runs tasks; tests put stand-ins here. */
  readonly createRunner?: CreateRunner;
}

export type RunTask = (task: Task) => Promise<Receipt>;
/** `shift`: milliseconds from `now` to the coordinator's clock. */
export type CreateRunner = (
  module: WebAssembly.Module,
  job: Job,
  io: TaskIo,
  now: () => number,
  shift?: number,
) => RunTask;

/** A kernel with the job's memory, and a Runner on it. */
export const createTaskRunner: CreateRunner = (module, job, io, now, shift = 0) => {
  const runner = new Runner(createKernel(module, job.workerBytes), io, now, job.profile ? { shift } : null);
  return (task) => runner.run(task);
};

/** Returns the function to be called with every message, in the order of arrival. */
export function createWorkerLoop(host: WorkerHost): (message: ToWorker) => void {
  let job: WorkerJob | null = null;
  let last: Promise<void> = Promise.resolve();
  const handle = async (message: ToWorker): Promise<void> => {
    if (message.type === "init") {
      try {
        job = new WorkerJob(host, message);
        host.post({ type: "ready" }, []);
      } catch (e) {
        host.post({ type: "unfit", error: errorToWire(e) }, []);
      }
      return;
    }
    if (job) await job.handle(message);
    // An unfit worker opened nothing; it only must not be waited for.
    else if (message.type === "sync") host.post({ type: "synced", error: null }, []);
    else if (message.type === "close") host.post({ type: "closed" }, []);
  };
  return (message) => {
    // `last` never rejects: every branch of `handle` answers with its error.
    last = last.then(() => handle(message));
  };
}

/** A task tells no more often than this how far it is. */
const beatMs = 200;

type InitMessage = Extract<ToWorker, { type: "init" }>;

class WorkerJob {
  private readonly host: WorkerHost;
  private readonly files: JobFiles;
  private readonly cancelled: Int32Array;
  private readonly runTask: RunTask;
  private slot = 0;
  private beaten = Number.NEGATIVE_INFINITY;

  constructor(host: WorkerHost, init: InitMessage) {
    this.host = host;
    this.cancelled = init.cancelled;
    this.files = new JobFiles(init.job.files, host.opener);
    // A task runs without giving the thread back, so no message can stop it; a look at shared memory at every stride can.
    const io: TaskIo = {
      read: (at, offset, target) => {
        this.stopIfCancelled();
        return this.files.read(at, offset, target);
      },
      write: (at, offset, data) => {
        this.stopIfCancelled();
        return this.files.write(at, offset, data);
      },
      beat: (share) => {
        this.stopIfCancelled();
        const now = host.now();
        if (now - this.beaten < beatMs) return;
        this.beaten = now;
        host.post({ type: "beat", slot: this.slot, share }, []);
      },
    };
    const create = host.createRunner ?? createTaskRunner;
    const shift = host.timeOrigin === undefined ? 0 : host.timeOrigin - (init.timeOrigin ?? host.timeOrigin);
    this.runTask = create(init.module, init.job, io, () => host.now(), shift);
  }

  async handle(message: Exclude<ToWorker, InitMessage>): Promise<void> {
    if (message.type === "task") return this.task(message.slot, message.task);
    if (message.type === "sync") {
      let error = null;
      try {
        await this.files.sync();
      } catch (e) {
        error = errorToWire(e);
      }
      return this.host.post({ type: "synced", error }, []);
    }
    // What was written is synced or thrown away by now, so a failing close has nothing left to tell.
    await this.files.close().catch(() => {});
    this.host.post({ type: "closed" }, []);
  }

  private async task(slot: number, task: Task): Promise<void> {
    this.slot = slot;
    try {
      this.stopIfCancelled();
      const receipt = await this.runTask(task);
      this.host.post({ type: "receipt", slot, receipt }, transferList(receipt));
    } catch (e) {
      this.host.post({ type: "error", slot, error: errorToWire(e) }, []);
    }
  }

  private stopIfCancelled(): void {
    if (Atomics.load(this.cancelled, this.slot) !== 0) throw new Error("cancelled");
  }
}
