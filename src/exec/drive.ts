// Feeds tasks to an executor as they become ready, a bounded number at a time.

import type { Receipt, Task } from "../kernel/program.ts";
import type { Executor } from "./executor.ts";

/** Hands out tasks as they become ready: a task, "wait" (nothing until another receipt is in), or null (all handed out). */
export interface TaskSource {
  next(): Task | "wait" | null;
  done(task: Task, receipt: Receipt): void;
  /** A long task is under way, and this much of it is done. */
  beat?(task: Task, share: number): void;
}

/**
 * Runs all tasks of `source`; at most `executor.capacity` are under way. `done` is called in order of completion.
 *
 * The first error (of a task, of the source, or the signal's reason) stops it: no task is handed out any more, those under
 * way are aborted and awaited, then it rejects with that error. `done` is not called after it.
 */
export function drive(source: TaskSource, executor: Executor, signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let underWay = 0;
  let allOut = false;
  let failure: { readonly error: unknown } | null = null;

  const fail = (error: unknown) => {
    if (failure) return;
    failure = { error };
    stop.abort(error);
  };
  const onAbort = () => {
    fail(signal.reason);
    settle();
  };
  const settle = () => {
    if (underWay > 0 || !(failure || allOut)) return;
    signal.removeEventListener("abort", onAbort);
    if (failure) reject(failure.error);
    else resolve();
  };
  const start = (task: Task) => {
    underWay++;
    executor
      .run(task, stop.signal, (share) => source.beat?.(task, share))
      .then(
        (receipt) => {
          underWay--;
          attempt(() => source.done(task, receipt));
          pump();
        },
        (error) => {
          underWay--;
          fail(error);
          pump();
        },
      );
  };
  /** Calls into the source, unless it is over; what it throws is a failure like a task's. */
  const attempt = (step: () => void) => {
    if (failure) return;
    try {
      step();
    } catch (error) {
      fail(error);
    }
  };
  const pump = () => {
    let idle = false;
    while (!failure && !allOut && !idle && underWay < executor.capacity) {
      attempt(() => {
        const task = source.next();
        if (task === null) allOut = true;
        else if (task !== "wait") start(task);
        else if (underWay > 0) idle = true;
        else throw new Error("The task source waits, but no task is under way that could end its wait");
      });
    }
    settle();
  };

  if (signal.aborted) fail(signal.reason);
  else signal.addEventListener("abort", onAbort);
  pump();
  return promise;
}
