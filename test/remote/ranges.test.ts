// What a task is said to read is what it reads: the runner itself is asked, with a reader that knows the ranges only.

import { describe, expect, test } from "bun:test";
import { createKernel } from "../../src/kernel/kernel.ts";
import type { Location, MergeTask, SurveyTask, Task, TaskInput } from "../../src/kernel/program.ts";
import { Runner } from "../../src/kernel/run.ts";
import type { ViewSource } from "../../src/kernel/view.ts";
import { type Range, rangeBytes, rangeReader, rangesFault, rangesOf } from "../../src/remote/ranges.ts";
import { module } from "./fixture.ts";

const kernel = createKernel(module, 16 << 20);
const source = (file: number, start: number, dtype: ViewSource["dtype"]): ViewSource => ({ file, start, dtype });

function mergeOf(inputs: TaskInput[], first: number, count: number): MergeTask {
  return {
    kind: "merge",
    id: 0,
    first,
    count,
    inputs,
    output: { file: 9, start: 0 },
    program: {
      op: "merge",
      inputs: inputs.map(() => "F32"),
      out: "F32",
      base: null,
      terms: inputs.map((_, input) => ({ input, weight: 1, scale: 1, keep: {} })),
      combine: { op: "sum" },
      lambda: 1,
    },
    policy: { nonFinite: "keep", overflow: "inf" },
  };
}

/** Every byte of a file says where it is. */
const byteAt = (file: number, at: number) => (file * 31 + at * 7 + (at >> 8)) & 0x3f;

async function outputs(task: Task, read: (at: Location, offset: number, target: Uint8Array) => void) {
  const out = new Map<number, Uint8Array>();
  const io = { read, write: (_: Location, offset: number, data: Uint8Array) => void out.set(offset, data.slice()) };
  const receipt = await new Runner(kernel, io, () => 0).run(task);
  return { out, receipt };
}

async function check(task: Task): Promise<Range[]> {
  const ranges = rangesOf(task);
  expect(rangesFault(ranges)).toBe(null);
  const bytes = new Uint8Array(rangeBytes(ranges));
  let at = 0;
  for (const r of ranges) for (let i = r.start; i < r.end; i++) bytes[at++] = byteAt(r.file, i);
  const asked = new Set<string>();
  const whole = await outputs(task, ({ file, start }, offset, target) => {
    for (let i = 0; i < target.length; i++) target[i] = byteAt(file, start + offset + i);
    asked.add(`${file}`);
  });
  expect(await outputs(task, rangeReader(ranges, bytes).read as never)).toEqual(whole);
  expect([...asked].sort()).toEqual([...new Set(ranges.map((r) => String(r.file)))].sort());
  return ranges;
}

