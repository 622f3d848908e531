// Of the table of kernels: whole merges, from the models' bits to the output's.

import type { Pointer } from "./pointer.ts";

/** All of them return 0, or 1 when an input or the output holds NaN or an infinity: the output is then to be thrown away. */
export interface MergeExports {
  merge_linear_bf16(
    out: Pointer,
    inputs: Pointer,
    scales: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_linear_f32: MergeExports["merge_linear_bf16"];
  merge_delta_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_delta_f32: MergeExports["merge_delta_bf16"];
  merge_dare_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    /** u32 pointers, 0 for a model without a mask; a pointer of 0 for no masks at all. */
    masks: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_dare_f32: MergeExports["merge_dare_bf16"];
  merge_window_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    /** u32 keys. */
    lows: Pointer,
    highs: Pointer,
    models: number,
    lambda: number,
    count: number,
  ): number;
  merge_elect_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    /** u32 pointers, 0 for a model without a mask. */
    masks: Pointer,
    /** u32 keys, 0 for a model that is not trimmed. */
    above: Pointer,
    models: number,
    lambda: number,
    zero: number,
    divide: number,
    weights: Pointer,
    count: number,
  ): number;
  survey_window_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    lows: Pointer,
    highs: Pointer,
    models: number,
    lambda: number,
    /** Four u32 for each model. */
    counts: Pointer,
    count: number,
  ): number;
  survey_elect_bf16(
    out: Pointer,
    base: Pointer,
    inputs: Pointer,
    scales: Pointer,
    above: Pointer,
    models: number,
    lambda: number,
    zero: number,
    divide: number,
    weights: Pointer,
    /** Two u32 for each model. */
    counts: Pointer,
    count: number,
  ): number;
  survey_elect_f32: MergeExports["survey_elect_bf16"];
  merge_elect_f32: MergeExports["merge_elect_bf16"];
}
