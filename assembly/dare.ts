// The random drop of DARE (Yu et al. 2024, arXiv 2311.03099) with the masks of braid-mask-v1.
//
// Sixteen elements share one Philox block, a byte each. A byte below the threshold's upper byte drops, one above keeps, and
// an equal one (1 of 256) is decided by 24 more bits, so that the probability is exact to 2^-32 at the price of 8 bits.
//
// A chunk of a mask is made in three passes: draw the bytes; compare them, noting the equal ones; refine those, four at a
// time. Refining them one by one as they came cost 0.1 ns more an element.

import { storePart } from "./lanes";
import { philoxBytes, philoxRefine } from "./philox";

const chunkElements: usize = 4096;
/** Random bytes of a chunk, and room for the incomplete last step of `philoxBytes`. */
const draws: usize = memory.data(4096 + 128, 16);
/** Positions (u16) in the chunk whose byte equals its threshold's, and room for three more. */
const equals: usize = memory.data(2 * 4096 + 8, 16);
/** Thresholds for a tail of less than 16, and the one threshold that a whole mask has in common. */
const tail: usize = memory.data(64, 16);
const common: usize = memory.data(4, 4);

/** Notes the positions of set bits, counted from `first`, behind the `noted` ones; returns how many are noted then. */
function note(bits: u64, first: usize, noted: usize): usize {
  while (bits != 0) {
    store<u16>(equals + (noted << 1), <u16>(first + <usize>ctz(bits)));
    noted++;
    bits &= bits - 1;
  }
  return noted;
}

/** Adds the number of 0xff bytes to four counts: 0xff is −1 (and so are sums of them), and adding neighbours twice gives minus the sum of four. */
function addKept(counts: v128, mask: v128): v128 {
  return i32x4.sub(counts, i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(mask)));
}

function sumLanes(v: v128): i32 {
  const total = i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1);
  return total + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

/** Zeroes the bytes of v from `length` (1…15) on. */
function onlyFirst(v: v128, length: usize): v128 {
  const index = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return v128.and(v, i8x16.lt_u(index, i8x16.splat(<i8>length)));
}

/** The `noted`-th noted position. */
function position(noted: usize): usize {
  return <usize>load<u16>(equals + (noted << 1));
}

/** The lower 24 bits of the threshold of a position. */
function restAt(thresholds: usize, each: usize, position: usize): u32 {
  return load<u32>(thresholds + ((position & each) << 2)) & 0xffffff;
}

/**
 * Decides the noted elements of a chunk that starts with block (lo, hi). `each` is −1 when every element has a threshold,
 * 0 when there is one for all. Returns how many were dropped.
 */
function refine(mask: usize, noted: usize, lo: u32, hi: u32, k0: u32, k1: u32, thresholds: usize, each: usize): i32 {
  // Pad to whole vectors with position 0, whose results are not used.
  store<u64>(equals + (noted << 1), 0);
  let dropped = 0;
  for (let n: usize = 0; n < noted; n += 4) {
    const at = i32x4.extend_low_i16x8_u(v128.load64_zero(equals + (n << 1)));
    const low = i32x4.add(i32x4.splat(lo), i32x4.shr_u(at, 4));
    const high = i32x4.sub(i32x4.splat(hi), i32x4.lt_u(low, i32x4.splat(lo)));
    const r = philoxRefine(low, high, v128.and(at, i32x4.splat(15)), k0, k1);
    let rest = i32x4.splat(restAt(thresholds, each, position(n)));
    rest = i32x4.replace_lane(rest, 1, restAt(thresholds, each, position(n + 1)));
    rest = i32x4.replace_lane(rest, 2, restAt(thresholds, each, position(n + 2)));
    rest = i32x4.replace_lane(rest, 3, restAt(thresholds, each, position(n + 3)));
    let drops: u32 = i32x4.bitmask(i32x4.lt_s(r, rest)); // both have 24 bits
    if (noted - n < 4) drops &= (1 << <u32>(noted - n)) - 1;
    for (; drops != 0; drops &= drops - 1) {
      store<u8>(mask + position(n + ctz(drops)), 0);
      dropped++;
    }
  }
  return dropped;
}

