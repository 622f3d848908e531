import { describe, expect, test } from "bun:test";
import { drive, type TaskSource } from "../../src/exec/drive.ts";
import type { Executor } from "../../src/exec/executor.ts";
import type { MergeReceipt, Receipt, Task } from "../../src/kernel/program.ts";
import { mergeTask } from "./fixture.ts";

const receipt = (id: number): MergeReceipt => ({
  kind: "merge",
  id,
  nonFinite: [],
  overflow: { count: 0, first: -1 },
  kept: [],
  differs: -1,
  nanoseconds: { read: 0, compute: 0, write: 0 },
});
const never = new AbortController().signal;
const turn = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));

/** Answers a task after `delay(id)` milliseconds; hears the signal at once, or not at all when `deaf`. */
function slowExecutor(
  capacity: number,
  delay: (id: number) => number,
  fault: (id: number) => unknown = () => null,
  deaf = false,
) {
  const seen = { started: [] as number[], underWay: 0, most: 0 };
  const executor: Executor = {
    capacity,
    async run(task, signal) {
      seen.started.push(task.id);
      seen.most = Math.max(seen.most, ++seen.underWay);
      try {
        const stopped = Promise.withResolvers<Receipt>();
        if (!deaf) signal.addEventListener("abort", () => stopped.reject(signal.reason));
        await Promise.race([turn(delay(task.id)), stopped.promise]);
        const error = fault(task.id);
        if (error) throw error;
        return receipt(task.id);
      } finally {
        seen.underWay--;
      }
    },
    async close() {},
  };
  return { executor, seen };
}

function list(count: number) {
  const done: number[] = [];
  let next = 0;
  const source: TaskSource = {
    next: () => (next < count ? mergeTask(next++, 0, 1) : null),
    done: (task: Task, r: Receipt) => {
      expect(r.id).toBe(task.id);
      done.push(task.id);
    },
  };
  return { source, done, handedOut: () => next };
}

const rejection = (p: Promise<unknown>) =>
  p.then(
    () => "resolved",
    (e: unknown) => e,
  );

describe("drive", () => {
  for (const [tasks, capacity] of [
    [0, 1],
    [1, 4],
    [4, 4],
    [25, 1],
    [25, 3],
    [25, 64],
  ] as const) {
    test(`runs ${tasks} tasks, ${capacity} at most under way, and starts them in the order of the source`, async () => {
      const { executor, seen } = slowExecutor(capacity, (id) => (id * 7) % 4);
      const { source, done } = list(tasks);
      await drive(source, executor, never);
      const all = Array.from({ length: tasks }, (_, i) => i);
      expect(seen.started).toEqual(all);
      expect(done.toSorted((a, b) => a - b)).toEqual(all);
      expect(seen.most).toBe(Math.min(tasks, capacity));
    });
  }

  test("asks a waiting source again after every receipt", async () => {
    const { executor } = slowExecutor(4, () => 1);
    let answered = 0;
    let handedOut = 0;
    const source: TaskSource = {
      // Two at a time: the next pair needs the receipts of the one before.
      next: () =>
        handedOut === 6
          ? null
          : handedOut < answered + 2 && handedOut % 2 === answered % 2
            ? mergeTask(handedOut++, 0, 1)
            : handedOut - answered < 2 && handedOut % 2 === 1
              ? mergeTask(handedOut++, 0, 1)
              : "wait",
      done: () => void answered++,
    };
    await drive(source, executor, never);
    expect([handedOut, answered]).toEqual([6, 6]);
  });

  test("calls done in order of completion", async () => {
    const { executor } = slowExecutor(3, (id) => [60, 30, 1][id]!);
    const { source, done } = list(3);
    await drive(source, executor, never);
    expect(done).toEqual([2, 1, 0]);
  });

  test("stops at the first error, aborts the others, waits for them and rejects with it", async () => {
    const first = new Error("first");
    const { executor, seen } = slowExecutor(
      3,
      (id) => (id === 1 ? 5 : 5_000),
      (id) => (id === 1 ? first : null),
    );
    const { source, done, handedOut } = list(10);
    expect(await rejection(drive(source, executor, never))).toBe(first);
    expect([handedOut(), seen.underWay, done.length]).toEqual([3, 0, 0]);
  });

  test("waits for tasks that do not hear the abort, and drops their receipts", async () => {
    const first = new Error("first");
    const { executor, seen } = slowExecutor(
      2,
      (id) => (id === 0 ? 1 : 40),
      (id) => (id === 0 ? first : null),
      true,
    );
    const { source, done } = list(10);
    expect(await rejection(drive(source, executor, never))).toBe(first);
    expect([seen.underWay, seen.started.length, done.length]).toEqual([0, 2, 0]);
  });

  for (const fault of ["next", "done"] as const) {
    test(`takes an error of the source's ${fault}() like a task's`, async () => {
      const { executor, seen } = slowExecutor(2, () => 1);
      const { source } = list(10);
      const error = new Error(fault);
      let calls = 0;
      const faulty: TaskSource = { ...source };
      const original = source[fault] as (...args: unknown[]) => unknown;
      faulty[fault] = (...args: unknown[]): never => {
        if (++calls > 2) throw error;
        return original(...args) as never;
      };
      expect(await rejection(drive(faulty, executor, never))).toBe(error);
      expect(seen.underWay).toBe(0);
    });
  }

  test("rejects with the signal's reason when aborted under way, and hands out nothing more", async () => {
    const { executor, seen } = slowExecutor(2, () => 5_000);
    const { source, handedOut } = list(10);
    const abort = new AbortController();
    const running = rejection(drive(source, executor, abort.signal));
    await turn(5);
    const reason = new Error("stop");
    abort.abort(reason);
    expect(await running).toBe(reason);
    expect([handedOut(), seen.underWay]).toEqual([2, 0]);
  });

  test("rejects without starting anything when aborted before", async () => {
    const { executor, seen } = slowExecutor(2, () => 1);
    const reason = new Error("stop");
    expect(await rejection(drive(list(3).source, executor, AbortSignal.abort(reason)))).toBe(reason);
    expect(seen.started).toEqual([]);
  });

  test("finds a source that waits for nothing", async () => {
    const { executor } = slowExecutor(2, () => 1);
    let left = 2;
    const source: TaskSource = { next: () => (left-- > 0 ? mergeTask(left, 0, 1) : "wait"), done: () => {} };
    expect(String(await rejection(drive(source, executor, never)))).toContain("waits, but no task is under way");
  });
});
