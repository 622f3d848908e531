// Conversions between fp8, in its two formats, and f32 lanes.

const scratch: usize = memory.data(64, 16);

// fp8 as an f32 holds it, E4M3 (bias 7, no infinities, 7f is NaN) and E5M2 (bias 15, as IEEE: 7c infinity, above it NaN):
//
//   E4M3   | s eeee mmm |   magnitude << 20 puts exponent and fraction in place; the bias is 120 short
//   E5M2   | s eeeee mm |   magnitude << 21; 112 short

/** Four E4M3 patterns, one in the lowest byte of each lane, to f32. Exact. */
function widenE4M3(b: v128): v128 {
  const magnitude = v128.and(b, i32x4.splat(0x7f));
  const sign = i32x4.shl(v128.xor(b, magnitude), 24);
  const rebiased = i32x4.add(i32x4.shl(magnitude, 20), i32x4.splat(120 << 23));
  // Subnormals are counts of 2^-9.
  const subnormal = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(reinterpret<f32>((127 - 9) << 23)));
  const finite = v128.bitselect(subnormal, rebiased, i32x4.lt_s(magnitude, i32x4.splat(8)));
  const value = v128.bitselect(i32x4.splat(0x7fc00000), finite, i32x4.eq(magnitude, i32x4.splat(0x7f)));
  return v128.or(value, sign);
}

function widenE5M2(b: v128): v128 {
  const magnitude = v128.and(b, i32x4.splat(0x7f));
  const sign = i32x4.shl(v128.xor(b, magnitude), 24);
  const rebiased = i32x4.add(i32x4.shl(magnitude, 21), i32x4.splat(112 << 23));
  const special = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x7b)), i32x4.splat(0x7f800000));
  // Subnormals are counts of 2^-16.
  const subnormal = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(reinterpret<f32>((127 - 16) << 23)));
  const value = v128.bitselect(subnormal, v128.or(rebiased, special), i32x4.lt_s(magnitude, i32x4.splat(4)));
  return v128.or(value, sign);
}

/** Four f32 to E4M3, one in each lane: nearest even, NaN to 7f, what rounds beyond 448 to 7f with its sign. */
function narrowE4M3(v: v128): v128 {
  const magnitude = v128.and(v, i32x4.splat(0x7fffffff));
  const sign = v128.and(i32x4.shr_u(v, 24), i32x4.splat(0x80));
  // 480 is where the pattern reaches 7f. Integers order as magnitudes do, NaN last.
  const limited = i32x4.min_s(magnitude, i32x4.splat(0x43f00000));
  const odd = v128.and(i32x4.shr_u(limited, 20), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(limited, i32x4.splat(0x7ffff - (120 << 23))), odd), 20);
  // Below 2^-6 the unit is 2^-9, the last bit of numbers in [2^14, 2^15): the addition rounds for us.
  const unit = f32x4.splat(16384);
  const subnormal = i32x4.sub(f32x4.add(magnitude, unit), unit);
  const value = v128.bitselect(subnormal, rounded, i32x4.lt_s(magnitude, i32x4.splat((127 - 6) << 23)));
  return v128.bitselect(v128.or(value, sign), i32x4.splat(0x7f), f32x4.eq(v, v));
}

/** Four f32 to E5M2, one in each lane: nearest even, NaN to 7f, too large to infinity. */
function narrowE5M2(v: v128): v128 {
  const magnitude = v128.and(v, i32x4.splat(0x7fffffff));
  const sign = v128.and(i32x4.shr_u(v, 24), i32x4.splat(0x80));
  const limited = i32x4.min_s(magnitude, i32x4.splat((127 + 16) << 23));
  const odd = v128.and(i32x4.shr_u(limited, 21), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(limited, i32x4.splat(0xfffff - (112 << 23))), odd), 21);
  // Below 2^-14 the unit is 2^-16, the last bit of numbers in [2^7, 2^8).
  const unit = f32x4.splat(128);
  const subnormal = i32x4.sub(f32x4.add(magnitude, unit), unit);
  const finite = v128.bitselect(subnormal, rounded, i32x4.lt_s(magnitude, i32x4.splat((127 - 14) << 23)));
  return v128.bitselect(v128.or(finite, sign), i32x4.splat(0x7f), f32x4.eq(v, v));
}