export function keep_mask(mask: usize, k0: u32, k1: u32, blockLo: u32, blockHi: u32, threshold: u32, count: usize): i32 {
  if (threshold == 0) {
    memory.fill(mask, 0xff, count);
    return <i32>count;
  }
  const limit = i8x16.splat(<i8>(threshold >> 24));
  const open = (threshold & 0xffffff) != 0; // otherwise an equal byte never drops
  store<u32>(common, threshold);
  let total = 0;
  while (count > 0) {
    const size = min<usize>(count, chunkElements);
    philoxBytes(draws, draws + size, blockLo, blockHi, k0, k1);
    let kept = i32x4.splat(0);
    let noted: usize = 0;
    let i: usize = 0;
    // Four vectors at a time: one sum of what they keep, and one test for equal bytes, which 22 % of them have. Without a
    // branch (a store always, and a count of 0 or 1) noting was no faster.
    for (; i + 64 <= size; i += 64) {
      const v0 = v128.load(draws + i);
      const v1 = v128.load(draws + i, 16);
      const v2 = v128.load(draws + i, 32);
      const v3 = v128.load(draws + i, 48);
      const keep0 = i8x16.ge_u(v0, limit);
      const keep1 = i8x16.ge_u(v1, limit);
      const keep2 = i8x16.ge_u(v2, limit);
      const keep3 = i8x16.ge_u(v3, limit);
      v128.store(mask + i, keep0);
      v128.store(mask + i, keep1, 16);
      v128.store(mask + i, keep2, 32);
      v128.store(mask + i, keep3, 48);
      kept = addKept(kept, i8x16.add(i8x16.add(keep0, keep1), i8x16.add(keep2, keep3)));
      if (open) {
        const lower = i8x16.bitmask(i8x16.eq(v0, limit)) | (i8x16.bitmask(i8x16.eq(v1, limit)) << 16);
        const upper = i8x16.bitmask(i8x16.eq(v2, limit)) | (i8x16.bitmask(i8x16.eq(v3, limit)) << 16);
        noted = note(<u64>(<u32>lower) | ((<u64>(<u32>upper)) << 32), i, noted);
      }
    }
    for (; i + 16 <= size; i += 16) {
      const v = v128.load(draws + i);
      const keep = i8x16.ge_u(v, limit);
      v128.store(mask + i, keep);
      kept = addKept(kept, keep);
      if (open) noted = note(i8x16.bitmask(i8x16.eq(v, limit)), i, noted);
    }
    if (i < size) {
      const v = v128.load(draws + i);
      const keep = onlyFirst(i8x16.ge_u(v, limit), size - i);
      storePart(mask + i, keep, size - i);
      kept = addKept(kept, keep);
      if (open) noted = note(i8x16.bitmask(onlyFirst(i8x16.eq(v, limit), size - i)), i, noted);
    }
    total += sumLanes(kept) - refine(mask, noted, blockLo, blockHi, k0, k1, common, 0);
    mask += size;
    count -= size;
    blockLo += <u32>(chunkElements >> 4);
    blockHi += u32(blockLo < <u32>(chunkElements >> 4));
  }
  return total;
}

/** The upper bytes of 16 thresholds. */
function upperBytes(thresholds: usize): v128 {
  // Shifted to 0…255, the lanes pass the saturating narrowings unchanged: 32 → 16 → 8 bits, in order.
  const first = i16x8.narrow_i32x4_u(
    i32x4.shr_u(v128.load(thresholds), 24),
    i32x4.shr_u(v128.load(thresholds, 16), 24),
  );
  const second = i16x8.narrow_i32x4_u(
    i32x4.shr_u(v128.load(thresholds, 32), 24),
    i32x4.shr_u(v128.load(thresholds, 48), 24),
  );
  return i8x16.narrow_i16x8_u(first, second);
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
  let total = 0;
  while (count > 0) {
    const size = min<usize>(count, chunkElements);
    philoxBytes(draws, draws + size, blockLo, blockHi, k0, k1);
    let kept = i32x4.splat(0);
    let noted: usize = 0;
    let i: usize = 0;
    for (; i + 16 <= size; i += 16) {
      const v = v128.load(draws + i);
      const limit = upperBytes(thresholds + (i << 2));
      const keep = i8x16.ge_u(v, limit);
      v128.store(mask + i, keep);
      kept = addKept(kept, keep);
      noted = note(i8x16.bitmask(i8x16.eq(v, limit)), i, noted);
    }
    if (i < size) {
      const v = v128.load(draws + i);
      memory.copy(tail, thresholds + (i << 2), (size - i) << 2);
      const limit = upperBytes(tail);
      const keep = onlyFirst(i8x16.ge_u(v, limit), size - i);
      storePart(mask + i, keep, size - i);
      kept = addKept(kept, keep);
      noted = note(i8x16.bitmask(onlyFirst(i8x16.eq(v, limit), size - i)), i, noted);
    }
    total += sumLanes(kept) - refine(mask, noted, blockLo, blockHi, k0, k1, thresholds, -1);
    mask += size;
    thresholds += size << 2;
    count -= size;
    blockLo += <u32>(chunkElements >> 4);
    blockHi += u32(blockLo < <u32>(chunkElements >> 4));
  }
  return total;
}

