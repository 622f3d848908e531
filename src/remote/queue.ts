// The workers of a queue as one executor, beside local ones. Tasks go into the queue with a lease each, results come back as
// sealed receipts, their bytes by HTTP to the desk; everything is checked and written into place here.

import type { Executor } from "../exec/executor.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import { Auditor, receiptHash } from "./audit.ts";
import { Calls } from "./calls.ts";
import { every } from "./clock.ts";
import { type NodeLimits, nodeLimits } from "./limits.ts";
import { LocalRuns } from "./local-runs.ts";
import { OutputFiles } from "./outputs.ts";
import { Pace } from "./pace.ts";
import { createQueueCall, type Lease, type QueueCall, resultOf } from "./queue-call.ts";
import { createDesk } from "./queue-desk.ts";
import { Leases } from "./queue-leases.ts";
import { QueueLine } from "./queue-line.ts";
import type { QueueMember } from "./queue-member.ts";
import { QueueRoster } from "./queue-roster.ts";
import type { QueueOptions } from "./queue-terms.ts";
import { groupOf, type QueueResult, queueResultFault } from "./queue-wire.ts";
import { rangeBytes } from "./ranges.ts";
import { Rework } from "./rework.ts";
import { randomId } from "./sign.ts";
import { maxAttempts, tickMs } from "./terms.ts";

/** Tasks in the queue for each that its workers can run: one that runs and one that waits for its worker. */
const depthFactor = 2;
const leastDepth = 2;
const mostDepth = 256;
/** Without local workers a merge waits this long for a worker of the queue to come, or to come back. */
export const patienceMs = 30_000;
/** So many tasks that were given out in vain, and nobody at the desk: workers cannot reach it. */
const maxUnreached = 2;
/** When local workers that have nothing to do take over. */
const pace = { stragglerMs: 500, leastSamples: 0 };

export function createQueueExecutor(options: QueueOptions): Executor {
  return new QueueExecutor(options);
}

class QueueExecutor implements Executor {
  private readonly options: QueueOptions;
  private readonly limits: NodeLimits;
  private readonly files: OutputFiles;
  private readonly auditor: Auditor;
  private readonly rework: Rework;
  private readonly pace = new Pace(pace);
  private readonly calls: Calls<QueueCall>;
  private readonly local: LocalRuns<QueueCall>;
  private readonly id = randomId();
  private readonly line: QueueLine;
  private readonly desk: { readonly url: string; stop(): Promise<void> };
  private readonly leases: Leases;
  private readonly roster: QueueRoster;
  private readonly answers = new Set<Promise<void>>();
  private readonly closed = new AbortController();
  /** A worker came to the desk. */
  private reached = false;
  /** Tasks that were given out as often as they may be before one did. */
  private unreached = 0;
  /** Since when no worker was there. */
  private aloneSince: number;
  private readonly watch: Promise<void>;
  private closing: Promise<void> | null = null;

  constructor(options: QueueOptions) {
    const { connection, manager, key, leaseMs, job, opener, kernels, clock, today, random } = options;
    this.options = options;
    this.limits = { ...nodeLimits, ...options.limits };
    const ready = () => this.dispatch();
    const calls = new Calls<QueueCall>({
      create: (terms) => createQueueCall(terms, this.limits),
      added: ready,
      settled: (call) => {
        for (const lease of [...call.leases]) this.leases.drop(lease);
      },
    });
    this.calls = calls;
    this.local = new LocalRuns({ ...options, calls, pace: this.pace, ready });
    this.files = new OutputFiles(job, opener);
    this.auditor = new Auditor({ files: this.files, kernels, random });
    this.rework = new Rework({
      auditor: this.auditor,
      changed: options.changed,
      failed: (error) => calls.fail(error),
      over: () => this.closed.signal.aborted && calls.broken,
    });
    this.aloneSince = clock.now();
    this.roster = new QueueRoster(options.report);
    const terms = { key, clock, job: this.id };
    this.desk = options.open(
      createDesk({
        ...terms,
        kernel: kernels.sha256,
        limits: this.limits,
        today,
        lease: (number) => {
          this.reached = true;
          return this.leases.get(number)?.call ?? null;
        },
        banned: (worker) => this.roster.banned(worker),
        read: (range, target) => this.files.readRange(range, target),
        brought: (number, worker, sha256, bytes) => this.leases.bring(number, worker, { sha256, bytes }),
      }),
    );
    const group = groupOf(key, kernels.sha256);
    this.line = new QueueLine({
      ...terms,
      connection,
      manager,
      group,
      leaseMs,
      heard: (result) => this.hear(result),
      hello: (hello) => {
        this.roster.member(hello.worker).hello(hello, clock.now());
        this.dispatch();
      },
      exhausted: (sequence) => {
        const lease = this.leases.all().find((l) => l.sequence === sequence);
        if (lease) this.exhausted(lease);
      },
      failed: (error) => calls.fail(error instanceof Error ? error : new Error(String(error))),
    });
    this.leases = new Leases({
      terms: options,
      calls,
      line: this.line,
      id: this.id,
      group,
      url: this.desk.url,
      lost: (lease, forGood) => this.lost(lease, forGood),
      exhausted: (lease) => this.exhausted(lease),
    });
    this.watch = every(tickMs, clock, this.closed.signal, (now) => this.look(now));
  }

  get capacity(): number {
    return this.depth + this.local.capacity;
  }

