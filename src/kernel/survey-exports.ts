// Of the table of kernels: sums, counts and ranks, of which surveys are made.

import type { Pointer } from "./pointer.ts";

export interface SurveyExports {
  dot(a: Pointer, b: Pointer, count: number): number;
  dots_bf16(out: Pointer, inputs: Pointer, base: Pointer, vectors: number, count: number): void;
  census_f32(state: Pointer, base: Pointer, deltas: Pointer, stride: number, count: number): void;
  survey_census_bf16(state: Pointer, base: Pointer, inputs: Pointer, count: number): number;
  survey_dots_bf16(out: Pointer, inputs: Pointer, base: Pointer, vectors: number, count: number): number;
  survey_brackets_bf16(brackets: Pointer, operands: number, count: number, finite: number): number;
  used_slots(slots: Pointer, count: number, low: number, shift: number): number;
  l1(a: Pointer, count: number): number;
  max_abs(a: Pointer, count: number): number;
  nonzero(a: Pointer, count: number): number;
  bracket(
    /** u32 pairs of a key and a count. */
    slots: Pointer,
    x: Pointer,
    count: number,
    low: number,
    high: number,
    shift: number,
    hot: number,
  ): number;
  bracket_bf16(
    slots: Pointer,
    x: Pointer,
    base: Pointer,
    count: number,
    low: number,
    high: number,
    shift: number,
    hot: number,
  ): number;
  bracket_f32: SurveyExports["bracket_bf16"];
  sample_keys(x: Pointer, count: number): void;
  sample_bins(bins: Pointer, keys: Pointer, count: number): void;
  sample_above(
    /** u32, three for each piece. */
    counts: Pointer,
    keys: Pointer,
    pieces: number,
    length: number,
    first: number,
    second: number,
  ): void;
  sample_within(out: Pointer, keys: Pointer, count: number, bin: number): number;
  equals(x: Pointer, key: number, count: number): number;
  nth_equal(x: Pointer, key: number, n: number, count: number): number;
  rank_row(
    out: Pointer,
    /** 0: none. */
    other: Pointer,
    x: Pointer,
    /** A u32 for every rank; two, one behind the other, where there is an `other`. */
    table: Pointer,
    count: number,
    spare: Pointer,
  ): void;
  select_scaled(x: Pointer, mask: Pointer, factors: Pointer, count: number): void;
}
