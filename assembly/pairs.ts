// bf16 as the fused kernels hold it: a vector of eight is four lanes of a pair each.
//
//   v      | h0 h1 | h2 h3 | h4 h5 | h6 h7 |    eight bf16, in memory order
//   evens  | 0  h0 | 0  h2 | 0  h4 | 0  h6 |    four f32, lower half first: a shift
//   odds   | 0  h1 | 0  h3 | 0  h5 | 0  h7 |    four f32: a mask
//
// One operation decodes four elements, where halves in order take two (an extension and a shift). Everything between
// decoding and encoding works lane by lane, so the order does not matter.
//
// The functions that are decorated with @inline are larger than what Binaryen inlines by itself when there are several
// callers (20 nodes), and a call in the loop would cost more than what it does.

// Type arguments that are switches: `isFloat<T>()` is known when the kernels are compiled, so that each combination becomes
// a loop of its own without branches.
export type Yes = f32;
export type No = i32;

// Constants come from memory, so that they are loaded once: engines build a constant of the code again at every use, from
// integer registers (V8 and JavaScriptCore: three operations). JavaScriptCore does the same with the count of a shift, so
// nothing here shifts: i32x4.mul by 2^16 is a shift left, and i32x4.dot_i16x8_s with the pairs (0, 1), which is the same
// vector, is one right.
const constants: usize = memory.data<u32>([0x00010000, 0xffff0000, 0x00007fff, 0x80000000], 16);

/** 2^16 in every lane, which is the pair (0, 1): the lower half first. */
export function unitUpper(): v128 {
  return v128.load32_splat(constants);
}

export function upperHalves(): v128 {
  return v128.load32_splat(constants, 4);
}

/** What rounding to nearest adds: less than half a unit of bf16. */
export function underHalf(): v128 {
  return v128.load32_splat(constants, 8);
}

export function signBits(): v128 {
  return v128.load32_splat(constants, 12);
}

export function evens(v: v128, unit: v128): v128 {
  return i32x4.mul(v, unit);
}

export function odds(v: v128, upper: v128): v128 {
  return v128.and(v, upper);
}

/** Adding 7fff, and 1 more when the last kept bit is odd, carries exactly when nearest-even rounds up. Not for NaN. */
@inline
function rounded(v: v128, unit: v128, half: v128): v128 {
  return i32x4.add(i32x4.add(v, half), i32x4.dot_i16x8_s(v128.and(v, unit), unit));
}

/** Nearest even; the way back from `evens` and `odds`. */
@inline
export function pack(even: v128, odd: v128, unit: v128, upper: v128, half: v128): v128 {
  return v128.bitselect(rounded(odd, unit, half), i32x4.dot_i16x8_s(rounded(even, unit, half), unit), upper);
}

/** The largest magnitude of the bf16 that went by, as bits shifted left by one, which drops the sign. */
export function larger(top: v128, v: v128): v128 {
  return i16x8.max_u(top, i16x8.add(v, v));
}

/** Whether a NaN or an infinity went by: they have all exponent bits set. */
export function isBeyond(top: v128): i32 {
  return i32(v128.any_true(i16x8.ge_u(top, i16x8.splat(<i16>0xff00))));
}