/**
 * Decides the noted elements of a chunk, whose masks are 0 so far, by whether their 32 bits lie in [start, start + length) mod 2^32.
 * Returns how many are kept.
 */
function refineWithin(mask: usize, noted: usize, lo: u32, hi: u32, k0: u32, k1: u32, start: u32, length: u32): i32 {
  store<u64>(equals + (noted << 1), 0);
  let kept = 0;
  for (let n: usize = 0; n < noted; n += 4) {
    const at = i32x4.extend_low_i16x8_u(v128.load64_zero(equals + (n << 1)));
    const low = i32x4.add(i32x4.splat(lo), i32x4.shr_u(at, 4));
    const high = i32x4.sub(i32x4.splat(hi), i32x4.lt_u(low, i32x4.splat(lo)));
    let upper = i32x4.splat(load<u8>(draws + position(n)));
    upper = i32x4.replace_lane(upper, 1, load<u8>(draws + position(n + 1)));
    upper = i32x4.replace_lane(upper, 2, load<u8>(draws + position(n + 2)));
    upper = i32x4.replace_lane(upper, 3, load<u8>(draws + position(n + 3)));
    const u = v128.or(i32x4.shl(upper, 24), philoxRefine(low, high, v128.and(at, i32x4.splat(15)), k0, k1));
    let keeps: u32 = i32x4.bitmask(i32x4.lt_u(i32x4.sub(u, i32x4.splat(start)), i32x4.splat(length)));
    if (noted - n < 4) keeps &= (1 << <u32>(noted - n)) - 1;
    for (; keeps != 0; keeps &= keeps - 1) {
      store<u8>(mask + position(n + ctz(keeps)), 0xff);
      kept++;
    }
  }
  return kept;
}

export function keep_mask_within(
  mask: usize,
  k0: u32,
  k1: u32,
  blockLo: u32,
  blockHi: u32,
  start: u32,
  length: u32,
  count: usize,
): i32 {
  // Bytes between those of both ends, counted from the one after the first end's, stay whatever their lower bits are. Where both
  // ends have one byte, the interval is a part of what has this byte, or all but a part.
  const from = start >> 24;
  const span = (((start + length) >> 24) - from) & 255;
  const inner: u32 = span == 0 ? (length >> 31) * 255 : span - 1;
  const first = i8x16.splat(<i8>from);
  const last = i8x16.splat(<i8>(from + span));
  const after = i8x16.splat(<i8>(from + 1));
  const limit = i8x16.splat(<i8>inner);
  let total = 0;
  while (count > 0) {
    const size = min<usize>(count, chunkElements);
    philoxBytes(draws, draws + size, blockLo, blockHi, k0, k1);
    let kept = i32x4.splat(0);
    let noted: usize = 0;
    let i: usize = 0;
    for (; i + 16 <= size; i += 16) {
      const v = v128.load(draws + i);
      const keep = i8x16.lt_u(i8x16.sub(v, after), limit);
      v128.store(mask + i, keep);
      kept = addKept(kept, keep);
      noted = note(i8x16.bitmask(v128.or(i8x16.eq(v, first), i8x16.eq(v, last))), i, noted);
    }
    if (i < size) {
      const v = v128.load(draws + i);
      const keep = onlyFirst(i8x16.lt_u(i8x16.sub(v, after), limit), size - i);
      storePart(mask + i, keep, size - i);
      kept = addKept(kept, keep);
      const ends = v128.or(i8x16.eq(v, first), i8x16.eq(v, last));
      noted = note(i8x16.bitmask(onlyFirst(ends, size - i)), i, noted);
    }
    total += sumLanes(kept) + refineWithin(mask, noted, blockLo, blockHi, k0, k1, start, length);
    mask += size;
    count -= size;
    blockLo += <u32>(chunkElements >> 4);
    blockHi += u32(blockLo < <u32>(chunkElements >> 4));
  }
  return total;
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
