// Whole programs in one pass over bf16, for the common cases: inputs are read and the output is written once, and nothing
// in between leaves the registers. Every operation is one that the separate kernels do, or has the same result for finite
// numbers, so that the bits are the same.
//
// Each returns 0, or 1 when an input or the output holds NaN or an infinity: then the output is worth nothing, and the
// separate kernels have to do the tile. So nothing here has to carry a NaN correctly; it only must not get lost:
//
// - Inputs are looked at before masks select from them.
// - A delta or a vote of finite inputs can overflow or become NaN. Sums keep that. An election adds pmax(vote, 0), which
//   is NaN for NaN; where the sum of the votes is infinite or NaN, one of the signs has an infinite total, and that sign is
//   elected. (Trimming may drop an infinite delta, and so do the separate kernels.)
// - Rounding turns no infinity and no NaN that an operation made (7fc00000 or ffc00000) into a finite bf16.

import { No, Yes } from "./pairs";
import { summed } from "./sums";
import { electedFew, electedMany } from "./vote";

/** More models than this take the separate kernels. */
const maxModels: usize = 64;

// The ragged end is copied here, a row of 16 elements for each input, and merged as a whole step.
const tailInputs: usize = memory.data(64 * 32, 16);
const tailMasks: usize = memory.data(64 * 16, 16);
const tailBase: usize = memory.data(32, 16);
const tailOut: usize = memory.data(32, 16);
const tailInputPointers: usize = memory.data(64 * 4, 4);
const tailMaskPointers: usize = memory.data(64 * 4, 4);

// A model without a mask among models with masks gets one that keeps all. It is as long as a tile; longer arrays are taken
// in pieces.
const pieceElements: usize = 4096;
const allKept: usize = memory.data(4096, 16);
const placed: usize = memory.data(64 * 4, 4);

/** Pointers to masks for all models: element `first` and the `pieceElements` from it on may be looked up. */
function place(masks: usize, models: usize, first: usize): usize {
  if (load<u8>(allKept) == 0) memory.fill(allKept, 0xff, pieceElements);
  for (let m: usize = 0; m < models; m++) {
    const mask = load<u32>(masks + (m << 2));
    store<u32>(placed + (m << 2), mask ? mask : <u32>(allKept - first));
  }
  return placed;
}

function gatherTail(base: usize, inputs: usize, masks: usize, models: usize, first: usize, rest: usize): void {
  // The padding is looked at with the rest and has to be finite: zeros.
  memory.fill(tailBase, 0, 32);
  memory.fill(tailInputs, 0, models << 5);
  if (base) memory.copy(tailBase, base + (first << 1), rest << 1);
  for (let m: usize = 0; m < models; m++) {
    const row = tailInputs + (m << 5);
    memory.copy(row, <usize>load<u32>(inputs + (m << 2)) + (first << 1), rest << 1);
    store<u32>(tailInputPointers + (m << 2), <u32>row);
    if (!masks) continue;
    const mask = <usize>load<u32>(masks + (m << 2));
    const maskRow = tailMasks + (m << 4);
    if (mask) memory.copy(maskRow, mask + first, rest);
    store<u32>(tailMaskPointers + (m << 2), mask ? <u32>maskRow : 0);
  }
}

// ---- Sums.

