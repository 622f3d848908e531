// The rank of every element in its row, by magnitude (DELLA: Deep et al. 2024, arXiv 2406.11617). Equal magnitudes rank in order
// of index, so the rank is what a stable sort of the keys gives.
//
// Deltas of bf16 models have few significant bits: all but a few percent of the keys of a row end in 16 zeros. Those are counted
// by their upper bits, one slot a key, and the ranks follow in one pass over the elements without a sort. The others, "odd",
// come behind the even ones of their slot; they are few and sorted by themselves. A row where they are many (f32 models), or
// longer than a u16 counts, is sorted by radix.
//
// Rows of 2,048 deltas of bf16 models with two numbers for every rank, ns an element (Bun / Node, Zen 4): radix with three digits 9 to
// 10; two digits of the upper bits and an insertion sort behind them 8 to 10; one digit of 11 bits and the insertion sort 6 to 10;
// slots with two tables and four slots a load 2.71 / 2.77; slots made eight at a time in 16 bits and pairs in one table 1.88 / 2.19;
// constants from memory 1.83 / 2.12; every slot a load of its own 1.75 / 1.97, this one. Two halves of the row side by side, so that
// equal magnitudes wait less for each other: no gain.

const magnitudeBits: u32 = 0x7fffffff;
/** Bits that an even key does not have. */
const dropped: u32 = 16;
/** 128 slots a binade. */
const mostSlots: usize = 8192;
/** Counts of a row, then where the next even key of a slot goes. Slot 0 takes the odd ones, slot 1 what lies below the range. */
const starts: usize = memory.data(2 * 8192 + 64, 16);
/** Digits of the radix sort: 11 bits at most, three of them. */
const digits: usize = memory.data(3 * 4 * 2048, 16);
/** The gaps of the Shell sort of odd keys (Knuth 1973): 3h + 1. */
const firstGap: usize = 1093;

/** The magnitude's bits and 1, four times each: in the code, JavaScriptCore makes a constant again for every use. */
const constants: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 1, 1, 1, 1], 16);

/** Rows longer than this are sorted by radix. */
const longestCounted: usize = 65535;

function maxLane(v: v128): u32 {
  const a = max<u32>(i32x4.extract_lane(v, 0), i32x4.extract_lane(v, 1));
  return max<u32>(a, max<u32>(i32x4.extract_lane(v, 2), i32x4.extract_lane(v, 3)));
}

function minLane(v: v128): u32 {
  const a = min<u32>(i32x4.extract_lane(v, 0), i32x4.extract_lane(v, 1));
  return min<u32>(a, min<u32>(i32x4.extract_lane(v, 2), i32x4.extract_lane(v, 3)));
}

function keyAt(x: usize, i: usize): u32 {
  return load<u32>(x + (i << 2)) & magnitudeBits;
}

/** The smallest key above zero (2^32 − 1 where there is none) in the upper half, the largest in the lower. */
function range(x: usize, count: usize): u64 {
  const magnitude = v128.load(constants);
  const one = v128.load(constants, 16);
  let least = i32x4.splat(-1); // keys less 1, where zero wraps to the top
  let most = i32x4.splat(0);
  let i: usize = 0;
  for (; i + 8 <= count; i += 8) {
    const a = v128.and(v128.load(x + (i << 2)), magnitude);
    const b = v128.and(v128.load(x + (i << 2), 16), magnitude);
    most = i32x4.max_u(most, i32x4.max_u(a, b));
    least = i32x4.min_u(least, i32x4.min_u(i32x4.sub(a, one), i32x4.sub(b, one)));
  }
  let smallest = minLane(least);
  let largest = maxLane(most);
  for (; i < count; i++) {
    const key = keyAt(x, i);
    largest = max(largest, key);
    smallest = min(smallest, key - 1);
  }
  return ((<u64>(smallest == 0xffffffff ? smallest : smallest + 1)) << 32) | largest;
}

