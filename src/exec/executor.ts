// Anything that runs tasks: this thread, a pool of workers, later remote nodes and a queue.

import type { Receipt, Task } from "../kernel/program.ts";

/** The files of a job, by the index that a `Location` names. Inputs and outputs share one list. */
export interface JobFile {
  /** A path (later: an address). */
  readonly path: string;
  readonly mode: "read" | "write";
}

export interface Job {
  readonly files: readonly JobFile[];
  /** Bytes that each worker may use for tensor data. */
  readonly workerBytes: number;
  /** Receipts tell the phases of their tasks. */
  readonly profile?: boolean;
  /** False: `close` leaves it to the system when the outputs reach stable storage. */
  readonly sync?: boolean;
}

export interface Executor {
  /** Tasks that it takes at the same time; those beyond its workers wait there, so that no worker idles for a message. */
  readonly capacity: number;
  /** It takes merges that survey what they read as well (`MergeTask.survey`). */
  readonly surveysMerges?: boolean;
  /** So many tasks are best small at the start: whoever takes them has proved nothing yet, and they are computed a second time. */
  readonly firstTasks?: number;
  /**
   * Runs one task. Rejects with a BraidError (I/O), or with the signal's reason when aborted. Of a long one `beat` is told now and
   * then how much is done, in [0, 1).
   */
  run(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt>;
  /**
   * Ends workers and closes files. Output files are synced before it resolves, unless the job says otherwise, or a task failed or was aborted: then it is
   * quick, within 2 s, and nothing that was written may be used. Rejects when a sync failed. May be called again.
   */
  close(): Promise<void>;
}