export function merge_linear_bf16(
  out: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  if (models < 1 || models > maxModels) unreachable();
  const whole = count & ~15;
  let beyond = summed<No, No>(out, 0, inputs, scales, 0, models, lambda, 0, whole);
  if (whole == count) return beyond;
  gatherTail(0, inputs, 0, models, whole, count - whole);
  beyond |= summed<No, No>(tailOut, 0, tailInputPointers, scales, 0, models, lambda, 0, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
  return beyond;
}

export function merge_delta_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  if (models < 1 || models > maxModels) unreachable();
  const whole = count & ~15;
  let beyond = summed<Yes, No>(out, base, inputs, scales, 0, models, lambda, 0, whole);
  if (whole == count) return beyond;
  gatherTail(base, inputs, 0, models, whole, count - whole);
  beyond |= summed<Yes, No>(tailOut, tailBase, tailInputPointers, scales, 0, models, lambda, 0, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
  return beyond;
}

export function merge_dare_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  if (models < 1 || models > maxModels) unreachable();
  const whole = count & ~15;
  let beyond = 0;
  for (let first: usize = 0; first < whole; first += pieceElements) {
    const at = place(masks, models, first);
    beyond |= summed<Yes, Yes>(out, base, inputs, scales, at, models, lambda, first, min(first + pieceElements, whole));
  }
  if (whole == count) return beyond;
  gatherTail(base, inputs, masks, models, whole, count - whole);
  const at = place(tailMaskPointers, models, 0);
  beyond |= summed<Yes, Yes>(tailOut, tailBase, tailInputPointers, scales, at, models, lambda, 0, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
  return beyond;
}

// ---- Elections.

/** Whether the first `models` numbers are all 1. */
function areOnes(numbers: usize, models: usize): bool {
  for (let m: usize = 0; m < models; m++) if (load<f32>(numbers + (m << 2)) != 1) return false;
  return true;
}

/** Whether any of the first `models` words is not 0. */
function anyWord(words: usize, models: usize): bool {
  for (let m: usize = 0; m < models; m++) if (load<u32>(words + (m << 2)) != 0) return true;
  return false;
}

function fewOf<Third, Fourth, Masked>(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  models: usize,
  lambda: f32,
  zero: i32,
  divide: i32,
  weights: usize,
  count: usize,
): i32 {
  const unit = areOnes(scales, models) && (!divide || areOnes(weights, models));
  if (unit && divide) {
    return electedFew<Third, Fourth, Masked, Yes, Yes>(out, base, inputs, scales, masks, above, lambda, zero, weights, count);
  }
  if (unit) {
    return electedFew<Third, Fourth, Masked, No, Yes>(out, base, inputs, scales, masks, above, lambda, zero, weights, count);
  }
  if (divide) {
    return electedFew<Third, Fourth, Masked, Yes, No>(out, base, inputs, scales, masks, above, lambda, zero, weights, count);
  }
  return electedFew<Third, Fourth, Masked, No, No>(out, base, inputs, scales, masks, above, lambda, zero, weights, count);
}

function elected(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  models: usize,
  lambda: f32,
  zero: i32,
  divide: i32,
  weights: usize,
  count: usize,
): i32 {
  const masked = anyWord(masks, models);
  // Rarities: one model, more than four, ties that elect −, a trim of what a mask has left.
  if (models < 2 || models > 4 || zero == 2 || (masked && anyWord(above, models))) {
    return electedMany(out, base, inputs, scales, masks, above, models, lambda, zero, divide, weights, count);
  }
  if (masked) {
    if (models == 2) return fewOf<No, No, Yes>(out, base, inputs, scales, masks, above, 2, lambda, zero, divide, weights, count);
    if (models == 3) return fewOf<Yes, No, Yes>(out, base, inputs, scales, masks, above, 3, lambda, zero, divide, weights, count);
    return fewOf<Yes, Yes, Yes>(out, base, inputs, scales, masks, above, 4, lambda, zero, divide, weights, count);
  }
  if (models == 2) return fewOf<No, No, No>(out, base, inputs, scales, masks, above, 2, lambda, zero, divide, weights, count);
  if (models == 3) return fewOf<Yes, No, No>(out, base, inputs, scales, masks, above, 3, lambda, zero, divide, weights, count);
  return fewOf<Yes, Yes, No>(out, base, inputs, scales, masks, above, 4, lambda, zero, divide, weights, count);
}

export function merge_elect_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  models: usize,
  lambda: f32,
  zero: i32,
  divide: i32,
  weights: usize,
  count: usize,
): i32 {
  if (models > maxModels) unreachable();
  const whole = count & ~15;
  let beyond = elected(out, base, inputs, scales, masks, above, models, lambda, zero, divide, weights, whole);
  if (whole == count) return beyond;
  gatherTail(base, inputs, masks, models, whole, count - whole);
  const pointers = tailMaskPointers;
  beyond |= elected(tailOut, tailBase, tailInputPointers, scales, pointers, above, models, lambda, zero, divide, weights, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
  return beyond;
}
