// Sums of what a window of magnitudes leaves of bf16 deltas: out = base + lambda · Σ c·w(x − base), where w keeps the keys from `low` to
// `high`. The delta is taken once, for the window and for the sum; a mask of bytes between two kernels cost as much again.
//
// A window has two limits a model, and with those of three models no registers would be left. So each model takes a pass of its own
// over a few elements at a time, whose partial sums wait in the first cache; the order of the additions stays that of the models.

import { finish } from "./cast";
import { evens, isBeyond, larger, magnitudeBits, No, odds, unitUpper, upperHalves, Yes } from "./pairs";
import { floorOf, sumLanes } from "./select";

/** Elements whose partial sums wait together. */
const chunkElements: usize = 512;
/** Of every eight elements the even ones, then the odd ones. */
const partial: usize = memory.data(512 * 4, 16);
/** The base of these elements in the same order, for the models after the first: vector units have no time left here, loads do. */
const decoded: usize = memory.data(512 * 4, 16);
/** Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop. */
const splats: usize = memory.data(12, 4);

/** For each model vectors of how many keys are at least `low`, `low`, above `high`, `high`: counted while it was summed up. */
const tallies: usize = memory.data(64 * 64, 16);

export function clearWindowTallies(models: usize): void {
  memory.fill(tallies, 0, models << 6);
}

/** (counts u32, models): of each the keys above `low` and at it, then those above `high` and at it. */
export function storeWindowTallies(counts: usize, models: usize): void {
  for (let m: usize = 0; m < models; m++, counts += 16) {
    const tally = tallies + (m << 6);
    const atLow = sumLanes(v128.load(tally, 16));
    store<u32>(counts, sumLanes(v128.load(tally)) - atLow);
    store<u32>(counts, atLow, 4);
    store<u32>(counts, sumLanes(v128.load(tally, 32)), 8);
    store<u32>(counts, sumLanes(v128.load(tally, 48)), 12);
  }
}

/**
 * Model `m` over `count` elements, a multiple of eight: begins the partial sums, or adds to them. With `Counts` it adds to the model's
 * tallies: half of the comparisons are done anyway. Returns `larger` of it.
 */
function pass<Starts, Counts>(
  base: usize,
  x: usize,
  scale: f32,
  low: u32,
  high: u32,
  m: usize,
  count: usize,
  largest: v128,
): v128 {
  store<i32>(splats, floorOf(low));
  store<i32>(splats, <i32>min<u32>(high, 0x7fffffff), 4);
  store<i32>(splats, low, 8);
  const floors = v128.load32_splat(splats);
  const ceilings = v128.load32_splat(splats, 4);
  const lows = v128.load32_splat(splats, 8);
  const c = f32x4.splat(scale);
  const unit = unitUpper();
  const upper = upperHalves();
  const magnitude = magnitudeBits();
  const tally = tallies + (m << 6);
  let reached = v128.load(tally);
  let atLow = v128.load(tally, 16);
  let beyond = v128.load(tally, 32);
  let atHigh = v128.load(tally, 48);
  let top = largest;
  let at: usize = 0;
  for (const end = x + (count << 1); x < end; x += 16, at += 32) {
    const v = v128.load(x);
    // What the window drops may be infinite, so inputs are looked at themselves.
    top = larger(top, v);
    let b0: v128;
    let b1: v128;
    if (isFloat<Starts>()) {
      const b = v128.load(base);
      base += 16;
      b0 = evens(b, unit);
      b1 = odds(b, upper);
      v128.store(at, b0, decoded);
      v128.store(at, b1, decoded + 16);
    } else {
      b0 = v128.load(at, decoded);
      b1 = v128.load(at, decoded + 16);
    }
    let even = f32x4.sub(evens(v, unit), b0);
    const evenKey = v128.and(even, magnitude);
    const evenReached = i32x4.gt_s(evenKey, floors);
    const evenBeyond = i32x4.gt_s(evenKey, ceilings);
    even = f32x4.mul(c, v128.and(even, v128.andnot(evenReached, evenBeyond)));
    if (isFloat<Counts>()) {
      reached = i32x4.sub(reached, evenReached);
      beyond = i32x4.sub(beyond, evenBeyond);
      atLow = i32x4.sub(atLow, i32x4.eq(evenKey, lows));
      atHigh = i32x4.sub(atHigh, i32x4.eq(evenKey, ceilings));
    }
    if (!isFloat<Starts>()) even = f32x4.add(v128.load(at, partial), even);
    v128.store(at, even, partial);
    let odd = f32x4.sub(odds(v, upper), b1);
    const oddKey = v128.and(odd, magnitude);
    const oddReached = i32x4.gt_s(oddKey, floors);
    const oddBeyond = i32x4.gt_s(oddKey, ceilings);
    odd = f32x4.mul(c, v128.and(odd, v128.andnot(oddReached, oddBeyond)));
    if (isFloat<Counts>()) {
      reached = i32x4.sub(reached, oddReached);
      beyond = i32x4.sub(beyond, oddBeyond);
      atLow = i32x4.sub(atLow, i32x4.eq(oddKey, lows));
      atHigh = i32x4.sub(atHigh, i32x4.eq(oddKey, ceilings));
    }
    if (!isFloat<Starts>()) odd = f32x4.add(v128.load(at, partial + 16), odd);
    v128.store(at, odd, partial + 16);
  }
  if (isFloat<Counts>()) {
    v128.store(tally, reached);
    v128.store(tally, atLow, 16);
    v128.store(tally, beyond, 32);
    v128.store(tally, atHigh, 48);
  }
  return top;
}

/**
 * `count` elements, a multiple of 16, of any number of models but 0; `counts`: the tallies of each grow. Returns 1 when an input or the output is not finite, else 0.
 */
export function windowed(
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
  let top = i16x8.splat(0);
  for (let done: usize = 0; done < count; done += chunkElements) {
    const n = min(chunkElements, count - done);
    const at = done << 1;
    for (let m: usize = 0; m < models << 2; m += 4) {
      const x = <usize>load<u32>(inputs + m) + at;
      const c = load<f32>(scales + m);
      const low = load<u32>(lows + m);
      const high = load<u32>(highs + m);
      if (counts) {
        top = m == 0
          ? pass<Yes, Yes>(base + at, x, c, low, high, m >> 2, n, top)
          : pass<No, Yes>(base + at, x, c, low, high, m >> 2, n, top);
      } else {
        top = m == 0
          ? pass<Yes, No>(base + at, x, c, low, high, m >> 2, n, top)
          : pass<No, No>(base + at, x, c, low, high, m >> 2, n, top);
      }
    }
    // In a loop of its own: with the last pass it had more in work than there are registers.
    top = finish<No>(out + at, base + at, partial, lambda, n, top);
  }
  return isBeyond(top);
}
