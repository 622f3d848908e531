// A worker of the queue as a coordinator knows it: what it brought, and whether it is still believed.

import type { NodeReport } from "./member.ts";
import { type Hello, helloMs, type WorkerName } from "./queue-wire.ts";
import { TrackRecord } from "./record.ts";

/** A worker that did not say so for this long is not there. */
export const silentMs = 3 * helloMs;
/** Damaged or useless results of one worker in a job. */
const maxInvalid = 8;

export class QueueMember {
  readonly name: WorkerName;
  readonly record = new TrackRecord();
  banned = false;
  private readonly tell: (report: NodeReport) => void;
  private lanes = 1;
  private state: "new" | "ready" | "away" | "left" = "new";
  private heard = Number.NEGATIVE_INFINITY;
  private invalid = 0;

  constructor(name: WorkerName, tell: (report: NodeReport) => void) {
    this.name = name;
    this.tell = tell;
  }

  get title(): string {
    return `queue:${this.name.name}-${this.name.id.slice(0, 4)}`;
  }

  /** Tasks that it takes at a time, now. */
  lanesAt(now: number): number {
    return this.banned || this.state === "left" || now - this.heard > silentMs ? 0 : this.lanes;
  }

  hello({ lanes, cores, runtime, leaving }: Hello, now: number): void {
    this.lanes = lanes;
    this.heard = now;
    if (leaving) this.move("left", "it was stopped");
    else this.move("ready", `${cores} ${cores === 1 ? "core" : "cores"}, ${runtime}`);
  }

  /** It did something, which says as much as a greeting. */
  seen(now: number): void {
    this.heard = Math.max(this.heard, now);
  }

  look(now: number): void {
    if (this.state === "ready" && now - this.heard > silentMs) this.move("away", "it gives no sign of life");
  }

  private move(state: "ready" | "away" | "left", message: string): void {
    if (this.banned || this.state === state) return;
    this.state = state;
    this.report(state, message);
  }

  /** A result that cannot be used. Damage on the way is rare; a worker that goes on sending it is not worth its checks. */
  damaged(why: string): void {
    if (++this.invalid >= maxInvalid) this.ban(why);
  }

  ban(why: string): void {
    if (this.banned) return;
    this.banned = true;
    this.report("banned", why);
  }

  leave(): void {
    if (!this.banned) this.report("done", "");
  }

  private report(state: NodeReport["state"], message: string): void {
    const { tasks, bytes } = this.record;
    this.tell({ url: this.title, state, message, tasks, bytes, inFlight: 0 });
  }
}