/** Exclusive sums of u16, eight at a time; `slots` is a multiple of 8. */
function sumCounts(slots: usize): void {
  const zero = i16x8.splat(0);
  let carry = zero;
  for (let at = starts; at < starts + (slots << 1); at += 16) {
    const v = v128.load(at);
    //   v      | a     b     c     d    … |
    //   once   | a    a+b   b+c   c+d   … |   plus itself one lane on; then two, then four lanes on
    let sum = i16x8.add(v, v128.shuffle<u16>(zero, v, 0, 8, 9, 10, 11, 12, 13, 14));
    sum = i16x8.add(sum, v128.shuffle<u16>(zero, sum, 0, 0, 8, 9, 10, 11, 12, 13));
    sum = i16x8.add(sum, v128.shuffle<u16>(zero, sum, 0, 0, 0, 0, 8, 9, 10, 11));
    sum = i16x8.add(sum, carry);
    carry = v128.shuffle<u16>(sum, sum, 7, 7, 7, 7, 7, 7, 7, 7);
    v128.store(at, i16x8.sub(sum, v));
  }
}

// Slots are told as offsets in `starts`, two bytes a slot.

function countUp(slot: usize): void {
  store<u16>(slot, load<u16>(slot, starts) + 1, starts);
}

/** Puts the element of a slot on the next place, and returns that. */
function place(slot: usize): usize {
  const rank = <usize>load<u16>(slot, starts);
  store<u16>(slot, <u16>(rank + 1), starts);
  return rank;
}

/** `table` has a u32 for every rank, or two of them where there is an `other`. */
function give(out: usize, other: usize, table: usize, i: usize, rank: usize): void {
  if (other == 0) {
    store<u32>(out + (i << 2), load<u32>(table + (rank << 2)));
    return;
  }
  store<u32>(out + (i << 2), load<u32>(table + (rank << 3)));
  store<u32>(other + (i << 2), load<u32>(table + (rank << 3), 4));
}

function sortOdd(list: usize, count: usize): void {
  for (let gap = firstGap; gap > 0; gap /= 3) {
    for (let i = gap; i < count; i++) {
      const v = load<u64>(list + (i << 3));
      let j = i;
      for (; j >= gap; j -= gap) {
        const w = load<u64>(list + ((j - gap) << 3));
        if (w <= v) break;
        store<u64>(list + (j << 3), w);
      }
      store<u64>(list + (j << 3), v);
    }
  }
}

