// Factors of matrices: against numpy's SVD (test/peft/extract.py), and by what must hold of any.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Algebra, type Matrix } from "../../src/kernel/algebra.ts";
import { drawSigns, orthonormalise } from "../../src/kernel/factor.ts";
import { factorTaskBytes, sketchDirections } from "../../src/kernel/factor-cost.ts";
import type { FactorProgram } from "../../src/kernel/factor-program.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { philox_words } from "../../src/kernel/reference.ts";
import { projectRoot } from "../support/host.ts";
import { type FactorResult, runFactor } from "./factor-task.ts";
import { random } from "./harness.ts";

interface Oracle {
  readonly cases: readonly {
    readonly rows: number;
    readonly columns: number;
    readonly matrix: readonly number[];
    readonly sigma: readonly number[];
    readonly best: readonly { readonly rank: number; readonly values: readonly number[] }[];
  }[];
}
const oracle = JSON.parse(readFileSync(join(projectRoot, "test/peft/extract.json"), "utf8")) as Oracle;

function numbers(count: number, seed: number): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: count }, () => (next() / 2 ** 32 - 0.5) * 2);
}

/** x·y of row-major matrices, in f64. */
function product(x: ArrayLike<number>, y: ArrayLike<number>, m: number, depth: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let k = 0; k < depth; k++) for (let j = 0; j < n; j++) out[i * n + j]! += x[i * depth + k]! * y[k * n + j]!;
  return out;
}

/** m × n → n × m. */
const flip = (x: ArrayLike<number>, m: number, n: number) =>
  Float32Array.from({ length: m * n }, (_, i) => x[(i % m) * n + Math.floor(i / m)]!);

/** A matrix of a rank, with components that differ. */
function ofRank(rows: number, columns: number, rank: number, seed: number): Float32Array {
  return Float32Array.from(product(numbers(rows * rank, seed), numbers(rank * columns, seed + 1), rows, rank, columns));
}

function norm(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum);
}

function distance(x: ArrayLike<number>, y: ArrayLike<number>): number {
  return norm(Float64Array.from({ length: x.length }, (_, i) => x[i]! - y[i]!));
}

const rebuilt = ({ a, b }: FactorResult, rows: number, columns: number, rank: number) =>
  product(b, a, rows, rank, columns);
const sketch = (rank: number, rows: number, columns: number): FactorProgram["source"] => ({
  op: "delta",
  sketch: { key: [7, 9], directions: sketchDirections(rank, rows, columns) },
});

describe("as numpy's SVD says", () => {
  for (const { rows, columns, matrix, sigma, best } of oracle.cases)
    for (const { rank, values } of best) {
      const what = `${rows} × ${columns} at rank ${rank}`;
      const total = sigma.reduce((sum, s) => sum + s * s, 0);
      const kept = sigma.slice(0, rank).reduce((sum, s) => sum + s * s, 0);
      const delta = Float32Array.from(matrix);
      for (const way of ["exact", "sketch"] as const)
        test(`${what}, ${way}: the best approximation, and its share of the energy`, async () => {
          const source = way === "exact" ? undefined : sketch(rank, rows, columns);
          const result = await runFactor([new Float32Array(delta.length), delta], {
            rows,
            columns,
            rank,
            ...(source ? { source } : {}),
          });
          expect(distance(rebuilt(result, rows, columns, rank), values)).toBeLessThan(1e-6 * sigma[0]!);
          const facts = result.receipt.factored!;
          expect(Math.abs(facts.energy - total)).toBeLessThan(1e-9 * total);
          expect(Math.abs(facts.kept - kept)).toBeLessThan(1e-6 * total);
          expect(facts.rank).toBe(Math.min(rank, sigma.filter((s) => s > 1e-6 * sigma[0]!).length));
        });
    }
});

const shapes = [
  [40, 40],
  [33, 97],
  [97, 33],
  [1, 20],
  [20, 1],
  [130, 70],
] as const;

