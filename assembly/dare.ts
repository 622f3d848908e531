// The random drop of DARE (Yu et al. 2024, arXiv 2311.03099) with the masks of braid-mask-v1.
//
// Sixteen elements share one Philox block, a byte each. A byte below the threshold's upper byte drops, one above keeps, and
// an equal one (1 of 256) is decided by 24 more bits, so that the probability is exact to 2^-32 at the price of 8 bits.

import { philoxBytes, philoxRefine } from "./philox";

const draws: usize = memory.data(64, 16);

/** Turns the 16 random bytes at `bytes` (block lo, hi) into mask bytes. Equal bytes are decided by `threshold`. */
function decide(bytes: usize, lo: u32, hi: u32, k0: u32, k1: u32, threshold: u32): void {
  const v = v128.load(bytes);
  const upper = i8x16.splat(<i8>(threshold >> 24));
  v128.store(bytes, i8x16.ge_u(v, upper));
  const rest = threshold & 0xffffff;
  if (rest == 0) return; // an equal byte then never drops
  let equal: u32 = i8x16.bitmask(i8x16.eq(v, upper));
  while (equal != 0) {
    const index: u32 = ctz(equal);
    if (philoxRefine(lo, hi, index, k0, k1) < rest) store<u8>(bytes + index, 0);
    equal &= equal - 1;
  }
}

/** The number of 0xff among `count` mask bytes. */
function kept(mask: usize, count: usize): i32 {
  let total = i32x4.splat(0);
  const end = mask + count;
  for (; mask + 16 <= end; mask += 16) {
    // 0xff is −1: adding neighbours twice gives minus the number kept of each four.
    const pairs = i16x8.extadd_pairwise_i8x16_s(v128.load(mask));
    total = i32x4.sub(total, i32x4.extadd_pairwise_i16x8_s(pairs));
  }
  let sum = i32x4.extract_lane(total, 0) + i32x4.extract_lane(total, 1);
  sum += i32x4.extract_lane(total, 2) + i32x4.extract_lane(total, 3);
  for (; mask < end; mask++) sum += load<u8>(mask) & 1;
  return sum;
}

export function keep_mask(mask: usize, k0: u32, k1: u32, blockLo: u32, blockHi: u32, threshold: u32, count: usize): i32 {
  if (threshold == 0) {
    memory.fill(mask, 0xff, count);
    return <i32>count;
  }
  const end = mask + count;
  let lo = i32x4.add(i32x4.splat(blockLo), i32x4(0, 1, 2, 3));
  let hi = i32x4.sub(i32x4.splat(blockHi), i32x4.lt_u(lo, i32x4.splat(blockLo)));
  for (let at = mask; at < end; at += 64) {
    const whole = at + 64 <= end;
    const bytes = whole ? at : draws;
    philoxBytes(bytes, lo, hi, k0, k1);
    decide(bytes, i32x4.extract_lane(lo, 0), i32x4.extract_lane(hi, 0), k0, k1, threshold);
    decide(bytes + 16, i32x4.extract_lane(lo, 1), i32x4.extract_lane(hi, 1), k0, k1, threshold);
    decide(bytes + 32, i32x4.extract_lane(lo, 2), i32x4.extract_lane(hi, 2), k0, k1, threshold);
    decide(bytes + 48, i32x4.extract_lane(lo, 3), i32x4.extract_lane(hi, 3), k0, k1, threshold);
    if (!whole) memory.copy(at, draws, end - at);
    lo = i32x4.add(lo, i32x4.splat(4));
    hi = i32x4.sub(hi, i32x4.lt_u(lo, i32x4.splat(4)));
  }
  return kept(mask, count);
}

export function keep_mask_each(
  mask: usize,
  k0: u32,
  k1: u32,
  blockLo: u32,
  blockHi: u32,
  thresholds: usize,
  count: usize,
): i32 {
  const end = mask + count;
  let lo = i32x4.add(i32x4.splat(blockLo), i32x4(0, 1, 2, 3));
  let hi = i32x4.sub(i32x4.splat(blockHi), i32x4.lt_u(lo, i32x4.splat(blockLo)));
  let block = (<u64>blockHi << 32) | <u64>blockLo;
  for (let at = mask; at < end; at += 64, block += 4) {
    philoxBytes(draws, lo, hi, k0, k1);
    const size = min<usize>(64, end - at);
    for (let i: usize = 0; i < size; i++, thresholds += 4) {
      const threshold = load<u32>(thresholds);
      const byte: u32 = load<u8>(draws + i);
      let keep = byte >= threshold >> 24;
      if (byte == threshold >> 24) {
        const own = block + (i >> 4);
        keep = philoxRefine(<u32>own, <u32>(own >> 32), <u32>i & 15, k0, k1) >= (threshold & 0xffffff);
      }
      store<u8>(at + i, keep ? 0xff : 0);
    }
    lo = i32x4.add(lo, i32x4.splat(4));
    hi = i32x4.sub(hi, i32x4.lt_u(lo, i32x4.splat(4)));
  }
  return kept(mask, count);
}

// Mask bytes become lanes by sign extension, 0xff → 0xffff → 0xffffffff:
//
//   bytes   | m0 m1 m2 m3 | m4 m5 m6 m7 | m8 …        | m12 …       |
//   halves  |  m0    m1   |  m2    m3   |  m4    m5   |  m6    m7   |    low;  high: m8 … m15
//   lanes   |     m0      |     m1      |     m2      |     m3      |    low of low, and so on

export function select(x: usize, mask: usize, count: usize): void {
  const end = mask + count;
  for (; mask + 16 <= end; mask += 16, x += 64) {
    const bytes = v128.load(mask);
    const low = i16x8.extend_low_i8x16_s(bytes);
    v128.store(x, v128.and(v128.load(x), i32x4.extend_low_i16x8_s(low)));
    v128.store(x, v128.and(v128.load(x, 16), i32x4.extend_high_i16x8_s(low)), 16);
    const high = i16x8.extend_high_i8x16_s(bytes);
    v128.store(x, v128.and(v128.load(x, 32), i32x4.extend_low_i16x8_s(high)), 32);
    v128.store(x, v128.and(v128.load(x, 48), i32x4.extend_high_i16x8_s(high)), 48);
  }
  for (; mask < end; mask++, x += 4) store<u32>(x, load<u32>(x) & <u32>(<i32>load<i8>(mask)));
}
