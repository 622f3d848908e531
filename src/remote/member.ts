// A node among those of a merge: how it joined, what it may have at a time, what it did, and whether it is still believed.

import type { Task } from "../kernel/program.ts";
import { goldenTask, receiptHash, sameBytes, wholeAudits } from "./audit.ts";
import { type NodeClient, NodeError } from "./client.ts";
import type { Clock } from "./clock.ts";
import type { NodeKernels } from "./kernels.ts";
import { TrackRecord } from "./record.ts";

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
/** Ranges that a node failed to fetch before it is sent bytes instead. */
const maxAddressFailures = 3;
/** Weight of the newest rate in the running mean. */
const newest = 0.3;
/** How many times as fast a node is taken to be where the bytes are, until it has shown it. */
const nearGuess = 4;

/** A node whose first answer takes longer is slow, and keeps nobody else waiting. */
const probationMs = 2000;

export interface NodeReport {
  readonly url: string;
  /** `left`: it said that it is about to end, or its line is gone from the file of nodes. */
  readonly state: "ready" | "away" | "left" | "unfit" | "banned" | "done";
  readonly message: string;
  /** Tasks that were taken from it, and the bytes of their inputs and outputs. */
  readonly tasks: number;
  readonly bytes: number;
  /** Tasks that it has now. */
  readonly inFlight: number;
}

export class Member {
  readonly client: NodeClient;
  readonly record = new TrackRecord();
  inFlight = 0;
  slots = unknownSlots;
  /** Input bytes of a request, and output bytes of an answer, that it takes at most. */
  sliceBytes = Number.POSITIVE_INFINITY;
  /** Folders and coordinators that it reads itself, and folders that it writes to. */
  roots: readonly string[] = [];
  writeRoots: readonly string[] = [];
  origins: readonly string[] = [];
  /** Hosts that it fetches from. */
  hosts: readonly string[] = [];
  readsPaths = true;
  /** It could not, so many times: a server may be busy for once. */
  addressFailures = 0;
  copyFailures = 0;
  writesItself = true;
  /** Others help it, and what it did may be recalled. */
  relays = false;
  private state: "joining" | "ready" | "away" | "left" | "unfit" | "banned" = "joining";
  /** Elements a millisecond: of tasks whose bytes it reads itself, and of those that are sent to it. */
  private readonly rates: { near: number | null; far: number } = { near: null, far: 0 };
  private dismissed = false;
  private readonly kernels: NodeKernels;
  private readonly clock: Clock;
  private readonly tell: (report: NodeReport) => void;
  /** Test merges have leases below zero, each its own, so that no late answer is taken for that of the next one. */
  private tries = 0;
  private failures = 0;
  private invalid = 0;
  private notBefore = Number.NEGATIVE_INFINITY;
  /** When it was given its first task. */
  private begun = Number.NEGATIVE_INFINITY;

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
    return !this.dismissed && (this.state === "ready" || this.state === "joining");
  }

  get free(): boolean {
    const ready = this.state === "ready" && !this.dismissed;
    return ready && this.inFlight < this.slots && this.clock.now() >= this.notBefore;
  }

  get readsAddresses(): boolean {
    return this.addressFailures < maxAddressFailures;
  }

  get readsCopies(): boolean {
    return this.copyFailures < maxAddressFailures;
  }

  /** Its first tasks were computed here whole, and were right. */
  get proven(): boolean {
    return this.record.tasks >= wholeAudits;
  }

  get onProbation(): boolean {
    return !this.proven && this.inFlight > 0 && this.clock.now() - this.begun < probationMs;
  }

  /** It is given a task. */
  take(): void {
    if (this.begun === Number.NEGATIVE_INFINITY) this.begun = this.clock.now();
    this.inFlight++;
  }

  /** Elements a millisecond that one more task can hope for. */
  speed(near: boolean): number {
    const rate = near ? (this.rates.near ?? nearGuess * this.rates.far) : this.rates.far;
    return rate / (this.inFlight + 1);
  }

  /** Resolves when it has joined, or never will. A node that does not answer is asked again until the job is over. */
  async join(over: AbortSignal): Promise<void> {
    while (!over.aborted && !this.gone && !this.dismissed && this.state !== "ready") {
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
      const state = error.fault === "draining" ? "left" : "away";
      if (this.state === "joining" || (this.state === "away" && state === "left")) {
        this.state = state;
        this.report(state, error.message);
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
      const errand = { task, ranges: data.ranges, locators: [], fill, target: null };
      const got = await this.client.run(errand, -++this.tries, stop.signal);
      const want = await this.kernels.run(task, data, over);
      if (!sameBytes(got.output, want.output) || receiptHash(got.receipt) !== receiptHash(want.receipt))
        return new NodeError("wrong", "it failed the test merge: its kernels give other bytes");
      this.rates.far = task.count / Math.max(1, this.clock.now() - at);
      this.slots = Math.min(maxSlots, about.cores + 1);
      this.sliceBytes = about.limits.sliceBytes ?? 0;
      this.roots = about.roots;
      this.writeRoots = about.writeRoots ?? [];
      this.origins = about.origins ?? [];
      this.hosts = about.hosts ?? [];
      this.relays = about.relays ?? false;
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

  succeeded(task: Task, ms: number, near: boolean): void {
    this.failures = 0;
    const rate = task.count / Math.max(1, ms);
    const { rates } = this;
    if (!near) rates.far += newest * (rate - rates.far);
    else rates.near = rates.near === null ? rate : rates.near + newest * (rate - rates.near);
  }

  failed(error: NodeError, over: AbortSignal): void {
    if (this.gone || error.fault === "task") return;
    if (error.fault === "busy") {
      this.notBefore = this.clock.now() + error.retryAfter;
      return;
    }
    if (error.fault === "draining") {
      if (this.state !== "ready") return;
      this.state = "left";
      this.report("left", error.message);
      // It may be started anew.
      void this.clock.wait(error.retryAfter, over).then(() => this.join(over));
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

  /** Gets nothing new; what it has it may finish. */
  dismiss(): void {
    if (this.dismissed || this.gone) return;
    this.dismissed = true;
    this.report("left", "it is not listed any more");
  }

  /** It is listed again. */
  recall(over: AbortSignal): void {
    if (!this.dismissed || this.gone) return;
    this.dismissed = false;
    this.state = "joining";
    void this.join(over);
  }

  /** How it does at the moment. */
  snapshot(): NodeReport {
    const state = this.dismissed ? "left" : this.state === "joining" ? "away" : this.state;
    return this.reportOf(state, "");
  }

  private backoff(): number {
    this.failures = Math.max(1, this.failures);
    return Math.min(maxBackoffMs, backoffMs * 2 ** this.failures);
  }

  private report(state: NodeReport["state"], message: string): void {
    this.tell(this.reportOf(state, message));
  }

  private reportOf(state: NodeReport["state"], message: string): NodeReport {
    const { tasks, bytes } = this.record;
    return { url: this.client.address.url, state, message, tasks, bytes, inFlight: this.inFlight };
  }
}