describe("whatever the matrix", () => {
  for (const [rows, columns] of shapes)
    for (const way of ["exact", "sketch"] as const) {
      const k = Math.min(rows, columns);
      const rank = Math.min(8, k);
      const source = (r: number) =>
        way === "exact" ? { op: "delta" as const, sketch: null } : sketch(r, rows, columns);
      const base = numbers(rows * columns, 3);
      const changed = (delta: Float32Array) => base.map((x, i) => x + delta[i]!);

      test(`${rows} × ${columns}, ${way}: a rank that suffices gives all of it back`, async () => {
        const model = changed(ofRank(rows, columns, rank, 5));
        const result = await runFactor([base, model], { rows, columns, rank, source: source(rank) });
        const delta = model.map((x, i) => x - base[i]!);
        expect(distance(rebuilt(result, rows, columns, rank), delta)).toBeLessThan(3e-6 * norm(delta));
        const { energy, kept } = result.receipt.factored!;
        expect(Math.abs(kept / energy - 1)).toBeLessThan(1e-9);
      });

      test(`${rows} × ${columns}, ${way}: both sides are orthogonal and as long`, async () => {
        const result = await runFactor([base, changed(numbers(rows * columns, 8))], {
          rows,
          columns,
          rank,
          source: source(rank),
        });
        const ga = product(result.a, flip(result.a, rank, columns), rank, columns, rank);
        const gb = product(flip(result.b, rows, rank), result.b, rank, rows, rank);
        const largest = ga[0]!;
        for (let i = 0; i < rank; i++)
          for (let j = 0; j < rank; j++) {
            expect(Math.abs(ga[i * rank + j]! - (i === j ? gb[i * rank + j]! : 0))).toBeLessThan(2e-6 * largest);
            expect(Math.abs(gb[i * rank + j]! - (i === j ? ga[i * rank + j]! : 0))).toBeLessThan(2e-6 * largest);
          }
      });

      test(`${rows} × ${columns}, ${way}: what is kept and what is lost add up`, async () => {
        const delta = numbers(rows * columns, 11);
        const zero = new Float32Array(rows * columns);
        const result = await runFactor([zero, delta], { rows, columns, rank, source: source(rank) });
        const { energy, kept } = result.receipt.factored!;
        const lost = distance(rebuilt(result, rows, columns, rank), delta) ** 2;
        expect(Math.abs(energy - norm(delta) ** 2)).toBeLessThan(1e-9 * energy);
        expect(Math.abs(kept + lost - energy)).toBeLessThan(3e-6 * energy);
        if (rank < k) expect(kept).toBeLessThan(energy);
      });

      test(`${rows} × ${columns}, ${way}: a lower rank than asked for leaves zeros, and no delta nothing else`, async () => {
        const one = await runFactor([new Float32Array(rows * columns), ofRank(rows, columns, 1, 2)], {
          rows,
          columns,
          rank,
          source: source(rank),
        });
        expect(one.receipt.factored!.rank).toBe(1);
        expect(one.a.subarray(columns).every((x) => x === 0)).toBe(true);
        const none = await runFactor([base, base], { rows, columns, rank, source: source(rank) });
        expect(none.receipt.factored).toEqual({ energy: 0, kept: 0, rank: 0 });
        expect([...none.a, ...none.b].every((x) => x === 0)).toBe(true);
      });
    }

  test("a weight that lies as [in, out] gives the factors of its transpose", async () => {
    const delta = numbers(24 * 10, 4);
    const zero = new Float32Array(delta.length);
    for (const [rows, columns] of [
      [24, 10],
      [10, 24],
    ] as const) {
      const result = await runFactor([zero, delta], { rows, columns, rank: 10, transposed: true });
      // B·A is [out, in] = [columns, rows].
      const back = flip(product(result.b, result.a, columns, 10, rows), columns, rows);
      expect(distance(back, delta)).toBeLessThan(3e-6 * norm(delta));
    }
  });

  test("a scale is made up for by both sides alike", async () => {
    const delta = numbers(20 * 30, 4);
    const zero = new Float32Array(delta.length);
    const plain = await runFactor([zero, delta], { rows: 20, columns: 30, rank: 6 });
    const scaled = await runFactor([zero, delta], { rows: 20, columns: 30, rank: 6, scale: 4 });
    expect(scaled.a).toEqual(plain.a.map((x) => x / 2));
    expect(scaled.b).toEqual(plain.b.map((x) => x / 2));
  });

  test("more elements than a stripe, on either side", async () => {
    for (const [rows, columns] of [
      [300, 400],
      [400, 300],
    ] as const) {
      const delta = ofRank(rows, columns, 5, 21);
      const result = await runFactor([new Float32Array(delta.length), delta], { rows, columns, rank: 6 });
      expect(distance(rebuilt(result, rows, columns, 6), delta)).toBeLessThan(3e-6 * norm(delta));
    }
  });

  test("the bits do not depend on what the memory held, and a signal stops the work", async () => {
    const delta = numbers(90 * 120, 4);
    const zero = new Float32Array(delta.length);
    const given = { rows: 90, columns: 120, rank: 10, source: sketch(10, 90, 120) };
    const once = await runFactor([zero, delta], given);
    const again = await runFactor([zero, delta], { ...given, bytes: 64 << 20 });
    expect(again.a).toEqual(once.a);
    expect(again.b).toEqual(once.b);
    await expect(
      runFactor([zero, delta], { ...given, signal: AbortSignal.abort(new Error("enough")) }),
    ).rejects.toThrow("enough");
    const shares: number[] = [];
    await runFactor([zero, delta], { ...given, beat: (share) => shares.push(share) });
    expect(shares.length).toBeGreaterThan(5);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
  });

  test("non-finite inputs are told by input and index, and nothing is written", async () => {
    const delta = numbers(60, 4);
    delta[17] = Number.NaN;
    delta[40] = Number.POSITIVE_INFINITY;
    const { a, b, receipt } = await runFactor([new Float32Array(60), delta], { rows: 6, columns: 10, rank: 2 });
    expect(receipt.nonFinite).toEqual([{ input: 1, count: 2, first: 17 }]);
    expect([...a, ...b].every((x) => x === 0)).toBe(true);
  });
});

