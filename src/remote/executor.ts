// Remote nodes beside local workers, as one executor. Whoever is free takes the next task, so everybody's share is what they
// measure up to. What a node answers is checked here, and what no node does is done locally.

import type { BraidError } from "../errors.ts";
import type { Executor, Job } from "../exec/executor.ts";
import type { Opener } from "../exec/files.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import { Auditor, receiptHash, wholeAudits } from "./audit.ts";
import { type Attempt, type Call, createCall, partsFor } from "./call.ts";
import { type Errand, type Fetch, type NodeAddress, NodeError } from "./client.ts";
import type { Clock } from "./clock.ts";
import { confirmHelped } from "./confirm.ts";
import type { Copies } from "./copies.ts";
import { joinResults } from "./cut.ts";
import { type OwnKernels, sliceStart, type TaskResult } from "./kernels.ts";
import { type NodeLimits, nodeLimits } from "./limits.ts";
import type { Member, NodeReport } from "./member.ts";
import { OutputFiles } from "./outputs.ts";
import { Pace } from "./pace.ts";
import { type LeftOut, Pointers, type ServedInputs } from "./pointers.ts";
import { rangesOf } from "./ranges.ts";
import { Rework } from "./rework.ts";
import { Roster } from "./roster.ts";
import { sha256Hex } from "./sign.ts";

/** Failures of a task at nodes before it is done locally. */
export const maxAttempts = 4;
/** A node that gives no sign of life for so long has lost its task. */
export const leaseMs = 30_000;
/** How often a node with a task is asked for a sign of life. */
export const heartbeatMs = 10_000;
/**
 * Bytes of requests and answers that are under way at a time: this process holds them. More would only wait for its network: 256 MiB
 * are two seconds of 1 Gbit/s. Nodes that read and write the slices themselves carry nothing.
 */
export const carriedBytes = 256 * 1024 * 1024;
const tickMs = 100;

export interface NodesOptions {
  readonly nodes: readonly NodeAddress[];
  readonly job: Job;
  /** Sixteen random bytes in hex: what answers are bound to. */
  readonly jobId?: string;
  readonly opener: Opener;
  /** Runs tasks beside the nodes; null: nodes only. */
  readonly local: Executor | null;
  /** Called once, when there is no `local` and the nodes cannot do it. */
  readonly fallback: () => Executor;
  /** For audits. */
  readonly kernels: OwnKernels;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  /** In [0, 1): chooses what is audited. */
  readonly random: () => number;
  readonly report: (report: NodeReport) => void;
  readonly limits?: Partial<NodeLimits>;
  /** Instead of the constant of this name. */
  readonly carriedBytes?: number;
  /** So many nodes must give the same answer before it counts: for nodes of strangers. */
  readonly redundancy?: number;
  /** This coordinator's inputs, where nodes can fetch them. */
  readonly served?: ServedInputs;
  /** Inputs that are on a hub or in a bucket too. */
  readonly copies?: Copies;
  /** Bytes of an output, by its index in the job, changed after they were taken for final: whoever hashed them begins anew. */
  readonly changed?: (file: number) => void;
}

export interface NodesExecutor extends Executor {
  /** From now on these nodes and no others: new ones join, others finish what they have. */
  use(nodes: readonly NodeAddress[]): void;
  /** How every node does at the moment. */
  nodes(): readonly NodeReport[];
}

export function createNodesExecutor(options: NodesOptions): NodesExecutor {
  return new Nodes(options);
}

const randomId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

