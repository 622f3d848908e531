// What a look at a few pieces of a tensor is asked: the keys in them (the bits of |x|), how many there are in bins of 2^15 keys, how
// many of each piece are above two of them, and which lie in one bin. JavaScript took three times as long for the counting, and
// engines as long again to optimise it.

import { packLanes } from "./brackets";
import { sumLanes } from "./select";

const magnitude: u32 = 0x7fffffff;
const coarseShift: i32 = 15;

export function sample_keys(x: usize, count: usize): void {
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) v128.store(x, v128.and(v128.load(x), i32x4.splat(magnitude)));
  for (; x < end; x += 4) store<u32>(x, load<u32>(x) & magnitude);
}

export function sample_bins(bins: usize, keys: usize, count: usize): void {
  const end = keys + (count << 2);
  for (; keys < end; keys += 4) {
    const bin = bins + (<usize>(load<u32>(keys) >> coarseShift) << 2);
    store<u32>(bin, load<u32>(bin) + 1);
  }
}

export function sample_above(counts: usize, keys: usize, pieces: usize, length: usize, first: u32, second: u32): void {
  const firsts = i32x4.splat(first);
  const seconds = i32x4.splat(second);
  const zeros = i32x4.splat(0);
  for (let piece: usize = 0; piece < pieces; piece++, counts += 12) {
    let overFirst = i32x4.splat(0);
    let overSecond = i32x4.splat(0);
    let nonzero = i32x4.splat(0);
    for (const end = keys + (length << 2); keys < end; keys += 16) {
      const key = v128.load(keys);
      overFirst = i32x4.sub(overFirst, i32x4.gt_s(key, firsts));
      overSecond = i32x4.sub(overSecond, i32x4.gt_s(key, seconds));
      nonzero = i32x4.sub(nonzero, i32x4.gt_s(key, zeros));
    }
    store<i32>(counts, sumLanes(overFirst));
    store<i32>(counts, sumLanes(overSecond), 4);
    store<i32>(counts, sumLanes(nonzero), 8);
  }
}

export function sample_within(out: usize, keys: usize, count: usize, bin: u32): usize {
  const low = i32x4.splat((bin << coarseShift) - 1);
  const high = i32x4.splat((bin << coarseShift) | ((1 << coarseShift) - 1));
  const end = keys + (count << 2);
  let to = out;
  for (; keys < end; keys += 16) {
    const key = v128.load(keys);
    const inside = v128.andnot(i32x4.gt_s(key, low), i32x4.gt_s(key, high));
    if (v128.any_true(inside)) to = packLanes(to, key, inside);
  }
  return (to - out) >> 2;
}
