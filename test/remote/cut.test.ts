// Parts of a task give together what the task gives, bit for bit; and a merge whose only nodes take little at a time is the same
// merge.

import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Executor } from "../../src/exec/executor.ts";
import { JobFiles } from "../../src/exec/files.ts";
import { createInlineExecutor } from "../../src/exec/inline.ts";
import { fileOpener } from "../../src/exec/local.ts";
import type { MergeReceipt, Task } from "../../src/kernel/program.ts";
import { merge } from "../../src/merge.ts";
import { receiptHash } from "../../src/remote/audit.ts";
import { cutTask, joinResults } from "../../src/remote/cut.ts";
import type { TaskData, TaskResult } from "../../src/remote/kernels.ts";
import { rangeBytes, rangesOf } from "../../src/remote/ranges.ts";
import { outputBytes, taskFault } from "../../src/remote/wire.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "../support/host.ts";
import { kernels, messageFor, module, testApp } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes, now, seeded } from "./nodes.ts";

const localRecipe = (name: string) => {
  const text = readFileSync(join(projectRoot, `examples/${name}.yml`), "utf8");
  return text.replaceAll("models/", "examples/models/").replaceAll("examples/examples/", "examples/");
};

const whatOf = (task: Task): string =>
  task.kind === "merge"
    ? task.program.op
    : task.round.op === "dots" && task.round.lines
      ? `dots by ${task.round.lines.by}`
      : task.round.op;

/** Every task of a merge in large slices, with its files. */
async function tasksOf(text: string, each: (task: Task, run: (task: Task) => Promise<TaskResult>) => Promise<void>) {
  await withTempFolder(async (temp) => {
    const host = {
      ...testHost(),
      createExecutor: (job: Parameters<typeof createInlineExecutor>[0]["job"]): Executor => {
        const inner = createInlineExecutor({ module, job, now, opener: fileOpener });
        const files = new JobFiles(job.files, fileOpener);
        const run = async (task: Task): Promise<TaskResult> => {
          const ranges = rangesOf(task);
          const data: TaskData = { ranges, bytes: new Uint8Array(rangeBytes(ranges)) };
          let at = 0;
          for (const { file, start, end } of ranges) {
            await files.read({ file, start }, 0, data.bytes.subarray(at, at + end - start));
            at += end - start;
          }
          return kernels.run(task, data, new AbortController().signal);
        };
        return {
          capacity: 1,
          run: async (task, signal) => {
            await each(task, run);
            return inner.run(task, signal);
          },
          close: async () => {
            await files.close();
            await inner.close();
          },
        };
      },
    };
    const request = requestFor(text, { sliceElements: 2 ** 20 });
    await merge(request, join(temp, "out"), { overwrite: false }, host);
  });
}

