// Conversions between storage dtypes and f32 lanes, and the ragged ends of arrays.
//
// Every kernel is written once, on vectors. What is left over at the end of an array goes through a 16-byte scratch,
// padded with zeros, and through the same vector code: a tail can then not give other bits than the body.

const scratch: usize = memory.data(16, 16);

/** The first `byteLength` (0…15) bytes at `ptr`, followed by zeros. Reads nothing beyond them. */
export function loadPart(ptr: usize, byteLength: usize): v128 {
  v128.store(scratch, i64x2.splat(0));
  memory.copy(scratch, ptr, byteLength);
  return v128.load(scratch);
}

/** Stores the first `byteLength` (0…15) bytes of `v`. Writes nothing beyond them. */
export function storePart(ptr: usize, v: v128, byteLength: usize): void {
  v128.store(scratch, v);
  memory.copy(ptr, scratch, byteLength);
}

// bf16 is the upper half of an f32:
//
//   v      | h0 | h1 | h2 | h3 | h4 | h5 | h6 | h7 |    eight bf16
//   low    | 0   h0 | 0   h1 | 0   h2 | 0   h3 |        four f32, written low half first
//   high   | 0   h4 | 0   h5 | 0   h6 | 0   h7 |

export function widenBf16Low(v: v128): v128 {
  return i32x4.shl(i32x4.extend_low_i16x8_u(v), 16);
}

export function widenBf16High(v: v128): v128 {
  return i32x4.shl(i32x4.extend_high_i16x8_u(v), 16);
}

// f16 has 5 bits of exponent and 10 of fraction. Thirteen bits further up they are an f32 with the exponent of another bias: the number
// itself, times 2^−112. So a multiplication by a power of two goes from one to the other, subnormals included, and it is exact.
//
//   h · 2^13    | s s s s e e e e e f f f f f f f f f f 0 … |    of h as a signed number: the sign spreads over four bits
//   & field     | s 0 0 0 e e e e e f f f f f f f f f f 0 … |
//
// Constants are in memory, because JavaScriptCore builds one of the code again at every use (see pairs.ts): with them in the code, and
// with shifts, decoding took four times as long and encoding more than twice.
const halves: usize = memory.data<u32>([
  1 << 13, 0x8fffe000, 0x77800000 /* 2^112 */, 0x0f800000 /* the exponent of NaN and infinity */, 0x7f800000,
], 16);
const narrowing: usize = memory.data<u32>([
  0x47800000 /* 65,536 */, 0xc7800000, 0x7f800000, (13 << 23) | 0x400000, 0x3f400000 /* 0.75 */, 0x07800000 /* 2^-112 */,
  8, 0x80000000, 0x7e000000,
], 16);

/** Four f16, as signed integers, to f32. Exact. */
@inline
function widenF16(h: v128, up: v128, field: v128, scale: v128, top: v128, infinity: v128): v128 {
  const bits = v128.and(i32x4.mul(h, up), field);
  // The exponent of NaN and infinity is the largest there, too.
  const special = i32x4.eq(v128.and(bits, top), top);
  return v128.or(f32x4.mul(bits, scale), v128.and(special, infinity));
}

/** Four f32 to bf16 in the lower half of each lane: nearest even, any NaN to 7fc0. */
export function narrowBf16(v: v128): v128 {
  // Adding 7fff, and 1 more when the last kept bit is odd, carries exactly when nearest-even rounds up.
  const odd = v128.and(i32x4.shr_u(v, 16), i32x4.splat(1));
  const rounded = i32x4.add(i32x4.add(v, i32x4.splat(0x7fff)), odd);
  return i32x4.shr_u(v128.bitselect(rounded, i32x4.splat(0x7fc00000), f32x4.eq(v, v)), 16);
}

/**
 * Eight f32, four and four, to f16: nearest even, any NaN to 7e00, too large to infinity. With e the exponent of a number, 1.5 · 2^(e+13)
 * has 2^(e−10), the unit of f16, as its own unit: adding it and taking it off again rounds. Below 2^−14 the unit stays 2^−24, that of
 * 0.75.
 */