class Nodes implements NodesExecutor {
  private readonly options: NodesOptions;
  private readonly limits: NodeLimits;
  private readonly roster: Roster;
  private readonly files: OutputFiles;
  private readonly pointers: Pointers;
  private readonly auditor: Auditor;
  private readonly rework: Rework;
  private readonly pace = new Pace();
  private readonly waiting: Call[] = [];
  private readonly running = new Set<Call>();
  private readonly asked = new Set<Promise<void>>();
  private readonly localRuns = new Set<Promise<unknown>>();
  /** Outputs that nodes wrote to themselves. */
  private readonly placed = new Set<number>();
  private readonly closed = new AbortController();
  private readonly redundancy: number;
  private local: Executor | null;
  private lease = 0;
  /** Bytes under way. */
  private carried = 0;
  /** Answers that are being looked at, or wait for it. */
  private checking = 0;
  /** There was a node for a call, but no room for its bytes. */
  private crowded = false;
  private broken = false;
  /** A node lied about what is built upon by now. */
  private failure: BraidError | null = null;
  private readonly watch: Promise<void>;
  private closing: Promise<void> | null = null;

  constructor(options: NodesOptions) {
    const { nodes, job, opener, kernels, clock, fetch, today, random } = options;
    this.options = options;
    this.limits = { ...nodeLimits, ...options.limits };
    this.redundancy = Math.max(1, options.redundancy ?? 1);
    this.local = options.local;
    this.files = new OutputFiles(job, opener);
    this.pointers = new Pointers(job, opener, options.served ?? null, options.copies ?? null);
    this.auditor = new Auditor({ files: this.files, kernels, random });
    this.rework = new Rework({
      auditor: this.auditor,
      changed: (file) => options.changed?.(file),
      failed: (error) => this.fail(error),
      over: () => this.broken,
    });
    const client = {
      fetch,
      clock,
      today,
      job: options.jobId ?? randomId(),
      kernel: kernels.sha256,
      limits: this.limits,
    };
    const near = (call: Call, member: Member) => this.pointers.near(call.ranges, member);
    const ready = () => this.dispatch();
    this.roster = new Roster(
      { client, kernels, report: options.report, ready, near, checking: () => this.checking },
      this.closed.signal,
    );
    this.roster.use(nodes);
    this.watch = this.keepWatch();
  }

  get capacity(): number {
    return Math.max(2, Math.floor(this.roster.slots / this.redundancy) + (this.local?.capacity ?? 0));
  }

  /** The first of every node that is there from the start. */
  get firstTasks(): number {
    return wholeAudits * this.roster.members.length;
  }

  use(nodes: readonly NodeAddress[]): void {
    if (!this.closing) this.roster.use(nodes);
    this.dispatch();
  }

  nodes(): readonly NodeReport[] {
    return this.roster.members.map((m) => m.snapshot());
  }

  run(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.failure) return Promise.reject(this.failure);
    if (this.closing) return Promise.reject(new Error("The executor is closed"));
    const { promise, resolve, reject } = Promise.withResolvers<Receipt>();
    const onAbort = () => this.settle(call, null, signal.reason);
    const call: Call = createCall({ task, signal, beat, resolve, reject, onAbort });
    signal.addEventListener("abort", onAbort, { once: true });
    this.waiting.push(call);
    this.dispatch();
    return promise;
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  /** Gives waiting calls to whoever is free. */
  private dispatch(): void {
    if (this.closed.signal.aborted) return;
    this.crowded = false;
    for (let i = 0; i < this.waiting.length && this.someoneIsFree(); ) {
      const call = this.waiting[i]!;
      if (call.settled || this.start(call)) this.waiting.splice(i, 1);
      else i++;
    }
  }

  /** Whether it is worth looking at what waits: with a thousand nodes thousands of calls do, and each would ask all nodes. */
  private someoneIsFree(): boolean {
    if (!this.crowded && this.roster.anyFree) return true;
    const { local } = this;
    if (local) return this.localRuns.size < local.capacity;
    const hope = this.redundancy === 1 && this.roster.members.some((m) => m.usable);
    const lost = (call: Call) => (hope && call.unfit.size === 0 ? false : !this.nodesCan(call));
    return this.waiting.some((call) => call.settled || call.localOnly || lost(call));
  }

  /** Whether enough nodes can be hoped for with this call. */
  private nodesCan(call: Call): boolean {
    return this.redundancy === 1 ? !this.roster.alone(call) : this.roster.canAgree(call, this.redundancy);
  }

