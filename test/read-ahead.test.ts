import { describe, expect, test } from "bun:test";
import type { MergeReceipt, MergeTask, SurveyReceipt, SurveyTask } from "../src/kernel/program.ts";
import { readAheadLanes } from "../src/plan/memory.ts";
import type { Plan, PlanTensor } from "../src/plan/plan.ts";
import { ReadAhead, rangeBytes, windowBytes } from "../src/read-ahead.ts";

const sliceElements = 1 << 22;
const count = 15 * sliceElements + 37;
const tensors = 8;
const headerBytes = 1000;

/** Eight tensors of two inputs, bf16 and f32, each of a file of its own. Some 3 GB, of which not one byte is there. */
function planOf(view = false): Plan {
  const tensor = (n: number): PlanTensor => ({
    name: `t${n}`,
    dtype: "BF16",
    shape: [count],
    count,
    inputs: (["BF16", "F32"] as const).map((dtype, file) => ({
      file,
      start: headerBytes + n * count * (file === 0 ? 2 : 4),
      dtype,
      model: file,
      tensor: `t${n}`,
      ...(view ? { view: {} as NonNullable<PlanTensor["inputs"][number]["view"]> } : {}),
    })),
    output: { file: 0, start: 0 },
    surveys: [],
    program: { op: "copy", byteWidth: 2 },
    solve: {},
  });
  return {
    inputFiles: ["a", "b"].map((location) => ({ location, byteLength: 0, headerSha256: "" })),
    tensors: Array.from({ length: tensors }, (_, n) => tensor(n)),
    memory: { sliceElements },
  } as unknown as Plan;
}

interface Call {
  readonly path: string;
  readonly start: number;
  readonly end: number;
  readonly signal: AbortSignal;
  readonly finish: (nanosecondsPerByte: number) => Promise<void>;
  readonly fail: () => Promise<void>;
}

/** A host whose reads end when a test says so, as slowly as it says. `diskBytes`: what the system has counted by now. */
function diskOf(diskBytes: () => number | null = () => null) {
  let now = 0;
  const calls: Call[] = [];
  const settled = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
  return {
    calls,
    host: {
      now: () => now,
      diskBytes,
      readAhead(path: string, start: number, end: number, signal: AbortSignal) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        const begun = now;
        const finish = (rate: number) => {
          now = Math.max(now, begun + (rate * (end - start)) / 1e6);
          resolve();
          return settled();
        };
        const fail = () => {
          reject(new Error("EIO"));
          return settled();
        };
        calls.push({ path, start, end, signal, finish, fail });
        return promise;
      },
    },
  };
}

/** The workers' slices in order: `work(n, rate)` finishes the next n, read in `rate` nanoseconds a byte. */
function workersOf(plan: Plan, ahead: ReadAhead) {
  let next = 0;
  const perTensor = Math.ceil(count / sliceElements);
  return (slices: number, rate: number) => {
    for (let i = 0; i < slices; i++, next++) {
      const tensor = plan.tensors[Math.floor(next / perTensor)]!;
      const first = (next % perTensor) * sliceElements;
      const task = { kind: "merge", first, count: Math.min(sliceElements, count - first) } as MergeTask;
      const read = rate * task.count * 6;
      ahead.done(task, tensor, { nanoseconds: { read, compute: 0, write: 0 } } as MergeReceipt);
    }
  };
}

const warm = 0.3;
const cold = 4;