/** False, and nothing is given, when too many keys are odd. */
function rankByCount(out: usize, other: usize, x: usize, table: usize, count: usize, spare: usize): bool {
  const ends = range(x, count);
  const largest = <u32>ends;
  const smallest = <u32>(ends >> 32);
  // Slot of a key: 2 + (key >> 15) − (lowest >> 15); keys below the range, zero among them, have slot 1.
  const highest = <i32>(largest >>> dropped);
  const lowest = max<i32>(highest - <i32>mostSlots + 4, <i32>(smallest == 0xffffffff ? largest : smallest) >>> dropped);
  const slots = (<usize>(highest - lowest) + 3 + 7) & ~7;
  memory.fill(starts, 0, slots << 1);
  const upperBits = i16x8.splat(0x7fff);
  const offset = i16x8.splat(<i16>(lowest - 2));
  const first = i16x8.splat(2);
  const one = i16x8.splat(1);
  const zero = i16x8.splat(0);
  const slotOf = spare;
  const odd = spare + (((count << 1) + 31) & ~15);
  const mostOdd = count >> 3;
  let found: usize = 0;
  for (let i: usize = 0; i < count; i += 8) {
    // The rest of the last vector belongs to the caller: those slots are not used.
    const a = v128.load(x + (i << 2));
    const b = v128.load(x + (i << 2), 16);
    const upper = v128.and(v128.shuffle<u16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15), upperBits);
    const lower = v128.shuffle<u16>(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    const slot = i16x8.max_s(i16x8.sub(upper, offset), one);
    // Odd: bits below the slot's, or below the range and not zero.
    const low = v128.or(v128.and(i16x8.lt_s(slot, first), upper), lower);
    const isEven = i16x8.eq(low, zero);
    const even = v128.and(slot, isEven);
    v128.store(slotOf + (i << 1), i16x8.add(even, even));
    let bits: u32 = ~i16x8.bitmask(isEven) & 0xff;
    if (count - i < 8) bits &= (1 << <u32>(count - i)) - 1;
    for (; bits != 0; bits &= bits - 1) {
      if (found == mostOdd) return false;
      const at = i + <usize>ctz(bits);
      const key = keyAt(x, at);
      store<u64>(odd + (found << 3), (<u64>key << 32) | at);
      found++;
      countUp(<usize>max<i32>(<i32>(key >>> dropped) - (lowest - 2), 1) << 1);
    }
  }
  const end = slotOf + (count << 1);
  const wholeEnd = slotOf + ((count & ~3) << 1);
  let p = slotOf;
  for (; p < wholeEnd; p += 8) {
    countUp(<usize>load<u16>(p));
    countUp(<usize>load<u16>(p, 2));
    countUp(<usize>load<u16>(p, 4));
    countUp(<usize>load<u16>(p, 6));
  }
  for (; p < end; p += 2) countUp(<usize>load<u16>(p));
  store<u16>(starts, 0);
  sumCounts(slots);
  let at = out;
  if (other != 0) {
    let to = other;
    for (p = slotOf; p < wholeEnd; p += 8, at += 16, to += 16) {
      const a = table + (place(<usize>load<u16>(p)) << 3);
      const b = table + (place(<usize>load<u16>(p, 2)) << 3);
      const c = table + (place(<usize>load<u16>(p, 4)) << 3);
      const d = table + (place(<usize>load<u16>(p, 6)) << 3);
      const low = v128.load64_lane(b, v128.load64_splat(a), 1);
      const high = v128.load64_lane(d, v128.load64_splat(c), 1);
      v128.store(at, v128.shuffle<u32>(low, high, 0, 2, 4, 6));
      v128.store(to, v128.shuffle<u32>(low, high, 1, 3, 5, 7));
    }
  } else {
    for (p = slotOf; p < wholeEnd; p += 8, at += 16) {
      store<u32>(at, load<u32>(table + (place(<usize>load<u16>(p)) << 2)));
      store<u32>(at, load<u32>(table + (place(<usize>load<u16>(p, 2)) << 2)), 4);
      store<u32>(at, load<u32>(table + (place(<usize>load<u16>(p, 4)) << 2)), 8);
      store<u32>(at, load<u32>(table + (place(<usize>load<u16>(p, 6)) << 2)), 12);
    }
  }
  for (let i = count & ~3; i < count; i++) give(out, other, table, i, place(<usize>load<u16>(slotOf + (i << 1))));
  sortOdd(odd, found);
  for (let n: usize = 0; n < found; n++) {
    const entry = load<u64>(odd + (n << 3));
    const slot = <usize>max<i32>(<i32>(<u32>(entry >> 32) >>> dropped) - (lowest - 2), 1) << 1;
    give(out, other, table, <usize>(<u32>entry), place(slot));
  }
  return true;
}

function sumDigits(at: usize, size: usize): void {
  let total: u32 = 0;
  for (let i: usize = 0; i < size; i++, at += 4) {
    const here = load<u32>(at);
    store<u32>(at, total);
    total += here;
  }
}

