// Finding the k-th largest magnitude without sorting: keys (the bits of |x|, which order as |x| does) counted in bins.

import { loadPart } from "./lanes";

/** Keys have 31 bits, so "key ≥ limit" is a signed compare with limit − 1; limits above 2^31 are as good as 2^31. */
export function floorOf(limit: u32): i32 {
  return <i32>(min<u32>(limit, 0x80000000) - 1);
}

export function sumLanes(v: v128): i32 {
  const total = i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1);
  return total + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

// A bracket of keys, [low, high), is counted in slots of 2^shift keys each: two u32, a key and a count. A slot that has seen one
// key only holds that key, one that has seen several holds `mixed`. So the pass that finds the slot of the k-th largest mostly
// finds its key as well: deltas of bf16 take few distinct values.

const mixed: u32 = 0xffffffff;

/** Set in front of the first key of a slot that has seen several; keys have 31 bits. */
const several: u32 = 0x80000000;

export function used_slots(slots: usize, count: usize, low: u32, shift: u32): usize {
  let to = slots;
  const end = slots + (count << 3);
  for (let from = slots; from < end; from += 8) {
    // Most hold nothing: they are passed eight at a time.
    while (from + 64 <= end) {
      const upToFour = v128.or(v128.load(from), v128.load(from, 16));
      if (v128.any_true(v128.or(upToFour, v128.or(v128.load(from, 32), v128.load(from, 48))))) break;
      from += 64;
    }
    if (from >= end) break;
    const slot = load<u64>(from);
    if (slot == 0) continue;
    const key = <u32>slot == mixed ? several + low + (<u32>((from - slots) >> 3) << shift) : <u32>slot;
    store<u64>(to, (slot >> 32 << 32) | key);
    to += 8;
  }
  return (to - slots) >> 3;
}

/** Keys of a vector or two, on their way to the slots. */
const spill: usize = memory.data(32, 16);

export function addKey(slots: usize, key: u32, count: u32, low: u32, shift: u32): void {
  const slot = slots + (<usize>((key - low) >> shift) << 3);
  // In one piece and without a branch: 3.6 ns for a key where several share a slot, against 7 with a branch on the key.
  const before = load<u64>(slot);
  const now = select<u64>(key, mixed, i32(before == 0) | i32(<u32>before == key));
  store<u64>(slot, ((before >> 32) + count << 32) | now);
}

/** Counts the spilled keys whose bit in `which` is set. */
function addSpilled(slots: usize, which: i32, low: u32, shift: u32): void {
  for (; which != 0; which &= which - 1) addKey(slots, load<u32>(spill + (<usize>ctz(which) << 2)), 1, low, shift);
}

// In the loops below, what lies above the bracket and what is the hot key is counted by vectors. `gt low` holds both of them, so
// the exclusive or of the three masks is what is left for the slots. A vector without such keys, most of them, ends there.

export function bracket(slots: usize, x: usize, count: usize, low: u32, high: u32, shift: u32, hot: u32): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const lows = i32x4.splat(floorOf(low));
  const highs = i32x4.splat(floorOf(high));
  const hots = i32x4.splat(hot);
  let above = i32x4.splat(0);
  let equal = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x < end; x += 16) {
    // The padding of the last vector is of key 0, which no bracket holds.
    const key = v128.and(x + 16 <= end ? v128.load(x) : loadPart(x, end - x), magnitude);
    const over = i32x4.gt_s(key, highs);
    const same = i32x4.eq(key, hots);
    above = i32x4.sub(above, over);
    equal = i32x4.sub(equal, same);
    const inside = v128.xor(i32x4.gt_s(key, lows), v128.xor(over, same));
    if (v128.any_true(inside)) {
      v128.store(spill, key);
      addSpilled(slots, i32x4.bitmask(inside), low, shift);
    }
  }
  const hotKeys = sumLanes(equal);
  if (hotKeys > 0) addKey(slots, hot, hotKeys, low, shift);
  return sumLanes(above);
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
