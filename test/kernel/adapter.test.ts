// Adapters folded while a weight is read, against the product and sum written out (reference.ts rounds every step to f32).

import { describe, expect, test } from "bun:test";
import type { AdapterView } from "../../src/kernel/adapter.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { Scratch } from "../../src/kernel/operand.ts";
import * as reference from "../../src/kernel/reference.ts";
import { createReader, moveView, readerBytes, type View } from "../../src/kernel/view.ts";
import { difference, floats, put, random, reset, room, run, sample, sweep } from "./harness.ts";

const kernel = createKernel(compileKernel(), 8 << 20);
const f = Math.fround;

function numbers(count: number, seed: number): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: count }, () => (next() / 2 ** 32 - 0.5) * 2);
}

/** Reads [first, first + count) of a view over f32 files. */
async function read(view: View, files: readonly Float32Array[], first: number, count: number): Promise<Float32Array> {
  const input = { file: 0, start: 0, view };
  const from = kernel.heapStart + (4 << 20);
  const io = {
    read(at: { file: number; start: number }, offset: number, target: Uint8Array) {
      const data = files[at.file]!;
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      if (at.start + offset + target.length > bytes.length) throw new RangeError("read beyond the file");
      target.set(bytes.subarray(at.start + offset, at.start + offset + target.length));
    },
  };
  const scratch = new Scratch({ start: from, end: from + readerBytes(input) });
  await createReader(kernel, input, "F32", io, scratch).read(first, count, kernel.heapStart);
  return new Float32Array(kernel.memory.buffer, kernel.heapStart, count).slice();
}

const source = (file: number) => ({ file, start: 0, dtype: "F32" as const });

interface Shape {
  rows: number;
  columns: number;
  rank: number;
}

/** W + Σ s·left·right, rounded as the kernels round. */
function folded(
  weight: Float32Array,
  { rows, columns }: Shape,
  factors: { left: Float32Array; right: Float32Array; rank: number; scale: number }[],
): Float32Array {
  const out = weight.slice();
  for (const { left, right, rank, scale } of factors) {
    for (let i = 0; i < rows; i++) {
      const product = reference.fold_row(left.subarray(i * rank, (i + 1) * rank), right, columns, columns);
      for (let j = 0; j < columns; j++) out[i * columns + j] = f(out[i * columns + j]! + f(f(scale) * product[j]!));
    }
  }
  return out;
}

const shapes: Shape[] = [
  { rows: 3, columns: 5, rank: 1 },
  { rows: 70, columns: 33, rank: 8 },
  { rows: 7, columns: 4100, rank: 3 },
  { rows: 130, columns: 1, rank: 2 },
  { rows: 5, columns: 64, rank: 16 },
];

describe("fold_row", () => {
  for (const rank of [0, 1, 2, 7]) {
    test(`rank ${rank}`, () => {
      expect(
        sweep((count, misalign) => {
          const pitch = count + 3;
          const left = sample(rank, 5);
          const right = sample(rank * pitch, count + 1);
          const [leftAt, rightAt] = [put(left, misalign), put(right, misalign + 4)];
          const out = room(count * 4, misalign + 8);
          run.fold_row(out, leftAt, rightAt, rank, pitch, count);
          return difference(floats(out, count), reference.fold_row(left, right, pitch, count));
        }),
      ).toBe("");
      reset();
    });
  }
});

describe("fold_four", () => {
  for (const rank of [0, 1, 2, 7]) {
    test(`rank ${rank}`, () => {
      expect(
        sweep((count, misalign) => {
          const [pitch, outPitch] = [count + 3, count + 5];
          const left = sample(4 * rank, 5);
          const right = sample(rank * pitch, count + 1);
          const [leftAt, rightAt] = [put(left, misalign), put(right, misalign + 4)];
          const out = room((3 * outPitch + count) * 4, misalign + 8);
          run.fold_four(out, outPitch, leftAt, rightAt, rank, pitch, count);
          const want = reference.fold_four(left, right, pitch, count);
          return (
            want.map((row, i) => difference(floats(out + i * outPitch * 4, count), row)).find((d) => d !== "") ?? ""
          );
        }),
      ).toBe("");
      reset();
    });
  }
});

