// Whole programs in one pass over bf16 or (`Wide`) f32, for the common cases: inputs are read and the output is written once, and nothing
// in between leaves the registers. Every operation is one that the separate kernels do, or has the same result for finite
// numbers, so that the bits are the same.
//
// Each returns 0, or 1 when an input or the output holds NaN or an infinity: then the output is worth nothing, and the
// separate kernels have to do the tile. So nothing here has to carry a NaN correctly; it only must not get lost:
//
// - Inputs are looked at when masks select from them, or when a trim may drop infinities.
// - A delta or a vote of finite inputs can overflow or become NaN. Sums keep that. An election adds pmax(vote, 0), which
//   is NaN for NaN; where the sum of the votes is infinite or NaN, one of the signs has an infinite total, and that sign is
//   elected. (Trimming may drop an infinite delta, and so do the separate kernels.)
// - Rounding turns no infinity and no NaN that an operation made (7fc00000 or ffc00000) into a finite bf16.

import { clearTallies, storeTallies } from "./cast";
import { No, widthOf, Yes } from "./pairs";
import { summed } from "./sums";
import { elected } from "./vote";
import { clearWindowTallies, storeWindowTallies, windowed } from "./windowed";

/** More models than this take the separate kernels. */
const maxModels: usize = 64;

// The ragged end is copied here, a row of 16 elements for each input, and merged as a whole step.
const tailInputs: usize = memory.data(64 * 64, 16);
const tailMasks: usize = memory.data(64 * 16, 16);
const tailBase: usize = memory.data(64, 16);
const tailOut: usize = memory.data(64, 16);
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

function gatherTail<Wide>(base: usize, inputs: usize, masks: usize, models: usize, first: usize, rest: usize): void {
  const width = widthOf<Wide>();
  // The padding is looked at with the rest and has to be finite: zeros.
  memory.fill(tailBase, 0, 64);
  memory.fill(tailInputs, 0, models << 6);
  if (base) memory.copy(tailBase, base + (first << width), rest << width);
  for (let m: usize = 0; m < models; m++) {
    const row = tailInputs + (m << 6);
    memory.copy(row, <usize>load<u32>(inputs + (m << 2)) + (first << width), rest << width);
    store<u32>(tailInputPointers + (m << 2), <u32>row);
    if (!masks) continue;
    const mask = <usize>load<u32>(masks + (m << 2));
    const maskRow = tailMasks + (m << 4);
    if (mask) memory.copy(maskRow, mask + first, rest);
    store<u32>(tailMaskPointers + (m << 2), mask ? <u32>maskRow : 0);
  }
}

// ---- Sums.

function sumAll<Wide, Based>(
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
  let beyond = summed<Wide, Based, No>(out, base, inputs, scales, 0, models, lambda, 0, whole);
  if (whole == count) return beyond;
  gatherTail<Wide>(base, inputs, 0, models, whole, count - whole);
  beyond |= summed<Wide, Based, No>(tailOut, tailBase, tailInputPointers, scales, 0, models, lambda, 0, 16);
  memory.copy(out + (whole << widthOf<Wide>()), tailOut, (count - whole) << widthOf<Wide>());
  return beyond;
}

function sumMasked<Wide>(
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
    const end = min(first + pieceElements, whole);
    beyond |= summed<Wide, Yes, Yes>(out, base, inputs, scales, at, models, lambda, first, end);
  }
  if (whole == count) return beyond;
  gatherTail<Wide>(base, inputs, masks, models, whole, count - whole);
  const at = place(tailMaskPointers, models, 0);
  beyond |= summed<Wide, Yes, Yes>(tailOut, tailBase, tailInputPointers, scales, at, models, lambda, 0, 16);
  memory.copy(out + (whole << widthOf<Wide>()), tailOut, (count - whole) << widthOf<Wide>());
  return beyond;
}

export function merge_linear_bf16(
  out: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  return sumAll<No, No>(out, 0, inputs, scales, models, lambda, count);
}

export function merge_linear_f32(
  out: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  return sumAll<Yes, No>(out, 0, inputs, scales, models, lambda, count);
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
  return sumAll<No, Yes>(out, base, inputs, scales, models, lambda, count);
}

export function merge_delta_f32(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  return sumAll<Yes, Yes>(out, base, inputs, scales, models, lambda, count);
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
  return sumMasked<No>(out, base, inputs, scales, masks, models, lambda, count);
}

