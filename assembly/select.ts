// Finding the k-th largest magnitude without sorting: keys (the bits of |x|, which order as |x| does) counted in bins.

/** Keys have 31 bits, so "key ≥ limit" is a signed compare with limit − 1; limits above 2^31 are as good as 2^31. */
function floorOf(limit: u32): i32 {
  return <i32>(min<u32>(limit, 0x80000000) - 1);
}

function sumLanes(v: v128): i32 {
  const total = i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1);
  return total + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

function addKey(bins: usize, key: i32, lowFloor: i32, highFloor: i32, low: u32, shift: u32): void {
  if (key <= lowFloor || key > highFloor) return;
  const bin = bins + (<usize>((<u32>key - low) >> shift) << 2);
  store<u32>(bin, load<u32>(bin) + 1);
}

export function histogram(bins: usize, x: usize, count: usize, low: u32, high: u32, shift: u32): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const lowFloor = floorOf(low);
  const highFloor = floorOf(high);
  const lows = i32x4.splat(lowFloor);
  const highs = i32x4.splat(highFloor);
  let above = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) {
    const key = v128.and(v128.load(x), magnitude);
    const over = i32x4.gt_s(key, highs);
    above = i32x4.sub(above, over);
    // A bracket around the threshold holds few keys: most vectors end here.
    if (v128.any_true(v128.andnot(i32x4.gt_s(key, lows), over))) {
      addKey(bins, i32x4.extract_lane(key, 0), lowFloor, highFloor, low, shift);
      addKey(bins, i32x4.extract_lane(key, 1), lowFloor, highFloor, low, shift);
      addKey(bins, i32x4.extract_lane(key, 2), lowFloor, highFloor, low, shift);
      addKey(bins, i32x4.extract_lane(key, 3), lowFloor, highFloor, low, shift);
    }
  }
  let total = sumLanes(above);
  for (; x < end; x += 4) {
    const key = load<i32>(x) & 0x7fffffff;
    if (key > highFloor) total++;
    addKey(bins, key, lowFloor, highFloor, low, shift);
  }
  return total;
}

export function equals(x: usize, key: u32, count: usize): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const wanted = i32x4.splat(key);
  let found = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) {
    found = i32x4.sub(found, i32x4.eq(v128.and(v128.load(x), magnitude), wanted));
  }
  let total = sumLanes(found);
  for (; x < end; x += 4) total += i32((load<u32>(x) & 0x7fffffff) == key);
  return total;
}

export function nth_equal(x: usize, key: u32, n: i32, count: usize): i32 {
  if (n < 0) return -1;
  const magnitude = i32x4.splat(0x7fffffff);
  const wanted = i32x4.splat(key);
  const start = x;
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) {
    const here = popcnt(i32x4.bitmask(i32x4.eq(v128.and(v128.load(x), magnitude), wanted)));
    if (here > n) break; // it is one of these four
    n -= here;
  }
  for (; x < end; x += 4) {
    if ((load<u32>(x) & 0x7fffffff) != key) continue;
    if (n == 0) return <i32>((x - start) >> 2);
    n--;
  }
  return -1;
}
