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
const constants: usize = memory.data<u32>([0x00010000, 0xffff0000, 0x00007fff, 0x80000000, 0x7fffffff], 16);

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

/** All bits but the sign's. */
export function magnitudeBits(): v128 {
  return v128.load32_splat(constants, 16);
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

/**
 * Nearest even; the way back from `evens` and `odds`. One shuffle is an operation less than a shift and a selection, and two registers
 * more: where they are scarce (`Scarce`), JavaScriptCore loses more by it (task arithmetic of three models 6 %) than others win (linear
 * and elections 1 to 3 %, windows 4 %).
 */
@inline
export function pack<Scarce>(even: v128, odd: v128, unit: v128, upper: v128, half: v128): v128 {
  const a = rounded(even, unit, half);
  const b = rounded(odd, unit, half);
  return isFloat<Scarce>()
    ? v128.bitselect(b, i32x4.dot_i16x8_s(a, unit), upper)
    : v128.shuffle<u16>(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
}

/** The largest magnitude of the bf16 that went by, as bits shifted left by one, which drops the sign. */
export function larger(top: v128, v: v128): v128 {
  return i16x8.max_u(top, i16x8.add(v, v));
}

/** Whether a NaN or an infinity went by: they have all exponent bits set. */
export function isBeyond(top: v128): i32 {
  return i32(v128.any_true(i16x8.ge_u(top, i16x8.splat(<i16>0xff00))));
}

/** Both of bf16, or (`Wide`) of f32. */
function largest<Wide>(top: v128, v: v128): v128 {
  return isFloat<Wide>() ? i32x4.max_u(top, i32x4.add(v, v)) : larger(top, v);
}

export function wentBeyond<Wide>(top: v128): i32 {
  if (!isFloat<Wide>()) return isBeyond(top);
  return i32(v128.any_true(i32x4.ge_u(top, i32x4.splat(0xff000000))));
}

// Eight elements are handled together. Of bf16 they are one vector, `raw`, and then its even and its odd ones; of f32 (`Wide`) the
// first four and the next four, and `raw` is their mask, if there is one. `High`: the eight after those that a pointer points
// to, because engines add a constant offset for nothing.

/** Bytes of an element are 1 << this. */
export function widthOf<Wide>(): usize {
  return isFloat<Wide>() ? 2 : 1;
}

@inline
function maskOf<High>(mask: usize): v128 {
  return isFloat<High>() ? v128.load8x8_s(mask, 8) : v128.load8x8_s(mask);
}

/** Of bf16: eight elements as they are. */
@inline
export function plainOf<Wide, High>(x: usize): v128 {
  if (isFloat<Wide>()) return i64x2.splat(0);
  return isFloat<High>() ? v128.load(x, 16) : v128.load(x);
}

/**
 * Of bf16: those of the base where the mask drops, whose delta is then +0, as if it were selected. Masks select before decoding,
 * which is half the work.
 */
@inline
export function rawOf<Wide, Masked, High>(x: usize, base: v128, mask: usize): v128 {
  if (!isFloat<Masked>()) return plainOf<Wide, High>(x);
  if (isFloat<Wide>()) return maskOf<High>(mask);
  return v128.bitselect(plainOf<Wide, High>(x), base, maskOf<High>(mask));
}

/** Four elements as f32, and the other four. */
@inline
export function firstOf<Wide, High>(x: usize, raw: v128, unit: v128): v128 {
  if (!isFloat<Wide>()) return evens(raw, unit);
  return isFloat<High>() ? v128.load(x, 32) : v128.load(x);
}

@inline
export function secondOf<Wide, High>(x: usize, raw: v128, upper: v128): v128 {
  if (!isFloat<Wide>()) return odds(raw, upper);
  return isFloat<High>() ? v128.load(x, 48) : v128.load(x, 16);
}

/** Deltas of f32 where the mask keeps them; those of bf16 went through `rawOf`. */
@inline
export function firstKept<Wide, Masked>(delta: v128, raw: v128): v128 {
  return isFloat<Wide>() && isFloat<Masked>() ? v128.and(delta, i32x4.extend_low_i16x8_s(raw)) : delta;
}

@inline
export function secondKept<Wide, Masked>(delta: v128, raw: v128): v128 {
  return isFloat<Wide>() && isFloat<Masked>() ? v128.and(delta, i32x4.extend_high_i16x8_s(raw)) : delta;
}

/** `larger` of eight elements. */
@inline
export function largerOf<Wide, High>(top: v128, x: usize): v128 {
  if (!isFloat<Wide>()) return largest<Wide>(top, plainOf<Wide, High>(x));
  return largest<Wide>(largest<Wide>(top, firstOf<Wide, High>(x, top, top)), secondOf<Wide, High>(x, top, top));
}

/** Rounds and stores eight elements, and returns `larger` of what it stored. */
@inline
export function storeOf<Wide, High, Scarce>(out: usize, a: v128, b: v128, top: v128, unit: v128, upper: v128, half: v128): v128 {
  if (isFloat<Wide>()) {
    if (isFloat<High>()) {
      v128.store(out, a, 32);
      v128.store(out, b, 48);
    } else {
      v128.store(out, a);
      v128.store(out, b, 16);
    }
    return largest<Wide>(largest<Wide>(top, a), b);
  }
  const merged = pack<Scarce>(a, b, unit, upper, half);
  if (isFloat<High>()) v128.store(out, merged, 16);
  else v128.store(out, merged);
  return largest<Wide>(top, merged);
}
