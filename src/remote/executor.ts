// Remote nodes beside local workers, as one executor. Whoever is free takes the next task, so everybody's share is what they
// measure up to. What a node answers is checked here, and what no node does is done locally.

import type { Executor } from "../exec/executor.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import { answerHash, findAgreement } from "./agreement.ts";
import { Attempts } from "./attempts.ts";
import { Auditor, receiptHash, wholeAudits } from "./audit.ts";
import { Calls } from "./calls.ts";
import type { NodeAddress, NodeError } from "./client.ts";
import { every } from "./clock.ts";
import { confirmHelped } from "./confirm.ts";
import type { TaskResult } from "./kernels.ts";
import { type NodeLimits, nodeLimits } from "./limits.ts";
import { LocalRuns } from "./local-runs.ts";
import type { Member, NodeReport } from "./member.ts";
import { createNodeCall, type NodeCall } from "./node-call.ts";
import type { NodesOptions } from "./node-terms.ts";
import { OutputFiles } from "./outputs.ts";
import { Pace } from "./pace.ts";
import { Pointers } from "./pointers.ts";
import { Rework } from "./rework.ts";
import { Roster } from "./roster.ts";
import { randomId } from "./sign.ts";
import { maxAttempts, tickMs } from "./terms.ts";

const pace = { stragglerMs: 200, leastSamples: 3 };

export interface NodesExecutor extends Executor {
  /** From now on these nodes and no others: new ones join, others finish what they have. */
  use(nodes: readonly NodeAddress[]): void;
  /** How every node does at the moment. */
  nodes(): readonly NodeReport[];
}

export function createNodesExecutor(options: NodesOptions): NodesExecutor {
  return new Nodes(options);
}

class Nodes implements NodesExecutor {
  private readonly options: NodesOptions;
  private readonly limits: NodeLimits;
  private readonly roster: Roster;
  private readonly files: OutputFiles;
  private readonly pointers: Pointers;
  private readonly auditor: Auditor;
  private readonly rework: Rework;
  private readonly pace = new Pace(pace);
  private readonly calls: Calls<NodeCall>;
  private readonly attempts: Attempts;
  private readonly local: LocalRuns<NodeCall>;
  private readonly closed = new AbortController();
  private readonly redundancy: number;
  /** There was a node for a call, but no room for its bytes. */
  private crowded = false;
  private readonly watch: Promise<void>;
  private closing: Promise<void> | null = null;

  constructor(options: NodesOptions) {
    const { nodes, job, opener, kernels, clock, fetch, today, random } = options;
    this.options = options;
    this.limits = { ...nodeLimits, ...options.limits };
    this.redundancy = Math.max(1, options.redundancy ?? 1);
    const ready = () => this.dispatch();
    const calls = new Calls({
      create: createNodeCall,
      added: ready,
      settled: (call) => {
        for (const attempt of call.attempts) attempt.stop.abort();
      },
    });
    this.calls = calls;
    this.local = new LocalRuns({ ...options, calls, pace: this.pace, ready });
    this.files = new OutputFiles(job, opener);
    this.pointers = new Pointers(job, opener, options.served ?? null, options.copies ?? null);
    this.auditor = new Auditor({ files: this.files, kernels, random });
    this.rework = new Rework({
      auditor: this.auditor,
      changed: (file) => options.changed?.(file),
      failed: (error) => calls.fail(error),
      over: () => calls.broken,
    });
    this.attempts = new Attempts({
      calls,
      files: this.files,
      pointers: this.pointers,
      auditor: this.auditor,
      rework: this.rework,
      pace: this.pace,
      clock,
      random,
      limits: this.limits,
      carriedBytes: options.carriedBytes,
      redundancy: this.redundancy,
      answered: (...all) => this.answered(...all),
      failed: (...all) => this.failed(...all),
      ready,
    });
    const client = {
      fetch,
      clock,
      today,
      job: options.jobId ?? randomId(),
      kernel: kernels.sha256,
      limits: this.limits,
    };
    const near = (call: NodeCall, member: Member) => this.pointers.near(call.ranges, member);
    const checking = () => this.attempts.checking;
    this.roster = new Roster({ client, kernels, report: options.report, ready, near, checking }, this.closed.signal);
    this.roster.use(nodes);
    this.watch = every(tickMs, clock, this.closed.signal, (now) => this.look(now));
  }

