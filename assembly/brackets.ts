// The brackets of select.ts, straight from deltas of bf16 or of f32 (`Wide`): the pass of a survey that finds thresholds. Eight
// elements are two vectors: of bf16 the even and the odd ones (see pairs.ts), of f32 the first and the last four; keys have no order here.

import { loadPart } from "./lanes";
import { evens, isBeyond, larger, No, odds, unitUpper, upperHalves, widthOf, Yes } from "./pairs";
import { addKey, floorOf, sumLanes } from "./select";

/** From memory, so that it is loaded once (see pairs.ts). */
const constants: usize = memory.data<u32>([0x7fffffff], 16);

/** The second vector of eight elements; of bf16 they are one vector, `first`. */
@inline
function loadSecond<Wide>(at: usize, first: v128): v128 {
  return isFloat<Wide>() ? v128.load(at, 16) : first;
}

/** The keys of x − base: of those at even indices in bf16, or of the four that are there in f32. */
@inline
function evenKeys<Wide>(x: v128, base: v128, unit: v128, magnitude: v128): v128 {
  if (isFloat<Wide>()) return v128.and(f32x4.sub(x, base), magnitude);
  return v128.and(f32x4.sub(evens(x, unit), evens(base, unit)), magnitude);
}

/** The same at odd indices. */
@inline
function oddKeys<Wide>(x: v128, base: v128, upper: v128, magnitude: v128): v128 {
  if (isFloat<Wide>()) return v128.and(f32x4.sub(x, base), magnitude);
  return v128.and(f32x4.sub(odds(x, upper), odds(base, upper)), magnitude);
}

/** Moves the ragged end, `bytes` of x and of the base, to where eight elements of each have room, padded with zeros. */
@inline
function pad<Wide>(x: usize, base: usize, bytes: usize): void {
  const first = min<usize>(bytes, 16);
  v128.store(ragged, loadPart(x, first));
  v128.store(ragged, loadPart(base, first), 32);
  if (!isFloat<Wide>()) return;
  v128.store(ragged, loadPart(x + first, bytes - first), 16);
  v128.store(ragged, loadPart(base + first, bytes - first), 48);
}

/** What `countKey` has counted, of its key and of another. */
let overKey: i32 = 0;
let atKey: i32 = 0;
let overOther: i32 = 0;
let atOther: i32 = 0;

/**
 * Keys of x − base above and at one key, where a sample was sure of it and what is missing is how many there are; with `Other`, above
 * and at a second one too, the other end of a window. Returns the largest key; that of an infinity or NaN says that there may be one
 * in the inputs.
 */
function countKey<Other, Wide>(x: usize, base: usize, count: usize, wanted: u32, second: u32): i32 {
  const magnitude = v128.load32_splat(constants);
  const unit = unitUpper();
  const upper = upperHalves();
  const key = i32x4.splat(wanted);
  const other = i32x4.splat(second);
  let over = i32x4.splat(0);
  let same = i32x4.splat(0);
  let overSecond = i32x4.splat(0);
  let sameSecond = i32x4.splat(0);
  let top = i32x4.splat(0);
  const width = widthOf<Wide>();
  let far = base - x;
  let rest = (count & 7) << width;
  let end = x + (count << width) - rest;
  for (;;) {
    for (; x < end; x += 8 << width) {
      const v = v128.load(x);
      const b = v128.load(x + far);
      const even = evenKeys<Wide>(v, b, unit, magnitude);
      const odd = oddKeys<Wide>(loadSecond<Wide>(x, v), loadSecond<Wide>(x + far, b), upper, magnitude);
      over = i32x4.sub(over, i32x4.add(i32x4.gt_s(even, key), i32x4.gt_s(odd, key)));
      same = i32x4.sub(same, i32x4.add(i32x4.eq(even, key), i32x4.eq(odd, key)));
      if (isFloat<Other>()) {
        overSecond = i32x4.sub(overSecond, i32x4.add(i32x4.gt_s(even, other), i32x4.gt_s(odd, other)));
        sameSecond = i32x4.sub(sameSecond, i32x4.add(i32x4.eq(even, other), i32x4.eq(odd, other)));
      }
      top = i32x4.max_s(top, i32x4.max_s(even, odd));
    }
    if (rest == 0) break;
    // The ragged end is padded with elements of key 0, which nobody looks for.
    pad<Wide>(x, x + far, rest);
    x = ragged;
    far = 32;
    end = ragged + (8 << width);
    rest = 0;
  }
  overKey = sumLanes(over);
  atKey = sumLanes(same);
  overOther = sumLanes(overSecond);
  atOther = sumLanes(sameSecond);
  const high = max<i32>(i32x4.extract_lane(top, 0), i32x4.extract_lane(top, 1));
  return max<i32>(high, max<i32>(i32x4.extract_lane(top, 2), i32x4.extract_lane(top, 3)));
}

