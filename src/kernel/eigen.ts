// All eigenvalues and the first eigenvectors of a symmetric matrix: tridiagonal form, divide and conquer (Cuppen 1981; Gu &
// Eisenstat 1995), and back. Deterministic: + − × ÷ √ in an order that only the matrix decides.

import type { Algebra, Matrix, Pause } from "./algebra.ts";
import { part } from "./algebra.ts";
import { exactWeights, type Roots, secularRoots } from "./secular.ts";
import { backTransform, tridiagonalise } from "./tridiagonal.ts";

const epsilon = 2 ** -52;
/** Up to this order a tridiagonal matrix is solved by QL iterations. */
const smallOrder = 32;
/** Eigenvectors of a merge that are made together. */
const rowsAtOnce = 192;
/** QL needs 1.7 iterations for an eigenvalue; this many mean that something is not a number. */
const maxIterations = 60;

export interface Eigen {
  /** Descending. */
  readonly values: Float64Array;
  /** The eigenvectors of the first `wanted(values)` of them, as rows. Lies in memory that `eigenBytes` counts. */
  readonly vectors: Matrix;
}

/** Bytes that `symmetricEigen` takes beside the matrix; the last part is lent and free afterwards. */
export function eigenBytes(n: number): number {
  // The largest part that is lent: rows of the last merge, of S and of what they make.
  return 2 * n * n * 8 + 2 * rowsAtOnce * n * 8 + (1 << 19);
}

/**
 * The eigendecomposition of the symmetric matrix whose lower triangle is in `a`, which is overwritten. `wanted` is told all values
 * and says how many eigenvectors to make. Values are within some 10⁻¹⁵·|largest| of the true ones, vectors orthogonal to the same.
 */
export async function symmetricEigen(
  algebra: Algebra,
  a: Matrix,
  wanted: (values: Float64Array) => number,
  pause: Pause,
): Promise<Eigen> {
  const n = a.rows;
  const { diagonal, offDiagonal, tau } = await tridiagonalise(algebra, a, pause);
  const z = algebra.matrix(n, n);
  const work = algebra.matrix(n, n);
  const solver = new Divide(algebra, diagonal, offDiagonal, z, work, pause);
  const order = await solver.solve(0, n, true, wanted);
  const values = Float64Array.from(order, (i) => diagonal[i]!).reverse();
  const count = solver.kept;
  for (let j = 0; j < count; j++) algebra.row(work, j).set(algebra.row(z, order[n - 1 - j]!));
  const vectors = part(work, 0, count, 0, n);
  await backTransform(algebra, a, tau, vectors, pause);
  return { values, vectors };
}

/** Divide and conquer on a tridiagonal matrix. Eigenvalues replace the diagonal, eigenvectors are the rows of z beside them. */
class Divide {
  /** How many eigenvectors the caller wanted. */
  kept = 0;
  private readonly algebra: Algebra;
  private readonly d: Float64Array;
  private readonly e: Float64Array;
  private readonly z: Matrix;
  private readonly work: Matrix;
  private readonly pause: Pause;

  constructor(algebra: Algebra, d: Float64Array, e: Float64Array, z: Matrix, work: Matrix, pause: Pause) {
    this.algebra = algebra;
    this.d = d;
    this.e = e;
    this.z = z;
    this.work = work;
    this.pause = pause;
  }

  /** Solves rows [first, first + count). Returns their indices in ascending order of eigenvalues. */
  async solve(
    first: number,
    count: number,
    whole: boolean,
    wanted: (values: Float64Array) => number,
  ): Promise<Int32Array> {
    if (count <= smallOrder) {
      this.solveSmall(first, count);
      const order = this.sorted(Int32Array.from({ length: count }, (_, i) => first + i));
      if (whole) this.kept = wanted(this.descending(order));
      return order;
    }
    const half = count >> 1;
    const middle = first + half;
    const rho = this.e[middle - 1]!;
    this.d[middle - 1]! -= Math.abs(rho);
    this.d[middle]! -= Math.abs(rho);
    const upper = await this.solve(first, half, false, wanted);
    const lower = await this.solve(middle, count - half, false, wanted);
    return this.merge(first, middle, first + count, upper, lower, rho, whole ? wanted : null);
  }

  private sorted(indices: Int32Array): Int32Array {
    const { d } = this;
    return indices.sort((a, b) => d[a]! - d[b]! || a - b);
  }

  private descending(order: Int32Array): Float64Array {
    return Float64Array.from(order, (i) => this.d[i]!).reverse();
  }

