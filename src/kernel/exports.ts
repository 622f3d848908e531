// The table of what the compiled kernels export, as TypeScript sees it.

import type { MatrixExports } from "./matrix-exports.ts";
import type { MergeExports } from "./merge-exports.ts";
import type { Pointer } from "./pointer.ts";
import type { SurveyExports } from "./survey-exports.ts";

export type { Pointer } from "./pointer.ts";

/**
 * What assembly/index.ts exports; its comments say what each kernel computes. `count` is a number of elements. u32
 * parameters may be given as any integer of the same 32 bits.
 */
export interface KernelExports extends SurveyExports, MergeExports, MatrixExports {
  heap_base(): Pointer;

  decode_f32(out: Pointer, input: Pointer, count: number): void;
  decode_bf16(out: Pointer, input: Pointer, count: number): void;
  decode_f16(out: Pointer, input: Pointer, count: number): void;
  encode_f32(out: Pointer, input: Pointer, count: number): void;
  encode_bf16(out: Pointer, input: Pointer, count: number): void;
  encode_f16(out: Pointer, input: Pointer, count: number): void;

  nonfinite_f32(input: Pointer, count: number): number;
  nonfinite_bf16(input: Pointer, count: number): number;
  nonfinite_f16(input: Pointer, count: number): number;
  first_nonfinite_f32(input: Pointer, count: number): number;
  first_nonfinite_bf16(input: Pointer, count: number): number;
  first_nonfinite_f16(input: Pointer, count: number): number;
  decode_f8_e4m3(out: Pointer, input: Pointer, count: number): void;
  encode_f8_e4m3(out: Pointer, input: Pointer, count: number): void;
  nonfinite_f8_e4m3(input: Pointer, count: number): number;
  first_nonfinite_f8_e4m3(input: Pointer, count: number): number;
  decode_f8_e5m2(out: Pointer, input: Pointer, count: number): void;
  encode_f8_e5m2(out: Pointer, input: Pointer, count: number): void;
  nonfinite_f8_e5m2(input: Pointer, count: number): number;
  first_nonfinite_f8_e5m2(input: Pointer, count: number): number;
  decode_f64(out: Pointer, input: Pointer, count: number): void;
  encode_f64(out: Pointer, input: Pointer, count: number): void;
  nonfinite_f64(input: Pointer, count: number): number;
  first_nonfinite_f64(input: Pointer, count: number): number;
  philox_words(out: Pointer, k0: number, k1: number, blockLo: number, blockHi: number, count: number): void;
  dither(x: Pointer, bits: Pointer, fraction: number, lowest: number, count: number): void;
  replace_nonfinite(x: Pointer, base: Pointer, count: number): void;

  delta(out: Pointer, x: Pointer, base: Pointer, count: number): void;
  scale(out: Pointer, x: Pointer, c: number, count: number): void;
  axpy(acc: Pointer, x: Pointer, c: number, count: number): void;
  finish(out: Pointer, base: Pointer, acc: Pointer, lambda: number, count: number): void;
  clamp_finite(x: Pointer, limit: number, count: number): number;

  keep_mask(
    mask: Pointer,
    k0: number,
    k1: number,
    blockLo: number,
    blockHi: number,
    threshold: number,
    count: number,
  ): number;
  keep_mask_each(
    mask: Pointer,
    k0: number,
    k1: number,
    blockLo: number,
    blockHi: number,
    thresholds: Pointer,
    count: number,
  ): number;
  keep_mask_within(
    mask: Pointer,
    k0: number,
    k1: number,
    blockLo: number,
    blockHi: number,
    start: number,
    length: number,
    count: number,
  ): number;
  select(x: Pointer, mask: Pointer, count: number): void;

  trim(x: Pointer, above: number, equalBefore: number, count: number): number;
  window(
    x: Pointer,
    low: number,
    /** Keys equal to `low` stay from this index on, keys equal to `high` below that one. */
    lowFrom: number,
    high: number,
    highBefore: number,
    count: number,
  ): number;
  window_mask_bf16(mask: Pointer, x: Pointer, base: Pointer, low: number, high: number, count: number): void;
  elect(
    out: Pointer,
    votes: Pointer,
    factors: Pointer,
    weights: Pointer,
    models: number,
    stride: number,
    count: number,
    /** 0: the sum of the votes; 1: the sum of their signs. */
    by: number,
    /** What a sum of zero elects: 0 none, 1 +, 2 −. */
    zero: number,
    divide: number,
  ): void;

  same_bytes(a: Pointer, b: Pointer, byteCount: number): number;
  fold_row(out: Pointer, left: Pointer, right: Pointer, rank: number, pitch: number, count: number): void;
  fold_four(
    out: Pointer,
    outPitch: number,
    left: Pointer,
    right: Pointer,
    rank: number,
    pitch: number,
    count: number,
  ): void;

  contribute(
    out: Pointer,
    deltas: Pointer,
    boosts: Pointer,
    models: number,
    stride: number,
    epsilon: number,
    count: number,
  ): void;
  contributors(
    /** u32 pairs: alone, with others. */
    counts: Pointer,
    deltas: Pointer,
    models: number,
    stride: number,
    epsilon: number,
    count: number,
  ): void;
  largest(out: Pointer, deltas: Pointer, models: number, stride: number, count: number): void;
  unify(out: Pointer, deltas: Pointer, models: number, stride: number, count: number): void;
  consent(
    out: Pointer,
    total: Pointer,
    deltas: Pointer,
    lambdas: Pointer,
    models: number,
    stride: number,
    least: number,
    count: number,
  ): void;
  erase(
    out: Pointer,
    deltas: Pointer,
    weights: Pointer,
    models: number,
    stride: number,
    floor: number,
    count: number,
  ): void;
  variance(out: Pointer, deltas: Pointer, models: number, stride: number, count: number): void;
  dots_columns(sums: Pointer, a: Pointer, b: Pointer, first: number, length: number, count: number): void;
  scale_each(out: Pointer, x: Pointer, c: Pointer, count: number): void;
  axpy_each(acc: Pointer, x: Pointer, c: Pointer, count: number): void;
  count_signs(
    /** Two u32: above zero, below. */
    counts: Pointer,
    x: Pointer,
    count: number,
  ): void;
  agree_bits(bits: Pointer, x: Pointer, y: Pointer, count: number): number;
  axpy_bits(acc: Pointer, x: Pointer, bits: Pointer, firstBit: number, c: number, count: number): void;
  trim_by(x: Pointer, scores: Pointer, above: number, equalBefore: number, count: number): number;
  exp_f64(x: number): number;
  log_f64(x: number): number;
  importance(out: Pointer, x: Pointer, base: Pointer, columns: number, count: number): void;
  nearswap(out: Pointer, a: Pointer, b: Pointer, t: number, count: number): void;

  /** SHA-256: blocks of 64 bytes into the eight u32 at `state`. */
  sha256_blocks(state: Pointer, input: Pointer, blocks: number): void;
}
