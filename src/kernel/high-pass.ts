// The ideal high-pass filter of FR-Merging (Zheng & Wang 2025, arXiv 2411.16815, the paper's definition): two-dimensional
// frequencies nearer to zero than a radius are taken off a matrix.
//
// What is taken off has few frequencies, so it alone is transformed back, and subtracted: bins are kept only up to the radius, and
// a radius of 0 leaves the matrix as it is.

import type { Algebra, Matrix, Pause } from "./algebra.ts";
import { Fourier, fourierFlops } from "./fourier.ts";

/** Bins of the transformed rows that lie inside the radius: 0, 1, … below it. */
export function lowBins(radius: number): number {
  return Math.ceil(radius);
}

export function radiusOf(cutoff: number, rows: number, columns: number): number {
  return (cutoff * Math.min(rows, columns)) / 2;
}

/** a ← a without the frequencies below `radius` ≤ half the smaller side; `a` is f32. Returns the share of Σ a² that went. */
export async function highPass(algebra: Algebra, a: Matrix, radius: number, pause: Pause): Promise<number> {
  const before = energy(algebra, a);
  if (radius === 0 || before === 0) return 0;
  await algebra.lend(() => subtractLow(algebra, a, radius, pause));
  return Math.max(0, 1 - energy(algebra, a) / before);
}

async function subtractLow(algebra: Algebra, a: Matrix, radius: number, pause: Pause): Promise<void> {
  const { f64 } = algebra;
  const f32 = new Float32Array(f64.buffer);
  const [rows, columns] = [a.rows, a.columns];
  const bins = lowBins(radius);
  const along = new Fourier(algebra, columns);
  const down = new Fourier(algebra, rows);
  // Bin b of all rows lies together: it is transformed next.
  const spectrum = algebra.bytes(16 * rows * bins) / 8;
  const at = (i: number, b: number) => spectrum + 2 * (b * rows + i);
  const input = along.input / 8;

  // Bin columns/2, its own mirror image, is never among them: b < radius ≤ columns/2.
  // Two rows are the real and the imaginary part of one transform; symmetry tells them apart.
  for (let i = 0; i < rows; i += 2) {
    const pair = i + 1 < rows;
    const [first, second] = [a.at / 4 + i * a.row, a.at / 4 + (i + 1) * a.row];
    for (let j = 0; j < columns; j++) {
      f64[input + 2 * j] = f32[first + j]!;
      f64[input + 2 * j + 1] = pair ? f32[second + j]! : 0;
    }
    const z = along.transform(false) / 8;
    for (let b = 0; b < bins; b++) {
      const c = b === 0 ? 0 : columns - b;
      // No pairs by destructuring in these loops: engines that do not see through them fill the heap with arrays.
      const re = f64[z + 2 * b]!;
      const im = f64[z + 2 * b + 1]!;
      const re2 = f64[z + 2 * c]!;
      const im2 = f64[z + 2 * c + 1]!;
      f64[at(i, b)] = (re + re2) / 2;
      f64[at(i, b) + 1] = (im - im2) / 2;
      if (pair) {
        f64[at(i + 1, b)] = (im + im2) / 2;
        f64[at(i + 1, b) + 1] = (re2 - re) / 2;
      }
    }
    if (i % 64 === 0) await pause(32 * fourierFlops(columns));
  }

  const scale = rows * columns;
  for (let b = 0; b < bins; b++) {
    const place = down.input / 8;
    f64.copyWithin(place, at(0, b), at(0, b) + 2 * rows);
    const z = down.transform(false) / 8;
    for (let i = 0; i < rows; i++) {
      const r = Math.min(i, rows - i);
      const low = r * r + b * b < radius * radius;
      f64[place + 2 * i] = low ? f64[z + 2 * i]! / scale : 0;
      f64[place + 2 * i + 1] = low ? f64[z + 2 * i + 1]! / scale : 0;
    }
    const back = down.transform(true) / 8;
    f64.copyWithin(at(0, b), back, back + 2 * rows);
    if (b % 64 === 0) await pause(128 * fourierFlops(rows));
  }

  for (let i = 0; i < rows; i += 2) {
    const pair = i + 1 < rows;
    f64.fill(0, input, input + 2 * columns);
    for (let b = 0; b < bins; b++) {
      const re = f64[at(i, b)]!;
      const im = f64[at(i, b) + 1]!;
      const re2 = pair ? f64[at(i + 1, b)]! : 0;
      const im2 = pair ? f64[at(i + 1, b) + 1]! : 0;
      f64[input + 2 * b] = re - im2;
      f64[input + 2 * b + 1] = im + re2;
      if (b === 0) continue;
      const c = columns - b;
      f64[input + 2 * c] = re + im2;
      f64[input + 2 * c + 1] = re2 - im;
    }
    const z = along.transform(true) / 8;
    const [first, second] = [a.at / 4 + i * a.row, a.at / 4 + (i + 1) * a.row];
    for (let j = 0; j < columns; j++) {
      f32[first + j] = f32[first + j]! - f64[z + 2 * j]!;
      if (pair) f32[second + j] = f32[second + j]! - f64[z + 2 * j + 1]!;
    }
    if (i % 64 === 0) await pause(32 * fourierFlops(columns));
  }
}

/** Σ a². */
function energy(algebra: Algebra, a: Matrix): number {
  let sum = 0;
  for (let i = 0; i < a.rows; i++) sum += algebra.e.dot(algebra.rowAt(a, i), algebra.rowAt(a, i), a.columns);
  return sum;
}