describe("parts of a task together are the task", () => {
  /** What was cut, and into how many parts at least. */
  const cut = new Map<string, number>();
  const uncut = new Set<string>();

  /** Of one task: cut in three or more, run, put together. */
  async function compare(task: Task, parts: readonly Task[], run: (task: Task) => Promise<TaskResult>) {
    const whole = await run(task);
    const results = [];
    for (const part of parts) results.push(await run(part));
    const joined = joinResults(task, results);
    expect(Buffer.from(joined.output).equals(Buffer.from(whole.output))).toBe(true);
    expect([whatOf(task), receiptHash(joined.receipt)]).toEqual([whatOf(task), receiptHash(whole.receipt)]);
    cut.set(whatOf(task), Math.max(parts.length, cut.get(whatOf(task)) ?? 0));
  }

  const exact = localRecipe("ties").replace("density: 0.5", "density: 0.5\n  ties: exact\n  zero: majority");
  for (const name of ["dare-ties", "lora", "exact", "della", "model-stock", "nuslerp", "sce", "ramplus-tl"]) {
    test(name, async () => {
      let seen = 0;
      await tasksOf(name === "exact" ? exact : localRecipe(name), async (task, run) => {
        if (task.kind === "merge" && task.program.op === "matrix") return;
        // Of tasks that are alike a few will do.
        if (seen++ % 5 > 1 && cut.has(whatOf(task))) return;
        const bytes = Math.max(rangeBytes(rangesOf(task)), outputBytes(task));
        const limit = Math.ceil(bytes / 3);
        const parts = cutTask(task, limit);
        if (!parts) {
          uncut.add(whatOf(task));
          return;
        }
        if (parts.length < 2) return;
        for (const part of parts) expect(rangeBytes(rangesOf(part))).toBeLessThanOrEqual(limit);
        await compare(task, parts, run);
      });
    });
  }

  // What the example models are too small for, or have not.
  const random = seeded(7);
  const values = Float32Array.from({ length: 65_536 }, () => random() - 0.5);
  values.set([Number.NaN, Number.POSITIVE_INFINITY], 9000);
  values.set([Number.NaN], 50_000);
  const file = new Uint8Array(values.buffer);
  const inMemory = (task: Task): Promise<TaskResult> => {
    const { ranges, inline: bytes } = messageFor(task, [file]);
    return kernels.run(task, { ranges, bytes }, new AbortController().signal);
  };

  test.each([512, 1024])("a sample, in pieces of %d", async (pieceLength) => {
    const pieces = [0, 1024, 8192, 40_000, 60_000, 64_000];
    const task: Task = {
      kind: "survey",
      id: 3,
      first: 0,
      count: pieces.length * pieceLength,
      inputs: [{ file: 0, start: 0 }],
      dtypes: ["F32"],
      round: { op: "sample", operands: [{ input: 0, base: null, keep: {} }] },
      pieces,
      ...(pieceLength === 512 ? {} : { pieceLength }),
    };
    await compare(task, cutTask(task, 8 * pieceLength)!, inMemory);
    expect(cut.get("sample")).toBeGreaterThanOrEqual(3);
  });

  test("pieces from a stranger are places, and no longer than a tile", () => {
    const operands = [{ input: 0, base: null, keep: {} }];
    const common = { kind: "survey", id: 0, first: 0, count: 512, inputs: [{ file: 0, start: 0 }], dtypes: ["F32"] };
    const task = { ...common, round: { op: "sample", operands }, pieces: [0] };
    expect([taskFault(task), taskFault({ ...task, pieceLength: 4096 })]).toEqual([null, null]);
    for (const pieceLength of [0, 4097, 1.5, "512"])
      expect(taskFault({ ...task, pieceLength })).toBe("its pieces do not have 1 to 4096 elements");
    for (const pieces of [[-1], [0.5], "0"]) expect(taskFault({ ...task, pieces })).toBe("its pieces are no places");
  });

  test("rows of another vocabulary, non-finite elements and overflow", async () => {
    const columns = 100;
    const runs = [
      { first: 0, count: 90, take: [{ source: 0, row: 20 }] },
      { first: 90, count: 50, take: [] },
      { first: 140, count: 360, take: [{ source: 0, row: 200 }] },
    ];
    const sources = [{ file: 0, start: 0, dtype: "F32" as const }];
    const task: Task = {
      kind: "merge",
      id: 4,
      first: 4096,
      count: 40_000,
      inputs: [{ file: 0, start: 0, view: { op: "rows", columns, sources, runs } }],
      output: { file: 1, start: 0 },
      program: {
        op: "merge",
        inputs: ["F32"],
        out: "F16",
        base: null,
        terms: [{ input: 0, weight: 200_000, scale: 1, keep: {} }],
        combine: { op: "sum" },
        lambda: 1,
      },
      policy: { nonFinite: "keep", overflow: "inf" },
    };
    const whole = (await inMemory(task)).receipt as MergeReceipt;
    expect(whole.overflow.count).toBeGreaterThan(1000);
    expect(whole.nonFinite.length).toBe(1);
    const parts = cutTask(task, 40_000)!;
    expect(parts.length).toBeGreaterThan(3);
    await compare(task, parts, inMemory);
  });

  test("of every kind there was one", () => {
    const kinds = ["merge", "dots", "dots by row", "norms", "contributors", "signs", "sample", "histogram", "equals"];
    expect(kinds.filter((k) => !cut.has(k))).toEqual([]);
  });

  test("a task that fits is left alone; sums of columns and single blocks are not cut", () => {
    const inputs = [{ file: 0, start: 0 }];
    const operands = [{ input: 0, base: null, keep: {} }];
    const survey = { kind: "survey", id: 1, first: 0, count: 65_536, inputs, dtypes: ["F32"] } as const;
    const columns: Task = { ...survey, round: { op: "dots", operands, lines: { by: "column", length: 64 } } };
    expect(cutTask(columns, 2 ** 20)).toEqual([columns]);
    expect(cutTask(columns, 2 ** 16)).toBeNull();
    const nth: Task = { ...survey, count: 4096, round: { op: "nth", operands: [{ ...operands[0]!, key: 1, nth: 0 }] } };
    expect(cutTask(nth, 2 ** 12)).toBeNull();
    // Below a tile nothing is cut.
    expect(cutTask({ ...survey, round: { op: "norms", operands } }, 2 ** 12)).toBeNull();
    expect(cutTask({ ...survey, round: { op: "norms", operands } }, 2 ** 14)?.length).toBe(16);
  });
});

describe("with nodes of small limits the bytes are the same", () => {
  let alone = "";
  beforeAll(async () => {
    alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
  });
  // 16 Ki elements of three fine-tunes and a base in bf16 are 128 KiB.
  const small = () => testApp({ limits: { sliceBytes: 64 * 1024 } });

  test("one small node and nothing else: in parts", () =>
    withTempFolder(async (temp) => {
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 1,
        fetch: appFetch([small()]),
      });
      expect(sha256).toBe(alone);
      expect(reports.map((r) => r.state)).toEqual(["ready", "done"]);
      expect(reports.at(-1)!.tasks).toBeGreaterThan(50);
    }));

  test("a small one beside a large one: both work", () =>
    withTempFolder(async (temp) => {
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 2,
        fetch: appFetch([small(), testApp()]),
      });
      expect(sha256).toBe(alone);
      const tasks = reports.filter((r) => r.state === "done").map((r) => r.tasks);
      expect(Math.min(...tasks)).toBeGreaterThan(0);
    }));

  test("a node that takes hardly more than its test merge does what it can", () =>
    withTempFolder(async (temp) => {
      // A tile of the four inputs is 32 KiB and the test merge of joining 50 KB, so only rounds over more tiles are too much.
      const text = localRecipe("nuslerp");
      const want = await mergeAlone(join(temp, "alone"), text);
      const fetch = appFetch([testApp({ limits: { sliceBytes: 50_000 } })]);
      const got = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch, recipe: text });
      expect(got.sha256).toBe(want);
      expect(got.reports.at(-1)!.tasks).toBeGreaterThan(20);
    }));
});
