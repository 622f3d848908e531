// What is known of the work of a node, or of a worker of a queue: how much of it was accepted, and what of that was never computed
// here whole.

import type { Task } from "../kernel/program.ts";
import { auditsWhole } from "./audit.ts";

/** Accepted without having been computed here whole. */
export interface Unseen {
  readonly task: Task;
  readonly receipt: string;
}

export class TrackRecord {
  tasks = 0;
  /** Of their inputs and outputs. */
  bytes = 0;
  private unseen: Unseen[] = [];

  get hasUnseen(): boolean {
    return this.unseen.length > 0;
  }

  /** Whether its next task is computed here whole. */
  auditsWhole(task: Task, random: () => number): boolean {
    return auditsWhole(task, this.tasks, random);
  }

  /** `receipt`: the hash of what was only looked at in parts, remembered in case it is caught later; null: all of it was seen. */
  accepted(task: Task, bytes: number, receipt: string | null): void {
    this.tasks++;
    this.bytes += bytes;
    if (receipt !== null) this.unseen.push({ task, receipt });
  }

  takeUnseen(): Unseen[] {
    const { unseen } = this;
    this.unseen = [];
    return unseen;
  }
}
