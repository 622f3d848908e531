// A node among those of a merge: how it joined, what it may have at a time, what it did, and whether it is still believed.

import type { Task } from "../kernel/program.ts";
import { auditsWhole, goldenTask, receiptHash, sameBytes } from "./audit.ts";
import { type NodeClient, NodeError } from "./client.ts";
import type { Clock } from "./clock.ts";
import type { NodeKernels } from "./kernels.ts";

/** Slots of a node that has not said yet how many cores it has. */
const unknownSlots = 2;
/** More than this are not kept busy from one place. */
const maxSlots = 64;
/** A failing node is left alone for so long, twice as long after each failure. */
const backoffMs = 250;
const maxBackoffMs = 30_000;
/** After so many failures in a row it has to join anew. */
const awayAfter = 3;
/** Damaged answers of one node in a job. */
const maxInvalid = 8;
/** Joining must not take longer. */
const joinMs = 30_000;
/** Weight of the newest rate in the running mean. */
const newest = 0.3;

export interface NodeReport {
  readonly url: string;
  readonly state: "ready" | "away" | "unfit" | "banned" | "done";
  readonly message: string;
  /** Tasks that were taken from it. */
  readonly tasks: number;
}

/** Accepted without having been computed here whole. */
export interface Unseen {
  readonly task: Task;
  readonly receipt: string;
}

export class Member {
  readonly client: NodeClient;
  inFlight = 0;
  /** Elements a millisecond. */
  rate = 0;
  slots = unknownSlots;
  /** Input bytes of a request, and output bytes of an answer, that it takes at most. */
  sliceBytes = Number.POSITIVE_INFINITY;
  roots: readonly string[] = [];
  readsItself = true;
  private state: "joining" | "ready" | "away" | "unfit" | "banned" = "joining";
  private readonly kernels: NodeKernels;
  private readonly clock: Clock;
  private readonly tell: (report: NodeReport) => void;
  /** Test merges have leases below zero, each its own, so that no late answer is taken for that of the next one. */
  private tries = 0;
  private failures = 0;
  private invalid = 0;
  private notBefore = Number.NEGATIVE_INFINITY;
  private tasks = 0;
  private unseen: Unseen[] = [];

  constructor(client: NodeClient, kernels: NodeKernels, clock: Clock, report: (report: NodeReport) => void) {
    this.client = client;
    this.kernels = kernels;
    this.clock = clock;
    this.tell = report;
  }

  get banned(): boolean {
    return this.state === "banned";
  }

  /** For good. */
  get gone(): boolean {
    return this.state === "banned" || this.state === "unfit";
  }

  /** It may take tasks now or soon: a node that still joins counts, one that is away does not. */
  get usable(): boolean {
    return this.state === "ready" || this.state === "joining";
  }

  get free(): boolean {
    return this.state === "ready" && this.inFlight < this.slots && this.clock.now() >= this.notBefore;
  }

  /** Resolves when it has joined, or never will. A node that does not answer is asked again until the job is over. */
  async join(over: AbortSignal): Promise<void> {
    while (!over.aborted && !this.gone && this.state !== "ready") {
      const error = await this.tryToJoin(over);
      if (!error || over.aborted) return;
      if (error.fault === "wrong") {
        this.ban(error.message);
        return;
      }
      if (error.fault === "unfit") {
        this.refuse(error.message);
        return;
      }
      this.failures++;
      if (this.state !== "away") {
        this.state = "away";
        this.report("away", error.message);
      }
      await this.clock.wait(this.backoff(), over);
    }
  }

  private async tryToJoin(over: AbortSignal): Promise<NodeError | null> {
    const stop = new AbortController();
    const abort = () => stop.abort();
    over.addEventListener("abort", abort, { once: true });
    const late = this.clock.wait(joinMs, stop.signal).then(abort);
    try {
      const about = await this.client.about(stop.signal);
      const { task, data } = goldenTask();
      const at = this.clock.now();
      let from = 0;
      const fill = ({ start, end }: { start: number; end: number }, target: Uint8Array) => {
        target.set(data.bytes.subarray(from, from + end - start));
        from += end - start;
      };
      const got = await this.client.run(task, data.ranges, [], fill, -++this.tries, stop.signal);
      const want = await this.kernels.run(task, data, over);
      if (!sameBytes(got.output, want.output) || receiptHash(got.receipt) !== receiptHash(want.receipt))
        return new NodeError("wrong", "it failed the test merge: its kernels give other bytes");
      this.rate = task.count / Math.max(1, this.clock.now() - at);
      this.slots = Math.min(maxSlots, about.cores + 1);
      this.sliceBytes = about.limits.sliceBytes ?? 0;
      this.roots = about.roots;
      this.state = "ready";
      this.report("ready", `${about.cores} ${about.cores === 1 ? "core" : "cores"}, ${about.runtime}`);
      return null;
    } catch (error) {
      return error instanceof NodeError ? error : new NodeError("lost", "no answer");
    } finally {
      over.removeEventListener("abort", abort);
      stop.abort();
      await late;
    }
  }

  auditsWhole(task: Task, random: () => number): boolean {
    return auditsWhole(task, this.tasks, random);
  }

  accepted(task: Task, receipt: string | null): void {
    this.tasks++;
    if (receipt !== null) this.unseen.push({ task, receipt });
  }

  takeUnseen(): Unseen[] {
    const { unseen } = this;
    this.unseen = [];
    return unseen;
  }

  succeeded(task: Task, ms: number): void {
    this.failures = 0;
    this.rate += newest * (task.count / Math.max(1, ms) - this.rate);
  }

  failed(error: NodeError, over: AbortSignal): void {
    if (this.gone || error.fault === "task") return;
    if (error.fault === "busy") {
      this.notBefore = this.clock.now() + error.retryAfter;
      return;
    }
    // Damage on the way is rare; a node that goes on sending it is not worth its checks.
    const damaged = error.fault === "invalid" && ++this.invalid >= maxInvalid;
    if (damaged || error.fault === "unfit") {
      this.refuse(error.message);
      return;
    }
    this.failures++;
    this.notBefore = this.clock.now() + this.backoff();
    if (this.failures < awayAfter || this.state !== "ready") return;
    this.state = "away";
    this.report("away", error.message);
    void this.clock.wait(this.backoff(), over).then(() => this.join(over));
  }

  private refuse(why: string): void {
    this.state = "unfit";
    this.report("unfit", why);
  }

  ban(why: string): void {
    if (this.gone) return;
    this.state = "banned";
    this.report("banned", why);
  }

  leave(): void {
    if (!this.gone) this.report("done", "");
  }

  private backoff(): number {
    this.failures = Math.max(1, this.failures);
    return Math.min(maxBackoffMs, backoffMs * 2 ** this.failures);
  }

  private report(state: NodeReport["state"], message: string): void {
    this.tell({ url: this.client.address.url, state, message, tasks: this.tasks });
  }
}
