// The workers of a queue as one executor, beside local ones. Tasks go into the queue with a lease each, results come back as
// sealed receipts, their bytes by HTTP to the desk; everything is checked and written into place here.

import type { Executor } from "../exec/executor.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import { Auditor, receiptHash } from "./audit.ts";
import type { TaskResult } from "./kernels.ts";
import { type NodeLimits, nodeLimits } from "./limits.ts";
import { OutputFiles } from "./outputs.ts";
import { pathVersion } from "./places.ts";
import { type Brought, type Call, createQueueCall, type Lease, resultOf } from "./queue-call.ts";
import { createDesk } from "./queue-desk.ts";
import { QueueLine } from "./queue-line.ts";
import { QueueMember } from "./queue-member.ts";
import type { QueueOptions } from "./queue-terms.ts";
import {
  groupOf,
  maxDeliver,
  messageBytes,
  type QueueResult,
  queueProtocol,
  queueResultFault,
  seal,
  subjects,
  type WorkerName,
} from "./queue-wire.ts";
import { type Range, rangeBytes } from "./ranges.ts";
import { Rework } from "./rework.ts";

/** Failures of a task in the queue before it is done locally. */
export const maxAttempts = 4;
/** Tasks in the queue for each that its workers can run: one that runs and one that waits for its worker. */
const depthFactor = 2;
const leastDepth = 2;
const mostDepth = 256;
/** Without local workers a merge waits this long for a worker of the queue to come, or to come back. */
export const patienceMs = 30_000;
const tickMs = 100;
/** How often it is asked whether tasks that take long are still in the queue. */
const lookMs = 5_000;
/** So many tasks that were given out in vain, and nobody at the desk: workers cannot reach it. */
const maxUnreached = 2;
/** Local workers that have nothing to do take over what takes this many times as long as the others did. */
const stragglerFactor = 2;
const stragglerMs = 500;
const samples = 64;
/** Workers of one job that are remembered: those that come and go under new names do not fill the memory. */
const maxMembers = 4096;

export function createQueueExecutor(options: QueueOptions): Executor {
  return new QueueExecutor(options);
}

const randomHex = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

class QueueExecutor implements Executor {
  private readonly options: QueueOptions;
  private readonly limits: NodeLimits;
  private readonly id = randomHex();
  private readonly group: string;
  private readonly files: OutputFiles;
  private readonly auditor: Auditor;
  private readonly line: QueueLine;
  private readonly desk: { readonly url: string; stop(): Promise<void> };
  private readonly versions = new Map<number, string>();
  private readonly members = new Map<string, QueueMember>();
  private readonly leases = new Map<number, Lease>();
  private readonly waiting: Call[] = [];
  private readonly running = new Set<Call>();
  private readonly localRuns = new Set<Promise<unknown>>();
  private readonly answers = new Set<Promise<void>>();
  private readonly perElement: number[] = [];
  private readonly closed = new AbortController();
  private local: Executor | null;
  private numbers = 0;
  /** A worker came to the desk. */
  private reached = false;
  /** Tasks that were given out as often as they may be before one did. */
  private unreached = 0;
  /** Since when no worker was there. */
  private aloneSince: number;
  private broken = false;
  /** A worker lied about what is built upon by now, or the queue cannot be used. */
  private failure: Error | null = null;
  private readonly rework: Rework;
  private readonly watch: Promise<void>;
  private closing: Promise<void> | null = null;

