// A symmetric matrix to tridiagonal form and back, by Householder reflections (Golub & Van Loan, Matrix Computations, §8.3; in
// blocks: Dongarra, Hammarling & Sorensen 1989). Half of the work is products of matrices; the other half reads the matrix once
// for every reflection, so it goes as fast as memory.

import type { Algebra, Matrix, Pause } from "./algebra.ts";
import { part, transposed } from "./algebra.ts";

/** Reflections that are gathered before the matrix is updated: on the way there and on the way back. */
const forwardBlock = 32;
const backBlock = 64;
/** Eigenvectors that are transformed back together. */
const rowsAtOnce = 192;

export interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** One shorter. */
  readonly offDiagonal: Float64Array;
  /** Row i of the matrix now holds the vector v_i in its first i columns: Q = H_{n−1} … H_1, H_i = 1 − τ_i·v_i·v_iᵀ. */
  readonly tau: Float64Array;
}

/**
 * A = Q·T·Qᵀ. Reads the lower triangle of `a` and leaves the vectors of Q there.
 *
 * The last row is eliminated first, so that what remains is always the leading part of the matrix and its rows are contiguous.
 */
export async function tridiagonalise(algebra: Algebra, a: Matrix, pause: Pause): Promise<Tridiagonal> {
  const n = a.rows;
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(Math.max(0, n - 1));
  const tau = new Float64Array(n);
  await algebra.lend(async () => {
    const { e } = algebra;
    // The block's vectors twice, as [V; W] and [W; V]: A ← A − VᵀW − WᵀV is then one product.
    const left = algebra.matrix(2 * forwardBlock, n);
    const right = algebra.matrix(2 * forwardBlock, n);
    for (let top = n - 1; top >= 0; top -= forwardBlock) {
      const low = Math.max(0, top - forwardBlock + 1);
      let done = 0;
      let flops = 0;
      for (let i = top; i >= low; i--) {
        const at = algebra.rowAt(a, i);
        const row = algebra.row(a, i);
        // What the reflections of this block have done to row i.
        for (let p = 0; p < done; p++) {
          const v = algebra.rowAt(left, p);
          const w = algebra.rowAt(right, p);
          const vi = algebra.f64[v / 8 + i]!;
          const wi = algebra.f64[w / 8 + i]!;
          e.axpy_f64(at, w, -vi, i + 1);
          e.axpy_f64(at, v, -wi, i + 1);
        }
        diagonal[i] = row[i]!;
        if (i === 0) break;
        const alpha = row[i - 1]!;
        const rest = e.dot_f64(at, at, i - 1);
        if (rest === 0) {
          offDiagonal[i - 1] = alpha;
          row.fill(0, 0, i - 1);
        } else {
          const norm = Math.sqrt(alpha * alpha + rest);
          const beta = alpha > 0 ? -norm : norm;
          tau[i] = (beta - alpha) / beta;
          e.scale_f64(at, 1 / (alpha - beta), i - 1);
          offDiagonal[i - 1] = beta;
        }
        row[i - 1] = 1;
        const v = algebra.row(left, done);
        v.set(row.subarray(0, i));
        const w = algebra.row(right, done);
        const [vAt, wAt] = [algebra.rowAt(left, done), algebra.rowAt(right, done)];
        w.fill(0, 0, i);
        if (tau[i] !== 0) {
          e.symv_f64(wAt, a.at, a.row, vAt, i);
          for (let p = 0; p < done; p++) {
            const pv = algebra.rowAt(left, p);
            const pw = algebra.rowAt(right, p);
            const wv = e.dot_f64(pw, vAt, i);
            const vv = e.dot_f64(pv, vAt, i);
            e.axpy_f64(wAt, pv, -wv, i);
            e.axpy_f64(wAt, pw, -vv, i);
          }
          e.scale_f64(wAt, tau[i]!, i);
          e.axpy_f64(wAt, vAt, -0.5 * tau[i]! * e.dot_f64(wAt, vAt, i), i);
        } else {
          v.fill(0, 0, i);
        }
        done++;
        flops += 2 * i * i + 8 * done * i;
        if (flops > 1e8) {
          await pause(flops);
          flops = 0;
        }
      }
      if (low === 0) {
        await pause(flops);
        break;
      }
      for (let p = 0; p < done; p++) {
        algebra.row(left, done + p).set(algebra.row(right, p).subarray(0, low), 0);
        algebra.row(right, done + p).set(algebra.row(left, p).subarray(0, low), 0);
      }
      const l = transposed(part(left, 0, 2 * done, 0, low));
      const r = transposed(part(right, 0, 2 * done, 0, low));
      await algebra.addSymmetric(part(a, 0, low, 0, low), l, r, pause, -1);
      await pause(flops);
    }
  });
  return { diagonal, offDiagonal, tau };
}

/** z ← z·Qᵀ: rows that are eigenvectors of T become those of A. `a` is as `tridiagonalise` left it. */
export async function backTransform(
  algebra: Algebra,
  a: Matrix,
  tau: Float64Array,
  z: Matrix,
  pause: Pause,
): Promise<void> {
  const n = a.rows;
  await algebra.lend(async () => {
    const { e } = algebra;
    const v = algebra.matrix(backBlock, n);
    const t = algebra.matrix(backBlock, backBlock);
    const y = algebra.matrix(rowsAtOnce, backBlock);
    const yt = algebra.matrix(rowsAtOnce, backBlock);
    for (let first = 1; first < n; first += backBlock) {
      const count = Math.min(backBlock, n - first);
      const length = first + count - 1;
      // H_first … H_last = 1 − Vᵀ·T·V (Schreiber & Van Loan 1989), T upper triangular.
      const upper = new Float64Array(backBlock * backBlock);
      for (let j = 0; j < count; j++) {
        const row = algebra.row(v, j);
        row.fill(0, 0, length);
        row.set(algebra.row(a, first + j).subarray(0, first + j));
        const tj = tau[first + j]!;
        const products = new Float64Array(j);
        for (let i = 0; i < j; i++) {
          products[i] = e.dot_f64(algebra.rowAt(v, i), algebra.rowAt(v, j), first + i);
        }
        for (let i = 0; i < j; i++) {
          let sum = 0;
          for (let k = i; k < j; k++) sum += upper[i * backBlock + k]! * products[k]!;
          upper[i * backBlock + j] = -tj * sum;
        }
        upper[j * backBlock + j] = tj;
      }
      algebra.f64.set(upper, t.at / 8);
      const vs = part(v, 0, count, 0, length);
      const ts = part(t, 0, count, 0, count);
      for (let r = 0; r < z.rows; r += rowsAtOnce) {
        const rows = Math.min(rowsAtOnce, z.rows - r);
        const zs = part(z, r, rows, 0, length);
        const [ys, yts] = [y, yt].map((m) => part(m, 0, rows, 0, count)) as [Matrix, Matrix];
        algebra.clear(ys);
        algebra.addProduct(ys, zs, transposed(vs));
        algebra.clear(yts);
        algebra.addProduct(yts, ys, ts);
        algebra.addProduct(zs, yts, vs, -1);
        await pause(4 * rows * length * count);
      }
    }
  });
}
