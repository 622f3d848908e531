import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BraidError } from "../../src/errors.ts";
import { drive } from "../../src/exec/drive.ts";
import { maxReplacements, queueDepth } from "../../src/exec/pool.ts";
import { createThreadPool, EarlyThreads } from "../../src/exec/threads.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import type { MergeTask, Receipt, SurveyTask } from "../../src/kernel/program.ts";
import { firstWrong, mergeTask, mergeTasks, writeJob } from "./fixture.ts";
import { order } from "./orders.ts";

const module = compileKernel();
const realEntry = new URL("../../src/cli/worker.ts", import.meta.url);
const standIn = new URL("./stand-in.ts", import.meta.url);
const never = new AbortController().signal;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "braid-threads-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const rejection = (p: Promise<unknown>) =>
  p.then(
    () => "resolved",
    (e: unknown) => e,
  );
const ordered = (id: number, byteWidth: number): MergeTask => ({
  ...mergeTask(id, 0, id + 1),
  output: { file: 1, start: 0 },
  program: { op: "copy", byteWidth },
});

function standInPool(workers: number, entry: URL = standIn) {
  const out = join(folder, "out");
  writeFileSync(out, "x");
  const files = [
    { path: join(folder, "mark"), mode: "read" as const },
    { path: out, mode: "write" as const },
  ];
  return createThreadPool({ module, workers, job: { files, workerBytes: 0 }, entry });
}

describe("a pool of real workers", () => {
  let expected: Receipt[] | null = null;
  for (const workers of [1, 2, 3, 8]) {
    test(`of ${workers} merges to the same bytes and receipts`, async () => {
      const { job, out } = writeJob(folder);
      const pool = createThreadPool({ module, workers, job, entry: realEntry });
      expect(pool.capacity).toBe(workers * queueDepth);
      const queue = mergeTasks();
      const receipts: Receipt[] = [];
      const nanoseconds = { read: 0, compute: 0, write: 0 };
      const source = {
        next: () => queue.shift() ?? null,
        done: (_: unknown, r: Receipt) => void receipts.push({ ...r, nanoseconds }),
      };
      await drive(source, pool, never);
      await pool.close();
      expect(firstWrong(out)).toBe(-1);
      receipts.sort((a, b) => a.id - b.id);
      expected ??= receipts;
      expect(receipts).toEqual(expected);
      expect(receipts.length).toBe(6);
    });
  }

  test("says why it is unfit when the memory cannot be had", async () => {
    const { job } = writeJob(folder);
    const pool = createThreadPool({ module, workers: 2, job: { ...job, workerBytes: 2 ** 33 }, entry: realEntry });
    const error = await rejection(pool.run(mergeTasks()[0]!, never));
    expect(error).toBeInstanceOf(BraidError);
    expect((error as BraidError).kind).toBe("memory-budget");
    expect(await rejection(pool.run(mergeTasks()[1]!, never))).toBe(error);
    await pool.close();
  });

  test("tells which file is missing", async () => {
    const { job } = writeJob(folder);
    rmSync(job.files[1]!.path);
    const pool = createThreadPool({ module, workers: 1, job, entry: realEntry });
    const error = (await rejection(pool.run(mergeTasks()[0]!, never))) as BraidError;
    expect(error.kind).toBe("file-not-found");
    expect(error.message).toContain(job.files[1]!.path);
    await pool.close();
  });
});

