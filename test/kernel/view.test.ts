// Rows views against the plainest way of saying what they are: an array of rows, each a copy or a mean.

import { describe, expect, test } from "bun:test";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { Scratch } from "../../src/kernel/operand.ts";
import {
  createReader,
  cutView,
  moveView,
  type RowRun,
  type RowsView,
  readerBytes,
  rowsDtype,
} from "../../src/kernel/view.ts";
import { byteWidth, type FloatDtype } from "../../src/tensor/dtype.ts";

const kernel = createKernel(compileKernel(), 4 << 20);

/** Files of f32 rows; the value says file, row and column. */
function sourceBytes(file: number, rows: number, columns: number, dtype: FloatDtype): Uint8Array {
  const bytes = new Uint8Array(rows * columns * byteWidth(dtype));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < rows * columns; i++) {
    const value = value32(file, Math.floor(i / columns), i % columns);
    if (dtype === "F32") view.setFloat32(i * 4, value, true);
    else view.setUint16(i * 2, bits(value) >>> 16, true);
  }
  return bytes;
}

/** Below 256, so that bf16 holds it. */
const value32 = (file: number, row: number, column: number) => (file * 85 + row * 37 + column * 11) % 256;
const scratchFloat = new Float32Array(1);
function bits(x: number): number {
  scratchFloat[0] = x;
  return new Uint32Array(scratchFloat.buffer)[0]!;
}

function readAll(view: RowsView, files: readonly Uint8Array[], first: number, count: number, dtype: FloatDtype) {
  const input = { file: 0, start: 0, view };
  const from = kernel.heapStart + (1 << 20);
  const scratch = new Scratch({ start: from, end: from + readerBytes(input) });
  const io = {
    read: (at: { file: number; start: number }, offset: number, target: Uint8Array) => {
      const bytes = files[at.file]!;
      if (offset < 0 || at.start + offset + target.length > bytes.length) throw new RangeError("read beyond the file");
      target.set(bytes.subarray(at.start + offset, at.start + offset + target.length));
    },
  };
  const reader = createReader(kernel, input, dtype, io, scratch);
  const bytes = kernel.u8(kernel.heapStart, count * byteWidth(dtype));
  bytes.fill(0xee);
  return Promise.resolve(reader.read(first, count, kernel.heapStart)).then(() => bytes.slice());
}

const value = (view: RowsView, row: number, column: number): number => {
  const run = view.runs.find((r) => row >= r.first && row < r.first + r.count)!;
  let sum = 0;
  for (const t of run.take)
    sum = Math.fround(sum + value32(view.sources[t.source]!.file, t.row + row - run.first, column));
  return run.take.length > 1 ? Math.fround(sum * Math.fround(1 / run.take.length)) : sum;
};

describe("a view of rows", () => {
  for (const columns of [1, 3, 16, 1000, 5000]) {
    for (const dtype of ["F32", "BF16"] as const) {
      test(`copies, means and zeros: ${columns} columns of ${dtype}`, async () => {
        const files = [0, 1, 2].map((f) => sourceBytes(f, 40, columns, dtype));
        const runs: RowRun[] = [
          { first: 0, count: 7, take: [{ source: 0, row: 3 }] },
          { first: 7, count: 1, take: [] },
          {
            first: 8,
            count: 5,
            take: [
              { source: 1, row: 0 },
              { source: 2, row: 9 },
            ],
          },
          {
            first: 13,
            count: 2,
            take: [
              { source: 0, row: 1 },
              { source: 1, row: 2 },
              { source: 2, row: 3 },
            ],
          },
          { first: 15, count: 1, take: [{ source: 2, row: 39 }] },
        ];
        const sources = [0, 1, 2].map((file) => ({ file, start: 0, dtype }));
        const view: RowsView = { op: "rows", columns, sources, runs };
        expect(rowsDtype(view)).toBe("F32");
        const total = 16 * columns;
        for (const [first, count] of [
          [0, total],
          [5, Math.min(total - 5, 2 * columns + 1)],
          [total - 1, 1],
          [7 * columns, columns],
        ] as const) {
          const cut = cutView(view, first, count) as RowsView;
          const got = new Float32Array((await readAll(cut, files, first, count, "F32")).buffer);
          for (let i = 0; i < count; i++) {
            const at = first + i;
            const want = value(view, Math.floor(at / columns), at % columns);
            if (got[i] !== want) expect(`element ${at} is ${got[i]}`).toBe(`element ${at} is ${want}`);
          }
        }
      });
    }
  }

  test("without means it keeps the dtype and every bit, NaN payloads too", async () => {
    const file = sourceBytes(0, 8, 8, "BF16");
    file.set([0x01, 0x7f, 0xc5, 0xff], 16);
    const runs: RowRun[] = [
      { first: 0, count: 2, take: [{ source: 0, row: 1 }] },
      { first: 2, count: 1, take: [{ source: 0, row: 0 }] },
    ];
    const view: RowsView = { op: "rows", columns: 8, sources: [{ file: 0, start: 0, dtype: "BF16" }], runs };
    expect(rowsDtype(view)).toBe("BF16");
    const got = await readAll(view, [file], 0, 24, "BF16");
    expect(got).toEqual(new Uint8Array([...file.slice(16, 48), ...file.slice(0, 16)]));
  });

  test("a source may be a view itself, and all its files move together", async () => {
    const file = sourceBytes(0, 8, 4, "F32");
    const inner: RowsView = {
      op: "rows",
      columns: 4,
      sources: [{ file: 0, start: 0, dtype: "F32" }],
      runs: [{ first: 0, count: 4, take: [{ source: 0, row: 4 }] }],
    };
    const view: RowsView = {
      op: "rows",
      columns: 4,
      sources: [{ file: 0, start: 0, dtype: "F32", view: inner }],
      runs: [{ first: 0, count: 2, take: [{ source: 0, row: 2 }] }],
    };
    const got = await readAll(moveView(view, 1) as RowsView, [new Uint8Array(0), file], 0, 8, "F32");
    expect(got).toEqual(file.slice(6 * 16, 8 * 16));
  });

  test("cutting keeps exactly the runs that a range touches", () => {
    const runs = Array.from({ length: 100 }, (_, i): RowRun => ({ first: i * 3, count: 3, take: [] }));
    const view: RowsView = { op: "rows", columns: 10, sources: [], runs };
    expect((cutView(view, 0, 30) as RowsView).runs.map((r) => r.first)).toEqual([0]);
    expect((cutView(view, 30, 1) as RowsView).runs.map((r) => r.first)).toEqual([3]);
    expect((cutView(view, 29, 2) as RowsView).runs.map((r) => r.first)).toEqual([0, 3]);
    expect((cutView(view, 0, 3000) as RowsView).runs.length).toBe(100);
  });
});
