// Counts of a census, taken of one model or of two: what moves, what is among the largest, what goes apart; and histograms of bits.

import { Census, chunkBytes, splats } from "./census-state";
import { magnitudeBits } from "./pairs";

export function sumLanes(v: v128): i32 {
  const total = i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1);
  return total + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

export function bump(at: usize, by: i32): void {
  store<i32>(at, load<i32>(at) + by);
}

/** Raises the key at `at` to the largest of those lanes. */
export function raise(at: usize, most: v128): void {
  const high = max<i32>(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1));
  const low = max<i32>(i32x4.extract_lane(most, 2), i32x4.extract_lane(most, 3));
  store<i32>(at, max<i32>(load<i32>(at), max<i32>(high, low)));
}

/** counts: elements that are not zero, and those of a key ≥ top. */
function countOne(counts: usize, x: usize, byteLength: usize, top: u32): void {
  const magnitude = magnitudeBits();
  store<u32>(splats, top - 1);
  const below = v128.load32_splat(splats);
  const zero = i64x2.splat(0);
  let zeros = zero;
  let tops = zero;
  for (const end = x + byteLength; x < end; x += 16) {
    const key = v128.and(v128.load(x), magnitude);
    zeros = i32x4.sub(zeros, i32x4.eq(key, zero));
    tops = i32x4.sub(tops, i32x4.gt_s(key, below));
  }
  bump(counts, <i32>(byteLength >> 2) - sumLanes(zeros));
  bump(counts + 4, sumLanes(tops));
}

/** counts: elements where both are not zero, those of them with unlike signs, those where both keys are ≥ their tops. */
function countTwo(counts: usize, x: usize, y: usize, byteLength: usize, topX: u32, topY: u32): void {
  const magnitude = magnitudeBits();
  store<u32>(splats, topX - 1);
  store<u32>(splats, topY - 1, 4);
  const belowX = v128.load32_splat(splats);
  const belowY = v128.load32_splat(splats, 4);
  const zero = i64x2.splat(0);
  let idle = zero;
  let apart = zero;
  let tops = zero;
  for (const end = x + byteLength; x < end; x += 16, y += 16) {
    const a = v128.load(x);
    const b = v128.load(y);
    const keyA = v128.and(a, magnitude);
    const keyB = v128.and(b, magnitude);
    const still = v128.or(i32x4.eq(keyA, zero), i32x4.eq(keyB, zero));
    idle = i32x4.sub(idle, still);
    apart = i32x4.sub(apart, v128.andnot(i32x4.lt_s(v128.xor(a, b), zero), still));
    tops = i32x4.sub(tops, v128.and(i32x4.gt_s(keyA, belowX), i32x4.gt_s(keyB, belowY)));
  }
  bump(counts, <i32>(byteLength >> 2) - sumLanes(idle));
  bump(counts + 4, sumLanes(apart));
  bump(counts + 8, sumLanes(tops));
}

/** Counts of any number of models. */
export function countAll(c: Census, deltas: usize, byteLength: usize): void {
  const models = <usize>c.models;
  let counts = <usize>c.counts;
  for (let m: usize = 0; m < models; m++, counts += 12) {
    countOne(counts, deltas + m * chunkBytes, byteLength, load<u32>(<usize>c.tops + (m << 2)));
  }
  for (let m: usize = 0; m < models; m++) {
    const x = deltas + m * chunkBytes;
    const top = load<u32>(<usize>c.tops + (m << 2));
    for (let k = m + 1; k < models; k++, counts += 12) {
      countTwo(counts, x, deltas + k * chunkBytes, byteLength, top, load<u32>(<usize>c.tops + (k << 2)));
    }
  }
}

/** A bin holds how many in its upper 24 bits, and the sum of their lower 16 bits in the lower 40: a bin of one value shows. */
export function countBits(bins: usize, x: usize, byteLength: usize): void {
  const end = x + byteLength;
  // Two by one load: 4 % of a census of three models.
  for (const even = x + (byteLength & ~7); x < even; x += 8) {
    const pair = load<u64>(x);
    const first = bins + (<usize>((pair >> 16) & 0xffff) << 3);
    store<u64>(first, load<u64>(first) + ((pair & 0xffff) | (1 << 40)));
    const second = bins + (<usize>(pair >> 48) << 3);
    store<u64>(second, load<u64>(second) + (((pair >> 32) & 0xffff) | (1 << 40)));
  }
  if (x < end) {
    const bits = load<u32>(x);
    const bin = bins + ((bits >> 16) << 3);
    store<u64>(bin, load<u64>(bin) + (<u64>(bits & 0xffff) | (1 << 40)));
  }
}