  constructor(options: QueueOptions) {
    const { connection, manager, key, leaseMs, job, opener, kernels, clock, today, random } = options;
    this.options = options;
    this.limits = { ...nodeLimits, ...options.limits };
    this.local = options.local;
    this.group = groupOf(key, kernels.sha256);
    this.files = new OutputFiles(job, opener);
    this.auditor = new Auditor({ files: this.files, kernels, random });
    this.rework = new Rework({
      auditor: this.auditor,
      changed: options.changed,
      failed: (error) => this.fail(error),
      over: () => this.closed.signal.aborted && this.broken,
    });
    this.aloneSince = clock.now();
    this.desk = options.open(
      createDesk({
        key,
        job: this.id,
        kernel: kernels.sha256,
        limits: this.limits,
        clock,
        today,
        lease: (number) => {
          this.reached = true;
          return this.leases.get(number)?.call ?? null;
        },
        banned: (worker) => this.members.get(worker)?.banned ?? false,
        read: (range, target) => this.files.read({ file: range.file, start: range.start }, 0, target),
        brought: (number, worker, sha256, bytes) => this.bring(number, worker, { sha256, bytes }),
      }),
    );
    this.line = new QueueLine({
      connection,
      manager,
      clock,
      key,
      group: this.group,
      job: this.id,
      leaseMs,
      heard: (result) => this.hear(result),
      hello: (hello) => {
        this.member(hello.worker).hello(hello, clock.now());
        this.dispatch();
      },
      exhausted: (sequence) => {
        for (const lease of this.leases.values()) if (lease.sequence === sequence) this.exhausted(lease);
      },
      failed: (error) => this.fail(error instanceof Error ? error : new Error(String(error))),
    });
    this.watch = this.keepWatch();
  }

  get capacity(): number {
    return this.depth + (this.local?.capacity ?? 0);
  }

  run(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.failure) return Promise.reject(this.failure);
    if (this.closing) return Promise.reject(new Error("The executor is closed"));
    const { promise, resolve, reject } = Promise.withResolvers<Receipt>();
    const onAbort = () => this.settle(call, null, signal.reason);
    const call = createQueueCall({ task, signal, beat, resolve, reject, onAbort }, this.limits);
    signal.addEventListener("abort", call.onAbort, { once: true });
    this.waiting.push(call);
    this.dispatch();
    return promise;
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  /** Tasks that may be in the queue now. */
  private get depth(): number {
    const now = this.options.clock.now();
    let lanes = 0;
    for (const member of this.members.values()) lanes += member.lanesAt(now);
    return Math.min(mostDepth, Math.max(leastDepth, depthFactor * lanes));
  }

  private member(name: WorkerName): QueueMember {
    let member = this.members.get(name.id);
    if (!member) {
      member = new QueueMember(name, this.options.report);
      if (this.members.size < maxMembers) this.members.set(name.id, member);
    }
    return member;
  }

  private dispatch(): void {
    if (this.closed.signal.aborted) return;
    for (let i = 0; i < this.waiting.length; ) {
      const call = this.waiting[i]!;
      if (call.settled || this.start(call)) this.waiting.splice(i, 1);
      else i++;
    }
  }

  private start(call: Call): boolean {
    if (!this.reached && this.unreached >= maxUnreached) call.localOnly = true;
    if (!call.localOnly && this.leases.size < this.depth) {
      void this.publish(call);
      return true;
    }
    if (this.local === null && call.localOnly) this.local = this.options.fallback();
    if (!this.local || this.localRuns.size >= this.local.capacity) return false;
    this.runLocally(call, this.local);
    return true;
  }