  run(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt> {
    return this.calls.add(task, signal, beat);
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  /** Tasks that may be in the queue now. */
  private get depth(): number {
    const lanes = this.roster.lanesAt(this.options.clock.now());
    return Math.min(mostDepth, Math.max(leastDepth, depthFactor * lanes));
  }

  private dispatch(): void {
    if (!this.closed.signal.aborted) this.calls.offer((call) => this.start(call));
  }

  private start(call: QueueCall): boolean {
    if (!this.reached && this.unreached >= maxUnreached) call.localOnly = true;
    if (!call.localOnly && this.leases.size < this.depth) {
      void this.leases.publish(call);
      return true;
    }
    if (call.localOnly) this.local.fallBack();
    if (!this.local.free) return false;
    this.local.run(call);
    return true;
  }

  private report(message: string): void {
    this.options.report({ url: "queue", state: "away", message, tasks: 0, bytes: 0, inFlight: 0 });
  }

  /** Given out as often as it may be. When no worker ever came to the desk, none will. */
  private exhausted(lease: Lease): void {
    const cut = !this.reached && ++this.unreached === maxUnreached;
    this.lost(lease, true);
    if (!cut) return;
    this.report(`workers take tasks and do not come to ${this.desk.url}: this machine does them (see --queue-listen)`);
    for (const other of this.leases.all()) this.lost(other, true);
  }

  /** A result came. Whatever it is, the queue does not give its task out again. */
  private hear(value: unknown): void {
    if (queueResultFault(value, this.id, this.options.kernels.sha256) !== null) return;
    const result = value as QueueResult;
    const member = this.roster.member(result.worker);
    member.seen(this.options.clock.now());
    const lease = this.leases.get(result.lease);
    if (!lease || lease.call.settled || lease.call.claimed) return;
    if (member.banned) {
      this.lost(lease);
      return;
    }
    if (result.fault !== null) {
      this.lost(lease, true);
      return;
    }
    const answer = this.answer(lease, member, result);
    this.answers.add(answer);
    void answer.finally(() => this.answers.delete(answer));
  }

  private async answer(lease: Lease, member: QueueMember, result: QueueResult): Promise<void> {
    const { call } = lease;
    const { task } = call;
    const { record } = member;
    const found = resultOf(lease, result, this.limits);
    lease.brought.delete(member.name.id);
    if (typeof found === "string") {
      member.damaged(found);
      if (member.banned) this.rework.of(record, member.title);
      this.lost(lease);
      return;
    }
    try {
      const whole = record.auditsWhole(task, this.options.random);
      const wrong = await this.auditor.fault(task, found, whole);
      if (wrong) {
        member.ban(wrong);
        this.rework.of(record, member.title);
      }
      if (call.settled || call.claimed) return;
      if (member.banned) {
        this.lost(lease);
        return;
      }
      call.claimed = true;
      if (task.kind === "merge") {
        const pending = this.files.writeSlice(task, found.output);
        if (pending) await pending;
      }
      const bytes = rangeBytes(call.ranges) + found.output.length;
      record.accepted(task, bytes, whole ? null : receiptHash(found.receipt));
      this.pace.note(task, this.options.clock.now() - lease.since);
      this.calls.settle(call, found.receipt, null);
      this.dispatch();
    } catch (error) {
      this.calls.settle(call, null, error);
    }
  }

  /** A lease came to nothing. `forGood`: no other worker would fare better. */
  private lost(lease: Lease, forGood = false): void {
    const { call } = lease;
    this.leases.drop(lease);
    if (call.settled || call.claimed) return;
    if (forGood || ++call.failures >= maxAttempts) call.localOnly = true;
    if (call.leases.size > 0 || call.local) return;
    this.calls.running.delete(call);
    this.calls.waiting.unshift(call);
    this.dispatch();
  }

  /** What time brings. */
  private look(now: number): void {
    this.roster.look(now);
    const there = this.roster.lanesAt(now) > 0;
    if (there) this.aloneSince = now;
    this.takeOver(now, there);
    this.leases.look(now);
    this.dispatch();
  }

  /** Local workers with nothing else to do run what the queue is slow with; the first valid answer counts. */
  private takeOver(now: number, there: boolean): void {
    const { local } = this;
    if (!local.there && now - this.aloneSince > patienceMs && this.leases.size > 0) {
      this.report(`no worker came for ${patienceMs / 1000} s: this machine does it`);
      local.fallBack();
    }
    if (!local.there || this.calls.waiting.some((call) => !call.settled)) return;
    const patience = this.pace.patience();
    for (const { call, since } of this.leases.all()) {
      if (!local.free) return;
      if (call.local || call.claimed || call.settled) continue;
      if (!there || now - since > patience(call.task)) local.run(call);
    }
  }

  private async shutDown(): Promise<void> {
    const { calls, local, files } = this;
    calls.close();
    if (!calls.broken) await local.finish();
    await Promise.allSettled(this.answers);
    if (!calls.broken) await this.rework.finish();
    this.closed.abort();
    await this.watch;
    await this.line.close();
    await this.desk.stop();
    const sound = !calls.broken && !calls.failure;
    try {
      await local.close();
      if (sound && this.options.job.sync !== false) await files.sync();
    } finally {
      await files.close();
      this.roster.leave();
    }
    if (calls.failure) throw calls.failure;
  }
}