  /** Whether all that a call needs has begun. */
  private start(call: Call): boolean {
    const enough = this.nodesCan(call);
    if (!call.localOnly && (enough || call.answers.length > 0 || call.attempts.size > 0)) {
      while (call.answers.length + call.attempts.size < this.redundancy) {
        const member = this.crowded ? null : this.roster.free(call);
        if (!member || !this.hasRoom(call, member)) break;
        this.begin(call, member);
      }
      if (call.answers.length + call.attempts.size >= this.redundancy) return true;
      if (enough && (this.options.local === null || call.attempts.size > 0)) return false;
    }
    if (call.attempts.size > 0) return false;
    this.local ??= this.options.fallback();
    if (this.localRuns.size >= this.local.capacity) return false;
    this.runLocally(call, this.local);
    return true;
  }

  private runLocally(call: Call, local: Executor): void {
    this.running.add(call);
    call.local = true;
    const { clock } = this.options;
    const started = clock.now();
    // A copy that comes too late is left alone: stopping it would take for broken what is not.
    const run = local.run(call.task, call.signal, call.beat).then(
      (receipt) => {
        this.pace.note(call.task, clock.now() - started);
        if (!call.claimed) this.settle(call, receipt, null);
      },
      (error) => {
        if (!call.claimed) this.settle(call, null, error);
      },
    );
    this.localRuns.add(run);
    void run.finally(() => {
      this.localRuns.delete(run);
      this.dispatch();
    });
  }

  /** One call has room always: the largest there is must be done too. */
  private hasRoom(call: Call, member: Member): boolean {
    const bytes = this.pointers.carried(call, member);
    this.crowded = this.carried > 0 && this.carried + bytes > (this.options.carriedBytes ?? carriedBytes);
    return !this.crowded;
  }

  private begin(call: Call, member: Member): void {
    const at = this.options.clock.now();
    const stop = new AbortController();
    const carried = this.pointers.carried(call, member);
    const attempt: Attempt = { member, stop, carried, started: at, asked: at, seen: at, asking: false, writes: false };
    this.carried += carried;
    call.attempts.add(attempt);
    call.tried.add(member);
    this.running.add(call);
    member.take();
    const run = this.attempt(call, attempt);
    this.asked.add(run);
    void run.finally(() => this.asked.delete(run));
  }

  private async attempt(call: Call, attempt: Attempt): Promise<void> {
    const { clock, random } = this.options;
    const { member, stop, started } = attempt;
    let answered = false;
    try {
      const near = this.pointers.near(call.ranges, member);
      const parts = partsFor(call, member, this.limits.sliceBytes);
      if (!parts) throw new NodeError("task", "it does not take so much at a time");
      const results: TaskResult[] = [];
      for (const part of parts) {
        attempt.asked = clock.now();
        results.push(await this.ask(call, attempt, part, parts.length === 1));
        attempt.seen = clock.now();
      }
      const result = joinResults(call.task, results);
      answered = true;
      if (call.settled || call.claimed || member.banned) return;
      const whole = member.auditsWhole(call.task, random);
      this.checking++;
      const wrong = await this.auditor.fault(call.task, result, whole).finally(() => this.checking--);
      if (wrong) throw new NodeError("wrong", wrong);
      member.succeeded(call.task, clock.now() - started, near);
      this.pace.note(call.task, clock.now() - started);
      if (call.settled || call.claimed || member.banned) return;
      if (this.redundancy > 1) await this.compare(call, member, result);
      else await this.accept(call, [member], result, whole);
      // What it wrote counts; nothing that comes later can be its own.
      if (call.settled && result.written) attempt.writes = false;
    } catch (error) {
      if (error instanceof NodeError) this.failed(call, member, error);
      else if (!call.settled && !stop.signal.aborted) this.settle(call, null, error);
      else if (!call.settled && !call.claimed)
        this.failed(call, member, new NodeError("lost", "it gave no sign of life"));
    } finally {
      call.attempts.delete(attempt);
      member.inFlight--;
      this.carried -= attempt.carried;
      // Unless the whole slice is written anew after it, it may have written over what somebody else did right.
      const anew = answered && !call.settled && !call.claimed && !call.local && call.attempts.size === 0;
      if (attempt.writes && !anew) this.rework.suspect(call.task);
      this.queueAgain(call);
      this.dispatch();
    }
  }

