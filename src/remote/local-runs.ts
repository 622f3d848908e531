// What this machine runs itself, beside nodes or a queue or in their stead.

import type { Executor } from "../exec/executor.ts";
import type { Call, Calls } from "./calls.ts";
import type { Clock } from "./clock.ts";
import type { Pace } from "./pace.ts";

export interface LocalRunsOptions<C extends Call> {
  /** Null: nothing, until it falls back. */
  readonly local: Executor | null;
  readonly fallback: () => Executor;
  readonly calls: Calls<C>;
  readonly pace: Pace;
  readonly clock: Clock;
  /** A run is over, and there is room for another. */
  readonly ready: () => void;
}

export class LocalRuns<C extends Call> {
  private readonly options: LocalRunsOptions<C>;
  private readonly runs = new Set<Promise<unknown>>();
  private executor: Executor | null;

  constructor(options: LocalRunsOptions<C>) {
    this.options = options;
    this.executor = options.local;
  }

  /** This machine runs tasks at all. */
  get there(): boolean {
    return this.executor !== null;
  }

  get capacity(): number {
    return this.executor?.capacity ?? 0;
  }

  get free(): boolean {
    return this.runs.size < this.capacity;
  }

  /** From now on this machine runs tasks too. */
  fallBack(): void {
    this.executor ??= this.options.fallback();
  }

  run(call: C): void {
    const { calls, clock, pace, ready } = this.options;
    calls.running.add(call);
    call.local = true;
    const started = clock.now();
    // A copy that comes too late is left alone: stopping it would take for broken what is not.
    const run = this.executor!.run(call.task, call.signal, call.beat).then(
      (receipt) => {
        pace.note(call.task, clock.now() - started);
        if (!call.claimed) calls.settle(call, receipt, null);
      },
      (error) => {
        if (!call.claimed) calls.settle(call, null, error);
      },
    );
    this.runs.add(run);
    void run.finally(() => {
      this.runs.delete(run);
      ready();
    });
  }

  /** Resolves when nothing runs any more. */
  async finish(): Promise<void> {
    await Promise.allSettled(this.runs);
  }

  async close(): Promise<void> {
    await this.executor?.close();
  }
}
