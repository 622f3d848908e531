// A window of magnitudes: neither the smallest nor the largest stay (Model Breadcrumbs: Davari & Belilovsky 2024,
// arXiv 2312.06795).

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
