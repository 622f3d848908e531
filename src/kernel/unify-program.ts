// What a worker is told to make the unified delta of EMR-merging and the masks that lead from it back to each model, as data.

import { byteWidth, type FloatDtype } from "../tensor/dtype.ts";
import { type Location, tileElements } from "./program.ts";

/**
 * EMR-merging (Huang et al. 2024, arXiv 2405.17461): τ, the largest |x_i − base| of those that have the sign of the sum (− where
 * that is zero), with this sign, rounded to `out`; it goes to the task's output. For each term one bit an element, set where its
 * delta and τ have one sign: bit i mod 8 of byte i div 8 of `mask`.
 */
export interface UnifyProgram {
  readonly op: "unify";
  readonly inputs: readonly FloatDtype[];
  readonly out: FloatDtype;
  readonly base: number;
  readonly terms: readonly { readonly input: number; readonly mask: Location }[];
}

/** Per term, in f64 and by aligned blocks of 4,096 elements: Σ |δ|, and Σ |τ| where its mask is set. */
export interface UnifyFacts {
  readonly deltas: readonly Float64Array[];
  readonly masked: readonly Float64Array[];
}

/** Elements that are read and written at a time: as for other programs, every stream of them fits L2. */
export const unifyStride = 65_536;
const padding = 64;

/** Bytes of a worker's memory that a task of this program takes; `viewBytes`: what reading views takes beside it. */
export function unifyTaskBytes({ inputs, out, terms }: UnifyProgram, viewBytes: number): number {
  const streams = inputs.reduce((sum, dtype) => sum + byteWidth(dtype), byteWidth(out)) + terms.length / 8;
  const pieces = inputs.length + terms.length + 6;
  return streams * unifyStride + (terms.length + 3) * tileElements * 4 + viewBytes + pieces * padding;
}
