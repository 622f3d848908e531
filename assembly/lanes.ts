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

/** Four f16 patterns, one in the lower half of each lane, to f32. Exact. */
export function widenF16(h: v128): v128 {
  const magnitude = v128.and(h, i32x4.splat(0x7fff));
  const sign = i32x4.shl(v128.xor(h, magnitude), 16);
  // Rebias the exponent from 15 to 127; the exponent 31 of NaN and infinity becomes 255.
  const rebiased = i32x4.add(i32x4.shl(magnitude, 13), i32x4.splat(112 << 23));
  const special = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x7bff)), i32x4.splat(0x7f800000));
  // Subnormals are counts of 2^-24. Converting the count avoids arithmetic on f32 subnormals, which x86 does in microcode.
  const subnormal = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(reinterpret<f32>((127 - 24) << 23)));
  const value = v128.bitselect(subnormal, v128.or(rebiased, special), i32x4.lt_s(magnitude, i32x4.splat(0x400)));
  return v128.or(value, sign);
}

/** Four f32 to bf16 in the lower half of each lane: nearest even, any NaN to 7fc0. */
export function narrowBf16(v: v128): v128 {
  // Adding 7fff, and 1 more when the last kept bit is odd, carries exactly when nearest-even rounds up.
  const odd = v128.and(i32x4.shr_u(v, 16), i32x4.splat(1));
  const rounded = i32x4.add(i32x4.add(v, i32x4.splat(0x7fff)), odd);
  return i32x4.shr_u(v128.bitselect(rounded, i32x4.splat(0x7fc00000), f32x4.eq(v, v)), 16);
}

/** Four f32 to f16 in the lower half of each lane: nearest even, any NaN to 7e00, too large to infinity. */
export function narrowF16(v: v128): v128 {
  const magnitude = v128.and(v, i32x4.splat(0x7fffffff));
  const sign = v128.and(i32x4.shr_u(v, 16), i32x4.splat(0x8000));
  // 65536 is where the rebiased exponent reaches 31 with an empty fraction: infinity. Rounding takes 65520 there too.
  const limited = i32x4.min_s(magnitude, i32x4.splat((127 + 16) << 23));
  const odd = v128.and(i32x4.shr_u(limited, 13), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(limited, i32x4.splat(0xfff - (112 << 23))), odd), 13);
  // Below 2^-14 the unit is 2^-24, which is the last bit of numbers in [0.5, 1): the addition rounds for us.
  const half = f32x4.splat(0.5);
  const subnormal = i32x4.sub(f32x4.add(magnitude, half), half);
  const value = v128.bitselect(subnormal, rounded, i32x4.lt_s(magnitude, i32x4.splat((127 - 14) << 23)));
  return v128.bitselect(v128.or(value, sign), i32x4.splat(0x7e00), f32x4.eq(v, v));
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
  const end = input + (count << 1);
  for (; input + 16 <= end; input += 16, out += 32) {
    const v = v128.load(input);
    v128.store(out, widenF16(i32x4.extend_low_i16x8_u(v)));
    v128.store(out, widenF16(i32x4.extend_high_i16x8_u(v)), 16);
  }
  if (input < end) {
    const v = loadPart(input, end - input);
    const low = widenF16(i32x4.extend_low_i16x8_u(v));
    const high = widenF16(i32x4.extend_high_i16x8_u(v));
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
  const end = input + (count << 2);
  for (; input + 32 <= end; input += 32, out += 16) {
    const low = narrowF16(v128.load(input));
    v128.store(out, i16x8.narrow_i32x4_u(low, narrowF16(v128.load(input, 16))));
  }
  if (input < end) {
    const low = narrowF16(loadLow(input, end - input));
    storePart(out, i16x8.narrow_i32x4_u(low, narrowF16(loadHigh(input, end - input))), (end - input) >> 1);
  }
}
