// Counting and summing: non-finite values, norms, dot products.

import { loadPart } from "./lanes";

// Non-finite values. The largest magnitude of all answers the usual question, "are there any", at two operations a vector;
// only when there are does a slow pass count them.

function anyAbove16(input: usize, byteLength: usize, lastFinite: i32): bool {
  const magnitude = i16x8.splat(0x7fff);
  let top = i16x8.splat(0);
  const end = input + byteLength;
  for (; input + 16 <= end; input += 16) top = i16x8.max_s(top, v128.and(v128.load(input), magnitude));
  if (input < end) top = i16x8.max_s(top, v128.and(loadPart(input, end - input), magnitude));
  return v128.any_true(i16x8.gt_s(top, i16x8.splat(<i16>lastFinite)));
}

function nonFinite16(input: usize, count: usize, lastFinite: i32): i32 {
  if (!anyAbove16(input, count << 1, lastFinite)) return 0;
  let total = 0;
  const end = input + (count << 1);
  for (; input < end; input += 2) total += i32((<i32>load<u16>(input) & 0x7fff) > lastFinite);
  return total;
}

function firstNonFinite16(input: usize, count: usize, lastFinite: i32): i32 {
  const limit = i16x8.splat(<i16>lastFinite);
  const magnitude = i16x8.splat(0x7fff);
  const start = input;
  const end = input + (count << 1);
  while (input + 16 <= end && !v128.any_true(i16x8.gt_s(v128.and(v128.load(input), magnitude), limit))) input += 16;
  for (; input < end; input += 2) {
    if ((<i32>load<u16>(input) & 0x7fff) > lastFinite) return <i32>((input - start) >> 1);
  }
  return -1;
}

export function nonfinite_bf16(input: usize, count: usize): i32 {
  return nonFinite16(input, count, 0x7f7f);
}

export function nonfinite_f16(input: usize, count: usize): i32 {
  return nonFinite16(input, count, 0x7bff);
}

export function nonfinite_f32(input: usize, count: usize): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const start = input;
  const end = input + (count << 2);
  let top = i32x4.splat(0);
  for (; input + 16 <= end; input += 16) top = i32x4.max_s(top, v128.and(v128.load(input), magnitude));
  if (input < end) top = i32x4.max_s(top, v128.and(loadPart(input, end - input), magnitude));
  if (!v128.any_true(i32x4.gt_s(top, i32x4.splat(0x7f7fffff)))) return 0;
  let total = 0;
  for (input = start; input < end; input += 4) total += i32((load<u32>(input) & 0x7fffffff) > 0x7f7fffff);
  return total;
}

export function first_nonfinite_bf16(input: usize, count: usize): i32 {
  return firstNonFinite16(input, count, 0x7f7f);
}

export function first_nonfinite_f16(input: usize, count: usize): i32 {
  return firstNonFinite16(input, count, 0x7bff);
}

export function first_nonfinite_f32(input: usize, count: usize): i32 {
  const limit = i32x4.splat(0x7f7fffff);
  const magnitude = i32x4.splat(0x7fffffff);
  const start = input;
  const end = input + (count << 2);
  while (input + 16 <= end && !v128.any_true(i32x4.gt_s(v128.and(v128.load(input), magnitude), limit))) input += 16;
  for (; input < end; input += 4) {
    if ((load<u32>(input) & 0x7fffffff) > 0x7f7fffff) return <i32>((input - start) >> 2);
  }
  return -1;
}

export function replace_nonfinite(x: usize, base: usize, count: usize): void {
  const exponent: u32 = 0x7f800000;
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16, base += 16) {
    const v = v128.load(x);
    const bad = i32x4.eq(v128.and(v, i32x4.splat(exponent)), i32x4.splat(exponent));
    v128.store(x, v128.bitselect(v128.load(base), v, bad));
  }
  for (; x < end; x += 4, base += 4) {
    if ((load<u32>(x) & exponent) == exponent) store<u32>(x, load<u32>(base));
  }
}

// Sums in f64 with a fixed order: lane j of eight sums the elements with index mod 8 = j.
//
//   s01 | s0 s1 |   s23 | s2 s3 |   s45 | s4 s5 |   s67 | s6 s7 |
//   s01 + s45 = | s0+s4  s1+s5 |     s23 + s67 = | s2+s6  s3+s7 |
//   their sum   | (s0+s4)+(s2+s6)    (s1+s5)+(s3+s7) |, whose lanes are added last

function fold(s01: v128, s23: v128, s45: v128, s67: v128): f64 {
  const v = f64x2.add(f64x2.add(s01, s45), f64x2.add(s23, s67));
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}

/** Lanes 2 and 3 moved to 0 and 1, where f64x2.promote_low finds them. */
function upperPair(v: v128): v128 {
  return v128.shuffle<u64>(v, v, 1, 1);
}

