// The tasks of a coordinator, from the first word about each to the last: those that wait for somebody, those that somebody has,
// and whether all is still well. Nodes and queues say for themselves who takes them.

import type { Receipt, Task } from "../kernel/program.ts";
import { type Range, rangesOf } from "./ranges.ts";

/** A task that somebody waits for. */
export interface Call {
  readonly task: Task;
  readonly signal: AbortSignal;
  readonly beat: ((share: number) => void) | undefined;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
  readonly onAbort: () => void;
  readonly ranges: readonly Range[];
  failures: number;
  /** This machine runs it. */
  local: boolean;
  /** Nobody else is to run it. */
  localOnly: boolean;
  /** An answer is being written into place, or answers are compared. */
  claimed: boolean;
  /** Answered or given up: nobody waits for it any more. */
  settled: boolean;
}

export type CallTerms = Pick<Call, "task" | "signal" | "beat" | "resolve" | "reject" | "onAbort">;

export function createCall(terms: CallTerms): Call {
  const { task } = terms;
  return {
    ...terms,
    ranges: rangesOf(task),
    failures: 0,
    local: false,
    // Whole matrices take all of their inputs at once, and no part of them can be audited alone.
    localOnly: task.kind === "merge" && !["merge", "copy"].includes(task.program.op),
    claimed: false,
    settled: false,
  };
}

export interface CallsOptions<C extends Call> {
  readonly create: (terms: CallTerms) => C;
  /** A new one waits. */
  readonly added: () => void;
  /** One is settled: whatever is under way for it may stop. */
  readonly settled: (call: C) => void;
}

export class Calls<C extends Call> {
  readonly waiting: C[] = [];
  readonly running = new Set<C>();
  /** A task failed or was aborted: nobody will use the output. */
  broken = false;
  /** Why no task can be done any more, though none may have failed. */
  failure: Error | null = null;
  private readonly options: CallsOptions<C>;
  private closed = false;

  constructor(options: CallsOptions<C>) {
    this.options = options;
  }

  add(task: Task, signal: AbortSignal, beat?: (share: number) => void): Promise<Receipt> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.failure) return Promise.reject(this.failure);
    if (this.closed) return Promise.reject(new Error("The executor is closed"));
    const { promise, resolve, reject } = Promise.withResolvers<Receipt>();
    const onAbort = () => this.settle(call, null, signal.reason);
    const call = this.options.create({ task, signal, beat, resolve, reject, onAbort });
    signal.addEventListener("abort", onAbort, { once: true });
    this.waiting.push(call);
    this.options.added();
    return promise;
  }

  /** Gives waiting calls to `start`, which says whether it took one, while there is somebody for them. */
  offer(start: (call: C) => boolean, someone: () => boolean = () => true): void {
    for (let i = 0; i < this.waiting.length && someone(); ) {
      const call = this.waiting[i]!;
      if (call.settled || start(call)) this.waiting.splice(i, 1);
      else i++;
    }
  }

  /** The last word on a call: a receipt, or why there is none. Later ones do not count. */
  settle(call: C, receipt: Receipt | null, error: unknown): void {
    if (call.settled) return;
    call.settled = true;
    call.signal.removeEventListener("abort", call.onAbort);
    this.running.delete(call);
    this.options.settled(call);
    if (receipt) call.resolve(receipt);
    else {
      this.broken = true;
      call.reject(error);
    }
  }

  /** Neither these nor others can be done any more. */
  fail(error: Error): void {
    this.failure ??= error;
    this.settleAll(this.failure);
  }

  /** Takes no more, and gives up what is not done. */
  close(): void {
    this.closed = true;
    this.settleAll(new Error("The executor was closed"));
  }

  private settleAll(error: Error): void {
    for (const call of [...this.waiting, ...this.running]) this.settle(call, null, error);
  }
}
