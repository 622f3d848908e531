// Eigenvalues, singular components and transforms: what must hold of them, and values known from elsewhere.

import { describe, expect, test } from "bun:test";
import { Algebra } from "../../src/kernel/algebra.ts";
import { eigenBytes, symmetricEigen } from "../../src/kernel/eigen.ts";
import { Fourier, fourierBytes, radices } from "../../src/kernel/fourier.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { fourier } from "../../src/kernel/reference-matrix.ts";
import { turn } from "../../src/kernel/turn.ts";

const module = compileKernel();
let seed = 7;
const random = () => {
  seed = (seed * 1103515245 + 12345) % 2 ** 31;
  return seed / 2 ** 30 - 1;
};

function algebraOf(bytes: number): Algebra {
  // What the packed blocks of products take comes on top, and nothing else.
  const kernel = createKernel(module, bytes + (5 << 19));
  return new Algebra(kernel, kernel.heapStart);
}

type Entry = (i: number, j: number) => number;
const product = (n: number, rank: number, fade: number): Entry => {
  const b = Float64Array.from({ length: n * rank }, random);
  return (i, j) => {
    let sum = 0;
    for (let p = 0; p < rank; p++) sum += b[i * rank + p]! * b[j * rank + p]! * fade ** p;
    return sum;
  };
};

const kinds: Record<string, (n: number) => Entry> = {
  "positive definite": (n) => product(n, n, 0.95),
  "of low rank": (n) => product(n, Math.ceil(n / 8), 1),
  "with both signs": () => (i, j) => Math.abs(i - j) + ((i * j) % 5),
  zero: () => () => 0,
  identity: () => (i, j) => (i === j ? 1 : 0),
  tiny: (n) => {
    const entry = product(n, n, 0.9);
    return (i, j) => entry(i, j) * 1e-90;
  },
  /** −1, 2, −1: eigenvalues 2 − 2·cos(πk/(n + 1)). */
  "second difference": () => (i, j) => (i === j ? 2 : Math.abs(i - j) === 1 ? -1 : 0),
  /** Wilkinson's W+: pairs of eigenvalues that agree to the last digit. */
  Wilkinson: (n) => (i, j) => (i === j ? Math.abs(i - (n - 1) / 2) : Math.abs(i - j) === 1 ? 1 : 0),
};

describe("symmetricEigen", () => {
  for (const n of [1, 2, 3, 31, 32, 33, 65, 130, 203]) {
    for (const [kind, make] of Object.entries(kinds)) {
      test(`a matrix ${kind}, order ${n}`, async () => {
        const algebra = algebraOf(8 * n * n + eigenBytes(n));
        const entry = make(n);
        const a = algebra.matrix(n, n);
        const whole = new Float64Array(n * n);
        for (let i = 0; i < n; i++)
          for (let j = 0; j <= i; j++) {
            whole[i * n + j] = whole[j * n + i] = entry(i, j);
            algebra.row(a, i)[j] = entry(i, j);
          }
        const { values, vectors } = await symmetricEigen(
          algebra,
          a,
          () => n,
          () => {},
        );
        const size = Math.max(Math.abs(values[0]!), Math.abs(values[n - 1]!)) || 1;
        let [residual, skew] = [0, 0];
        for (let r = 0; r < n; r++) {
          if (r > 0) expect(values[r]!).toBeLessThanOrEqual(values[r - 1]!);
          const v = algebra.row(vectors, r);
          for (let i = 0; i < n; i++) {
            let sum = 0;
            for (let j = 0; j < n; j++) sum += whole[i * n + j]! * v[j]!;
            residual = Math.max(residual, Math.abs(sum - values[r]! * v[i]!));
          }
          for (let q = 0; q <= r; q++) {
            let sum = q === r ? -1 : 0;
            for (let j = 0; j < n; j++) sum += v[j]! * algebra.row(vectors, q)[j]!;
            skew = Math.max(skew, Math.abs(sum));
          }
        }
        expect(residual / size).toBeLessThan(1e-14);
        expect(skew).toBeLessThan(2e-14);
        if (kind === "second difference") {
          for (let r = 0; r < n; r++) {
            const want = 2 - 2 * Math.cos((Math.PI * (n - r)) / (n + 1));
            expect(Math.abs(values[r]! - want)).toBeLessThan(1e-14);
          }
        }
      });
    }
  }

  test("makes the vectors that are wanted, and the same ones as when all are", async () => {
    const n = 150;
    const entry = product(n, n, 0.9);
    const run = async (count: number) => {
      const algebra = algebraOf(8 * n * n + eigenBytes(n));
      const a = algebra.matrix(n, n);
      for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) algebra.row(a, i)[j] = entry(i, j);
      const { vectors } = await symmetricEigen(
        algebra,
        a,
        () => count,
        () => {},
      );
      expect(vectors.rows).toBe(count);
      return Array.from({ length: count }, (_, r) => algebra.row(vectors, r).slice());
    };
    expect(await run(17)).toEqual((await run(n)).slice(0, 17));
  });
});

describe("Fourier", () => {
  test("radices", () => {
    expect(radices(11008)).toEqual([4, 4, 4, 4, 43]);
    expect(radices(5120)).toEqual([4, 4, 4, 4, 4, 5]);
    expect(radices(13824)).toEqual([4, 4, 4, 4, 2, 3, 3, 3]);
    expect(radices(1)).toEqual([]);
  });
  for (const n of [1, 2, 3, 4, 5, 6, 8, 12, 16, 30, 43, 49, 64, 67, 101, 134, 172, 210, 509]) {
    test(`of ${n}, there and back`, () => {
      const algebra = algebraOf(fourierBytes(n));
      const transform = new Fourier(algebra, n);
      const x = Float64Array.from({ length: 2 * n }, random);
      for (const back of [false, true]) {
        algebra.f64.set(x, transform.input / 8);
        const at = transform.transform(back) / 8;
        const want = fourier(x, back);
        let wrong = 0;
        want.forEach((v, i) => {
          wrong = Math.max(wrong, Math.abs(algebra.f64[at + i]! - v));
        });
        expect(wrong).toBeLessThan(2e-14 * Math.sqrt(n) * Math.log2(n + 2));
      }
    });
  }
  test("a turn in 360 parts is as Math.cos and Math.sin have it, to the last digits", () => {
    for (let j = -400; j < 800; j++) {
      const { cos, sin } = turn(j, 360);
      const angle = (Math.PI * (((j % 360) + 360) % 360)) / 180;
      expect(Math.abs(cos - Math.cos(angle))).toBeLessThan(1e-15);
      expect(Math.abs(sin - Math.sin(angle))).toBeLessThan(1e-15);
      expect(Math.abs(cos * cos + sin * sin - 1)).toBeLessThan(5e-16);
    }
    expect([turn(0, 12), turn(3, 12), turn(6, 12), turn(9, 12)].map((t) => [t.cos + 0, t.sin + 0])).toEqual([
      [1, 0],
      [0, 1],
      [-1, 0],
      [0, -1],
    ]);
  });
});