describe("pairs", () => {
  const [rows, columns] = [50, 35];
  const pairs = [
    { rank: 3, coefficient: 0.5 },
    { rank: 4, coefficient: -2 },
  ];
  const factors = pairs.flatMap(({ rank }, i) => [numbers(rank * columns, 30 + i), numbers(rows * rank, 40 + i)]);
  const want = new Float64Array(rows * columns);
  pairs.forEach(({ rank, coefficient }, i) => {
    product(factors[2 * i + 1]!, factors[2 * i]!, rows, rank, columns).forEach((x, at) => {
      want[at]! += coefficient * x;
    });
  });
  const source = { op: "pairs" as const, pairs };

  test("that fit lie side by side: A as it was, B times its coefficient", async () => {
    const { a, b, receipt } = await runFactor(factors, { rows, columns, rank: 7, source, scale: 2 });
    expect(a).toEqual(Float32Array.from([...factors[0]!, ...factors[2]!]));
    for (let i = 0; i < rows; i++) {
      expect(b.slice(i * 7, i * 7 + 3)).toEqual(factors[1]!.slice(i * 3, i * 3 + 3).map((x) => x / 4));
      expect(b.slice(i * 7 + 3, i * 7 + 7)).toEqual(factors[3]!.slice(i * 4, i * 4 + 4).map((x) => -x));
    }
    const { energy, kept, rank } = receipt.factored!;
    expect(Math.abs(energy - norm(want) ** 2)).toBeLessThan(1e-9 * energy);
    expect([kept, rank]).toEqual([energy, 7]);
  });

  for (const rank of [1, 5, 6])
    test(`that do not: the best of rank ${rank}, as from the product itself`, async () => {
      const thin = await runFactor(factors, { rows, columns, rank, source });
      const dense = await runFactor([new Float32Array(rows * columns), Float32Array.from(want)], {
        rows,
        columns,
        rank,
      });
      const whole = rebuilt(dense, rows, columns, rank);
      expect(distance(rebuilt(thin, rows, columns, rank), whole)).toBeLessThan(2e-6 * norm(want));
      const [x, y] = [thin.receipt.factored!, dense.receipt.factored!];
      expect(Math.abs(x.kept - y.kept)).toBeLessThan(1e-6 * y.energy);
      expect(Math.abs(x.energy - y.energy)).toBeLessThan(1e-6 * y.energy);
    });

  test("that cancel leave zeros", async () => {
    const [a, b] = [factors[0]!, factors[1]!];
    const opposite = {
      op: "pairs" as const,
      pairs: [
        { rank: 3, coefficient: 1 },
        { rank: 3, coefficient: -1 },
      ],
    };
    const result = await runFactor([a, b, a, b], { rows, columns, rank: 4, source: opposite });
    expect(norm(rebuilt(result, rows, columns, 4))).toBeLessThan(1e-6 * norm(a) * norm(b));
  });
});

