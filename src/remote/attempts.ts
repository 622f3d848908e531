// Tasks at nodes: what a node is sent, how long it may be silent, how much is under way at a time, and whether its answer is true.

import type { Task } from "../kernel/program.ts";
import type { Auditor } from "./audit.ts";
import type { Calls } from "./calls.ts";
import { type Errand, NodeError } from "./client.ts";
import type { Clock } from "./clock.ts";
import { joinResults } from "./cut.ts";
import type { TaskResult } from "./kernels.ts";
import type { NodeLimits } from "./limits.ts";
import type { Member } from "./member.ts";
import { type Attempt, type NodeCall, partsFor } from "./node-call.ts";
import type { OutputFiles } from "./outputs.ts";
import type { Pace } from "./pace.ts";
import type { LeftOut, Pointers } from "./pointers.ts";
import { rangesOf } from "./ranges.ts";
import type { Rework } from "./rework.ts";

/** A node that gives no sign of life for so long has lost its task. */
export const leaseMs = 30_000;
/** How often a node with a task is asked for a sign of life. */
export const heartbeatMs = 10_000;
/**
 * Bytes of requests and answers that are under way at a time: this process holds them. More would only wait for its network: 256 MiB
 * are two seconds of 1 Gbit/s. Nodes that read and write the slices themselves carry nothing.
 */
export const carriedBytes = 256 * 1024 * 1024;

export interface AttemptsOptions {
  readonly calls: Calls<NodeCall>;
  readonly files: OutputFiles;
  readonly pointers: Pointers;
  readonly auditor: Auditor;
  readonly rework: Rework;
  readonly pace: Pace;
  readonly clock: Clock;
  /** In [0, 1): chooses what is audited. */
  readonly random: () => number;
  readonly limits: NodeLimits;
  readonly carriedBytes: number | undefined;
  readonly redundancy: number;
  /** A node's answer was not found wrong. `whole`: all of it was computed here. */
  readonly answered: (call: NodeCall, member: Member, result: TaskResult, whole: boolean) => Promise<void>;
  readonly failed: (call: NodeCall, member: Member, error: NodeError) => void;
  /** An attempt is over, and its node may be free. */
  readonly ready: () => void;
}

export class Attempts {
  /** Answers that are being looked at, or wait for it. */
  checking = 0;
  /** Outputs that nodes wrote to themselves. */
  readonly placed = new Set<number>();
  private readonly options: AttemptsOptions;
  private readonly running = new Set<Promise<void>>();
  private lease = 0;
  /** Bytes under way. */
  private carried = 0;

  constructor(options: AttemptsOptions) {
    this.options = options;
  }

  /** One call has room always: the largest there is must be done too. */
  hasRoom(call: NodeCall, member: Member): boolean {
    const bytes = this.options.pointers.carried(call, member);
    return this.carried === 0 || this.carried + bytes <= (this.options.carriedBytes ?? carriedBytes);
  }

  begin(call: NodeCall, member: Member): void {
    const { calls, clock, pointers } = this.options;
    const at = clock.now();
    const stop = new AbortController();
    const carried = pointers.carried(call, member);
    const attempt: Attempt = { member, stop, carried, started: at, asked: at, seen: at, asking: false, writes: false };
    this.carried += carried;
    call.attempts.add(attempt);
    call.tried.add(member);
    calls.running.add(call);
    member.take();
    const run = this.attempt(call, attempt);
    this.running.add(run);
    void run.finally(() => this.running.delete(run));
  }

  /** Resolves when nobody has anything any more. */
  async finish(): Promise<void> {
    await Promise.allSettled(this.running);
  }

  private async attempt(call: NodeCall, attempt: Attempt): Promise<void> {
    const { calls, pointers, auditor, rework, pace, clock, random, limits, failed } = this.options;
    const { member, stop, started } = attempt;
    let answered = false;
    try {
      const near = pointers.near(call.ranges, member);
      const parts = partsFor(call, member, limits.sliceBytes);
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
      const whole = member.record.auditsWhole(call.task, random);
      this.checking++;
      const wrong = await auditor.fault(call.task, result, whole).finally(() => this.checking--);
      if (wrong) throw new NodeError("wrong", wrong);
      member.succeeded(call.task, clock.now() - started, near);
      pace.note(call.task, clock.now() - started);
      if (call.settled || call.claimed || member.banned) return;
      await this.options.answered(call, member, result, whole);
      // What it wrote counts; nothing that comes later can be its own.
      if (call.settled && result.written) attempt.writes = false;
    } catch (error) {
      if (error instanceof NodeError) failed(call, member, error);
      else if (!call.settled && !stop.signal.aborted) calls.settle(call, null, error);
      else if (!call.settled && !call.claimed) failed(call, member, new NodeError("lost", "it gave no sign of life"));
    } finally {
      call.attempts.delete(attempt);
      member.inFlight--;
      this.carried -= attempt.carried;
      // Unless the whole slice is written anew after it, it may have written over what somebody else did right.
      const anew = answered && !call.settled && !call.claimed && !call.local && call.attempts.size === 0;
      if (attempt.writes && !anew) rework.suspect(call.task);
      this.queueAgain(call);
      this.options.ready();
    }
  }

  private async ask(call: NodeCall, attempt: Attempt, task: Task, whole: boolean): Promise<TaskResult> {
    const { files, pointers, redundancy } = this.options;
    const { member, stop } = attempt;
    const ranges = whole ? call.ranges : rangesOf(task);
    const fill: Errand["fill"] = (range, target) => files.readRange(range, target);
    // What a node cannot read or write itself is sent.
    for (let without: LeftOut = "nothing"; ; ) {
      const { locators, target } = await pointers.of(task, ranges, member, without);
      // Strangers are not told where things are, and a copy must not write over the first one.
      const may = whole && redundancy === 1 && call.attempts.size === 1 && !call.local;
      const own = may ? target : null;
      if (own && task.kind === "merge") {
        attempt.writes = true;
        this.placed.add(task.output.file);
      }
      const errand = { task, ranges, locators, fill, target: own };
      try {
        return await member.client.run(errand, ++this.lease, stop.signal);
      } catch (error) {
        if (!(error instanceof NodeError) || error.fault !== "locator" || locators.length === 0) throw error;
        attempt.writes = false;
        if (own) member.writesItself = false;
        else without = pointers.blame(locators, member, without);
      }
    }
  }

  /** A call that nobody has any more, or too few, waits for somebody. */
  private queueAgain(call: NodeCall): void {
    const { waiting, running } = this.options.calls;
    const lacking = call.answers.length + call.attempts.size < this.options.redundancy;
    if (call.settled || call.claimed || !lacking || call.local || waiting.includes(call)) return;
    if (call.attempts.size === 0) running.delete(call);
    waiting.unshift(call);
  }

  /** Stops what was silent for too long, and asks for a sign of life where one is due. */
  checkLeases(now: number): void {
    for (const call of this.options.calls.running) for (const attempt of call.attempts) this.checkLease(attempt, now);
  }

  private checkLease(attempt: Attempt, now: number): void {
    const { limits, clock } = this.options;
    if (now - attempt.seen > leaseMs || now - attempt.asked > limits.requestMs) {
      attempt.stop.abort();
      return;
    }
    if (now - attempt.seen < heartbeatMs || attempt.asking) return;
    attempt.asking = true;
    void attempt.member.client.healthy(attempt.stop.signal).then((healthy) => {
      attempt.asking = false;
      if (healthy) attempt.seen = clock.now();
    });
  }
}