export function merge_dare_f32(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  return sumMasked<Yes>(out, base, inputs, scales, masks, models, lambda, count);
}

function windowAll(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  lows: usize,
  highs: usize,
  models: usize,
  lambda: f32,
  counts: bool,
  count: usize,
): i32 {
  if (models < 1 || models > maxModels) unreachable();
  const whole = count & ~15;
  let beyond = windowed(out, base, inputs, scales, lows, highs, models, lambda, counts, whole);
  if (whole == count) return beyond;
  // The padding has key 0, which no window begins with where keys are counted.
  gatherTail<No>(base, inputs, 0, models, whole, count - whole);
  beyond |= windowed(tailOut, tailBase, tailInputPointers, scales, lows, highs, models, lambda, counts, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
  return beyond;
}

export function merge_window_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  lows: usize,
  highs: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  return windowAll(out, base, inputs, scales, lows, highs, models, lambda, false, count);
}

/**
 * `merge_window_bf16` that counts meanwhile: of each model four u32, the keys above its `low` and at it, above its `high` and at it.
 * Windows do not begin with key 0.
 */
export function survey_window_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  lows: usize,
  highs: usize,
  models: usize,
  lambda: f32,
  counts: usize,
  count: usize,
): i32 {
  clearWindowTallies(models);
  const beyond = windowAll(out, base, inputs, scales, lows, highs, models, lambda, true, count);
  storeWindowTallies(counts, models);
  return beyond;
}

// ---- Elections.

/** Whether any of the first `models` words is not 0. */
function anyWord(words: usize, models: usize): bool {
  for (let m: usize = 0; m < models; m++) if (load<u32>(words + (m << 2)) != 0) return true;
  return false;
}

function electAll<Wide>(
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
  counts: bool,
  count: usize,
): i32 {
  if (models > maxModels) unreachable();
  const masked = !counts && anyWord(masks, models);
  const whole = count & ~15;
  let beyond = 0;
  if (!masked) {
    beyond = elected<Wide>(out, base, inputs, scales, 0, above, models, lambda, zero, divide, weights, counts, 0, whole);
  } else {
    for (let first: usize = 0; first < whole; first += pieceElements) {
      const at = place(masks, models, first);
      const end = min(first + pieceElements, whole);
      beyond |= elected<Wide>(out, base, inputs, scales, at, above, models, lambda, zero, divide, weights, false, first, end);
    }
  }
  if (whole == count) return beyond;
  gatherTail<Wide>(base, inputs, masks, models, whole, count - whole);
  if (!masked) {
    beyond |= elected<Wide>(tailOut, tailBase, tailInputPointers, scales, 0, above, models, lambda, zero, divide, weights, counts, 0, 16);
  } else {
    const at = place(tailMaskPointers, models, 0);
    beyond |= elected<Wide>(tailOut, tailBase, tailInputPointers, scales, at, above, models, lambda, zero, divide, weights, false, 0, 16);
  }
  memory.copy(out + (whole << widthOf<Wide>()), tailOut, (count - whole) << widthOf<Wide>());
  return beyond;
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
  return electAll<No>(out, base, inputs, scales, masks, above, models, lambda, zero, divide, weights, false, count);
}

export function merge_elect_f32(
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
  return electAll<Yes>(out, base, inputs, scales, masks, above, models, lambda, zero, divide, weights, false, count);
}

export function survey_elect_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  above: usize,
  models: usize,
  lambda: f32,
  zero: i32,
  divide: i32,
  weights: usize,
  counts: usize,
  count: usize,
): i32 {
  if (models > maxModels) unreachable();
  clearTallies(models);
  const beyond = electAll<No>(out, base, inputs, scales, 0, above, models, lambda, zero, divide, weights, true, count);
  storeTallies(counts, models);
  return beyond;
}

export function survey_elect_f32(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  above: usize,
  models: usize,
  lambda: f32,
  zero: i32,
  divide: i32,
  weights: usize,
  counts: usize,
  count: usize,
): i32 {
  if (models > maxModels) unreachable();
  clearTallies(models);
  const beyond = electAll<Yes>(out, base, inputs, scales, 0, above, models, lambda, zero, divide, weights, true, count);
  storeTallies(counts, models);
  return beyond;
}