function widen(b: v128, e5: bool): v128 {
  return e5 ? widenE5M2(b) : widenE4M3(b);
}

function narrow(v: v128, e5: bool): v128 {
  return e5 ? narrowE5M2(v) : narrowE4M3(v);
}

function decodeF8(out: usize, input: usize, count: usize, e5: bool): void {
  const end = input + count;
  for (; input < end; input += 16, out += 64) {
    const part = end - input;
    let to = out;
    let v: v128;
    if (part < 16) {
      memory.fill(scratch, 0, 16);
      memory.copy(scratch, input, part);
      v = v128.load(scratch);
      to = scratch;
    } else v = v128.load(input);
    const low = i16x8.extend_low_i8x16_u(v);
    const high = i16x8.extend_high_i8x16_u(v);
    v128.store(to, widen(i32x4.extend_low_i16x8_u(low), e5));
    v128.store(to, widen(i32x4.extend_high_i16x8_u(low), e5), 16);
    v128.store(to, widen(i32x4.extend_low_i16x8_u(high), e5), 32);
    v128.store(to, widen(i32x4.extend_high_i16x8_u(high), e5), 48);
    if (part < 16) memory.copy(out, scratch, part << 2);
  }
}

function encodeF8(out: usize, input: usize, count: usize, e5: bool): void {
  const end = input + (count << 2);
  for (; input < end; input += 64, out += 16) {
    const part = end - input;
    let from = input;
    if (part < 64) {
      memory.fill(scratch, 0, 64);
      memory.copy(scratch, input, part);
      from = scratch;
    }
    const low = i16x8.narrow_i32x4_u(narrow(v128.load(from), e5), narrow(v128.load(from, 16), e5));
    const high = i16x8.narrow_i32x4_u(narrow(v128.load(from, 32), e5), narrow(v128.load(from, 48), e5));
    const v = i8x16.narrow_i16x8_u(low, high);
    if (part < 64) {
      v128.store(scratch, v);
      memory.copy(out, scratch, part >> 2);
    } else v128.store(out, v);
  }
}

export function decode_f8_e4m3(out: usize, input: usize, count: usize): void {
  decodeF8(out, input, count, false);
}

export function decode_f8_e5m2(out: usize, input: usize, count: usize): void {
  decodeF8(out, input, count, true);
}

export function encode_f8_e4m3(out: usize, input: usize, count: usize): void {
  encodeF8(out, input, count, false);
}

export function encode_f8_e5m2(out: usize, input: usize, count: usize): void {
  encodeF8(out, input, count, true);
}

function countAbove8(input: usize, count: usize, last: i32): i32 {
  let total = 0;
  for (const end = input + count; input < end; input++) total += i32((<i32>load<u8>(input) & 0x7f) > last);
  return total;
}

function firstAbove8(input: usize, count: usize, last: i32): i32 {
  for (let i: usize = 0; i < count; i++) if ((<i32>load<u8>(input + i) & 0x7f) > last) return <i32>i;
  return -1;
}

export function nonfinite_f8_e4m3(input: usize, count: usize): i32 {
  return countAbove8(input, count, 0x7e);
}

export function nonfinite_f8_e5m2(input: usize, count: usize): i32 {
  return countAbove8(input, count, 0x7b);
}

export function first_nonfinite_f8_e4m3(input: usize, count: usize): i32 {
  return firstAbove8(input, count, 0x7e);
}

export function first_nonfinite_f8_e5m2(input: usize, count: usize): i32 {
  return firstAbove8(input, count, 0x7b);
}