describe("the ranges of a task", () => {
  for (const [first, count] of [
    [0, 4096],
    [4096, 10_000],
    [8192, 1],
  ] as const) {
    test(`are those of plain inputs: ${count} from ${first}`, async () => {
      const ranges = await check(
        mergeOf(
          [
            { file: 0, start: 40 },
            { file: 2, start: 8 },
          ],
          first,
          count,
        ),
      );
      expect(ranges).toEqual([
        { file: 0, start: 40 + first * 4, end: 40 + (first + count) * 4 },
        { file: 2, start: 8 + first * 4, end: 8 + (first + count) * 4 },
      ]);
    });

    test(`are those of rows: ${count} from ${first}`, async () => {
      const view = {
        op: "rows" as const,
        columns: 100,
        sources: [source(0, 8, "BF16"), source(1, 16, "F32")],
        runs: [
          { first: 0, count: 50, take: [{ source: 0, row: 3 }] },
          { first: 50, count: 1, take: [] },
          {
            first: 51,
            count: 400,
            take: [
              { source: 1, row: 7 },
              { source: 0, row: 60 },
            ],
          },
        ],
      };
      await check(mergeOf([{ file: 0, start: 0, view }], first, count));
    });

    for (const [transposed, dora] of [
      [false, false],
      [true, false],
      [false, true],
    ] as const) {
      test(`are those of an adapter (transposed: ${transposed}, DoRA: ${dora}): ${count} from ${first}`, async () => {
        const view = {
          op: "adapter" as const,
          rows: 200,
          columns: 96,
          weight: source(0, 8, "BF16"),
          factors: [{ rank: 4, scale: 0.5, a: source(1, 0, "F32"), b: source(2, 4, "F32"), transposed }],
          magnitude: dora ? source(3, 0, "F32") : null,
          round: null,
        };
        await check(
          mergeOf(
            [
              { file: 0, start: 0, view },
              { file: 5, start: 0 },
            ],
            first,
            count,
          ),
        );
      });
    }

    test(`are those of scaled weights: ${count} from ${first}`, async () => {
      const view = {
        op: "scaled" as const,
        columns: 96,
        weight: source(0, 8, "F8_E4M3" as ViewSource["dtype"]),
        scales: source(1, 4, "F32"),
        scaleCount: 4,
        blockRows: 96,
        blockColumns: 64,
      };
      await check(mergeOf([{ file: 0, start: 0, view: { ...view, scaleCount: 6 } }], first, count));
    });
  }

  test("are those of masked deltas: eight elements of a mask are a byte", () => {
    const view = {
      op: "masked" as const,
      base: { file: 0, start: 100, dtype: "BF16" as const },
      unified: { file: 1, start: 200, dtype: "F32" as const },
      mask: { file: 2, start: 300 },
      scale: 1,
    };
    expect(rangesOf(mergeOf([{ file: 0, start: 100, view }], 4096, 4097))).toEqual([
      { file: 0, start: 100 + 8192, end: 100 + 16386 },
      { file: 1, start: 200 + 16384, end: 200 + 32772 },
      { file: 2, start: 300 + 512, end: 300 + 1025 },
    ]);
  });

  test("of a sample are its pieces", async () => {
    const bracket = { low: 1, high: 2 ** 16, shift: 0, hot: 0xffffffff, nonzero: false };
    const task: SurveyTask = {
      kind: "survey",
      id: 0,
      first: 0,
      count: 100_000,
      inputs: [{ file: 0, start: 2 }],
      dtypes: ["BF16"],
      round: { op: "sample", operands: [{ input: 0, base: null, keep: {} }] },
      pieces: [0, 512, 4096],
    };
    expect(await check(task)).toEqual([
      { file: 0, start: 2, end: 2 + 2048 },
      { file: 0, start: 2 + 8192, end: 2 + 8192 + 1024 },
    ]);
    const round = { op: "histogram", operands: [{ input: 0, base: null, keep: {}, ...bracket }] } as const;
    expect(await check({ ...task, count: 3 * 1024, round, pieceLength: 1024 })).toEqual([
      { file: 0, start: 2, end: 2 + 1536 * 2 },
      { file: 0, start: 2 + 8192, end: 2 + 8192 + 2048 },
    ]);
  });

  test("hold no more: reading beside them is an error", () => {
    const { read } = rangeReader([{ file: 1, start: 10, end: 20 }], new Uint8Array(10));
    for (const [file, start, length] of [
      [1, 9, 2],
      [1, 19, 2],
      [0, 12, 2],
      [2, 12, 2],
    ] as const)
      expect(() => read({ file, start }, 0, new Uint8Array(length))).toThrow("did not name");
  });
});

test.each([
  [[{ file: 0, start: 4, end: 4 }]],
  [[{ file: 0, start: -1, end: 4 }]],
  [[{ file: 0, start: 0, end: 2 ** 60 }]],
  [
    [
      { file: 1, start: 0, end: 4 },
      { file: 0, start: 0, end: 4 },
    ],
  ],
  [
    [
      { file: 0, start: 0, end: 4 },
      { file: 0, start: 3, end: 9 },
    ],
  ],
  [[null]],
  ["ranges"],
] as const)("ranges that are none are refused: %j", (value) => {
  expect(rangesFault(value)).not.toBe(null);
});