  get capacity(): number {
    return Math.max(2, Math.floor(this.roster.slots / this.redundancy) + this.local.capacity);
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
    return this.calls.add(task, signal, beat);
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  /** Gives waiting calls to whoever is free. */
  private dispatch(): void {
    if (this.closed.signal.aborted) return;
    this.crowded = false;
    this.calls.offer(
      (call) => this.start(call),
      () => this.someoneIsFree(),
    );
  }

  /** Whether it is worth looking at what waits: with a thousand nodes thousands of calls do, and each would ask all nodes. */
  private someoneIsFree(): boolean {
    if (!this.crowded && this.roster.anyFree) return true;
    if (this.local.there) return this.local.free;
    const hope = this.redundancy === 1 && this.roster.members.some((m) => m.usable);
    const lost = (call: NodeCall) => (hope && call.unfit.size === 0 ? false : !this.nodesCan(call));
    return this.calls.waiting.some((call) => call.settled || call.localOnly || lost(call));
  }

  /** Whether enough nodes can be hoped for with this call. */
  private nodesCan(call: NodeCall): boolean {
    return this.redundancy === 1 ? !this.roster.alone(call) : this.roster.canAgree(call, this.redundancy);
  }

  /** Whether all that a call needs has begun. */
  private start(call: NodeCall): boolean {
    const enough = this.nodesCan(call);
    if (!call.localOnly && (enough || call.answers.length > 0 || call.attempts.size > 0)) {
      while (call.answers.length + call.attempts.size < this.redundancy) {
        const member = this.crowded ? null : this.roster.free(call);
        if (!member || !this.hasRoom(call, member)) break;
        this.attempts.begin(call, member);
      }
      if (call.answers.length + call.attempts.size >= this.redundancy) return true;
      if (enough && (this.options.local === null || call.attempts.size > 0)) return false;
    }
    if (call.attempts.size > 0) return false;
    this.local.fallBack();
    if (!this.local.free) return false;
    this.local.run(call);
    return true;
  }

  private hasRoom(call: NodeCall, member: Member): boolean {
    this.crowded = !this.attempts.hasRoom(call, member);
    return !this.crowded;
  }

  /** Takes an answer, of strangers when enough of them gave it. */
  private async answered(call: NodeCall, member: Member, result: TaskResult, whole: boolean): Promise<void> {
    if (this.redundancy === 1) return this.accept(call, [member], result, whole);
    const sha256 = await answerHash(result);
    if (call.settled || call.claimed || member.banned) return;
    call.answers.push({ member, result, sha256 });
    if (call.answers.length < this.redundancy) return;
    call.claimed = true;
    const agreed = await findAgreement(call, this.auditor, (liar, why) => this.ban(liar, why));
    if (agreed) return this.accept(call, agreed.members, agreed.result, false);
    call.answers.length = 0;
    call.localOnly = true;
    call.claimed = false;
  }

  private async accept(call: NodeCall, members: readonly Member[], result: TaskResult, whole: boolean): Promise<void> {
    const { task } = call;
    call.claimed = true;
    if (task.kind === "merge" && !result.written) {
      const pending = this.files.writeSlice(task, result.output);
      if (pending) await pending;
    }
    for (const { record } of members) record.accepted(task, call.bytes, whole ? null : receiptHash(result.receipt));
    this.calls.settle(call, result.receipt, null);
  }

  private ban(member: Member, why: string): void {
    member.ban(why);
    this.rework.of(member.record, member.client.address.url);
    for (const call of this.calls.running)
      for (const attempt of call.attempts) if (attempt.member === member) attempt.stop.abort();
  }

  private failed(call: NodeCall, member: Member, error: NodeError): void {
    if (error.fault === "wrong") this.ban(member, error.message);
    else member.failed(error, this.closed.signal);
    if (call.settled || call.claimed) return;
    if (error.fault === "task") call.unfit.add(member);
    if (error.fault === "busy") call.tried.delete(member);
    else if (error.fault !== "draining" && ++call.failures >= maxAttempts) call.localOnly = true;
  }

  /** What time brings. */
  private look(now: number): void {
    this.attempts.checkLeases(now);
    if (this.calls.waiting.length === 0) this.copyStragglers(now);
    this.dispatch();
  }

  /** When nothing waits, what takes too long is begun once more elsewhere; the first valid answer counts. */
  private copyStragglers(now: number): void {
    const patience = this.pace.patience();
    for (const call of [...this.calls.running]) {
      const oldest = [...call.attempts][0];
      if (!oldest || call.attempts.size > this.redundancy - call.answers.length || call.local || call.claimed) continue;
      if (now - oldest.started < patience(call.task)) continue;
      const member = this.roster.free(call);
      if (member && !call.tried.has(member)) {
        if (this.hasRoom(call, member)) this.attempts.begin(call, member);
      } else if (this.local.free) this.local.run(call);
      else if (!this.local.there && !this.roster.members.some((m) => m.usable && m !== oldest.member)) {
        this.local.fallBack();
        this.local.run(call);
      }
    }
  }

  private async shutDown(): Promise<void> {
    const { calls, local, files } = this;
    calls.close();
    if (!calls.broken) await local.finish();
    await this.attempts.finish();
    if (!calls.broken) {
      const { members } = this.roster;
      const silent = (member: Member) => this.rework.of(member.record, member.client.address.url);
      await confirmHelped(members, this.options.clock, (member, why) => this.ban(member, why), silent);
      await this.rework.finish();
    }
    this.closed.abort();
    await this.watch;
    try {
      await local.close();
      if (!calls.broken && !calls.failure && this.options.job.sync !== false) {
        for (const file of this.attempts.placed) await files.syncPlace(file);
        await files.sync();
      }
    } finally {
      await files.close();
      for (const member of this.roster.members) member.leave();
    }
    if (calls.failure) throw calls.failure;
  }
}
