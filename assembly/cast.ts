// The votes of one model: its deltas, those that a mask drops or that are trimmed away as zeros, times its scale. They wait in the
// first cache, as f32, until all models have cast theirs (vote.ts). A loop that does both needs more registers than there are: the
// sum of the votes went through memory, and each step waited for it.

import {
  firstKept, firstOf, largerOf, magnitudeBits, No, plainOf, rawOf, secondKept, secondOf, storeOf, underHalf,
  unitUpper, upperHalves, widthOf, Yes,
} from "./pairs";
import { floorOf, sumLanes } from "./select";

/** Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop. */
const splats: usize = memory.data(8, 4);

function trimmed(v: v128, floor: v128, magnitude: v128): v128 {
  return v128.and(v, i32x4.gt_s(v128.and(v, magnitude), floor));
}

/**
 * `count` elements, a multiple of 8: of each eight the first four and the other four (of bf16 the even and the odd ones). `Trims`: keys
 * below `above` become zeros. `Unit`: the scale is 1. Returns `larger` of what masks select from, as they may hide what is not finite.
 */
function cast<Wide, Masked, Trims, Unit>(
  to: usize,
  x: usize,
  base: usize,
  mask: usize,
  scale: f32,
  above: u32,
  count: usize,
  largest: v128,
): v128 {
  store<i32>(splats, floorOf(above));
  store<f32>(splats, scale, 4);
  const floor = v128.load32_splat(splats);
  const c = v128.load32_splat(splats, 4);
  const magnitude = magnitudeBits();
  const unit = unitUpper();
  const upper = upperHalves();
  let top = largest;
  for (const end = to + (count << 2); to < end; to += 32) {
    const b = plainOf<Wide, No>(base);
    const v = rawOf<Wide, Masked, No>(x, b, mask);
    let first = firstKept<Wide, Masked>(f32x4.sub(firstOf<Wide, No>(x, v, unit), firstOf<Wide, No>(base, b, unit)), v);
    let second = secondKept<Wide, Masked>(f32x4.sub(secondOf<Wide, No>(x, v, upper), secondOf<Wide, No>(base, b, upper)), v);
    if (isFloat<Trims>()) {
      first = trimmed(first, floor, magnitude);
      second = trimmed(second, floor, magnitude);
    }
    if (!isFloat<Unit>()) {
      first = f32x4.mul(c, first);
      second = f32x4.mul(c, second);
    }
    v128.store(to, first);
    v128.store(to, second, 16);
    if (isFloat<Masked>()) {
      top = largerOf<Wide, No>(top, x);
      mask += 8;
    }
    x += 8 << widthOf<Wide>();
    base += 8 << widthOf<Wide>();
  }
  return top;
}

/** Vectors of keys ≥ and > that of a model, counted while its votes were cast. */
const tallies: usize = memory.data(64 * 32, 16);

export function clearTallies(models: usize): void {
  memory.fill(tallies, 0, models << 5);
}

/** (counts u32, models): of each the keys above its own, and those at it. */
export function storeTallies(counts: usize, models: usize): void {
  for (let m: usize = 0; m < models; m++) {
    const over = sumLanes(v128.load(tallies + (m << 5), 16));
    store<u32>(counts + (m << 3), over);
    store<u32>(counts + (m << 3), sumLanes(v128.load(tallies + (m << 5))) - over, 4);
  }
}