describe("a basis", () => {
  const kernel = createKernel(compileKernel(), 8 << 20);
  const algebra = new Algebra(kernel, kernel.heapStart);
  const fill = (m: Matrix, values: ArrayLike<number>) => {
    for (let i = 0; i < m.rows; i++)
      algebra.row(m, i).set(Array.from(values).slice(i * m.columns, (i + 1) * m.columns));
  };

  test("of more rows than a block, some of which depend on others, is orthonormal, and those are zero", async () => {
    const [rows, n] = [150, 200];
    const m = algebra.matrix(rows, n);
    const values = Float64Array.from(numbers(rows * n, 6));
    for (const row of [5, 70, 149])
      for (let j = 0; j < n; j++) values[row * n + j] = values[2 * n + j]! - 3 * values[n + j]!;
    fill(m, values);
    await orthonormalise(algebra, m, () => {});
    const zero = new Set<number>();
    for (let i = 0; i < rows; i++)
      for (let j = 0; j <= i; j++) {
        const dot = algebra.dot(algebra.rowAt(m, i), algebra.rowAt(m, j), n);
        if (i === j && dot === 0) zero.add(i);
        else expect(Math.abs(dot - (i === j ? 1 : 0))).toBeLessThan(1e-13);
      }
    expect([...zero]).toEqual([5, 70, 149]);
  });

  test("starts from the bits of Philox, lowest first", () => {
    const m = algebra.matrix(3, 11_000);
    drawSigns(algebra, m, [3, 4]);
    const words = philox_words([3, 4], 0, Math.ceil((3 * 11_000) / 32));
    const want = Float64Array.from({ length: 33_000 }, (_, i) => ((words[i >> 5]! >>> (i & 31)) & 1 ? 1 : -1));
    expect(Float64Array.from([0, 1, 2].flatMap((i) => [...algebra.row(m, i)]))).toEqual(want);
  });
});

test("a sketch takes a fraction of the memory", () => {
  const program = (rows: number, columns: number, source: FactorProgram["source"]): FactorProgram => ({
    op: "factor",
    inputs: ["F32", "F32"],
    out: "F32",
    rows,
    columns,
    rank: 64,
    scale: 1,
    transposed: false,
    b: { file: 0, start: 0 },
    source,
  });
  // As docs/adapters.md says.
  const mib = (p: FactorProgram) => Math.round(factorTaskBytes(p, 0) / 2 ** 20);
  expect(mib(program(4096, 4096, sketch(64, 4096, 4096)))).toBeLessThan(100);
  expect(mib(program(4096, 4096, { op: "delta", sketch: null }))).toBeGreaterThan(400);
});
