// The first singular components of a matrix as two thin factors: exactly, from a random sketch of its range, or of a sum of products
// that are thin already.
//
// The sketch is the randomised range finder with power iterations (Halko, Martinsson & Tropp 2011, arXiv 0909.4061, algorithm
// 4.4), with a basis made orthonormal after every product. Its test matrix holds signs, which do as well as normal numbers
// there and are the same on every machine.

import type { Algebra, Matrix, Pause } from "./algebra.ts";
import { part, rowsOf, transposed } from "./algebra.ts";
import { copyRows, crossProduct, gram, leftVectors } from "./components.ts";
import { powerPasses } from "./factor-cost.ts";
import type { Sketch } from "./factor-program.ts";

/** Rows that are made orthogonal to all before them by two products; among themselves one by one. */
const blockRows = 64;
/** What is left of a row after the others are taken off, below this share of it, is rounding: the row depends on them. */
const dependentShare = 1e-10;

/** A ≈ uᵀ·r. Rows from `sigma.length` on are zero. */
export interface Factors {
  /** Orthonormal left singular vectors as rows, rank × rows, f64. */
  readonly u: Matrix;
  /** Right ones times σ as rows, rank × columns, f64. */
  readonly r: Matrix;
  /** Descending, without those that are rounding. */
  readonly sigma: Float64Array;
}

function emptyFactors(algebra: Algebra, rank: number, rows: number, columns: number) {
  const u = algebra.matrix(rank, rows);
  const r = algebra.matrix(rank, columns);
  algebra.clear(u);
  algebra.clear(r);
  return { u, r };
}

function lengths(algebra: Algebra, m: Matrix, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    const at = algebra.rowAt(m, i);
    return Math.sqrt(algebra.dot(at, at, m.columns));
  });
}

/** The first `rank` components of a matrix with no more rows than columns. Accuracy: components.ts. */
export async function exactFactors(algebra: Algebra, a: Matrix, rank: number, pause: Pause): Promise<Factors> {
  const { u, r } = emptyFactors(algebra, rank, a.rows, a.columns);
  let found = 0;
  await algebra.lend(async () => {
    const wanted = (sigma: Float64Array) => Math.min(rank, sigma.length);
    const vectors = await leftVectors(algebra, await gram(algebra, a, pause), wanted, pause);
    found = vectors.rows;
    copyRows(algebra, u, vectors);
  });
  await algebra.product(rowsOf(r, 0, found), rowsOf(u, 0, found), a, pause);
  return { u, r, sigma: lengths(algebra, r, found) };
}

/** The same of a's part in the range that the sketch finds; so no component holds more energy than it has. */
export async function sketchedFactors(
  algebra: Algebra,
  a: Matrix,
  rank: number,
  { key, directions }: Sketch,
  pause: Pause,
): Promise<Factors> {
  const { u, r } = emptyFactors(algebra, rank, a.rows, a.columns);
  let sigma = new Float64Array(0);
  await algebra.lend(async () => {
    const q = algebra.matrix(directions, a.rows);
    const y = algebra.matrix(directions, a.columns);
    drawSigns(algebra, y, key);
    for (let pass = 0; ; pass++) {
      await crossProduct(algebra, q, y, a, pause);
      await orthonormalise(algebra, q, pause);
      await algebra.product(y, q, a, pause);
      if (pass === powerPasses) break;
      await orthonormalise(algebra, y, pause);
    }
    // q·a has the components of the part of a that lies in the range of q.
    const wanted = (values: Float64Array) => Math.min(rank, values.length);
    const w = await leftVectors(algebra, await gram(algebra, y, pause), wanted, pause);
    await algebra.product(rowsOf(u, 0, w.rows), w, q, pause);
    await algebra.product(rowsOf(r, 0, w.rows), w, y, pause);
    sigma = lengths(algebra, r, w.rows) as Float64Array<ArrayBuffer>;
  });
  return { u, r, sigma };
}

/** Bits of Philox as ±1, an element a bit in the order of the words and from the lowest bit on. */
export function drawSigns(algebra: Algebra, m: Matrix, [k0, k1]: readonly [number, number]): void {
  const words = Math.ceil((m.rows * m.columns) / 32);
  const f64 = algebra.f64;
  const first = m.at / 8;
  const piece = 1024;
  const at = algebra.bytes(piece * 4 + 128);
  const bits = new Uint32Array(f64.buffer, at, piece);
  for (let done = 0; done < words; done += piece) {
    const count = Math.min(piece, words - done);
    algebra.e.philox_words(at, k0, k1, done / 4, 0, count);
    const from = done * 32;
    const end = Math.min(from + count * 32, m.rows * m.columns);
    for (let i = from; i < end; i++) f64[first + i] = (bits[(i - from) >>> 5]! >>> (i & 31)) & 1 ? 1 : -1;
  }
}

