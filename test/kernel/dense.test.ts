// The kernels on f64 matrices against their twins, bit for bit.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as twin from "../../src/kernel/reference-matrix.ts";
import { bytes, damage, floats, put, reset, room, run } from "./harness.ts";

let seed = 1;
/** No two alike, of both signs, over some orders of magnitude. */
function next(): number {
  seed = (seed * 1103515245 + 12345) % 2 ** 31;
  return (seed / 2 ** 30 - 1) * 2 ** ((seed % 7) - 3);
}
const doubles = (count: number) => Float64Array.from({ length: count }, next);
const singles = (count: number) => Float32Array.from({ length: count }, next);
const read = (pointer: number, count: number) => new Float64Array(bytes(pointer, count * 8).buffer);
/** Every element the same number, −0 apart from +0; which of its bit patterns a NaN has is the machine's choice. */
function expectSame(got: ArrayLike<number>, want: ArrayLike<number>): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    if (!Object.is(got[i], want[i])) throw new Error(`element ${i} is ${got[i]}, not ${want[i]}`);
  }
}
const lengths = [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17];
const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 5e-324, 1.7e308];

beforeEach(reset);
afterEach(() => expect(damage()).toBe(""));

describe("gemm_f64", () => {
  const shapes = [
    [0, 3, 2],
    [1, 1, 1],
    [4, 4, 1],
    [5, 3, 0],
    [3, 5, 255],
    [7, 9, 256],
    [4, 6, 257],
    [9, 2, 600],
    [97, 5, 3],
    [5, 1027, 3],
    [101, 13, 19],
  ] as const;
  for (const [m, n, depth] of shapes) {
    for (const [aNarrow, bNarrow, aTurned, bTurned, factor] of [
      [0, 0, 0, 0, 1],
      [0, 0, 1, 1, -0.5],
      [1, 1, 0, 1, 1],
      [1, 0, 1, 0, 3],
      [0, 1, 0, 0, 1],
    ] as const) {
      test(`${m} × ${n} over ${depth}, narrow ${aNarrow}${bNarrow}, turned ${aTurned}${bTurned}, factor ${factor}`, () => {
        const [aRow, aColumn] = aTurned ? [1, m + 1] : [depth + 2, 1];
        const [bRow, bColumn] = bTurned ? [1, depth + 3] : [n + 1, 1];
        const make = (narrow: number, count: number) => (narrow ? singles(count) : doubles(count));
        const a = make(aNarrow, (m + 1) * (depth + 2) + 8);
        const b = make(bNarrow, (n + 1) * (depth + 3) + 8);
        const cRow = n + 3;
        const c = doubles(m * cRow + 4);
        const [pc, pa, pb] = [put(c, 8), put(a, 4), put(b, 4)];
        const scratch = room(run.gemm_scratch());
        run.gemm_f64(pc, cRow, pa, aNarrow, aRow, aColumn, pb, bNarrow, bRow, bColumn, m, n, depth, factor, scratch);
        expectSame(read(pc, c.length), twin.gemm(c, cRow, a, aRow, aColumn, b, bRow, bColumn, m, n, depth, factor));
      });
    }
  }

  test("does not depend on the block an element lies in", () => {
    const [a, b] = [doubles(30 * 40), doubles(40 * 50)];
    const [pa, pb, scratch] = [put(a), put(b), room(run.gemm_scratch())];
    const whole = put(new Float64Array(30 * 50));
    run.gemm_f64(whole, 50, pa, 0, 40, 1, pb, 0, 50, 1, 30, 50, 40, 1, scratch);
    const parts = put(new Float64Array(30 * 50));
    for (let i = 0; i < 30; i += 7) {
      for (let j = 0; j < 50; j += 3) {
        const [rows, columns] = [Math.min(7, 30 - i), Math.min(3, 50 - j)];
        const c = parts + (i * 50 + j) * 8;
        run.gemm_f64(c, 50, pa + i * 40 * 8, 0, 40, 1, pb + j * 8, 0, 50, 1, rows, columns, 40, 1, scratch);
      }
    }
    expectSame(read(parts, 1500), read(whole, 1500));
  });
});

describe("vectors", () => {
  for (const n of lengths) {
    for (const shift of [0, 8, 3]) {
      test(`of ${n}, ${shift} bytes off`, () => {
        const [x, y] = [doubles(n), doubles(n)];
        const special = Float64Array.from(x, (v, i) => odd[i % odd.length]! + (i > 8 ? v : 0));
        expect(run.dot_f64(put(x, shift), put(y), n)).toBe(twin.dot(x, y));
        const sum = put(x, shift);
        run.axpy_f64(sum, put(special), -1.25, n);
        expectSame(read(sum, n), twin.axpy(x, special, -1.25));
        const narrowX = Float32Array.from(special);
        const mixed = put(y, shift);
        run.axpy_f64_f32(mixed, put(narrowX, 4), 0.3, n);
        expectSame(read(mixed, n), twin.axpy(y, narrowX, 0.3));
        const scaled = put(special, shift);
        run.scale_f64(scaled, 1 / 3, n);
        expectSame(read(scaled, n), twin.scale(special, 1 / 3));
        const [px, py] = [put(x, shift), put(y)];
        run.rotate_f64(px, py, 0.6, 0.8, n);
        const [wantX, wantY] = twin.rotate(x, y, 0.6, 0.8);
        expectSame(read(px, n), wantX);
        expectSame(read(py, n), wantY);
        const out = room(n * 4, 4);
        run.narrow_f64(out, put(special, shift), n);
        expectSame(floats(out, n), twin.narrow(special));
      });
    }
  }
});

describe("symv_f64", () => {
  for (const n of [...lengths, 33, 70]) {
    test(`of order ${n} looks at the lower triangle only`, () => {
      const stride = n + 3;
      const a = doubles(n * stride);
      const dirty = a.map((v, k) => (k % stride > Math.floor(k / stride) ? Number.NaN : v));
      const [x, y] = [doubles(n), doubles(n)];
      const out = put(y, 8);
      run.symv_f64(out, put(dirty), stride, put(x), n);
      expectSame(read(out, n), twin.symv(y, a, stride, x, n));
    });
  }
});

describe("transpose_f32", () => {
  for (const [m, n] of [
    [0, 4],
    [1, 1],
    [3, 17],
    [16, 16],
    [33, 18],
  ] as const) {
    test(`${m} × ${n}`, () => {
      const input = singles(m * (n + 2));
      const out = room(m * n * 4, 4);
      run.transpose_f32(out, m, put(input, 4), n + 2, m, n);
      expectSame(floats(out, m * n), twin.transpose(input, n + 2, m, n));
    });
  }
});

test("multiply_complex", () => {
  const [a, b] = [doubles(10), doubles(10)];
  const out = room(80);
  run.multiply_complex(out, put(a), put(b), 5);
  const want = Float64Array.from({ length: 10 }, (_, i) => {
    const k = i - (i % 2);
    const [ar, ai, br, bi] = [a[k]!, a[k + 1]!, b[k]!, b[k + 1]!];
    return i % 2 === 0 ? ar * br - ai * bi : ai * br + ar * bi;
  });
  expectSame(read(out, 10), want);
});
