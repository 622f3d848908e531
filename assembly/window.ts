// A window of magnitudes: neither the smallest nor the largest stay (Model Breadcrumbs: Davari & Belilovsky 2024,
// arXiv 2312.06795).

import { evens, odds, unitUpper, upperHalves } from "./pairs";

/** From memory, so that it is loaded once (see pairs.ts). */
const constants: usize = memory.data<u32>([0x7fffffff], 16);
/** The ragged end of a tile: 16 elements of the input, 16 of the base. */
const ragged: usize = memory.data(64, 16);

/** Keeps values whose key, the bits of |x|, is above `floor` and not above `ceiling`; returns how many. */
function between(x: usize, floor: i32, ceiling: i32, count: usize): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const floors = i32x4.splat(floor);
  const ceilings = i32x4.splat(ceiling);
  let kept = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) {
    const v = v128.load(x);
    const key = v128.and(v, magnitude);
    const keep = v128.andnot(i32x4.gt_s(key, floors), i32x4.gt_s(key, ceilings));
    v128.store(x, v128.and(v, keep));
    kept = i32x4.sub(kept, keep);
  }
  let total = i32x4.extract_lane(kept, 0) + i32x4.extract_lane(kept, 1);
  total += i32x4.extract_lane(kept, 2) + i32x4.extract_lane(kept, 3);
  for (; x < end; x += 4) {
    const key = load<i32>(x) & 0x7fffffff;
    if (key > floor && key <= ceiling) total++;
    else store<u32>(x, 0);
  }
  return total;
}

function clampIndex(index: i32, count: usize): usize {
  return index <= 0 ? 0 : min<usize>(<usize>index, count);
}

export function window(x: usize, low: u32, lowFrom: i32, high: u32, highBefore: i32, count: usize): i32 {
  // Both rules for equal keys are comparisons with another limit before an index, so there are at most three stretches with
  // limits of their own. Keys have 31 bits and order as signed numbers; limits beyond them are as good as the last.
  const lowest = <i32>min<u32>(low, 0x80000000 - 1);
  const highest = <i32>min<u32>(high, 0x80000000 - 1);
  const beyond = low > 0x7fffffff;
  const from = clampIndex(lowFrom, count);
  const before = clampIndex(highBefore, count);
  let kept = 0;
  let done: usize = 0;
  for (let stretch = 0; stretch < 3; stretch++) {
    const end = stretch == 0 ? min(from, before) : stretch == 1 ? max(from, before) : count;
    const floor = beyond ? 0x7fffffff : done < from ? lowest : lowest - 1;
    const ceiling = done < before || high > 0x7fffffff ? highest : highest - 1;
    kept += between(x + (done << 2), floor, ceiling, end - done);
    done = end;
  }
  return kept;
}

/** Which of four keys lie in the window. */
function inside(even: v128, floors: v128, ceilings: v128): v128 {
  return v128.andnot(i32x4.gt_s(even, floors), i32x4.gt_s(even, ceilings));
}

export function window_mask_bf16(mask: usize, x: usize, base: usize, low: u32, high: u32, count: usize): void {
  const unit = unitUpper();
  const upper = upperHalves();
  const magnitude = i32x4.splat(load<i32>(constants));
  // "At least" as "above one less": keys have 31 bits, and a limit beyond them keeps nothing below it.
  const floors = i32x4.splat(<i32>(min<u32>(low, 0x80000000) - 1));
  const ceilings = i32x4.splat(<i32>min<u32>(high, 0x7fffffff));
  const whole = mask + (count & ~15);
  const end = mask + count;
  while (mask < end) {
    let from = x;
    let fromBase = base;
    if (mask >= whole) {
      memory.copy(ragged, x, (end - mask) << 1);
      memory.copy(ragged + 32, base, (end - mask) << 1);
      from = ragged;
      fromBase = ragged + 32;
    }
    const v = v128.load(from);
    const b = v128.load(fromBase);
    const w = v128.load(from, 16);
    const c = v128.load(fromBase, 16);
    const first = v128.bitselect(
      inside(v128.and(f32x4.sub(odds(v, upper), odds(b, upper)), magnitude), floors, ceilings),
      inside(v128.and(f32x4.sub(evens(v, unit), evens(b, unit)), magnitude), floors, ceilings),
      upper,
    );
    const second = v128.bitselect(
      inside(v128.and(f32x4.sub(odds(w, upper), odds(c, upper)), magnitude), floors, ceilings),
      inside(v128.and(f32x4.sub(evens(w, unit), evens(c, unit)), magnitude), floors, ceilings),
      upper,
    );
    const keep = i8x16.narrow_i16x8_s(first, second);
    if (mask >= whole) {
      v128.store(ragged, keep);
      memory.copy(mask, ragged, end - mask);
      return;
    }
    v128.store(mask, keep);
    x += 32;
    base += 32;
    mask += 16;
  }
}
