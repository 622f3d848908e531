// Remote nodes beside local workers, as one executor. Whoever is free takes the next task, so everybody's share is what they
// measure up to. What a node answers is checked here and written into place here; what no node does is done locally.

import { BraidError } from "../errors.ts";
import type { Executor, Job } from "../exec/executor.ts";
import { JobFiles, type Opener } from "../exec/files.ts";
import type { Receipt, Task } from "../kernel/program.ts";
import { Auditor, receiptHash } from "./audit.ts";
import { type Fetch, type NodeAddress, NodeClient, NodeError } from "./client.ts";
import type { Clock } from "./clock.ts";
import { cutTask, joinResults } from "./cut.ts";
import type { NodeKernels, TaskResult } from "./kernels.ts";
import { type NodeLimits, nodeLimits } from "./limits.ts";
import { pathVersion } from "./locate.ts";
import { Member, type NodeReport } from "./member.ts";
import { type Range, rangesOf } from "./ranges.ts";
import type { Locator } from "./wire.ts";

/** Failures of a task at nodes before it is done locally. */
export const maxAttempts = 4;
/** A node that gives no sign of life for so long has lost its task. */
export const leaseMs = 30_000;
/** How often a node with a task is asked for a sign of life. */
export const heartbeatMs = 10_000;
/** A task is given out once more when it takes this many times as long as the others did. */
export const stragglerFactor = 2;
/** Nothing is a straggler before. */
const stragglerMs = 200;
const tickMs = 100;
/** Durations that the median is taken of, and how many it takes. */
const samples = 64;
const leastSamples = 3;

export interface NodesOptions {
  readonly nodes: readonly NodeAddress[];
  readonly job: Job;
  readonly opener: Opener;
  /** Runs tasks beside the nodes; null: nodes only. */
  readonly local: Executor | null;
  /** Called once, when there is no `local` and the nodes cannot do it. */
  readonly fallback: () => Executor;
  /** For audits. */
  readonly kernels: NodeKernels;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  /** In [0, 1): chooses what is audited. */
  readonly random: () => number;
  readonly report: (report: NodeReport) => void;
  readonly limits?: Partial<NodeLimits>;
}

interface Attempt {
  readonly member: Member;
  readonly stop: AbortController;
  readonly started: number;
  /** When the request under way was begun: of a task in parts, the last of several. */
  asked: number;
  seen: number;
  asking: boolean;
}

interface Call {
  readonly task: Task;
  readonly signal: AbortSignal;
  readonly beat: ((share: number) => void) | undefined;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
  readonly attempts: Set<Attempt>;
  /** Nodes that failed at it, or have it. */
  readonly tried: Set<Member>;
  readonly onAbort: () => void;
  /** Its parts, by the most bytes of a part; null where it cannot be cut so far. */
  readonly cuts: Map<number, readonly Task[] | null>;
  /** Nodes that do not take it, or not in any parts. */
  readonly unfit: Set<Member>;
  failures: number;
  local: boolean;
  localOnly: boolean;
  /** An answer is being written into place. */
  claimed: boolean;
  settled: boolean;
  started: number;
}

export function createNodesExecutor(options: NodesOptions): Executor {
  return new NodesExecutor(options);
}

class NodesExecutor implements Executor {
  private readonly options: NodesOptions;
  private readonly limits: NodeLimits;
  private readonly members: readonly Member[];
  private readonly files: JobFiles;
  private readonly auditor: Auditor;
  private readonly versions = new Map<number, string>();
  private readonly waiting: Call[] = [];
  private readonly running = new Set<Call>();
  private readonly asked = new Set<Promise<void>>();
  private readonly localRuns = new Set<Promise<unknown>>();
  private readonly perElement: number[] = [];
  private readonly closed = new AbortController();
  private local: Executor | null;
  private lease = 0;
  private broken = false;
  /** A node lied about what is built upon by now. */
  private failure: BraidError | null = null;
  private repairs: Promise<void> = Promise.resolve();
  private readonly watch: Promise<void>;
  private closing: Promise<void> | null = null;

  constructor(options: NodesOptions) {
    const { nodes, job, opener, kernels, clock, fetch, today, random } = options;
    this.options = options;
    this.limits = { ...nodeLimits, ...options.limits };
    this.local = options.local;
    this.files = new JobFiles(job.files, opener);
    this.auditor = new Auditor({ files: this.files, kernels, random });
    const id = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
    const client = { fetch, clock, today, job: id, kernel: kernels.sha256, limits: this.limits };
    this.members = nodes.map((address) => {
      const member: Member = new Member(new NodeClient(address, client), kernels, clock, (report) => {
        options.report(report);
        if (report.state === "ready") this.dispatch();
      });
      void member.join(this.closed.signal).then(() => this.dispatch());
      return member;
    });
    this.watch = this.keepWatch();
  }