/** Which lanes to move to the front, one entry for each of the 16 choices of four. */
const packing: usize = memory.data<u8>([
  128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  0, 1, 2, 3, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  4, 5, 6, 7, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  0, 1, 2, 3, 4, 5, 6, 7, 128, 128, 128, 128, 128, 128, 128, 128,
  8, 9, 10, 11, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  0, 1, 2, 3, 8, 9, 10, 11, 128, 128, 128, 128, 128, 128, 128, 128,
  4, 5, 6, 7, 8, 9, 10, 11, 128, 128, 128, 128, 128, 128, 128, 128,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 128, 128, 128, 128,
  12, 13, 14, 15, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  0, 1, 2, 3, 12, 13, 14, 15, 128, 128, 128, 128, 128, 128, 128, 128,
  4, 5, 6, 7, 12, 13, 14, 15, 128, 128, 128, 128, 128, 128, 128, 128,
  0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 128, 128, 128, 128,
  8, 9, 10, 11, 12, 13, 14, 15, 128, 128, 128, 128, 128, 128, 128, 128,
  0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 128, 128, 128, 128,
  4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 128, 128, 128, 128,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
], 16);
/** Of a step, the vectors that hold keys in a bracket: addresses, and room for one more. */
const stepElements: usize = 1024;
const hits: usize = memory.data((128 + 1) * 4, 16);
/** Keys in a bracket, of a step; a vector is stored behind the last of them. */
const inside: usize = memory.data(1024 * 4 + 16, 16);
/** Eight elements of the input, and, 32 bytes behind, eight of the base. */
const ragged: usize = memory.data(64, 16);

/** Moves the lanes that `mask` names to `to`; returns where the next go. */
@inline
export function packLanes(to: usize, keys: v128, mask: v128): usize {
  const which = <usize>i32x4.bitmask(mask);
  v128.store(to, i8x16.swizzle(keys, v128.load(packing + (which << 4))));
  return to + (<usize>popcnt(which) << 2);
}

/** Which keys are above `lows`, but neither above `highs` nor `hots`. */
@inline
function within(keys: v128, lows: v128, highs: v128, hots: v128): v128 {
  return v128.xor(i32x4.gt_s(keys, lows), v128.xor(i32x4.gt_s(keys, highs), i32x4.eq(keys, hots)));
}