@inline
function narrowF16(
  v: v128, w: v128, limit: v128, least: v128, exponent: v128, magic: v128, smallest: v128, scale: v128, eight: v128, sign: v128, nan: v128,
): v128 {
  // From 65,520 on, what is rounded is 65,536, whose exponent is that of infinity.
  const a = f32x4.pmax(least, f32x4.pmin(limit, v));
  const b = f32x4.pmax(least, f32x4.pmin(limit, w));
  const m = i32x4.max_s(i32x4.add(v128.and(a, exponent), magic), smallest);
  const n = i32x4.max_s(i32x4.add(v128.and(b, exponent), magic), smallest);
  const c = f32x4.mul(f32x4.sub(f32x4.add(a, m), m), scale);
  const d = f32x4.mul(f32x4.sub(f32x4.add(b, n), n), scale);
  // In the upper half of each lane: three bits further up, below the sign that the number had; −0 lost it.
  const low = v128.bitselect(v128.bitselect(v, i32x4.mul(c, eight), sign), nan, f32x4.eq(v, v));
  const high = v128.bitselect(v128.bitselect(w, i32x4.mul(d, eight), sign), nan, f32x4.eq(w, w));
  return v128.shuffle<u16>(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
}

export function decode_f32(out: usize, input: usize, count: usize): void {
  memory.copy(out, input, count << 2);
}

export function decode_bf16(out: usize, input: usize, count: usize): void {
  const end = input + (count << 1);
  for (; input + 16 <= end; input += 16, out += 32) {
    const v = v128.load(input);
    v128.store(out, widenBf16Low(v));
    v128.store(out, widenBf16High(v), 16);
  }
  if (input < end) {
    const v = loadPart(input, end - input);
    storeTwo(out, widenBf16Low(v), widenBf16High(v), (end - input) << 1);
  }
}

export function decode_f16(out: usize, input: usize, count: usize): void {
  const up = v128.load32_splat(halves);
  const field = v128.load32_splat(halves, 4);
  const scale = v128.load32_splat(halves, 8);
  const top = v128.load32_splat(halves, 12);
  const infinity = v128.load32_splat(halves, 16);
  const end = input + (count << 1);
  for (; input + 16 <= end; input += 16, out += 32) {
    const v = v128.load(input);
    v128.store(out, widenF16(i32x4.extend_low_i16x8_s(v), up, field, scale, top, infinity));
    v128.store(out, widenF16(i32x4.extend_high_i16x8_s(v), up, field, scale, top, infinity), 16);
  }
  if (input < end) {
    const v = loadPart(input, end - input);
    const low = widenF16(i32x4.extend_low_i16x8_s(v), up, field, scale, top, infinity);
    const high = widenF16(i32x4.extend_high_i16x8_s(v), up, field, scale, top, infinity);
    storeTwo(out, low, high, (end - input) << 1);
  }
}

/** Stores the first `byteLength` (0…31) bytes of `low` followed by `high`. */
function storeTwo(out: usize, low: v128, high: v128, byteLength: usize): void {
  if (byteLength >= 16) {
    v128.store(out, low);
    storePart(out + 16, high, byteLength - 16);
  } else {
    storePart(out, low, byteLength);
  }
}

/** The first `byteLength` (0…31) bytes at `ptr`, lower and upper half, followed by zeros. */
function loadLow(ptr: usize, byteLength: usize): v128 {
  return byteLength >= 16 ? v128.load(ptr) : loadPart(ptr, byteLength);
}

function loadHigh(ptr: usize, byteLength: usize): v128 {
  return byteLength > 16 ? loadPart(ptr + 16, byteLength - 16) : i64x2.splat(0);
}

export function encode_f32(out: usize, input: usize, count: usize): void {
  const canonical = i32x4.splat(0x7fc00000);
  const end = input + (count << 2);
  for (; input + 16 <= end; input += 16, out += 16) {
    const v = v128.load(input);
    v128.store(out, v128.bitselect(v, canonical, f32x4.eq(v, v)));
  }
  if (input < end) {
    const v = loadPart(input, end - input);
    storePart(out, v128.bitselect(v, canonical, f32x4.eq(v, v)), end - input);
  }
}

export function encode_bf16(out: usize, input: usize, count: usize): void {
  const end = input + (count << 2);
  for (; input + 32 <= end; input += 32, out += 16) {
    const low = narrowBf16(v128.load(input));
    v128.store(out, i16x8.narrow_i32x4_u(low, narrowBf16(v128.load(input, 16))));
  }
  if (input < end) {
    const low = narrowBf16(loadLow(input, end - input));
    storePart(out, i16x8.narrow_i32x4_u(low, narrowBf16(loadHigh(input, end - input))), (end - input) >> 1);
  }
}

export function encode_f16(out: usize, input: usize, count: usize): void {
  const limit = v128.load32_splat(narrowing);
  const least = v128.load32_splat(narrowing, 4);
  const exponent = v128.load32_splat(narrowing, 8);
  const magic = v128.load32_splat(narrowing, 12);
  const smallest = v128.load32_splat(narrowing, 16);
  const scale = v128.load32_splat(narrowing, 20);
  const eight = v128.load32_splat(narrowing, 24);
  const sign = v128.load32_splat(narrowing, 28);
  const nan = v128.load32_splat(narrowing, 32);
  const end = input + (count << 2);
  for (; input + 32 <= end; input += 32, out += 16) {
    const v = v128.load(input);
    const w = v128.load(input, 16);
    v128.store(out, narrowF16(v, w, limit, least, exponent, magic, smallest, scale, eight, sign, nan));
  }
  if (input < end) {
    const v = loadLow(input, end - input);
    const w = loadHigh(input, end - input);
    const narrow = narrowF16(v, w, limit, least, exponent, magic, smallest, scale, eight, sign, nan);
    storePart(out, narrow, (end - input) >> 1);
  }
}