  get capacity(): number {
    const nodes = this.members.reduce((sum, m) => sum + (m.gone ? 0 : m.slots), 0);
    return Math.max(2, nodes + (this.local?.capacity ?? 0));
  }

  run(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.failure) return Promise.reject(this.failure);
    if (this.closing) return Promise.reject(new Error("The executor is closed"));
    const { promise, resolve, reject } = Promise.withResolvers<Receipt>();
    const call: Call = {
      task,
      signal,
      beat,
      resolve,
      reject,
      attempts: new Set(),
      tried: new Set(),
      onAbort: () => this.settle(call, null, signal.reason),
      cuts: new Map(),
      unfit: new Set(),
      failures: 0,
      local: false,
      // Whole matrices take all of their inputs at once, and no part of them can be audited alone.
      localOnly: task.kind === "merge" && task.program.op === "matrix",
      claimed: false,
      settled: false,
      started: this.options.clock.now(),
    };
    signal.addEventListener("abort", call.onAbort, { once: true });
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
    for (let i = 0; i < this.waiting.length; ) {
      const call = this.waiting[i]!;
      if (call.settled || this.start(call)) this.waiting.splice(i, 1);
      else i++;
    }
  }

  private start(call: Call): boolean {
    if (!call.localOnly) {
      const member = this.freeMember(call);
      if (member) {
        this.begin(call, member);
        return true;
      }
    }
    const alone = this.members.every((m) => !m.usable || call.unfit.has(m));
    if (this.options.local === null && !call.localOnly && !alone) return false;
    this.local ??= this.options.fallback();
    if (this.localRuns.size >= this.local.capacity) return false;
    this.runLocally(call, this.local);
    return true;
  }

  private freeMember(call: Call): Member | null {
    const free = this.members.filter((m) => m.free && this.partsFor(call, m) !== null);
    // A node that failed at it may try again when all that could have it did.
    const fresh = free.filter((m) => !call.tried.has(m));
    const others = this.members.some((m) => m.usable && !call.tried.has(m) && !call.unfit.has(m));
    const candidates =
      fresh.length > 0 || others ? fresh : free.filter((m) => ![...call.attempts].some((a) => a.member === m));
    return candidates.sort((a, b) => b.rate / (b.inFlight + 1) - a.rate / (a.inFlight + 1))[0] ?? null;
  }

  /** What a node is sent of a task: parts that it takes, or null when there are none. */
  private partsFor(call: Call, member: Member): readonly Task[] | null {
    if (call.unfit.has(member)) return null;
    const limit = Math.min(this.limits.sliceBytes, member.sliceBytes);
    let parts = call.cuts.get(limit);
    if (parts === undefined) {
      parts = cutTask(call.task, limit);
      call.cuts.set(limit, parts);
    }
    if (parts === null) call.unfit.add(member);
    return parts;
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

  private begin(call: Call, member: Member): void {
    const attempt = this.attempt(call, member);
    this.asked.add(attempt);
    void attempt.finally(() => this.asked.delete(attempt));
  }

  private async attempt(call: Call, member: Member): Promise<void> {
    const { clock } = this.options;
    const at = clock.now();
    const attempt: Attempt = { member, stop: new AbortController(), started: at, asked: at, seen: at, asking: false };
    call.attempts.add(attempt);
    call.tried.add(member);
    this.running.add(call);
    member.inFlight++;
    try {
      const results: TaskResult[] = [];
      const parts = this.partsFor(call, member);
      if (!parts) throw new NodeError("task", "it does not take so much at a time");
      for (const part of parts) {
        attempt.asked = clock.now();
        results.push(await this.ask(part, member, attempt.stop.signal));
        attempt.seen = clock.now();
      }
      const result = joinResults(call.task, results);
      if (call.settled || call.claimed || member.banned) return;
      const whole = member.auditsWhole(call.task, this.options.random);
      const wrong = await this.auditor.fault(call.task, result, whole);
      if (wrong) throw new NodeError("wrong", wrong);
      if (call.settled || call.claimed || member.banned) return;
      await this.accept(call, member, result, whole);
      member.succeeded(call.task, clock.now() - at);
      this.note(call.task, at);
    } catch (error) {
      if (error instanceof NodeError) this.failed(call, member, error);
      else if (!call.settled && !attempt.stop.signal.aborted) this.settle(call, null, error);
      else if (!call.settled && !call.claimed)
        this.failed(call, member, new NodeError("lost", "it gave no sign of life"));
    } finally {
      call.attempts.delete(attempt);
      member.inFlight--;
      if (!call.settled && !call.claimed && call.attempts.size === 0 && !call.local && !this.waiting.includes(call)) {
        this.running.delete(call);
        this.waiting.unshift(call);
      }
      this.dispatch();
    }
  }

  private async ask(task: Task, member: Member, signal: AbortSignal): Promise<TaskResult> {
    const fill = (range: Range, target: Uint8Array<ArrayBuffer>) => this.auditor.read(range, target);
    const { client } = member;
    const ranges = rangesOf(task);
    const locators = await this.locatorsFor(ranges, member);
    if (locators.length > 0) {
      try {
        return await client.run(task, ranges, locators, fill, ++this.lease, signal);
      } catch (error) {
        if (!(error instanceof NodeError) || error.fault !== "locator") throw error;
        // It does not see what we see there: from now on it is sent the bytes.
        member.readsItself = false;
      }
    }
    return client.run(task, ranges, [], fill, ++this.lease, signal);
  }

  /** Of files below a folder that the node reads too. */
  private async locatorsFor(ranges: readonly Range[], member: Member): Promise<Locator[]> {
    if (!member.readsItself || member.roots.length === 0) return [];
    const out: Locator[] = [];
    for (const file of new Set(ranges.map((r) => r.file))) {
      const { path } = this.options.job.files[file]!;
      if (!member.roots.some((root) => path.startsWith(root.endsWith("/") ? root : `${root}/`))) continue;
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

  private async accept(call: Call, member: Member, result: TaskResult, whole: boolean): Promise<void> {
    call.claimed = true;
    await this.write(call.task, result);
    // What was only looked at in parts is remembered until the end, in case the node is caught later.
    member.accepted(call.task, whole ? null : receiptHash(result.receipt));
    this.settle(call, result.receipt, null);
  }

  private async write(task: Task, { output }: TaskResult): Promise<void> {
    if (task.kind !== "merge") return;
    const pending = this.files.write(task.output, (task.first * output.length) / task.count, output);
    if (pending) await pending;
  }

  private failed(call: Call, member: Member, error: NodeError): void {
    if (error.fault === "wrong") {
      member.ban(error.message);
      this.repair(member);
      for (const other of this.running)
        for (const attempt of other.attempts) if (attempt.member === member) attempt.stop.abort();
    } else member.failed(error, this.closed.signal);
    if (call.settled || call.claimed) return;
    if (error.fault === "task") call.unfit.add(member);
    if (error.fault === "busy") call.tried.delete(member);
    else if (++call.failures >= maxAttempts) call.localOnly = true;
  }

  /** Does again what a lying node did unseen. Runs beside the merge; `close` waits for it. */
  private repair(member: Member): void {
    const unseen = member.takeUnseen();
    this.repairs = this.repairs.then(async () => {
      for (const { task, receipt } of unseen) {
        if (this.closed.signal.aborted && this.broken) return;
        try {
          const result = await this.auditor.compute(task);
          await this.write(task, result);
          if (receiptHash(result.receipt) === receipt) continue;
          this.failure ??= new BraidError({
            kind: "node-answer",
            message: `Cannot go on: ${member.client.address.url} told wrong things that the merge was built upon`,
            hint: "Merge again without that node.",
          });
        } catch (error) {
          this.failure ??= error instanceof BraidError ? error : new BraidError({ kind: "io", message: String(error) });
        }
        if (this.failure) for (const call of [...this.waiting, ...this.running]) this.settle(call, null, this.failure);
      }
    });
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
    if (this.perElement.length < leastSamples) return;
    const median = [...this.perElement].sort((a, b) => a - b)[this.perElement.length >> 1]!;
    for (const call of [...this.running]) {
      const [only, second] = call.attempts;
      if (!only || second || call.local || call.claimed) continue;
      if (now - only.started < Math.max(stragglerMs, stragglerFactor * median * call.task.count)) continue;
      const member = this.freeMember(call);
      if (member && !call.tried.has(member)) this.begin(call, member);
      else if (this.local && this.localRuns.size < this.local.capacity) this.runLocally(call, this.local);
      else if (!this.local && !this.members.some((m) => m.usable && m !== only.member)) {
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
    if (!this.broken) await this.repairs;
    this.closed.abort();
    await this.watch;
    const sound = !this.broken && !this.failure;
    try {
      await this.local?.close();
      if (sound && this.options.job.sync !== false) await this.files.sync();
    } finally {
      await this.files.close();
      for (const member of this.members) member.leave();
    }
    if (this.failure) throw this.failure;
  }
}
