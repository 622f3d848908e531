// Merges of deltas by their singular values: STAR, TSV-Merge, Iso-C, Iso-CTS. Deltas come as f32 matrices with no more rows than
// columns; the merged delta replaces one of them.

import type { Algebra, Matrix, Pause } from "./algebra.ts";
import { columnsOf, part, rowsOf, transposed } from "./algebra.ts";
import {
  type Components,
  copyRows,
  crossProduct,
  gram,
  joinComponents,
  leftVectors,
  panelColumns,
  panels,
  projectInPlace,
  reconstruct,
} from "./components.ts";

const rowsAtOnce = 192;

export interface StarFacts {
  /** Components kept, and those above the rounding. */
  readonly rank: number;
  readonly of: number;
}

/**
 * acc ← acc + weight · (the first components of `a` that hold `share` of the nuclear norm, scaled so that they have all of it).
 * STAR (Lee et al. 2025, arXiv 2502.10339).
 */
export async function addTruncated(
  algebra: Algebra,
  acc: Matrix,
  a: Matrix,
  share: number,
  weight: number,
  pause: Pause,
): Promise<StarFacts> {
  let facts: StarFacts = { rank: 0, of: 0 };
  await algebra.lend(async () => {
    let scale = 0;
    const wanted = (sigma: Float64Array): number => {
      let norm = 0;
      for (const s of sigma) norm += s;
      let [rank, sum] = [0, 0];
      // Equality counts; the last digits of a sum must not cost a component more.
      while (rank < sigma.length && sum < share * norm * (1 - 1e-12)) sum += sigma[rank++]!;
      facts = { rank, of: sigma.length };
      scale = sum > 0 ? norm / sum : 0;
      return rank === sigma.length ? 0 : rank;
    };
    const u = await leftVectors(algebra, await gram(algebra, a, pause), wanted, pause);
    if (facts.rank === facts.of) return addNarrow(algebra, acc, a, weight);
    const t = algebra.matrix(u.rows, panelColumns);
    const out = algebra.matrix(a.rows, panelColumns);
    await panels(a.columns, async (first, count) => {
      const ts = part(t, 0, t.rows, 0, count);
      const os = part(out, 0, out.rows, 0, count);
      await algebra.product(ts, u, columnsOf(a, first, count), pause);
      algebra.clear(os);
      for (let i = 0; i < os.rows; i += rowsAtOnce) {
        const rows = Math.min(rowsAtOnce, os.rows - i);
        algebra.addProduct(rowsOf(os, i, rows), rowsOf(transposed(u), i, rows), ts, scale * weight);
        await pause(2 * rows * count * u.rows);
      }
      for (let i = 0; i < os.rows; i++) {
        const [from, to] = [algebra.rowAt(os, i), acc.at + (i * acc.row + first) * 4];
        algebra.e.axpy_f64_f32(from, to, 1, count);
        algebra.e.narrow_f64(to, from, count);
      }
    });
  });
  return facts;
}

/** acc ← acc + weight·a, both f32. */
export function addNarrow(algebra: Algebra, acc: Matrix, a: Matrix, weight: number): void {
  for (let i = 0; i < a.rows; i++) algebra.e.axpy(algebra.rowAt(acc, i), algebra.rowAt(a, i), weight, a.columns);
}

export interface JoinFacts {
  /** Components taken of each matrix. */
  readonly ranks: readonly number[];
  readonly interference: number;
}

