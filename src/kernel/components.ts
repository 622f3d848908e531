// Singular components of a matrix through the Gram matrix of its smaller side, and matrices that are put together from them.
//
// Matrices come with no more rows than columns, in f32: A = U·Σ·Vᵀ. Eigenvectors of A·Aᵀ are U; Uᵀ·A is Σ·Vᵀ, whose row lengths
// are the singular values. Signs of singular vectors cancel in every product that is made here.
//
// Accuracy: a component of σ = s·σ₁ is known to about 10⁻¹⁶/s² of itself, since the Gram matrix is rounded to 10⁻¹⁶·σ₁². What
// lies below 10⁻⁷·σ₁ is rounding and counts as zero, which makes results of rank-deficient matrices unique.

import type { Algebra, Matrix, Pause } from "./algebra.ts";
import { columnsOf, part, rowsOf, transposed } from "./algebra.ts";
import { symmetricEigen } from "./eigen.ts";

/** Columns that are worked on together, and inner indices of a Gram matrix. */
export const panelColumns = 512;
const gramDepth = 2048;
/** Eigenvalues of a Gram matrix below this share of the largest are those of no component: σ ≤ 10⁻⁷·σ₁. */
const nullShare = 1e-14;
/** Of the Gram matrix of unit vectors: directions that they nearly cancel in are left out, as the authors' 1e-12 does. */
const dependentShare = 1e-12;

/** Components [0, rank) of a matrix: rows of `u` are left vectors, rows of `r` right ones times σ. */
export interface Components {
  /** rank × k, f64. */
  readonly u: Matrix;
  /** rank × n, f32. */
  readonly r: Matrix;
  readonly sigma: Float64Array;
}

/** The lower triangle of a·aᵀ. */
export async function gram(algebra: Algebra, a: Matrix, pause: Pause): Promise<Matrix> {
  const g = algebra.matrix(a.rows, a.rows);
  algebra.clear(g);
  await addGram(algebra, g, a, a, pause);
  return g;
}

/** The lower triangle of g + a·bᵀ, known to be symmetric. */
export async function addGram(algebra: Algebra, g: Matrix, a: Matrix, b: Matrix, pause: Pause): Promise<void> {
  for (let i = 0; i < a.columns; i += gramDepth) {
    const depth = Math.min(gramDepth, a.columns - i);
    await algebra.addSymmetric(g, columnsOf(a, i, depth), columnsOf(b, i, depth), pause);
  }
}

/** c ← a·bᵀ for wide a and b. */
export async function crossProduct(algebra: Algebra, c: Matrix, a: Matrix, b: Matrix, pause: Pause): Promise<void> {
  algebra.clear(c);
  for (let i = 0; i < a.columns; i += gramDepth) {
    const depth = Math.min(gramDepth, a.columns - i);
    algebra.addProduct(c, columnsOf(a, i, depth), transposed(columnsOf(b, i, depth)));
    await pause(2 * c.rows * c.columns * depth);
  }
}

/**
 * Left singular vectors from a Gram matrix, which is overwritten: `wanted` is told the singular values above the rounding,
 * descending, and says how many. The vectors lie in memory that is lent: copy them.
 */
export async function leftVectors(
  algebra: Algebra,
  g: Matrix,
  wanted: (sigma: Float64Array) => number,
  pause: Pause,
  floor = 0,
): Promise<Matrix> {
  const count = (values: Float64Array) => wanted(singularValues(values, floor));
  return (await symmetricEigen(algebra, g, count, pause)).vectors;
}

/** Roots of eigenvalues, as far as they are more than rounding. `floor`: of the σ₁² that the rounding goes by, if larger. */
function singularValues(values: Float64Array, floor: number): Float64Array {
  const least = nullShare * Math.max(values[0] ?? 0, floor);
  let rank = 0;
  while (rank < values.length && values[rank]! > least) rank++;
  return values.subarray(0, rank).map(Math.sqrt);
}

export function copyRows(algebra: Algebra, to: Matrix, from: Matrix): void {
  for (let i = 0; i < from.rows; i++) algebra.row(to, i).set(algebra.row(from, i));
}