/** `bracket_bf16` or `bracket_f32`; with `Key`, it counts those above and at `wanted` as well, as `countKey` does. */
function countBracket<Key, Wide>(
  slots: usize,
  x: usize,
  base: usize,
  count: usize,
  low: u32,
  high: u32,
  shift: u32,
  hot: u32,
  wanted: u32,
): i32 {
  const magnitude = v128.load32_splat(constants);
  const unit = unitUpper();
  const upper = upperHalves();
  const highs = i32x4.splat(floorOf(high));
  const hots = i32x4.splat(hot);
  const lows = i32x4.splat(floorOf(low));
  const key = i32x4.splat(wanted);
  let above = i32x4.splat(0);
  let equal = i32x4.splat(0);
  let over = i32x4.splat(0);
  let same = i32x4.splat(0);
  const width = widthOf<Wide>();
  let far = base - x;
  let rest = (count & 7) << width;
  let end = x + (count << width) - rest;
  for (;;) {
    if (x == end) {
      if (rest == 0) break;
      // The ragged end, padded with keys of 0, is a step of its own.
      pad<Wide>(x, x + far, rest);
      x = ragged;
      far = 32;
      end = ragged + (8 << width);
      rest = 0;
    }
    // Which vectors hold keys in the bracket is as good as random, and a branch on it is mispredicted at every other one of them:
    // they are noted without one, and looked at again.
    const stop = min(end, x + (stepElements << width));
    let hit = hits;
    for (; x < stop; x += 8 << width) {
      const v = v128.load(x);
      const b = v128.load(x + far);
      // First all of the even keys, then all of the odd ones: side by side, what is counted has no registers left.
      const even = evenKeys<Wide>(v, b, unit, magnitude);
      const evenOver = i32x4.gt_s(even, highs);
      const evenSame = i32x4.eq(even, hots);
      above = i32x4.sub(above, evenOver);
      equal = i32x4.sub(equal, evenSame);
      const evenInside = v128.xor(i32x4.gt_s(even, lows), v128.xor(evenOver, evenSame));
      if (isFloat<Key>()) {
        over = i32x4.sub(over, i32x4.gt_s(even, key));
        same = i32x4.sub(same, i32x4.eq(even, key));
      }
      const odd = oddKeys<Wide>(loadSecond<Wide>(x, v), loadSecond<Wide>(x + far, b), upper, magnitude);
      const oddOver = i32x4.gt_s(odd, highs);
      const oddSame = i32x4.eq(odd, hots);
      above = i32x4.sub(above, oddOver);
      equal = i32x4.sub(equal, oddSame);
      const oddInside = v128.xor(i32x4.gt_s(odd, lows), v128.xor(oddOver, oddSame));
      if (isFloat<Key>()) {
        over = i32x4.sub(over, i32x4.gt_s(odd, key));
        same = i32x4.sub(same, i32x4.eq(odd, key));
      }
      store<u32>(hit, <u32>x);
      hit += <usize>(i32x4.bitmask(v128.or(evenInside, oddInside)) != 0) << 2;
    }
    let to = inside;
    for (let h = hits; h < hit; h += 4) {
      const at = <usize>load<u32>(h);
      const v = v128.load(at);
      const b = v128.load(at + far);
      const even = evenKeys<Wide>(v, b, unit, magnitude);
      const odd = oddKeys<Wide>(loadSecond<Wide>(at, v), loadSecond<Wide>(at + far, b), upper, magnitude);
      to = packLanes(to, even, within(even, lows, highs, hots));
      to = packLanes(to, odd, within(odd, lows, highs, hots));
    }
    for (let from = inside; from < to; from += 4) addKey(slots, load<u32>(from), 1, low, shift);
  }
  const hotKeys = sumLanes(equal);
  if (hotKeys > 0) addKey(slots, hot, hotKeys, low, shift);
  overKey = sumLanes(over);
  atKey = sumLanes(same);
  return sumLanes(above);
}

function bracketOf<Wide>(
  slots: usize,
  x: usize,
  base: usize,
  count: usize,
  low: u32,
  high: u32,
  shift: u32,
  hot: u32,
): i32 {
  if (hot == low && high == low + 1) {
    countKey<No, Wide>(x, base, count, low, 0);
    if (atKey > 0) addKey(slots, low, atKey, low, shift);
    return overKey;
  }
  return countBracket<No, Wide>(slots, x, base, count, low, high, shift, hot, 0);
}

export function bracket_bf16(
  slots: usize,
  x: usize,
  base: usize,
  count: usize,
  low: u32,
  high: u32,
  shift: u32,
  hot: u32,
): i32 {
  return bracketOf<No>(slots, x, base, count, low, high, shift, hot);
}

export function bracket_f32(
  slots: usize,
  x: usize,
  base: usize,
  count: usize,
  low: u32,
  high: u32,
  shift: u32,
  hot: u32,
): i32 {
  return bracketOf<Yes>(slots, x, base, count, low, high, shift, hot);
}

/** Elements of a block. */
const blockElements: usize = 4096;
const infinite: i32 = 0x7f800000;

/** The largest key of bf16 that goes by tells whether all are finite. */
function isFinite16(x: usize, count: usize): bool {
  const end = x + (count << 1);
  let top = i16x8.splat(0);
  for (; x + 16 <= end; x += 16) top = larger(top, v128.load(x));
  if (x < end) top = larger(top, loadPart(x, end - x));
  return !isBeyond(top);
}