describe("a weight with adapters", () => {
  for (const shape of shapes) {
    const { rows, columns, rank } = shape;
    const weight = numbers(rows * columns, 1);
    const a = numbers(rank * columns, 2);
    const b = numbers(rows * rank, 3);
    const a2 = numbers(2 * columns, 4);
    const b2 = numbers(rows * 2, 5);
    const files = [weight, a, b, a2, b2];
    const view: AdapterView = {
      op: "adapter",
      rows,
      columns,
      weight: source(0),
      factors: [
        { rank, scale: 0.3, a: source(1), b: source(2), transposed: false },
        { rank: 2, scale: 2, a: source(3), b: source(4), transposed: false },
      ],
      magnitude: null,
      round: null,
    };
    const want = folded(weight, shape, [
      { left: b, right: a, rank, scale: 0.3 },
      { left: b2, right: a2, rank: 2, scale: 2 },
    ]);
    test(`${rows} × ${columns}, rank ${rank}: all of it, and any part alone`, async () => {
      expect(await read(view, files, 0, rows * columns)).toEqual(want);
      const middle = Math.floor((rows * columns) / 3);
      for (const [first, count] of [
        [middle, Math.min(rows * columns - middle, columns + 1)],
        [rows * columns - 1, 1],
        [0, 0],
      ] as const) {
        expect(await read(view, files, first, count)).toEqual(want.slice(first, first + count));
      }
      expect(await read(moveView(view, 2), [a, a, ...files], 0, rows * columns)).toEqual(want);
    });

    test(`${rows} × ${columns}, rank ${rank}: transposed factors`, async () => {
      // W is [in, out] here: A is [rank, in = rows], B is [out = columns, rank].
      const across = { ...view.factors[0]!, a: source(1), b: source(2), transposed: true };
      const a = numbers(rank * rows, 6);
      const b = numbers(columns * rank, 7);
      const got = await read({ ...view, factors: [across] }, [weight, a, b], 0, rows * columns);
      const leftRows = Float32Array.from(
        { length: rows * rank },
        (_, i) => a[(i % rank) * rows + Math.floor(i / rank)]!,
      );
      const rightRows = Float32Array.from(
        { length: rank * columns },
        (_, i) => b[(i % columns) * rank + Math.floor(i / columns)]!,
      );
      expect(got).toEqual(folded(weight, shape, [{ left: leftRows, right: rightRows, rank, scale: 0.3 }]));
    });

    test(`${rows} × ${columns}, rank ${rank}: DoRA gives every row its length`, async () => {
      const magnitude = numbers(rows, 8).map((x) => f(Math.abs(x) + 1));
      const got = await read({ ...view, magnitude: source(5) }, [...files, magnitude], 0, rows * columns);
      for (let i = 0; i < rows; i++) {
        const row = want.subarray(i * columns, (i + 1) * columns);
        let squares = 0;
        for (const x of row) squares += x * x;
        const length = f(magnitude[i]! / Math.sqrt(squares));
        for (let j = 0; j < columns; j++) {
          // The order of the f64 sum may move the last bit of the factor.
          expect(Math.abs(got[i * columns + j]! - length * row[j]!)).toBeLessThanOrEqual(
            2e-7 * Math.abs(length * row[j]!),
          );
        }
      }
    });
  }

  test("the vectors of the LoRA paper's formula: rank 2, α 16, and DoRA's [3, 4] with m = 10", async () => {
    const b = Float32Array.of(1, 0, 2, 1, 0, 1);
    const a = Float32Array.of(1, 2, 0, 1, 0, 1, 1, 0);
    const view: AdapterView = {
      op: "adapter",
      rows: 3,
      columns: 4,
      weight: source(0),
      factors: [{ rank: 2, scale: 16 / 2, a: source(1), b: source(2), transposed: false }],
      magnitude: null,
      round: null,
    };
    const product = [1, 2, 0, 1, 2, 5, 1, 2, 0, 1, 1, 0];
    expect(await read(view, [new Float32Array(12), a, b], 0, 12)).toEqual(Float32Array.from(product, (x) => x * 8));
    const dora: AdapterView = { ...view, rows: 1, columns: 2, factors: [], magnitude: source(1) };
    expect(await read(dora, [Float32Array.of(3, 4), Float32Array.of(10)], 0, 2)).toEqual(Float32Array.of(6, 8));
  });

  test("rounded to bf16 on the way, as PEFT folds into a bf16 model: the sum, once", async () => {
    const view: AdapterView = {
      op: "adapter",
      rows: 1,
      columns: 3,
      weight: source(0),
      factors: [{ rank: 1, scale: 1, a: source(1), b: source(2), transposed: false }],
      magnitude: null,
      round: "BF16",
    };
    // Half a bf16 step is lost on an even number and counts on an odd one; a little more always counts.
    const weight = Float32Array.of(1, 1 + 2 ** -7, 1);
    const got = await read(
      view,
      [weight, Float32Array.of(2 ** -8, 2 ** -8, 2 ** -8 + 2 ** -20), Float32Array.of(1)],
      0,
      3,
    );
    expect(got).toEqual(Float32Array.of(1, 1 + 2 ** -6, 1 + 2 ** -7));
  });
});