/** Walks over column panels of an n-column result. */
export async function panels(n: number, each: (first: number, count: number) => Promise<void>): Promise<void> {
  for (let i = 0; i < n; i += panelColumns) await each(i, Math.min(panelColumns, n - i));
}

/**
 * Replaces the first rows of `a` by u·a (minus y·w, if given), and returns the lengths of these rows: with left vectors in u,
 * the singular values.
 */
export async function projectInPlace(
  algebra: Algebra,
  u: Matrix,
  a: Matrix,
  pause: Pause,
  minus?: { readonly y: Matrix; readonly w: Matrix },
): Promise<Float64Array> {
  const squares = new Float64Array(u.rows);
  await algebra.lend(async () => {
    const panel = algebra.matrix(u.rows, panelColumns);
    await panels(a.columns, async (first, count) => {
      const out = part(panel, 0, u.rows, 0, count);
      await algebra.product(out, u, columnsOf(a, first, count), pause);
      if (minus) {
        algebra.addProduct(out, minus.y, columnsOf(minus.w, first, count), -1);
        await pause(2 * u.rows * count * minus.y.columns);
      }
      for (let i = 0; i < u.rows; i++) {
        const row = algebra.rowAt(out, i);
        squares[i]! += algebra.dot(row, row, count);
        algebra.e.narrow_f64(a.at + (i * a.row + first) * 4, row, count);
      }
    });
  });
  return squares.map(Math.sqrt);
}

/** Writes Σ c_g·r_g to `out` (f32), panel by panel, so that `out` may be where one of the r lies. */
export async function reconstruct(
  algebra: Algebra,
  out: Matrix,
  factors: readonly { readonly c: Matrix; readonly r: Matrix }[],
  pause: Pause,
): Promise<void> {
  await algebra.lend(async () => {
    const panel = algebra.matrix(out.rows, panelColumns);
    await panels(out.columns, async (first, count) => {
      const part_ = part(panel, 0, out.rows, 0, count);
      algebra.clear(part_);
      for (const { c, r } of factors) {
        for (let i = 0; i < out.rows; i += 192) {
          const rows = Math.min(192, out.rows - i);
          algebra.addProduct(rowsOf(part_, i, rows), rowsOf(c, i, rows), columnsOf(r, first, count));
          await pause(2 * rows * count * c.columns);
        }
      }
      for (let i = 0; i < out.rows; i++) {
        algebra.e.narrow_f64(out.at + (i * out.row + first) * 4, algebra.rowAt(part_, i), count);
      }
    });
  });
}

export interface Joined {
  /** ‖(ÛᵀÛ − 1)·Σ̂·(V̂ᵀV̂ − 1)‖₁, entry by entry: how much the components of different models get in each other's way. */
  readonly interference: number;
}

/**
 * Δ = U⊥·Σ̂·V⊥ᵀ, where U⊥ and V⊥ are the orthogonal polar factors of all groups' vectors side by side (TSV-Merge, Iso-CTS). Of
 * vectors that depend on each other the polar factor is that of the space they span. Overwrites `out`, which may be a group's r.
 *
 * @param u all groups' left vectors as rows, in order; @param scales Σ̂, one for each.
 */
export async function joinComponents(
  algebra: Algebra,
  out: Matrix,
  u: Matrix,
  groups: readonly Components[],
  scales: Float64Array,
  pause: Pause,
): Promise<Joined> {
  const q = u.rows;
  const sigma = Float64Array.from(groups.flatMap((g) => [...g.sigma]));
  let interference = 0;
  await algebra.lend(async () => {
    const k = u.columns;
    const c = algebra.matrix(k, q);
    await algebra.lend(async () => {
      const right = await rightProducts(algebra, groups, sigma, pause);
      const left = await gram(algebra, u, pause);
      algebra.mirror(left);
      interference = await algebra.lend(() => between(algebra, left, right, scales, pause));
      const l = await inverseRoot(algebra, left, pause);
      const r = await inverseRoot(algebra, right, pause);
      // c = Uᵀ · L·Σ̂·R / σ: what is left is a product with the r of the groups.
      for (let i = 0; i < q; i++) {
        const row = algebra.row(l, i);
        for (let j = 0; j < q; j++) row[j]! *= scales[j]!;
      }
      const lr = left;
      await algebra.product(lr, l, r, pause);
      for (let i = 0; i < q; i++) {
        const row = algebra.row(lr, i);
        for (let j = 0; j < q; j++) row[j] = sigma[j]! > 0 ? row[j]! / sigma[j]! : 0;
      }
      await algebra.product(c, transposed(u), lr, pause);
    });
    let first = 0;
    const factors = groups.map((g) => {
      const columns = columnsOf(c, first, g.r.rows);
      first += g.r.rows;
      return { c: columns, r: g.r };
    });
    await reconstruct(algebra, out, factors, pause);
  });
  return { interference };
}