describe("threads that load early", () => {
  test("are a pool's workers, and it starts those that are missing", async () => {
    const early = new EarlyThreads(realEntry, 2);
    const { job, out } = writeJob(folder);
    const pool = createThreadPool({ module, workers: 3, job, entry: realEntry, early });
    expect(early.take()).toBeNull();
    const queue = mergeTasks();
    await drive({ next: () => queue.shift() ?? null, done: () => {} }, pool, never);
    await pool.close();
    expect(firstWrong(out)).toBe(-1);
  });

  test("end when nobody takes them", async () => {
    const early = new EarlyThreads(realEntry, 3);
    const taken = early.take()!;
    const { promise, resolve } = Promise.withResolvers<number>();
    taken.once("exit", resolve);
    early.end();
    expect(early.take()).toBeNull();
    // One that was taken is not theirs to end.
    expect(await Promise.race([promise, new Promise((done) => setTimeout(done, 50, "lives"))])).toBe("lives");
    await taken.terminate();
    await promise;
  });

  test("that cannot be started are told by the pool", async () => {
    const entry = new URL("./absent.ts", import.meta.url);
    const { job } = writeJob(folder);
    const pool = createThreadPool({ module, workers: 1, job, entry, early: new EarlyThreads(entry, 1) });
    const error = (await rejection(pool.run(mergeTasks()[0]!, never))) as BraidError;
    expect(error.kind).toBe("worker-died");
    expect(error.message).toContain("Cannot start a worker");
    await pool.close();
    // Nobody hears of one that was forgotten before it was taken.
    const forgotten = new EarlyThreads(entry, 1);
    for (const idle = forgotten as unknown as { idle: unknown[] }; idle.idle.length > 0; )
      await new Promise((done) => setTimeout(done, 5));
    expect(forgotten.take()).toBeNull();
  });
});