  private runLocally(call: Call, local: Executor): void {
    this.running.add(call);
    call.local = true;
    const started = this.options.clock.now();
    // A copy that comes too late is left alone: stopping it would take for broken what is not.
    const run = local.run(call.task, call.signal, call.beat).then(
      (receipt) => {
        this.note(call.task, started);
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

  private async publish(call: Call): Promise<void> {
    const { key, kernels, leaseMs, clock } = this.options;
    const number = ++this.numbers;
    const now = clock.now();
    const lease: Lease = { number, call, since: now, sequence: null, looked: now, missing: false, brought: new Map() };
    this.leases.set(number, lease);
    call.leases.add(lease);
    this.running.add(call);
    try {
      const subject = subjects.task(this.group, this.id);
      const message = seal(key, "task", subject, {
        protocol: queueProtocol,
        job: this.id,
        lease: number,
        kernel: kernels.sha256,
        coordinator: this.desk.url,
        leaseMs,
        task: call.task,
        ranges: call.ranges,
        locators: await this.locators(call.ranges),
      });
      if (message.length > messageBytes) {
        this.lost(lease, true);
        return;
      }
      const sequence = await this.line.publish(`${this.id}-${number}`, message);
      lease.sequence = sequence;
      // Done meanwhile by somebody else.
      if (sequence !== null && !this.leases.has(number)) this.line.withdraw(sequence);
    } catch (error) {
      this.settle(call, null, error);
    }
  }

  private async locators(ranges: readonly Range[]) {
    const out = [];
    for (const file of new Set(ranges.map((r) => r.file))) {
      const { path } = this.options.job.files[file]!;
      let version = this.versions.get(file);
      if (version === undefined) {
        const source = await this.options.opener.source(path);
        version = pathVersion(source);
        await source.close();
        this.versions.set(file, version);
      }
      out.push({ file, path, version });
    }
    return out;
  }

  /** Given out as often as it may be. When no worker ever came to the desk, none will. */
  private exhausted(lease: Lease): void {
    const cut = !this.reached && ++this.unreached === maxUnreached;
    this.lost(lease, true);
    if (!cut) return;
    const message = `workers take tasks and do not come to ${this.desk.url}: this machine does them (see --queue-listen)`;
    this.options.report({ url: "queue", state: "away", message, tasks: 0, bytes: 0, inFlight: 0 });
    for (const other of [...this.leases.values()]) this.lost(other, true);
  }

  private bring(number: number, worker: string, brought: Brought): void {
    const all = this.leases.get(number)?.brought;
    if (!all) return;
    all.delete(worker);
    if (all.size >= maxDeliver) all.delete(all.keys().next().value!);
    all.set(worker, brought);
  }

  /** A result came. Whatever it is, the queue does not give its task out again. */
  private hear(value: unknown): void {
    if (queueResultFault(value, this.id, this.options.kernels.sha256) !== null) return;
    const result = value as QueueResult;
    const member = this.member(result.worker);
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
    const found = resultOf(lease, result, this.limits);
    lease.brought.delete(member.name.id);
    if (typeof found === "string") {
      member.damaged(found);
      if (member.banned) this.rework.of(member.takeUnseen(), member.title);
      this.lost(lease);
      return;
    }
    try {
      const whole = member.auditsWhole(call.task, this.options.random);
      const wrong = await this.auditor.fault(call.task, found, whole);
      if (wrong) {
        member.ban(wrong);
        this.rework.of(member.takeUnseen(), member.title);
      }
      if (call.settled || call.claimed) return;
      if (member.banned) {
        this.lost(lease);
        return;
      }
      call.claimed = true;
      await this.write(call.task, found);
      // What was only looked at in parts is remembered until the end, in case the worker is caught later.
      member.accepted(
        call.task,
        rangeBytes(call.ranges) + found.output.length,
        whole ? null : receiptHash(found.receipt),
      );
      this.note(call.task, lease.since);
      this.settle(call, found.receipt, null);
      this.dispatch();
    } catch (error) {
      this.settle(call, null, error);
    }
  }

  private async write(task: Task, { output }: TaskResult): Promise<void> {
    if (task.kind !== "merge") return;
    const pending = this.files.write(task.output, (task.first * output.length) / task.count, output);
    if (pending) await pending;
  }

  /** A lease came to nothing. `forGood`: no other worker would fare better. */
  private lost(lease: Lease, forGood = false): void {
    const { call } = lease;
    this.drop(lease);
    if (call.settled || call.claimed) return;
    if (forGood || ++call.failures >= maxAttempts) call.localOnly = true;
    if (call.leases.size > 0 || call.local) return;
    this.running.delete(call);
    this.waiting.unshift(call);
    this.dispatch();
  }

  private drop(lease: Lease): void {
    this.leases.delete(lease.number);
    lease.call.leases.delete(lease);
    if (lease.sequence !== null) this.line.withdraw(lease.sequence);
  }

  private fail(error: Error): void {
    this.failure ??= error;
    for (const call of [...this.waiting, ...this.running]) this.settle(call, null, this.failure);
  }

  private settle(call: Call, receipt: Receipt | null, error: unknown): void {
    if (call.settled) return;
    call.settled = true;
    call.signal.removeEventListener("abort", call.onAbort);
    this.running.delete(call);
    for (const lease of [...call.leases]) this.drop(lease);
    if (receipt) call.resolve(receipt);
    else {
      this.broken = true;
      call.reject(error);
    }
  }

  /** How long tasks take, an element. */
  private note(task: Task, started: number): void {
    this.perElement.push((this.options.clock.now() - started) / task.count);
    if (this.perElement.length > samples) this.perElement.shift();
  }

  private async keepWatch(): Promise<void> {
    const { clock } = this.options;
    const { signal } = this.closed;
    while (!signal.aborted) {
      await clock.wait(tickMs, signal);
      if (signal.aborted) return;
      const now = clock.now();
      let there = false;
      for (const member of this.members.values()) {
        member.look(now);
        if (member.lanesAt(now) > 0) there = true;
      }
      if (there) this.aloneSince = now;
      this.takeOver(now, there);
      for (const lease of this.leases.values()) if (now - lease.looked > lookMs) void this.lookFor(lease, now);
      this.dispatch();
    }
  }

  /** Local workers with nothing else to do run what the queue is slow with; the first valid answer counts. */
  private takeOver(now: number, there: boolean): void {
    if (!this.local && now - this.aloneSince > patienceMs && this.leases.size > 0) {
      this.options.report({
        url: "queue",
        state: "away",
        message: `no worker came for ${patienceMs / 1000} s: this machine does it`,
        tasks: 0,
        bytes: 0,
        inFlight: 0,
      });
      this.local = this.options.fallback();
    }
    const { local } = this;
    if (!local || this.waiting.some((call) => !call.settled)) return;
    const median = [...this.perElement].sort((a, b) => a - b)[this.perElement.length >> 1] ?? 0;
    for (const lease of [...this.leases.values()]) {
      if (this.localRuns.size >= local.capacity) return;
      const { call } = lease;
      if (call.local || call.claimed || call.settled) continue;
      const late = now - lease.since > Math.max(stragglerMs, stragglerFactor * median * call.task.count);
      if (late || !there) this.runLocally(call, local);
    }
  }

  /** A task that is neither in the queue nor answered was taken and never brought: it goes in again. */
  private async lookFor(lease: Lease, now: number): Promise<void> {
    lease.looked = now;
    if (lease.sequence === null) return;
    const held = await this.line.holds(lease.sequence);
    // Its result may be on the way: what is missing for the second time is lost.
    if (held === false && lease.missing && this.leases.has(lease.number)) this.lost(lease);
    lease.missing = held === false;
  }

  private async shutDown(): Promise<void> {
    for (const call of [...this.waiting, ...this.running])
      this.settle(call, null, new Error("The executor was closed"));
    if (!this.broken) await Promise.allSettled(this.localRuns);
    await Promise.allSettled(this.answers);
    if (!this.broken) await this.rework.finish();
    this.closed.abort();
    await this.watch;
    await this.line.close();
    await this.desk.stop();
    const sound = !this.broken && !this.failure;
    try {
      await this.local?.close();
      if (sound && this.options.job.sync !== false) await this.files.sync();
    } finally {
      await this.files.close();
      for (const member of this.members.values()) member.leave();
    }
    if (this.failure) throw this.failure;
  }
}
