// Sums of what a window of magnitudes leaves of bf16 deltas: out = base + lambda · Σ c·w(x − base), where w keeps the keys from `low` to
// `high`. The delta is taken once, for the window and for the sum; a mask of bytes between two kernels cost as much again.
//
// A window has two limits a model, and with those of three models no registers would be left. So each model takes a pass of its own
// over a few elements at a time, whose partial sums wait in the first cache; the order of the additions stays that of the models.

import { finish } from "./cast";
import { evens, isBeyond, larger, magnitudeBits, No, odds, unitUpper, upperHalves, Yes } from "./pairs";
import { floorOf } from "./select";

/** Elements whose partial sums wait together. */
const chunkElements: usize = 512;
/** Of every eight elements the even ones, then the odd ones. */
const partial: usize = memory.data(512 * 4, 16);
/** The base of these elements in the same order, for the models after the first: vector units have no time left here, loads do. */
const decoded: usize = memory.data(512 * 4, 16);
/** Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop. */
const splats: usize = memory.data(8, 4);

@inline
function kept(delta: v128, magnitude: v128, floors: v128, ceilings: v128): v128 {
  const key = v128.and(delta, magnitude);
  return v128.and(delta, v128.andnot(i32x4.gt_s(key, floors), i32x4.gt_s(key, ceilings)));
}

/** One model over `count` elements, a multiple of eight: begins the partial sums, or adds to them. Returns `larger` of it. */
function pass<Starts>(base: usize, x: usize, scale: f32, low: u32, high: u32, count: usize, largest: v128): v128 {
  store<i32>(splats, floorOf(low));
  store<i32>(splats, <i32>min<u32>(high, 0x7fffffff), 4);
  const floors = v128.load32_splat(splats);
  const ceilings = v128.load32_splat(splats, 4);
  const c = f32x4.splat(scale);
  const unit = unitUpper();
  const upper = upperHalves();
  const magnitude = magnitudeBits();
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
    let even = f32x4.mul(c, kept(f32x4.sub(evens(v, unit), b0), magnitude, floors, ceilings));
    let odd = f32x4.mul(c, kept(f32x4.sub(odds(v, upper), b1), magnitude, floors, ceilings));
    if (!isFloat<Starts>()) {
      even = f32x4.add(v128.load(at, partial), even);
      odd = f32x4.add(v128.load(at, partial + 16), odd);
    }
    v128.store(at, even, partial);
    v128.store(at, odd, partial + 16);
  }
  return top;
}

/**
 * `count` elements, a multiple of 16, of any number of models but 0. Returns 1 when an input or the output is not finite, else 0.
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
  count: usize,
): i32 {
  let top = i16x8.splat(0);
  for (let first: usize = 0; first < count; first += chunkElements) {
    const n = min(chunkElements, count - first);
    const at = first << 1;
    for (let m: usize = 0; m < models << 2; m += 4) {
      const x = <usize>load<u32>(inputs + m) + at;
      const c = load<f32>(scales + m);
      const low = load<u32>(lows + m);
      const high = load<u32>(highs + m);
      top = m == 0
        ? pass<Yes>(base + at, x, c, low, high, n, top)
        : pass<No>(base + at, x, c, low, high, n, top);
    }
    // In a loop of its own: with the last pass it had more in work than there are registers.
    top = finish<No>(out + at, base + at, partial, lambda, n, top);
  }
  return isBeyond(top);
}