describe("a pool of workers that misbehave", () => {
  test("carries a BraidError across with kind, message, hint and place, and goes on", async () => {
    const pool = standInPool(1);
    const error = (await rejection(pool.run(ordered(0, order.fail), never))) as BraidError;
    expect(error).toBeInstanceOf(BraidError);
    const where = { file: "f", line: 1, column: 2 };
    expect(error.diagnostics).toEqual([{ kind: "input-changed", message: "the message", where, hint: "the hint" }]);
    expect((await pool.run(ordered(1, order.answer), never)).id).toBe(1);
    await pool.close();
  });

  test("carries a fault of the program across with name and stack", async () => {
    const pool = standInPool(1);
    const error = (await rejection(pool.run(ordered(0, order.bug), never))) as Error;
    expect(error).not.toBeInstanceOf(BraidError);
    expect(error.name).toBe("TypeError");
    expect(error.stack).toContain("stand-in");
    await pool.close();
  });

  test("moves the arrays of a survey bit for bit", async () => {
    const pool = standInPool(2);
    const task: SurveyTask = {
      kind: "survey",
      id: 5,
      first: 8,
      count: 1,
      inputs: [],
      dtypes: [],
      round: { op: "dots", operands: [] },
    };
    const receipt = await pool.run(task, never);
    if (receipt.kind !== "survey" || receipt.result.op !== "dots") throw new Error("not what was asked for");
    const bytes = receipt.result.blocks.map((block) => [...new Uint8Array(block.buffer)]);
    const expected = [Float64Array.of(8, 0.1, Number.NaN), Float64Array.of(-0, Infinity)];
    expect(bytes).toEqual(expected.map((block) => [...new Uint8Array(block.buffer)]));
    await pool.close();
  });

  for (const workers of [1, 2]) {
    test(`of ${workers} runs the task of a dead worker again, and those queued behind it`, async () => {
      const pool = standInPool(workers);
      const tasks = [order.exitOnce, order.answer, order.answer, order.answer, order.answer].map((o, i) =>
        ordered(i, o),
      );
      const receipts = await Promise.all(tasks.map((t) => pool.run(t, never)));
      expect(receipts.map((r) => r.id)).toEqual([0, 1, 2, 3, 4]);
      await pool.close();
    });

    test(`of ${workers} gives up a task that killed two workers, and no other task`, async () => {
      const pool = standInPool(workers);
      const tasks = [order.answer, order.exit, order.answer, order.answer].map((o, i) => ordered(i, o));
      const results = await Promise.allSettled(tasks.map((t) => pool.run(t, never)));
      expect(results.map((r) => r.status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
      const error = (results[1] as PromiseRejectedResult).reason as BraidError;
      expect(error.kind).toBe("worker-died");
      expect(error.message).toContain("task 1, for the second time: exit code 3");
      await pool.close();
    });
  }

  test("replaces a bounded number of workers, then rejects everything", async () => {
    const pool = standInPool(1);
    const results = await Promise.all([0, 1, 2, 3].map((id) => rejection(pool.run(ordered(id, order.exit), never))));
    expect(results.map((e) => (e as BraidError).kind)).toEqual(Array(4).fill("worker-died"));
    expect((results[3] as Error).message).toContain(`All workers stopped; ${maxReplacements} were replaced`);
    expect(await rejection(pool.run(ordered(9, order.answer), never))).toBe(results[3]!);
    await pool.close();
  });

  test("rejects when its entry is not there", async () => {
    const pool = standInPool(2, new URL("./no-such-worker.ts", import.meta.url));
    const error = (await rejection(pool.run(ordered(0, order.answer), never))) as BraidError;
    expect(error.kind).toBe("worker-died");
    expect(error.message).toContain("Cannot start a worker: ");
    await pool.close();
  });

  for (const [name, what] of [
    ["reads and writes", order.spin],
    ["never looks up", order.hang],
    ["tells how far it is", order.beat],
  ] as const) {
    test(`stops within 2 s when aborted during a task that ${name}`, async () => {
      const pool = standInPool(2);
      await pool.run(ordered(0, order.answer), never);
      const abort = new AbortController();
      const running = [1, 2, 3, 4, 5].map((id) => rejection(pool.run(ordered(id, what), abort.signal)));
      await new Promise((resolve) => setTimeout(resolve, 100));
      const started = performance.now();
      const reason = new Error("stop");
      abort.abort(reason);
      expect(await Promise.all(running)).toEqual(Array(5).fill(reason));
      expect(performance.now() - started).toBeLessThan(2_000);
      await pool.close();
      expect(performance.now() - started).toBeLessThan(2_000);
    });
  }

  test("passes on how much of a task is done, a few times a second", async () => {
    const pool = standInPool(1);
    const abort = new AbortController();
    const shares: number[] = [];
    const running = rejection(pool.run(ordered(0, order.beat), abort.signal, (share) => shares.push(share)));
    const started = performance.now();
    while (shares.length < 3 && performance.now() - started < 10_000) await new Promise((r) => setTimeout(r, 20));
    abort.abort(new Error("stop"));
    await running;
    await pool.close();
    expect(shares.length).toBe(3);
    expect(shares[0]!).toBe(0.5);
    expect(shares[2]!).toBeGreaterThan(shares[1]!);
    expect(performance.now() - started).toBeGreaterThan(350);
  });

  test("frees the worker of an aborted task for the next", async () => {
    const pool = standInPool(1);
    const abort = new AbortController();
    const running = rejection(pool.run(ordered(0, order.spin), abort.signal));
    const next = pool.run(ordered(1, order.answer), never);
    await new Promise((resolve) => setTimeout(resolve, 50));
    abort.abort(new Error("stop"));
    expect(String(await running)).toBe("Error: stop");
    expect((await next).id).toBe(1);
    await pool.close();
  });

  test("does not start a task whose signal is aborted", async () => {
    const pool = standInPool(1);
    const reason = new Error("before");
    expect(await rejection(pool.run(ordered(0, order.exit), AbortSignal.abort(reason)))).toBe(reason);
    await pool.close();
  });

  test("closes once however often it is asked, and takes nothing afterwards", async () => {
    const pool = standInPool(2);
    await pool.run(ordered(0, order.answer), never);
    await Promise.all([pool.close(), pool.close()]);
    await pool.close();
    expect(String(await rejection(pool.run(ordered(1, order.answer), never)))).toContain("closed");
  });

  test("rejects what still runs when it is closed", async () => {
    const pool = standInPool(1);
    const running = rejection(pool.run(ordered(0, order.spin), never));
    await pool.close();
    expect(String(await running)).toContain("closed");
  });
});
