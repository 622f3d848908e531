// What a worker is asked when deltas are analysed, and what it answers. docs/analyze.md says what becomes of it.

import type { Operand } from "./program.ts";

/** Sums, counts and histograms of x − base for each operand, all to the same base and kept whole, and of all of them together. */
export interface CensusRound {
  readonly op: "census";
  readonly operands: readonly (Operand & { readonly base: number })[];
  /** Of each operand the key, at least 1, from which on an element counts as one of its largest. */
  readonly tops: readonly number[];
}

/** Of one slice. Arrays of arrays are by operand or by pair i < j, row by row, unless something else is said. */
export interface CensusPart {
  readonly op: "census";
  /** By sum, then by block: Σ|b|, Σb², Σ|Σδ|, then Σ|δ| of each operand, then Σδδ of all pairs i ≤ j. */
  readonly sums: readonly Float64Array[];
  readonly nonzero: readonly number[];
  readonly top: readonly number[];
  /** The largest key. */
  readonly most: readonly number[];
  readonly pairs: readonly { readonly both: number; readonly apart: number; readonly top: number }[];
  /** At p·(N + 1) + q: elements that p operands move up and q down. */
  readonly patterns: readonly number[];
  /** By operand the bins that hold anything, ascending: the upper half of the bits of δ, how many, and the sum of the lower halves. */
  readonly bins: readonly Uint16Array[];
  readonly counts: readonly Uint32Array[];
  readonly lows: readonly Float64Array[];
}

/** Operands of one census. The tables of more would not fit a usual budget. */
export const maxCensusOperands = 16;
/** Elements of a task: a bin counts in 24 bits. */
export const maxCensusElements = 2 ** 23;
/** Bins of an operand. */
export const censusBins = 65_536;

/** Sums of a block. */
export function censusSums(operands: number): number {
  return 3 + operands + (operands * (operands + 1)) / 2;
}
