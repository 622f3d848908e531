// How far a merge is, told as often as a terminal can show it.

import type { Host } from "./host.ts";

const progressMs = 100;

export class Progress {
  private readonly host: Pick<Host, "now" | "report">;
  private readonly started: number;
  private readonly totalBytes: number;
  private doneBytes = 0;
  /** Bytes of long tasks that are partly done, by task. */
  private readonly underWay = new Map<number, number>();
  private reported = Number.NEGATIVE_INFINITY;

  constructor(host: Pick<Host, "now" | "report">, started: number, totalBytes: number) {
    this.host = host;
    this.started = started;
    this.totalBytes = totalBytes;
  }

  /** So many bytes of a task that is under way count as done. */
  beat(task: number, bytes: number, tensor: string): void {
    this.underWay.set(task, bytes);
    this.tell(tensor);
  }

  done(task: number, bytes: number, tensor: string): void {
    this.doneBytes += bytes;
    this.underWay.delete(task);
    this.tell(tensor);
  }

  end(): void {
    this.reported = Number.NEGATIVE_INFINITY;
    this.tell("");
  }

  private tell(tensor: string): void {
    const now = this.host.now();
    if (now - this.reported < progressMs) return;
    this.reported = now;
    const doneBytes = [...this.underWay.values()].reduce((sum, bytes) => sum + bytes, this.doneBytes);
    const seconds = (now - this.started) / 1000;
    this.host.report({ type: "progress", doneBytes, totalBytes: this.totalBytes, tensor, seconds });
  }
}