describe("reading ahead", () => {
  test("does not begin while the workers find their bytes in memory", () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    workersOf(plan, new ReadAhead(plan, host))(100, warm);
    expect(calls).toEqual([]);
  });

  test("does not begin for one slice that was held up", () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    const work = workersOf(plan, new ReadAhead(plan, host));
    for (let i = 0; i < 10; i++) {
      work(9, warm);
      work(1, cold);
    }
    expect(calls).toEqual([]);
  });

  test("does not begin for reads that are slow for want of cores: nothing came from the disk", () => {
    const plan = planOf();
    const { calls, host } = diskOf(() => 5000);
    const work = workersOf(plan, new ReadAhead(plan, host));
    for (let i = 0; i < 30; i++) {
      work(2, 3);
      work(1, warm);
    }
    expect(calls).toEqual([]);
  });

  test("begins when an eighth of what was slow came from the disk, however much was read before", () => {
    const plan = planOf();
    const slice = sliceElements * 6;
    let disk = 1e9;
    const { calls, host } = diskOf(() => disk);
    const work = workersOf(plan, new ReadAhead(plan, host));
    work(60, warm);
    for (let i = 0; i < 10 && calls.length === 0; i++) {
      disk += slice / 20;
      work(1, 3);
    }
    expect(calls).toEqual([]);
    for (let i = 0; i < 10 && calls.length === 0; i++) {
      disk += slice / 4;
      work(1, 3);
    }
    expect(calls.length).toBe(readAheadLanes);
  });

  test("begins for a file system whose reads the system does not count, where no memory is that slow", () => {
    const plan = planOf();
    const { calls, host } = diskOf(() => 0);
    const work = workersOf(plan, new ReadAhead(plan, host));
    work(30, 3);
    expect(calls).toEqual([]);
    work(10, 6);
    expect(calls.length).toBe(readAheadLanes);
  });

  test("does not begin for samples, whose pieces are slow to read out of memory too", () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    const ahead = new ReadAhead(plan, host);
    const task = { kind: "survey", first: 0, count: 65_536, pieces: [0] } as unknown as SurveyTask;
    const nanoseconds = { read: 10 * task.count * 6, compute: 0, write: 0 };
    for (const tensor of plan.tensors) ahead.done(task, tensor, { kind: "survey", nanoseconds } as SurveyReceipt);
    expect(calls).toEqual([]);
  });

  test("begins when they wait for the disk, and reads what comes, once, in order, within the window", async () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    const ahead = new ReadAhead(plan, host);
    const work = workersOf(plan, ahead);
    work(2, cold);
    expect(calls.length).toBe(readAheadLanes);
    for (let done = 0; done < calls.length; done++) {
      await calls[done]!.finish(cold);
      expect(calls.length - done - 1).toBeLessThanOrEqual(readAheadLanes);
    }
    // The lanes have come to the end of the window, and wait for the workers.
    const total = calls.reduce((sum, c) => sum + c.end - c.start, 0);
    expect(total).toBeGreaterThan(windowBytes - 8 * rangeBytes);
    expect(total).toBeLessThan(windowBytes + 8 * rangeBytes);
    for (const path of ["a", "b"]) {
      const width = path === "a" ? 2 : 4;
      const own = calls.filter((c) => c.path === path);
      expect(own[0]!.start).toBe(headerBytes + 2 * sliceElements * width);
      for (const [i, c] of own.entries()) {
        expect(c.end - c.start).toBeLessThanOrEqual(rangeBytes);
        if (i > 0) expect(c.start).toBe(own[i - 1]!.end);
      }
    }
    const before = calls.length;
    work(1, warm);
    expect(calls.length).toBeGreaterThan(before);
  });

  test("does not read what the workers have passed", async () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    const ahead = new ReadAhead(plan, host);
    const work = workersOf(plan, ahead);
    work(4, cold);
    work(20, cold);
    const seen = calls.length;
    await calls[0]!.finish(cold);
    const after = calls.slice(seen).filter((c) => c.path === "a");
    // 24 slices: a whole tensor of 16, and 8 of the next.
    for (const c of after) expect(c.start).toBeGreaterThanOrEqual(headerBytes + (count + 8 * sliceElements) * 2);
    expect(calls.length).toBeGreaterThan(seen);
  });

  test("stops when what it reads was in memory, and begins again when the workers wait again", async () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    const ahead = new ReadAhead(plan, host);
    const work = workersOf(plan, ahead);
    work(4, cold);
    for (let done = 0; done < calls.length; done++) await calls[done]!.finish(0.05);
    expect(calls.length).toBeLessThan(16);
    const stopped = calls.length;
    work(10, warm);
    expect(calls.length).toBe(stopped);
    work(10, cold);
    expect(calls.length).toBeGreaterThan(stopped);
  });

  test("ends on demand: what is under way is told and awaited, and nothing follows", async () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    const ahead = new ReadAhead(plan, host);
    const work = workersOf(plan, ahead);
    work(4, cold);
    let ended = false;
    const end = ahead.end().then(() => {
      ended = true;
    });
    expect(calls.every((c) => c.signal.aborted)).toBe(true);
    await Promise.resolve();
    expect(ended).toBe(false);
    for (const c of calls) await c.finish(cold);
    await end;
    work(10, cold);
    expect(calls.length).toBe(readAheadLanes);
  });

  test("a read that fails ends it, and is not told: a worker meets the same", async () => {
    const plan = planOf();
    const { calls, host } = diskOf();
    const ahead = new ReadAhead(plan, host);
    const work = workersOf(plan, ahead);
    work(4, cold);
    await calls[0]!.fail();
    for (const c of calls.slice(1)) await c.finish(cold);
    await ahead.end();
    work(10, cold);
    expect(calls.length).toBe(readAheadLanes);
  });

  test("leaves tensors alone that are computed while they are read", () => {
    const plan = planOf(true);
    const { calls, host } = diskOf();
    workersOf(plan, new ReadAhead(plan, host))(50, cold);
    expect(calls).toEqual([]);
  });
});