/** TSV-Merge (Gargiulo et al. 2025, arXiv 2412.00081): the first `rank` components of each, decorrelated. Replaces deltas[0]. */
export async function mergeSingularVectors(
  algebra: Algebra,
  deltas: readonly Matrix[],
  rank: number,
  pause: Pause,
): Promise<JoinFacts> {
  const k = deltas[0]!.rows;
  const groups: Components[] = [];
  let facts: JoinFacts = { ranks: [], interference: 0 };
  await algebra.lend(async () => {
    const stack = algebra.matrix(rank * deltas.length, k);
    let used = 0;
    for (const a of deltas) {
      let u = rowsOf(stack, used, 0);
      await algebra.lend(async () => {
        const wanted = (sigma: Float64Array) => Math.min(rank, sigma.length);
        const vectors = await leftVectors(algebra, await gram(algebra, a, pause), wanted, pause);
        u = rowsOf(stack, used, vectors.rows);
        copyRows(algebra, u, vectors);
      });
      groups.push({ u, r: rowsOf(a, 0, u.rows), sigma: await projectInPlace(algebra, u, a, pause) });
      used += u.rows;
    }
    const scales = Float64Array.from(groups.flatMap((g) => [...g.sigma]));
    const { interference } = await joinComponents(algebra, deltas[0]!, rowsOf(stack, 0, used), groups, scales, pause);
    facts = { ranks: groups.map((g) => g.u.rows), interference };
  });
  return facts;
}

/** Iso-C (Marczak et al. 2025, arXiv 2502.04959): every singular value of `w` becomes their mean. Replaces w. Returns its rank. */
export async function flatten(algebra: Algebra, w: Matrix, pause: Pause): Promise<number> {
  const k = w.rows;
  let rank = 0;
  await algebra.lend(async () => {
    const u = algebra.matrix(k, k);
    await algebra.lend(async () => {
      const vectors = await leftVectors(algebra, await gram(algebra, w, pause), (sigma) => sigma.length, pause);
      rank = vectors.rows;
      copyRows(algebra, u, vectors);
    });
    const us = rowsOf(u, 0, rank);
    const sigma = await projectInPlace(algebra, us, w, pause);
    const mean = sum(sigma) / k;
    sigma.forEach((s, i) => {
      algebra.e.scale_f64(algebra.rowAt(us, i), s > 0 ? mean / s : 0, k);
    });
    await reconstruct(algebra, w, [{ c: transposed(us), r: rowsOf(w, 0, rank) }], pause);
  });
  return rank;
}

/**
 * Iso-CTS (ibid.): the first `common` components of the sum w, and of what each delta has beside their left space the first
 * `specific` ones; decorrelated, with equal singular values. Replaces w.
 *
 * @param flipped rows are the matrix's columns, so its left space is that of the columns here.
 */
export async function flattenCommonAndSpecific(
  algebra: Algebra,
  w: Matrix,
  deltas: readonly Matrix[],
  common: number,
  specific: number,
  flipped: boolean,
  pause: Pause,
): Promise<JoinFacts> {
  const k = w.rows;
  let facts: JoinFacts = { ranks: [], interference: 0 };
  await algebra.lend(async () => {
    const stack = algebra.matrix(common + specific * deltas.length, k);
    const shared = algebra.matrix(common, k);
    let rank = 0;
    let sigma = new Float64Array(0);
    await algebra.lend(async () => {
      const wanted = (values: Float64Array) => {
        rank = Math.min(common, values.length);
        sigma = values.slice(0, rank);
        return rank;
      };
      copyRows(algebra, shared, await leftVectors(algebra, await gram(algebra, w, pause), wanted, pause));
    });
    const space = rowsOf(shared, 0, rank);
    const beside = algebra.matrix(flipped ? specific : 0, k);
    const groups: Components[] = [];
    let used = 0;
    for (const a of deltas) {
      const free = rowsOf(stack, used, specific);
      const u = await algebra.lend(() =>
        flipped
          ? awayFromColumns(algebra, a, w, space, sigma, free, beside, pause)
          : awayFromRows(algebra, a, space, free, pause),
      );
      const minus = flipped ? { y: rowsOf(beside, 0, u.rows), w } : undefined;
      groups.push({ u, r: rowsOf(a, 0, u.rows), sigma: await projectInPlace(algebra, u, a, pause, minus) });
      used += u.rows;
    }
    const last = rowsOf(stack, used, rank);
    copyRows(algebra, last, space);
    groups.push({ u: last, r: rowsOf(w, 0, rank), sigma: await projectInPlace(algebra, last, w, pause) });
    const mean = groups.reduce((total, g) => total + sum(g.sigma), 0) / (common + specific * deltas.length);
    const scales = new Float64Array(used + rank).fill(mean);
    const { interference } = await joinComponents(algebra, w, rowsOf(stack, 0, used + rank), groups, scales, pause);
    facts = { ranks: groups.map((g) => g.u.rows), interference };
  });
  return facts;
}

