// What a matrix program takes: memory, which is reserved before it starts, and arithmetic, which a plan tells beforehand.

import { panelColumns } from "./components.ts";
import { eigenBytes } from "./eigen.ts";
import { fourierBytes, fourierFlops } from "./fourier.ts";
import { lowBins, radiusOf } from "./high-pass.ts";
import type { MatrixProgram } from "./program.ts";
import { tileElements } from "./program.ts";

/** What a 32-bit address reaches, less some room for everything that is no matrix. */
export const maxMatrixBytes = 2 ** 32 - 2 ** 24;

/** Packed blocks of products (2.2 MiB), and matrices' rounding to cache lines. */
const slackBytes = 5 << 19;
const square = (n: number) => 8 * n * n;

/** The smaller side, the larger one, and components of all models together. */
function sizes({ rows, columns, terms, rule }: MatrixProgram) {
  const k = Math.min(rows, columns);
  const n = Math.max(rows, columns);
  const q =
    rule.op === "tsv"
      ? rule.rank * terms.length
      : rule.op === "isotropic"
        ? rule.common + rule.specific * terms.length
        : k;
  return { k, n, q, models: terms.length };
}

/** Bytes of the matrices and of all that is computed beside them; the worker's own buffers come on top. */
export function matrixBytes(program: MatrixProgram): number {
  const { k, n, q, models } = sizes(program);
  const { rule } = program;
  const delta = 4 * k * n;
  const eigen = square(k) + eigenBytes(k);
  const panel = 8 * k * panelColumns;
  const join =
    8 * k * q +
    2 * square(q) +
    Math.max(2 * square(q) + 8 * 192 * q, 3 * square(q) + eigenBytes(q)) +
    8 * q * panelColumns;
  switch (rule.op) {
    case "star":
      return slackBytes + 2 * delta + eigen + 2 * panel;
    case "tsv":
      return slackBytes + models * delta + 8 * q * k + Math.max(eigen, panel, join, 8 * k * q + panel);
    case "isotropic":
      if (rule.specific === 0) return slackBytes + delta + square(k) + Math.max(eigen, panel);
      return (
        slackBytes +
        (models + 1) * delta +
        8 * k * (q + rule.common + rule.specific) +
        Math.max(2 * square(k) + eigen, panel, join, 8 * k * q + panel)
      );
    case "high-pass": {
      const bins = lowBins(radiusOf(rule.cutoff, k, n));
      return slackBytes + 2 * delta + 16 * k * bins + fourierBytes(n) + fourierBytes(k);
    }
  }
}

/** Tridiagonal form and divide and conquer, then `vectors` of them transformed back. */
const eigenFlops = (n: number, vectors: number) => (8 / 3) * n ** 3 + 2 * n * n * vectors;

/**
 * Floating-point operations, about: how many components STAR keeps, and what deflates, only the numbers tell. A third of the
 * components is assumed.
 */
export function matrixFlops(program: MatrixProgram): number {
  const { k, n, q, models } = sizes(program);
  const { rule } = program;
  const gram = k * k * n;
  const join = 3 * q * q * k + 6 * q ** 3 + 2 * eigenFlops(q, q) + q * q * n + 2 * k * q * n;
  switch (rule.op) {
    case "star":
      return models * (gram + eigenFlops(k, k / 3) + (4 / 3) * k * k * n);
    case "tsv":
      return models * (gram + eigenFlops(k, rule.rank) + 2 * rule.rank * k * n) + join;
    case "isotropic": {
      if (rule.specific === 0) return gram + eigenFlops(k, k) + 4 * k * k * n;
      const flipped = program.rows > program.columns;
      const away = flipped ? 3 * k * k * n + 2 * k * k * rule.common : 6 * k * k * rule.common;
      return (
        gram +
        eigenFlops(k, rule.common) +
        2 * rule.common * k * n +
        models * (gram + away + eigenFlops(k, rule.specific) + 2 * rule.specific * k * n) +
        join
      );
    }
    case "high-pass": {
      // Transforms wait for memory more than they compute.
      const bins = lowBins(radiusOf(rule.cutoff, k, n));
      return 4 * models * (k * fourierFlops(n) + 2 * bins * fourierFlops(k));
    }
  }
}

/** Operations a second of one worker, measured by bench/spectral.ts; for estimates. */
export const flopsPerSecond = 6e9;

/** Elements that are read and written at a time; whole rows of a matrix that is turned. */
const stripeElements = 65_536;
export const tileScratchBytes = 8 * tileElements * 4 + 65_536;

/** Bytes that a matrix task takes of a worker's memory. */
export function matrixTaskBytes(program: MatrixProgram, viewBytes: number): number {
  return ioBytes(program) + viewBytes + matrixBytes(program);
}

/** Stripes: base and model as they are stored, which may be f64, both in f32, and one turned; and the sum of models beside them. */
function ioBytes(program: MatrixProgram): number {
  return 8 * (stripeOf(program) * 4 + 64) + tileScratchBytes;
}

/** A row of a matrix that is turned is no longer than its other side, so memory for the matrix holds many. */
export function stripeOf({ rows, columns }: MatrixProgram): number {
  if (rows <= columns) return Math.min(stripeElements, rows * columns);
  return Math.max(1, Math.floor(stripeElements / columns)) * columns;
}