/** V̂ᵀV̂, both triangles. */
async function rightProducts(
  algebra: Algebra,
  groups: readonly Components[],
  sigma: Float64Array,
  pause: Pause,
): Promise<Matrix> {
  const q = sigma.length;
  const k = algebra.matrix(q, q);
  algebra.clear(k);
  let row = 0;
  for (const [g, a] of groups.entries()) {
    let column = 0;
    for (const b of groups.slice(0, g + 1)) {
      const block = part(k, row, a.r.rows, column, b.r.rows);
      if (a === b) await addGram(algebra, block, a.r, a.r, pause);
      else await crossProduct(algebra, block, a.r, b.r, pause);
      column += b.r.rows;
    }
    row += a.r.rows;
  }
  for (let i = 0; i < q; i++) {
    const at = algebra.row(k, i);
    for (let j = 0; j <= i; j++) {
      const scale = sigma[i]! * sigma[j]!;
      at[j] = scale > 0 ? at[j]! / scale : 0;
    }
  }
  algebra.mirror(k);
  return k;
}

/** The sum of |(left − 1)·Σ̂·(right − 1)|. */
async function between(
  algebra: Algebra,
  left: Matrix,
  right: Matrix,
  scales: Float64Array,
  pause: Pause,
): Promise<number> {
  const q = scales.length;
  const less = algebra.matrix(q, q);
  const rest = algebra.matrix(q, q);
  const rows = algebra.matrix(Math.min(192, q), q);
  for (let i = 0; i < q; i++) {
    const [from, to] = [algebra.row(left, i), algebra.row(less, i)];
    for (let j = 0; j < q; j++) to[j] = (from[j]! - (i === j ? 1 : 0)) * scales[j]!;
    algebra.row(rest, i).set(algebra.row(right, i));
    algebra.row(rest, i)[i]! -= 1;
  }
  let sum = 0;
  for (let i = 0; i < q; i += rows.rows) {
    const count = Math.min(rows.rows, q - i);
    const out = rowsOf(rows, 0, count);
    await algebra.product(out, rowsOf(less, i, count), rest, pause);
    for (let r = 0; r < count; r++) for (const x of algebra.row(out, r)) sum += Math.abs(x);
  }
  return sum;
}

/** m^−½ of a positive semidefinite matrix, both triangles of which are given and kept; zero where m is zero. */
async function inverseRoot(algebra: Algebra, m: Matrix, pause: Pause): Promise<Matrix> {
  const q = m.rows;
  const out = algebra.matrix(q, q);
  await algebra.lend(async () => {
    const a = algebra.matrix(q, q);
    copyRows(algebra, a, m);
    let kept = new Float64Array(0);
    const wanted = (values: Float64Array) => {
      let count = 0;
      while (count < q && values[count]! > dependentShare * values[0]!) count++;
      kept = values.slice(0, count);
      return count;
    };
    const { vectors } = await symmetricEigen(algebra, a, wanted, pause);
    // Rows times λ^−¼: their Gram matrix is the inverse root.
    kept.forEach((value, i) => {
      algebra.e.scale_f64(algebra.rowAt(vectors, i), 1 / Math.sqrt(Math.sqrt(value)), q);
    });
    algebra.clear(out);
    const t = transposed(vectors);
    await algebra.addSymmetric(out, t, t, pause);
    algebra.mirror(out);
  });
  return out;
}