/** Sorts indices by three digits of the keys, least first, and gives in order. */
function rankByRadix(out: usize, other: usize, x: usize, table: usize, count: usize, spare: usize): void {
  const keys = spare;
  const order = keys + (count << 2);
  const next = order + (count << 2);
  const ends = range(x, count);
  const largest = <u32>ends;
  const smallest = <u32>(ends >> 32);
  const least = smallest == 0xffffffff ? 0 : smallest - 1;
  const bits: u32 = 32 - clz(largest - min(least, largest));
  const width: u32 = max<u32>((bits + 2) / 3, 1);
  const mask: u32 = (1 << width) - 1;
  const size: usize = 1 << width;
  const middle = digits + (size << 2);
  const upper = middle + (size << 2);
  memory.fill(digits, 0, size * 12);
  for (let i: usize = 0; i < count; i++) {
    const raw = keyAt(x, i);
    const key = raw - min(least, raw);
    store<u32>(keys + (i << 2), key);
    const a = digits + ((key & mask) << 2);
    const b = middle + (((key >>> width) & mask) << 2);
    const c = upper + ((key >>> (2 * width)) << 2);
    store<u32>(a, load<u32>(a) + 1);
    store<u32>(b, load<u32>(b) + 1);
    store<u32>(c, load<u32>(c) + 1);
  }
  sumDigits(digits, size);
  sumDigits(middle, size);
  sumDigits(upper, size);
  for (let i: usize = 0; i < count; i++) {
    const at = digits + ((load<u32>(keys + (i << 2)) & mask) << 2);
    const to = load<u32>(at);
    store<u32>(at, to + 1);
    store<u32>(order + (to << 2), <u32>i);
  }
  for (let n: usize = 0; n < count; n++) {
    const i = load<u32>(order + (n << 2));
    const at = middle + (((load<u32>(keys + (i << 2)) >>> width) & mask) << 2);
    const to = load<u32>(at);
    store<u32>(at, to + 1);
    store<u32>(next + (to << 2), i);
  }
  for (let n: usize = 0; n < count; n++) {
    const i = load<u32>(next + (n << 2));
    const at = upper + ((load<u32>(keys + (i << 2)) >>> (2 * width)) << 2);
    const rank = load<u32>(at);
    store<u32>(at, rank + 1);
    give(out, other, table, <usize>i, <usize>rank);
  }
}

/** x ← mask ? x·factor : +0. */
export function select_scaled(x: usize, mask: usize, factors: usize, count: usize): void {
  const end = mask + count;
  for (; mask + 16 <= end; mask += 16, x += 64, factors += 64) {
    const bytes = v128.load(mask);
    const low = i16x8.extend_low_i8x16_s(bytes);
    const high = i16x8.extend_high_i8x16_s(bytes);
    const a = f32x4.mul(v128.load(x), v128.load(factors));
    const b = f32x4.mul(v128.load(x, 16), v128.load(factors, 16));
    const c = f32x4.mul(v128.load(x, 32), v128.load(factors, 32));
    const d = f32x4.mul(v128.load(x, 48), v128.load(factors, 48));
    v128.store(x, v128.and(a, i32x4.extend_low_i16x8_s(low)));
    v128.store(x, v128.and(b, i32x4.extend_high_i16x8_s(low)), 16);
    v128.store(x, v128.and(c, i32x4.extend_low_i16x8_s(high)), 32);
    v128.store(x, v128.and(d, i32x4.extend_high_i16x8_s(high)), 48);
  }
  for (; mask < end; mask++, x += 4, factors += 4) {
    if (load<u8>(mask) != 0) store<f32>(x, load<f32>(x) * load<f32>(factors));
    else store<u32>(x, 0);
  }
}

/**
 * out[i] ← what `table` has for the rank of x[i] in the row. With `other`, a rank has two numbers in the table, one for each of both.
 * Of x, a vector behind the row may be read; `spare` has 12·count + 64 bytes.
 */
export function rank_row(
  out: usize,
  other: usize,
  x: usize,
  table: usize,
  count: usize,
  spare: usize,
): void {
  if (count <= longestCounted && rankByCount(out, other, x, table, count, spare)) return;
  rankByRadix(out, other, x, table, count, spare);
}