/**
 * Rows become an orthonormal basis of what they span, by Gram and Schmidt, twice; those that depend on rows before them become
 * zero.
 */
export async function orthonormalise(algebra: Algebra, m: Matrix, pause: Pause): Promise<void> {
  const { e } = algebra;
  const n = m.columns;
  await algebra.lend(async () => {
    const c = algebra.matrix(Math.min(blockRows, m.rows), m.rows);
    for (let first = 0; first < m.rows; first += blockRows) {
      const count = Math.min(blockRows, m.rows - first);
      const block = rowsOf(m, first, count);
      const before = rowsOf(m, 0, first);
      const size = lengths(algebra, block, count);
      for (let twice = 0; twice < 2 && first > 0; twice++) {
        const share = part(c, 0, count, 0, first);
        await crossProduct(algebra, share, block, before, pause);
        algebra.addProduct(block, share, before, -1);
        await pause(2 * count * first * n);
      }
      for (let i = 0; i < count; i++) {
        const row = algebra.rowAt(block, i);
        for (let twice = 0; twice < 2; twice++)
          for (let j = 0; j < i; j++) {
            const other = algebra.rowAt(block, j);
            e.axpy_f64(row, other, -algebra.dot(row, other, n), n);
          }
        const left = Math.sqrt(algebra.dot(row, row, n));
        if (left > dependentShare * size[i]!) e.scale_f64(row, 1 / left, n);
        else algebra.row(block, i).fill(0);
      }
      await pause(4 * count * count * n);
    }
  });
}

/** Σ|elements|² of outᵀ·in, for thin factors with as many rows. */
export async function pairEnergy(algebra: Algebra, out: Matrix, inner: Matrix, pause: Pause): Promise<number> {
  return algebra.lend(async () => {
    const left = await gram(algebra, out, pause);
    const right = await gram(algebra, inner, pause);
    let sum = 0;
    for (let i = 0; i < left.rows; i++) {
      const [a, b] = [algebra.row(left, i), algebra.row(right, i)];
      for (let j = 0; j <= i; j++) sum += (i === j ? 1 : 2) * a[j]! * b[j]!;
    }
    return sum;
  });
}

/**
 * The first components of outᵀ·in, which is never made: with orthonormal bases of both sides what is left is a matrix of as
 * many rows and columns as the factors have rows. Returns the product's energy too. Both are overwritten by these bases.
 */
export async function pairFactors(
  algebra: Algebra,
  out: Matrix,
  inner: Matrix,
  rank: number,
  pause: Pause,
): Promise<Factors & { readonly energy: number }> {
  const q = out.rows;
  const { u, r } = emptyFactors(algebra, rank, out.columns, inner.columns);
  let [sigma, energy] = [new Float64Array(0), 0];
  await algebra.lend(async () => {
    const core = algebra.matrix(q, q);
    const [left, right] = [algebra.matrix(q, q), algebra.matrix(q, q)];
    await inBasis(algebra, left, out, pause);
    await inBasis(algebra, right, inner, pause);
    // out = left·basis and in = right·basis, so the core is leftᵀ·right.
    await algebra.product(core, transposed(left), right, pause);
    for (let i = 0; i < q; i++) energy += algebra.dot(algebra.rowAt(core, i), algebra.rowAt(core, i), q);
    const small = await exactFactors(algebra, core, Math.min(rank, q), pause);
    const found = small.sigma.length;
    await algebra.product(rowsOf(u, 0, found), rowsOf(small.u, 0, found), out, pause);
    await algebra.product(rowsOf(r, 0, found), rowsOf(small.r, 0, found), inner, pause);
    sigma = small.sigma as Float64Array<ArrayBuffer>;
  });
  return { u, r, sigma, energy };
}

/** Rows of m become a basis of what they span; `coordinates` are what they were in it. */
async function inBasis(algebra: Algebra, coordinates: Matrix, m: Matrix, pause: Pause): Promise<void> {
  await algebra.lend(async () => {
    const before = algebra.matrix(m.rows, m.columns);
    copyRows(algebra, before, m);
    await orthonormalise(algebra, m, pause);
    await crossProduct(algebra, coordinates, before, m, pause);
  });
}
