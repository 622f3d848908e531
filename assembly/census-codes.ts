// Which way the models go at an element, all of them together: their sum, and how many go up and down.

import { bump, sumLanes } from "./census-counts";
import { Census, chunkBytes, sixteen, splats } from "./census-state";
import { magnitudeBits } from "./pairs";

/** Patterns of four elements, each in a table of its own, so that equal neighbours do not wait for each other. */
@inline
function countPatterns(patterns: usize, up: v128, down: v128, row: v128): void {
  const at = i32x4.shl(i32x4.add(i32x4.mul(up, row), down), 4);
  bump(patterns + <usize>i32x4.extract_lane(at, 0), 1);
  bump(patterns + <usize>i32x4.extract_lane(at, 1) + 4, 1);
  bump(patterns + <usize>i32x4.extract_lane(at, 2) + 8, 1);
  bump(patterns + <usize>i32x4.extract_lane(at, 3) + 12, 1);
}

@inline
function upperPair(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
}

/** Adds |Σδ| to the lanes at `at` and counts how many models go up and down at each element. */
export function addTogether(at: usize, patterns: usize, deltas: usize, models: usize, byteLength: usize): void {
  store<u32>(splats, <u32>models + 1);
  const row = v128.load32_splat(splats);
  const zero = i64x2.splat(0);
  let s01 = v128.load(at);
  let s23 = v128.load(at, 16);
  let s45 = v128.load(at, 32);
  let s67 = v128.load(at, 48);
  const far = models * chunkBytes;
  for (let i: usize = 0; i < byteLength; i += 32) {
    let x = deltas + i;
    const end = x + far;
    let sum0 = zero;
    let sum1 = zero;
    let up0 = zero;
    let up1 = zero;
    let down0 = zero;
    let down1 = zero;
    for (; x < end; x += chunkBytes) {
      const a = v128.load(x);
      const b = v128.load(x, 16);
      sum0 = f32x4.add(sum0, a);
      sum1 = f32x4.add(sum1, b);
      up0 = i32x4.sub(up0, f32x4.gt(a, zero));
      up1 = i32x4.sub(up1, f32x4.gt(b, zero));
      down0 = i32x4.sub(down0, f32x4.lt(a, zero));
      down1 = i32x4.sub(down1, f32x4.lt(b, zero));
    }
    sum0 = f32x4.abs(sum0);
    sum1 = f32x4.abs(sum1);
    s01 = f64x2.add(s01, f64x2.promote_low_f32x4(sum0));
    s23 = f64x2.add(s23, f64x2.promote_low_f32x4(upperPair(sum0)));
    s45 = f64x2.add(s45, f64x2.promote_low_f32x4(sum1));
    s67 = f64x2.add(s67, f64x2.promote_low_f32x4(upperPair(sum1)));
    countPatterns(patterns, up0, down0, row);
    countPatterns(patterns, up1, down1, row);
  }
  v128.store(at, s01);
  v128.store(at, s23, 16);
  v128.store(at, s45, 32);
  v128.store(at, s67, 48);
}

// Of up to four models one number tells all there is to count at an element: 0 stays, 1 up, 2 down, 3 and 4 the same with a key
// ≥ its top, to the base of 5. Counts and patterns are taken from its histogram when a call ends.
export const mostCoded: usize = 4;
export const codes: usize = memory.data(625 * 16, 16);

/** The code with that of one more model. */
@inline
function coded(code: v128, delta: v128, magnitude: v128, below: v128): v128 {
  const zero = i64x2.splat(0);
  const top = i32x4.gt_s(v128.and(delta, magnitude), below);
  const down = i32x4.add(f32x4.lt(delta, zero), top);
  const state = i32x4.add(f32x4.gt(delta, zero), i32x4.add(down, down));
  const twice = i32x4.add(code, code);
  return i32x4.sub(i32x4.add(code, i32x4.add(twice, twice)), state);
}

@inline
function countCodes(code: v128, unit: v128): void {
  const at = i32x4.mul(code, unit);
  bump(codes + <usize>i32x4.extract_lane(at, 0), 1);
  bump(codes + <usize>i32x4.extract_lane(at, 1) + 4, 1);
  bump(codes + <usize>i32x4.extract_lane(at, 2) + 8, 1);
  bump(codes + <usize>i32x4.extract_lane(at, 3) + 12, 1);
}