/** First left singular vectors of a − SᵀS·a for a space S of rows, put into `out`. */
async function awayFromRows(algebra: Algebra, a: Matrix, space: Matrix, out: Matrix, pause: Pause): Promise<Matrix> {
  const g = await gram(algebra, a, pause);
  algebra.mirror(g);
  const floor = frobenius(algebra, g);
  const [rank, k] = [space.rows, space.columns];
  // (1 − P)·G·(1 − P) with P = SᵀS is G − SᵀQ − QᵀS for Q = S·G − ½·(S·G·Sᵀ)·S.
  await algebra.lend(async () => {
    const q = algebra.matrix(rank, k);
    const h = algebra.matrix(rank, rank);
    await algebra.product(q, space, g, pause);
    await algebra.product(h, q, transposed(space), pause);
    algebra.addProduct(q, h, space, -0.5);
    await algebra.addSymmetric(g, transposed(space), transposed(q), pause, -1);
    await algebra.addSymmetric(g, transposed(q), transposed(space), pause, -1);
  });
  const wanted = (sigma: Float64Array) => Math.min(out.rows, sigma.length);
  const vectors = await leftVectors(algebra, g, wanted, pause, floor);
  // Once more, for what rounding left of the space.
  const along = algebra.matrix(vectors.rows, rank);
  await algebra.product(along, vectors, transposed(space), pause);
  algebra.addProduct(vectors, along, space, -1);
  const u = rowsOf(out, 0, vectors.rows);
  copyRows(algebra, u, vectors);
  return u;
}

/**
 * First left singular vectors of a − a·LᵀL, put into `out`, where L = diag(1/σ)·S·w are the right singular vectors of w. Leaves y in
 * `beside`, with which u·(a − a·LᵀL) = u·a − y·w.
 */
async function awayFromColumns(
  algebra: Algebra,
  a: Matrix,
  w: Matrix,
  space: Matrix,
  sigma: Float64Array,
  out: Matrix,
  beside: Matrix,
  pause: Pause,
): Promise<Matrix> {
  const [rank, k] = [space.rows, space.columns];
  const al = algebra.matrix(k, rank);
  await algebra.lend(async () => {
    const x = algebra.matrix(k, k);
    await crossProduct(algebra, x, a, w, pause);
    await algebra.product(al, x, transposed(space), pause);
  });
  const divide = (m: Matrix) => {
    for (let i = 0; i < m.rows; i++) {
      const row = algebra.row(m, i);
      for (let j = 0; j < rank; j++) row[j] = sigma[j]! > 0 ? row[j]! / sigma[j]! : 0;
    }
  };
  divide(al);
  const g = await gram(algebra, a, pause);
  algebra.mirror(g);
  const floor = frobenius(algebra, g);
  await algebra.addSymmetric(g, al, al, pause, -1);
  const wanted = (values: Float64Array) => Math.min(out.rows, values.length);
  const vectors = await leftVectors(algebra, g, wanted, pause, floor);
  const u = rowsOf(out, 0, vectors.rows);
  copyRows(algebra, u, vectors);
  const along = algebra.matrix(u.rows, rank);
  await algebra.product(along, u, al, pause);
  divide(along);
  await algebra.product(rowsOf(beside, 0, u.rows), along, space, pause);
  return u;
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const x of values) total += x;
  return total;
}

/** At least the largest eigenvalue, and not far above it. */
function frobenius(algebra: Algebra, g: Matrix): number {
  let square = 0;
  for (let i = 0; i < g.rows; i++) square += algebra.dot(algebra.rowAt(g, i), algebra.rowAt(g, i), g.columns);
  return Math.sqrt(square);
}
