// What has to be done again here: work of a node that was caught lying later, and places that a node may have written to after
// its task was given to another. It runs beside the merge, and the output is not finished before it.

import { BraidError } from "../errors.ts";
import type { Task } from "../kernel/program.ts";
import { type Auditor, receiptHash } from "./audit.ts";
import type { TrackRecord } from "./record.ts";

export interface ReworkOptions {
  readonly auditor: Auditor;
  /** Bytes of an output changed that were taken for final. */
  readonly changed: (file: number) => void;
  readonly failed: (error: BraidError) => void;
  /** Nobody needs the output any more. */
  readonly over: () => boolean;
}

export class Rework {
  private readonly options: ReworkOptions;
  private readonly suspects = new Map<number, Task>();
  private last: Promise<void> = Promise.resolve();

  constructor(options: ReworkOptions) {
    this.options = options;
  }

  /** Does again what a lying node did unseen. */
  of(record: TrackRecord, url: string): void {
    for (const { task, receipt } of record.takeUnseen()) this.queue(task, receipt, url);
  }

  /** A node that was asked to stop had begun to write this slice: it is looked at when nobody writes any more. */
  suspect(task: Task): void {
    this.suspects.set(task.id, task);
  }

  /** Resolves when all is as it should be. */
  async finish(): Promise<void> {
    for (const task of this.suspects.values()) this.queue(task, null, "");
    this.suspects.clear();
    await this.last;
  }

  private queue(task: Task, receipt: string | null, url: string): void {
    this.last = this.last.then(() => this.redo(task, receipt, url));
  }

  private async redo(task: Task, receipt: string | null, url: string): Promise<void> {
    const { auditor, changed, failed, over } = this.options;
    if (over()) return;
    try {
      const again = await auditor.redo(task);
      if (again.changed && task.kind === "merge") changed(task.output.file);
      if (receipt === null || receiptHash(again.receipt) === receipt) return;
      failed(
        new BraidError({
          kind: "node-answer",
          message: `Cannot go on: ${url} told wrong things that the merge was built upon`,
          hint: "Merge again without that node.",
        }),
      );
    } catch (error) {
      failed(error instanceof BraidError ? error : new BraidError({ kind: "io", message: String(error) }));
    }
  }
}