function product(a: v128, b: v128): v128 {
  return f64x2.mul(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b));
}

export function dot(a: usize, b: usize, count: usize): f64 {
  let s01 = f64x2.splat(0);
  let s23 = f64x2.splat(0);
  let s45 = f64x2.splat(0);
  let s67 = f64x2.splat(0);
  const end = a + (count << 2);
  for (; a + 32 <= end; a += 32, b += 32) {
    s01 = f64x2.add(s01, product(v128.load64_zero(a), v128.load64_zero(b)));
    s23 = f64x2.add(s23, product(v128.load64_zero(a, 8), v128.load64_zero(b, 8)));
    s45 = f64x2.add(s45, product(v128.load64_zero(a, 16), v128.load64_zero(b, 16)));
    s67 = f64x2.add(s67, product(v128.load64_zero(a, 24), v128.load64_zero(b, 24)));
  }
  // Padding adds +0, which changes no sum that starts at +0.
  if (a + 16 <= end) {
    s01 = f64x2.add(s01, product(v128.load64_zero(a), v128.load64_zero(b)));
    s23 = f64x2.add(s23, product(v128.load64_zero(a, 8), v128.load64_zero(b, 8)));
    const x = loadPart(a + 16, end - a - 16);
    const y = loadPart(b + 16, end - a - 16);
    s45 = f64x2.add(s45, product(x, y));
    s67 = f64x2.add(s67, product(upperPair(x), upperPair(y)));
  } else {
    const x = loadPart(a, end - a);
    const y = loadPart(b, end - a);
    s01 = f64x2.add(s01, product(x, y));
    s23 = f64x2.add(s23, product(upperPair(x), upperPair(y)));
  }
  return fold(s01, s23, s45, s67);
}

function magnitudes(v: v128): v128 {
  return f64x2.promote_low_f32x4(f32x4.abs(v));
}

export function l1(a: usize, count: usize): f64 {
  let s01 = f64x2.splat(0);
  let s23 = f64x2.splat(0);
  let s45 = f64x2.splat(0);
  let s67 = f64x2.splat(0);
  const end = a + (count << 2);
  for (; a + 32 <= end; a += 32) {
    s01 = f64x2.add(s01, magnitudes(v128.load64_zero(a)));
    s23 = f64x2.add(s23, magnitudes(v128.load64_zero(a, 8)));
    s45 = f64x2.add(s45, magnitudes(v128.load64_zero(a, 16)));
    s67 = f64x2.add(s67, magnitudes(v128.load64_zero(a, 24)));
  }
  if (a + 16 <= end) {
    s01 = f64x2.add(s01, magnitudes(v128.load64_zero(a)));
    s23 = f64x2.add(s23, magnitudes(v128.load64_zero(a, 8)));
    const x = loadPart(a + 16, end - a - 16);
    s45 = f64x2.add(s45, magnitudes(x));
    s67 = f64x2.add(s67, magnitudes(upperPair(x)));
  } else {
    const x = loadPart(a, end - a);
    s01 = f64x2.add(s01, magnitudes(x));
    s23 = f64x2.add(s23, magnitudes(upperPair(x)));
  }
  return fold(s01, s23, s45, s67);
}

export function max_abs(a: usize, count: usize): f32 {
  let top = f32x4.splat(0);
  const end = a + (count << 2);
  // pmax(top, v) is v only where top < v, which is false for NaN.
  for (; a + 16 <= end; a += 16) top = f32x4.pmax(top, f32x4.abs(v128.load(a)));
  if (a < end) top = f32x4.pmax(top, f32x4.abs(loadPart(a, end - a)));
  const low = max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1));
  return max<f32>(low, max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)));
}

export function nonzero(a: usize, count: usize): i32 {
  const zero = f32x4.splat(0);
  let found = i32x4.splat(0);
  const end = a + (count << 2);
  for (; a + 16 <= end; a += 16) found = i32x4.sub(found, f32x4.ne(v128.load(a), zero));
  if (a < end) found = i32x4.sub(found, f32x4.ne(loadPart(a, end - a), zero));
  const total = i32x4.extract_lane(found, 0) + i32x4.extract_lane(found, 1);
  return total + i32x4.extract_lane(found, 2) + i32x4.extract_lane(found, 3);
}

export function same_bytes(a: usize, b: usize, byteCount: usize): i32 {
  const end = a + byteCount;
  for (; a + 32 <= end; a += 32, b += 32) {
    const first = v128.xor(v128.load(a), v128.load(b));
    if (v128.any_true(v128.or(first, v128.xor(v128.load(a, 16), v128.load(b, 16))))) return 0;
  }
  for (; a < end; a++, b++) if (load<u8>(a) != load<u8>(b)) return 0;
  return 1;
}