  /** Implicit QL with Wilkinson's shift (Golub & Van Loan, §8.3.3). */
  private solveSmall(first: number, count: number): void {
    const { algebra, d, z } = this;
    const e = new Float64Array(count);
    for (let i = 0; i < count - 1; i++) e[i] = this.e[first + i]!;
    for (let i = 0; i < count; i++) {
      const row = algebra.row(z, first + i);
      row.fill(0, first, first + count);
      row[first + i] = 1;
    }
    for (let l = 0; l < count; l++) {
      for (let iteration = 0; iteration < maxIterations; iteration++) {
        let m = l;
        for (; m < count - 1; m++) {
          const size = Math.abs(d[first + m]!) + Math.abs(d[first + m + 1]!);
          if (Math.abs(e[m]!) <= epsilon * size) break;
        }
        if (m === l) break;
        let g = (d[first + l + 1]! - d[first + l]!) / (2 * e[l]!);
        let r = Math.sqrt(g * g + 1);
        g = d[first + m]! - d[first + l]! + e[l]! / (g + (g >= 0 ? r : -r));
        let [s, c, p] = [1, 1, 0];
        let i = m - 1;
        for (; i >= l; i--) {
          const f = s * e[i]!;
          const b = c * e[i]!;
          r = Math.sqrt(f * f + g * g);
          e[i + 1] = r;
          if (r === 0) {
            d[first + i + 1]! -= p;
            e[m] = 0;
            break;
          }
          s = f / r;
          c = g / r;
          g = d[first + i + 1]! - p;
          r = (d[first + i]! - g) * s + 2 * c * b;
          p = s * r;
          d[first + i + 1] = g + p;
          g = c * r - b;
          const at = first * 8;
          algebra.e.rotate_f64(algebra.rowAt(z, first + i + 1) + at, algebra.rowAt(z, first + i) + at, c, s, count);
        }
        if (r === 0 && i >= l) continue;
        d[first + l]! -= p;
        e[l] = g;
        e[m] = 0;
      }
    }
  }

  /** Joins two solved halves by the rank-1 term that was taken off. */
  private async merge(
    first: number,
    middle: number,
    end: number,
    upper: Int32Array,
    lower: Int32Array,
    rho: number,
    wanted: ((values: Float64Array) => number) | null,
  ): Promise<Int32Array> {
    const { algebra, d, z } = this;
    const all = this.sorted(Int32Array.from([...upper, ...lower]));
    const size = end - first;
    // Off-diagonal blocks of z hold what was there before.
    for (let i = first; i < end; i++) {
      const row = algebra.row(z, i);
      if (i < middle) row.fill(0, middle, end);
      else row.fill(0, first, middle);
    }
    // The last and first components of the halves' vectors; the vector has length √2.
    const weight = new Float64Array(end);
    for (let i = first; i < end; i++) {
      const row = algebra.row(z, i);
      weight[i] = (i < middle ? row[middle - 1]! : (rho < 0 ? -1 : 1) * row[middle]!) / Math.SQRT2;
    }
    const strength = 2 * Math.abs(rho);
    let [largest, heaviest] = [0, 0];
    for (let i = first; i < end; i++) {
      largest = Math.max(largest, Math.abs(d[i]!));
      heaviest = Math.max(heaviest, Math.abs(weight[i]!));
    }
    const tolerance = 8 * epsilon * Math.max(largest, strength * heaviest);
    const active: number[] = [];
    /** Which half a vector is non-zero in: 1, 2, or both. */
    const halves = new Uint8Array(end);
    for (let i = first; i < end; i++) halves[i] = i < middle ? 1 : 2;
    for (const i of all) {
      if (strength * Math.abs(weight[i]!) <= tolerance) continue;
      const p = active.at(-1);
      if (p !== undefined && this.deflates(p, i, weight, tolerance)) {
        active.pop();
        halves[i]! |= halves[p]!;
        halves[p] = halves[i]!;
      }
      active.push(i);
    }
    const count = active.length;
    if (count > 0) await this.rebuild(active, halves, weight, strength, { first, middle, end }, wanted);
    else if (wanted) this.kept = wanted(this.descending(this.sorted(all)));
    await this.pause(4 * size * size);
    return this.sorted(all);
  }