/** `addTogether` of one to four models, which counts codes. */
export function addCoded<Second, Third, Fourth>(at: usize, tops: usize, x: usize, byteLength: usize): void {
  const magnitude = magnitudeBits();
  const unit = v128.load32_splat(sixteen);
  store<u32>(splats, load<u32>(tops) - 1);
  store<u32>(splats, isFloat<Second>() ? load<u32>(tops, 4) - 1 : 0, 4);
  store<u32>(splats, isFloat<Third>() ? load<u32>(tops, 8) - 1 : 0, 8);
  store<u32>(splats, isFloat<Fourth>() ? load<u32>(tops, 12) - 1 : 0, 12);
  const belowA = v128.load32_splat(splats);
  const belowB = v128.load32_splat(splats, 4);
  const belowC = v128.load32_splat(splats, 8);
  const belowD = v128.load32_splat(splats, 12);
  const zero = i64x2.splat(0);
  let s01 = v128.load(at);
  let s23 = v128.load(at, 16);
  let s45 = v128.load(at, 32);
  let s67 = v128.load(at, 48);
  for (const end = x + byteLength; x < end; x += 32) {
    let v = v128.load(x);
    let w = v128.load(x, 16);
    let sum0 = v;
    let sum1 = w;
    let code0 = coded(zero, v, magnitude, belowA);
    let code1 = coded(zero, w, magnitude, belowA);
    if (isFloat<Second>()) {
      v = v128.load(x, 2048);
      w = v128.load(x, 2064);
      sum0 = f32x4.add(sum0, v);
      sum1 = f32x4.add(sum1, w);
      code0 = coded(code0, v, magnitude, belowB);
      code1 = coded(code1, w, magnitude, belowB);
    }
    if (isFloat<Third>()) {
      v = v128.load(x, 4096);
      w = v128.load(x, 4112);
      sum0 = f32x4.add(sum0, v);
      sum1 = f32x4.add(sum1, w);
      code0 = coded(code0, v, magnitude, belowC);
      code1 = coded(code1, w, magnitude, belowC);
    }
    if (isFloat<Fourth>()) {
      v = v128.load(x, 6144);
      w = v128.load(x, 6160);
      sum0 = f32x4.add(sum0, v);
      sum1 = f32x4.add(sum1, w);
      code0 = coded(code0, v, magnitude, belowD);
      code1 = coded(code1, w, magnitude, belowD);
    }
    sum0 = v128.and(sum0, magnitude);
    sum1 = v128.and(sum1, magnitude);
    s01 = f64x2.add(s01, f64x2.promote_low_f32x4(sum0));
    s23 = f64x2.add(s23, f64x2.promote_low_f32x4(upperPair(sum0)));
    s45 = f64x2.add(s45, f64x2.promote_low_f32x4(sum1));
    s67 = f64x2.add(s67, f64x2.promote_low_f32x4(upperPair(sum1)));
    countCodes(code0, unit);
    countCodes(code1, unit);
  }
  v128.store(at, s01);
  v128.store(at, s23, 16);
  v128.store(at, s45, 32);
  v128.store(at, s67, 48);
}

/** Of at most four models: what every element is, 0 to 4. */
const states: usize = memory.data(4 * 4, 4);

/** Adds what the codes count to counts and patterns, and begins them anew. */
export function spendCodes(c: Census): void {
  const models = <usize>c.models;
  let cells: usize = 1;
  for (let m: usize = 0; m < models; m++) cells *= 5;
  for (let code: usize = 0; code < cells; code++) {
    const at = codes + (code << 4);
    const seen = sumLanes(v128.load(at));
    if (seen == 0) continue;
    v128.store(at, i64x2.splat(0));
    let up: usize = 0;
    let down: usize = 0;
    let rest = code;
    for (let m = models; m > 0; m--, rest /= 5) {
      const state = <u32>(rest % 5);
      store<u32>(states + ((m - 1) << 2), state);
      if (state & 1) up++;
      else if (state) down++;
    }
    bump(<usize>c.patterns + ((up * (models + 1) + down) << 4), seen);
    let counts = <usize>c.counts;
    for (let m: usize = 0; m < models; m++, counts += 12) {
      const state = load<u32>(states + (m << 2));
      if (state > 0) bump(counts, seen);
      if (state > 2) bump(counts + 4, seen);
    }
    for (let m: usize = 0; m < models; m++) {
      const one = load<u32>(states + (m << 2));
      for (let k = m + 1; k < models; k++, counts += 12) {
        const other = load<u32>(states + (k << 2));
        if (one == 0 || other == 0) continue;
        bump(counts, seen);
        if ((one ^ other) & 1) bump(counts + 4, seen);
        if (one > 2 && other > 2) bump(counts + 8, seen);
      }
    }
  }
}