/** `cast` of model `m`, without a mask, that adds to its tallies: all but the compare with the key is done anyway. */
function castCounted<Wide, Unit>(to: usize, x: usize, base: usize, scale: f32, above: u32, m: usize, count: usize): void {
  store<i32>(splats, floorOf(above));
  store<f32>(splats, scale, 4);
  const floor = v128.load32_splat(splats);
  const c = v128.load32_splat(splats, 4);
  const key = i32x4.splat(above);
  const magnitude = magnitudeBits();
  const unit = unitUpper();
  const upper = upperHalves();
  const tally = tallies + (m << 5);
  let kept = v128.load(tally);
  let over = v128.load(tally, 16);
  for (const end = to + (count << 2); to < end; to += 32) {
    const b = plainOf<Wide, No>(base);
    const v = plainOf<Wide, No>(x);
    const first = f32x4.sub(firstOf<Wide, No>(x, v, unit), firstOf<Wide, No>(base, b, unit));
    const second = f32x4.sub(secondOf<Wide, No>(x, v, upper), secondOf<Wide, No>(base, b, upper));
    const firstKey = v128.and(first, magnitude);
    const secondKey = v128.and(second, magnitude);
    const keptFirst = i32x4.gt_s(firstKey, floor);
    const keptSecond = i32x4.gt_s(secondKey, floor);
    kept = i32x4.sub(kept, i32x4.add(keptFirst, keptSecond));
    over = i32x4.sub(over, i32x4.add(i32x4.gt_s(firstKey, key), i32x4.gt_s(secondKey, key)));
    const firstVote = v128.and(first, keptFirst);
    const secondVote = v128.and(second, keptSecond);
    v128.store(to, isFloat<Unit>() ? firstVote : f32x4.mul(c, firstVote));
    v128.store(to, isFloat<Unit>() ? secondVote : f32x4.mul(c, secondVote), 16);
    x += 8 << widthOf<Wide>();
    base += 8 << widthOf<Wide>();
  }
  v128.store(tally, kept);
  v128.store(tally, over, 16);
}

export function castAndCount<Wide>(to: usize, x: usize, base: usize, scale: f32, above: u32, m: usize, count: usize): void {
  if (scale == 1) castCounted<Wide, Yes>(to, x, base, scale, above, m, count);
  else castCounted<Wide, No>(to, x, base, scale, above, m, count);
}

/** A loop is called by reference, so that it is a function of its own: engines optimise a small one sooner. */
export type Cast = (to: usize, x: usize, base: usize, mask: usize, scale: f32, above: u32, count: usize, top: v128) => v128;

function castOf<Wide, Masked, Trims>(scale: f32): Cast {
  if (scale == 1) return (to, x, base, mask, c, above, count, top) =>
      cast<Wide, Masked, Trims, Yes>(to, x, base, mask, c, above, count, top);
  return (to, x, base, mask, c, above, count, top) =>
    cast<Wide, Masked, Trims, No>(to, x, base, mask, c, above, count, top);
}

export function castBy<Wide>(masked: bool, scale: f32, above: u32): Cast {
  const trims = above > 0;
  if (masked) return trims ? castOf<Wide, Yes, Yes>(scale) : castOf<Wide, Yes, No>(scale);
  return trims ? castOf<Wide, No, Yes>(scale) : castOf<Wide, No, No>(scale);
}

/** `larger` of `count` elements, a multiple of 8: where a trim may drop what is not finite, so that the output does not show it. */
export function looked<Wide>(x: usize, count: usize, largest: v128): v128 {
  let top = largest;
  for (const end = x + (count << widthOf<Wide>()); x < end; x += 8 << widthOf<Wide>()) top = largerOf<Wide, No>(top, x);
  return top;
}

/**
 * out = base + lambda · what waits at `sums`, `count` elements, a multiple of 8, in the order of `cast`. Returns `larger` of the output.
 */
export function finish<Wide>(out: usize, base: usize, sums: usize, lambda: f32, count: usize, largest: v128): v128 {
  store<f32>(splats, lambda);
  const factor = v128.load32_splat(splats);
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = largest;
  for (const end = sums + (count << 2); sums < end; sums += 32) {
    const b = plainOf<Wide, No>(base);
    const first = f32x4.add(firstOf<Wide, No>(base, b, unit), f32x4.mul(factor, v128.load(sums)));
    const second = f32x4.add(secondOf<Wide, No>(base, b, upper), f32x4.mul(factor, v128.load(sums, 16)));
    top = storeOf<Wide, No, No>(out, first, second, top, unit, upper, half);
    out += 8 << widthOf<Wide>();
    base += 8 << widthOf<Wide>();
  }
  return top;
}
