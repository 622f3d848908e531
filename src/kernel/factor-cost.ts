// What a factor program takes: memory, which is reserved before it starts, and arithmetic; and whether it is sketched.

import { eigenBytes } from "./eigen.ts";
import type { FactorProgram } from "./factor-program.ts";
import { tileElements } from "./program.ts";

/** Multiplications by ΔWᵀ·ΔW that sharpen a sketch. */
export const powerPasses = 2;
/** Packed blocks of products, rounding to cache lines. */
const slackBytes = 4 << 20;
/** Elements that are read or written at a time. */
const stripeElements = 65_536;
/** Matrices whose smaller side is no longer are never sketched: exact takes a second. */
const alwaysExact = 512;

/** Random directions for a rank: half as many more, which leaves a hundredth of the energy that power passes alone would lose. */
export function sketchDirections(rank: number, rows: number, columns: number): number {
  return Math.min(rows, columns, rank + Math.max(16, Math.ceil(rank / 2)));
}

/** Whether a sketch saves at least half of the arithmetic. Depends on the shape alone, so that bits do. */
export function worthSketching(rank: number, rows: number, columns: number): boolean {
  const k = Math.min(rows, columns);
  if (k <= alwaysExact) return false;
  return 2 * sketchFlops(sketchDirections(rank, rows, columns), rows, columns) < exactFlops(rank, rows, columns);
}

function exactFlops(rank: number, rows: number, columns: number): number {
  const k = Math.min(rows, columns);
  return k * rows * columns + (8 / 3) * k ** 3 + 2 * k * k * rank + 2 * rank * rows * columns;
}

function sketchFlops(directions: number, rows: number, columns: number): number {
  const products = 4 * (powerPasses + 1) * directions * rows * columns;
  return products + 6 * (powerPasses + 1) * directions * directions * (rows + columns) + 12 * directions ** 3;
}

/** The rank of all pairs together. */
export function pairRows(source: FactorProgram["source"]): number {
  return source.op === "pairs" ? source.pairs.reduce((sum, p) => sum + p.rank, 0) : 0;
}

/** Floating-point operations, about. */
export function factorFlops({ rows, columns, rank, source }: FactorProgram): number {
  if (source.op === "pairs") {
    const q = pairRows(source);
    return 10 * q * q * (rows + columns) + 12 * q ** 3;
  }
  return source.sketch ? sketchFlops(source.sketch.directions, rows, columns) : exactFlops(rank, rows, columns);
}

/** Bytes of a worker's memory. */
export function factorTaskBytes(program: FactorProgram, viewBytes: number): number {
  const { rows, columns, rank, source } = program;
  const k = Math.min(rows, columns);
  const thin = (count: number) => 8 * count * (rows + columns) + 256;
  const square = (n: number) => 8 * n * n;
  // Two stripes as they are stored, in up to 8 bytes an element, and two in f32.
  const io = 6 * (stripeOf(program) * 4 + 64) + viewBytes;
  const result = thin(rank);
  if (source.op === "pairs") {
    const q = pairRows(source);
    const core = 4 * square(q) + thin(q) + 16 * rank * q + square(q) + eigenBytes(q) + 8 * 64 * q;
    return slackBytes + io + thin(q) + result + core;
  }
  const delta = 4 * rows * columns;
  if (!source.sketch) return slackBytes + io + delta + result + square(k) + eigenBytes(k);
  const l = source.sketch.directions;
  return slackBytes + io + delta + result + thin(l) + Math.max(8 * 64 * l, square(l) + eigenBytes(l)) + 8192;
}

/** Whole rows where the matrix is turned; whole tiles otherwise. */
export function stripeOf({ rows, columns, rank }: FactorProgram): number {
  const least = Math.max(tileElements, rank);
  const wide = rows <= columns ? stripeElements : Math.max(1, Math.floor(stripeElements / columns)) * columns;
  return Math.max(least, wide);
}
