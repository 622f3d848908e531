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

import { evens, isBeyond, larger, odds, pack, underHalf, unitUpper, upperHalves } from "./pairs";
import { electedFew, electedMany, No, Yes } from "./vote";

/** More models than this take the separate kernels. */
const maxModels: usize = 8;

// The ragged end is copied here, a row of 16 elements for each input, and merged as a whole step.
const tailInputs: usize = memory.data(8 * 32, 16);
const tailMasks: usize = memory.data(8 * 16, 16);
const tailBase: usize = memory.data(32, 16);
const tailOut: usize = memory.data(32, 16);
const tailInputPointers: usize = memory.data(8 * 4, 4);
const tailMaskPointers: usize = memory.data(8 * 4, 4);

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

// ---- Sums. They start at −0, the neutral element of addition: −0 + x is x, for both zeros too.

function linear(out: usize, inputs: usize, scales: usize, models: usize, lambda: f32, count: usize): i32 {
  const factor = f32x4.splat(lambda);
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = i64x2.splat(0);
  for (let i: usize = 0; i < count; i += 16) {
    const at = i << 1;
    let s0 = f32x4.splat(-0.0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let m: usize = 0; m < models << 2; m += 4) {
      const x = <usize>load<u32>(inputs + m) + at;
      const c = v128.load32_splat(scales + m);
      const v = v128.load(x);
      top = larger(top, v);
      s0 = f32x4.add(s0, f32x4.mul(c, evens(v, unit)));
      s1 = f32x4.add(s1, f32x4.mul(c, odds(v, upper)));
      const w = v128.load(x, 16);
      top = larger(top, w);
      s2 = f32x4.add(s2, f32x4.mul(c, evens(w, unit)));
      s3 = f32x4.add(s3, f32x4.mul(c, odds(w, upper)));
    }
    const first = pack(f32x4.mul(factor, s0), f32x4.mul(factor, s1), unit, upper, half);
    const second = pack(f32x4.mul(factor, s2), f32x4.mul(factor, s3), unit, upper, half);
    top = larger(larger(top, first), second);
    v128.store(out + at, first);
    v128.store(out + at, second, 16);
  }
  return isBeyond(top);
}

export function merge_linear_bf16(
  out: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  if (models > maxModels) unreachable();
  const whole = count & ~15;
  let beyond = linear(out, inputs, scales, models, lambda, whole);
  if (whole == count) return beyond;
  gatherTail(0, inputs, 0, models, whole, count - whole);
  beyond |= linear(tailOut, tailInputPointers, scales, models, lambda, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
  return beyond;
}

function sum(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  models: usize,
  lambda: f32,
  count: usize,
): i32 {
  const factor = f32x4.splat(lambda);
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = i64x2.splat(0);
  for (let i: usize = 0; i < count; i += 16) {
    const at = i << 1;
    const low = v128.load(base + at);
    const high = v128.load(base + at, 16);
    top = larger(larger(top, low), high);
    let s0 = f32x4.splat(-0.0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let m: usize = 0; m < models << 2; m += 4) {
      const x = <usize>load<u32>(inputs + m) + at;
      let v = v128.load(x);
      let w = v128.load(x, 16);
      top = larger(larger(top, v), w);
      const mask = masks ? <usize>load<u32>(masks + m) : 0;
      if (mask) {
        // What is dropped takes the value of the base: its delta is then +0, as if it were selected.
        v = v128.bitselect(v, low, v128.load8x8_s(mask + i));
        w = v128.bitselect(w, high, v128.load8x8_s(mask + i, 8));
      }
      const c = v128.load32_splat(scales + m);
      s0 = f32x4.add(s0, f32x4.mul(c, f32x4.sub(evens(v, unit), evens(low, unit))));
      s1 = f32x4.add(s1, f32x4.mul(c, f32x4.sub(odds(v, upper), odds(low, upper))));
      s2 = f32x4.add(s2, f32x4.mul(c, f32x4.sub(evens(w, unit), evens(high, unit))));
      s3 = f32x4.add(s3, f32x4.mul(c, f32x4.sub(odds(w, upper), odds(high, upper))));
    }
    const first = pack(
      f32x4.add(evens(low, unit), f32x4.mul(factor, s0)),
      f32x4.add(odds(low, upper), f32x4.mul(factor, s1)),
      unit,
      upper,
      half,
    );
    const second = pack(
      f32x4.add(evens(high, unit), f32x4.mul(factor, s2)),
      f32x4.add(odds(high, upper), f32x4.mul(factor, s3)),
      unit,
      upper,
      half,
    );
    top = larger(larger(top, first), second);
    v128.store(out + at, first);
    v128.store(out + at, second, 16);
  }
  return isBeyond(top);
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
  if (models > maxModels) unreachable();
  const whole = count & ~15;
  let beyond = sum(out, base, inputs, scales, masks, models, lambda, whole);
  if (whole == count) return beyond;
  gatherTail(base, inputs, masks, models, whole, count - whole);
  beyond |= sum(tailOut, tailBase, tailInputPointers, scales, masks ? tailMaskPointers : 0, models, lambda, 16);
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
  return merge_dare_bf16(out, base, inputs, scales, 0, models, lambda, count);
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