  /** Rotates the weight of p into i when their eigenvalues are so near that what this leaves off the diagonal is rounding. */
  private deflates(p: number, i: number, weight: Float64Array, tolerance: number): boolean {
    const { algebra, d, z } = this;
    const [a, b] = [weight[p]!, weight[i]!];
    const length = Math.sqrt(a * a + b * b);
    const c = b / length;
    const s = -a / length;
    const gap = d[i]! - d[p]!;
    if (Math.abs(gap * c * s) > tolerance) return false;
    weight[i] = length;
    weight[p] = 0;
    algebra.e.rotate_f64(algebra.rowAt(z, p), algebra.rowAt(z, i), c, s, z.columns);
    const [dp, di] = [d[p]!, d[i]!];
    d[p] = dp * c * c + di * s * s;
    d[i] = dp * s * s + di * c * c;
    return true;
  }

  /** Solves the secular equation of the active rows and replaces their values and vectors. */
  private async rebuild(
    active: readonly number[],
    halves: Uint8Array,
    weight: Float64Array,
    strength: number,
    { first, middle, end }: { first: number; middle: number; end: number },
    wanted: ((values: Float64Array) => number) | null,
  ): Promise<void> {
    const { algebra, d, z, work } = this;
    const count = active.length;
    const poles = Float64Array.from(active, (i) => d[i]!);
    const given = Float64Array.from(active, (i) => weight[i]!);
    const roots = secularRoots(poles, given, strength * unit(given));
    await this.pause(40 * count * count);
    const exact = exactWeights(poles, given, roots);
    await this.pause(4 * count * count);
    // Rows of the upper half first, then those of both, then of the lower: each half's product takes only what it needs.
    const order = [1, 3, 2].flatMap((h) => [...active.keys()].filter((k) => halves[active[k]!] === h));
    const upperEnd = order.filter((k) => halves[active[k]!] !== 2).length;
    const lowerStart = order.filter((k) => halves[active[k]!] === 1).length;
    order.forEach((k, row) => {
      algebra.row(work, row).set(algebra.row(z, active[k]!).subarray(first, end), first);
    });
    for (let k = 0; k < count; k++) d[active[k]!] = poles[roots.origin[k]!]! + roots.offset[k]!;
    // At the last merge only the wanted vectors are made: those of the largest values.
    let made = active.map((_, k) => k);
    if (wanted) {
      const every = this.sorted(Int32Array.from({ length: end - first }, (_, i) => first + i));
      this.kept = wanted(this.descending(every));
      const top = new Set(every.subarray(every.length - this.kept));
      made = made.filter((k) => top.has(active[k]!));
    }
    await algebra.lend(async () => {
      const s = algebra.matrix(rowsAtOnce, count);
      const fresh = algebra.matrix(rowsAtOnce, end - first);
      for (let at = 0; at < made.length; at += rowsAtOnce) {
        const rows = Math.min(rowsAtOnce, made.length - at);
        for (let r = 0; r < rows; r++) fill(algebra.row(s, r), poles, exact, roots, made[at + r]!, order);
        const out = part(fresh, 0, rows, 0, end - first);
        algebra.clear(out);
        algebra.addProduct(
          part(out, 0, rows, 0, middle - first),
          part(s, 0, rows, 0, upperEnd),
          part(work, 0, upperEnd, first, middle - first),
        );
        algebra.addProduct(
          part(out, 0, rows, middle - first, end - middle),
          part(s, 0, rows, lowerStart, count - lowerStart),
          part(work, lowerStart, count - lowerStart, middle, end - middle),
        );
        for (let r = 0; r < rows; r++) algebra.row(z, active[made[at + r]!]!).set(algebra.row(out, r), first);
        await this.pause(2 * rows * (upperEnd * (middle - first) + (count - lowerStart) * (end - middle)));
      }
    });
  }
}

/** The eigenvector of root k in the order of the gathered rows, of length 1. */
function fill(
  row: Float64Array,
  poles: Float64Array,
  exact: Float64Array,
  roots: Roots,
  k: number,
  order: readonly number[],
): void {
  const from = poles[roots.origin[k]!]!;
  const offset = roots.offset[k]!;
  let square = 0;
  for (let i = 0; i < order.length; i++) {
    const p = order[i]!;
    const x = exact[p]! / (poles[p]! - from - offset);
    row[i] = x;
    square += x * x;
  }
  const length = Math.sqrt(square);
  for (let i = 0; i < order.length; i++) row[i]! /= length;
}

/** Scales `z` to length 1 and returns the square of what it was. */
function unit(z: Float64Array): number {
  let square = 0;
  for (const x of z) square += x * x;
  const length = Math.sqrt(square);
  for (let i = 0; i < z.length; i++) z[i]! /= length;
  return square;
}