/** What `survey_brackets_bf16` is told of an operand, and where it counts: ten words of 32 bits. */
@unmanaged
class Bracket {
  slots: u32;
  x: u32;
  base: u32;
  low: u32;
  high: u32;
  shift: u32;
  hot: u32;
  /** Added up over calls. */
  above: u32;
  /** Of a block that may turn out not to count. */
  over: i32;
  same: i32;

  isOneKey(): bool {
    return this.hot == this.low && this.high == this.low + 1;
  }

  hasInputsOf(other: Bracket): bool {
    return this.x == other.x && this.base == other.base;
  }
}

function bracketAt(brackets: usize, i: usize): Bracket {
  return changetype<Bracket>(brackets + i * offsetof<Bracket>());
}

/** How many of the ends of a window that begins at the i-th are keys that stand alone: such windows take one loop. Else −1. */
function aloneInPair(brackets: usize, operands: usize, i: usize): i32 {
  if (i + 1 >= operands) return -1;
  const b = bracketAt(brackets, i);
  const next = bracketAt(brackets, i + 1);
  const alone = i32(b.isOneKey()) + i32(next.isOneKey());
  return alone > 0 && b.hasInputsOf(next) ? alone : -1;
}

/** Whether the inputs of a block are finite, unless that is known; keys that stand alone are counted meanwhile. */
function looksFinite(brackets: usize, operands: usize, first: usize, count: usize, known: bool): bool {
  for (let i: usize = 0; i < operands; i++) {
    const b = bracketAt(brackets, i);
    const x = <usize>b.x + (first << 1);
    const base = <usize>b.base + (first << 1);
    const alone = aloneInPair(brackets, operands, i);
    if (alone == 2) {
      const next = bracketAt(brackets, ++i);
      if (countKey<Yes, No>(x, base, count, b.low, next.low) >= infinite) return false;
      b.over = overKey;
      b.same = atKey;
      next.over = overOther;
      next.same = atOther;
    } else if (b.isOneKey() && alone < 0) {
      if (countKey<No, No>(x, base, count, b.low, 0) >= infinite) return false;
      b.over = overKey;
      b.same = atKey;
    } else if (known) {
      if (alone == 1) i++;
    } else {
      // Of neighbours with the same inputs one look is enough.
      const last = i > 0 ? bracketAt(brackets, i - 1) : b;
      if ((i == 0 || last.x != b.x) && !isFinite16(x, count)) return false;
      if ((i == 0 || last.base != b.base) && !isFinite16(base, count)) return false;
      if (alone == 1) i++;
    }
  }
  return true;
}

function addAlone(b: Bracket, over: i32, same: i32): void {
  b.above += over;
  if (same > 0) addKey(b.slots, b.low, same, b.low, b.shift);
}

/** Both ends of a window: a bracket, and a key that stands alone. */
function addPair(b: Bracket, alone: Bracket, at: u32, count: usize): void {
  b.above += countBracket<Yes, No>(b.slots, b.x + at, b.base + at, count, b.low, b.high, b.shift, b.hot, alone.low);
  addAlone(alone, overKey, atKey);
}

/** Counts as many elements as are whole blocks of finite ones, and returns how many. `finite`: all of them are. */
export function survey_brackets_bf16(brackets: usize, operands: usize, count: usize, finite: bool): usize {
  let done: usize = 0;
  while (done < count) {
    const elements = min(blockElements, count - done);
    if (!looksFinite(brackets, operands, done, elements, finite)) break;
    const at = <u32>(done << 1);
    for (let i: usize = 0; i < operands; i++) {
      const b = bracketAt(brackets, i);
      if (aloneInPair(brackets, operands, i) == 1) {
        const other = bracketAt(brackets, ++i);
        if (b.isOneKey()) addPair(other, b, at, elements);
        else addPair(b, other, at, elements);
      } else if (b.isOneKey()) {
        addAlone(b, b.over, b.same);
      } else {
        b.above += countBracket<No, No>(b.slots, b.x + at, b.base + at, elements, b.low, b.high, b.shift, b.hot, 0);
      }
    }
    done += elements;
  }
  return done;
}