  /** A call that nobody has any more, or too few, waits for somebody. */
  private queueAgain(call: Call): void {
    const lacking = call.answers.length + call.attempts.size < this.redundancy;
    if (call.settled || call.claimed || !lacking || call.local || this.waiting.includes(call)) return;
    if (call.attempts.size === 0) this.running.delete(call);
    this.waiting.unshift(call);
  }

  private async ask(call: Call, attempt: Attempt, task: Task, whole: boolean): Promise<TaskResult> {
    const { member, stop } = attempt;
    const { client } = member;
    const ranges = whole ? call.ranges : rangesOf(task);
    const fill: Errand["fill"] = (range, target) =>
      this.files.read({ file: range.file, start: range.start }, 0, target);
    // What a node cannot read or write itself is sent.
    for (let without: LeftOut = "nothing"; ; ) {
      const { locators, target } = await this.pointers.of(task, ranges, member, without);
      // Strangers are not told where things are, and a copy must not write over the first one.
      const may = whole && this.redundancy === 1 && call.attempts.size === 1 && !call.local;
      const own = may ? target : null;
      if (own && task.kind === "merge") {
        attempt.writes = true;
        this.placed.add(task.output.file);
      }
      const errand = { task, ranges, locators, fill, target: own };
      try {
        return await client.run(errand, ++this.lease, stop.signal);
      } catch (error) {
        if (!(error instanceof NodeError) || error.fault !== "locator" || locators.length === 0) throw error;
        attempt.writes = false;
        if (own) member.writesItself = false;
        else without = this.pointers.blame(locators, member, without);
      }
    }
  }

  /** For nodes of strangers: takes an answer when enough of them gave it. Where they differ, this machine knows. */
  private async compare(call: Call, member: Member, result: TaskResult): Promise<void> {
    const sha256 = `${receiptHash(result.receipt)} ${await sha256Hex(result.output)}`;
    if (call.settled || call.claimed || member.banned) return;
    call.answers.push({ member, result, sha256 });
    if (call.answers.length < this.redundancy) return;
    call.claimed = true;
    let right = call.answers[0]!;
    if (call.answers.some((a) => a.sha256 !== right.sha256)) {
      const faults = new Map<string, string | null>();
      for (const answer of call.answers)
        if (!faults.has(answer.sha256))
          faults.set(answer.sha256, await this.auditor.fault(call.task, answer.result, true));
      const found = call.answers.find((a) => faults.get(a.sha256) === null);
      for (const { member: other, sha256: said } of call.answers.filter((a) => faults.get(a.sha256) !== null))
        this.ban(other, faults.get(said)!);
      if (!found) {
        call.answers.length = 0;
        call.localOnly = true;
        call.claimed = false;
        return;
      }
      right = found;
    }
    const agreed = call.answers.filter((a) => a.sha256 === right.sha256).map((a) => a.member);
    await this.accept(call, agreed, right.result, false);
  }

  private async accept(call: Call, members: readonly Member[], result: TaskResult, whole: boolean): Promise<void> {
    const { task } = call;
    call.claimed = true;
    if (task.kind === "merge" && !result.written) {
      const pending = this.files.write(task.output, sliceStart(task) - task.output.start, result.output);
      if (pending) await pending;
    }
    // What was only looked at in parts is remembered until the end, in case the node is caught later.
    for (const member of members) member.accepted(task, whole ? null : receiptHash(result.receipt), call.bytes);
    this.settle(call, result.receipt, null);
  }

  private ban(member: Member, why: string): void {
    member.ban(why);
    this.rework.of(member.takeUnseen(), member.client.address.url);
    for (const call of this.running)
      for (const attempt of call.attempts) if (attempt.member === member) attempt.stop.abort();
  }

  private failed(call: Call, member: Member, error: NodeError): void {
    if (error.fault === "wrong") this.ban(member, error.message);
    else member.failed(error, this.closed.signal);
    if (call.settled || call.claimed) return;
    if (error.fault === "task") call.unfit.add(member);
    if (error.fault === "busy") call.tried.delete(member);
    else if (error.fault !== "draining" && ++call.failures >= maxAttempts) call.localOnly = true;
  }

  private fail(error: BraidError): void {
    this.failure ??= error;
    for (const call of [...this.waiting, ...this.running]) this.settle(call, null, this.failure);
  }

  private settle(call: Call, receipt: Receipt | null, error: unknown): void {
    if (call.settled) return;
    call.settled = true;
    call.signal.removeEventListener("abort", call.onAbort);
    this.running.delete(call);
    for (const attempt of call.attempts) attempt.stop.abort();
    if (receipt) call.resolve(receipt);
    else {
      this.broken = true;
      call.reject(error);
    }
  }

  private async keepWatch(): Promise<void> {
    const { clock } = this.options;
    const { signal } = this.closed;
    while (!signal.aborted) {
      await clock.wait(tickMs, signal);
      if (signal.aborted) return;
      const now = clock.now();
      for (const call of this.running) for (const attempt of call.attempts) this.checkLease(attempt, now);
      if (this.waiting.length === 0) this.copyStragglers(now);
      this.dispatch();
    }
  }

  private checkLease(attempt: Attempt, now: number): void {
    if (now - attempt.seen > leaseMs || now - attempt.asked > this.limits.requestMs) {
      attempt.stop.abort();
      return;
    }
    if (now - attempt.seen < heartbeatMs || attempt.asking) return;
    attempt.asking = true;
    void attempt.member.client.healthy(attempt.stop.signal).then((healthy) => {
      attempt.asking = false;
      if (healthy) attempt.seen = this.options.clock.now();
    });
  }

  /** When nothing waits, what takes too long is begun once more elsewhere; the first valid answer counts. */
  private copyStragglers(now: number): void {
    const patience = this.pace.patience();
    for (const call of [...this.running]) {
      const oldest = [...call.attempts][0];
      if (!oldest || call.attempts.size > this.redundancy - call.answers.length || call.local || call.claimed) continue;
      if (now - oldest.started < patience(call.task)) continue;
      const member = this.roster.free(call);
      if (member && !call.tried.has(member)) {
        if (this.hasRoom(call, member)) this.begin(call, member);
      } else if (this.local && this.localRuns.size < this.local.capacity) this.runLocally(call, this.local);
      else if (!this.local && !this.roster.members.some((m) => m.usable && m !== oldest.member)) {
        this.local = this.options.fallback();
        this.runLocally(call, this.local);
      }
    }
  }

  private async shutDown(): Promise<void> {
    for (const call of [...this.waiting, ...this.running])
      this.settle(call, null, new Error("The executor was closed"));
    if (!this.broken) await Promise.allSettled(this.localRuns);
    await Promise.allSettled(this.asked);
    if (!this.broken) {
      const { members } = this.roster;
      const silent = (member: Member) => this.rework.of(member.takeUnseen(), member.client.address.url);
      await confirmHelped(members, this.options.clock, (member, why) => this.ban(member, why), silent);
      await this.rework.finish();
    }
    this.closed.abort();
    await this.watch;
    try {
      await this.local?.close();
      if (!this.broken && !this.failure && this.options.job.sync !== false) {
        for (const file of this.placed) await this.files.syncPlace(file);
        await this.files.sync();
      }
    } finally {
      await this.files.close();
      for (const member of this.roster.members) member.leave();
    }
    if (this.failure) throw this.failure;
  }
}
