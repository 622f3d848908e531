// The slow, obvious twin of every kernel, written from the formulas on plain arrays: the oracle of test/kernel. Nothing
// here shares code or tricks with assembly/. f32 arithmetic is f64 arithmetic rounded by Math.fround, which gives the same
// result for one +, −, × or ÷ of f32 values.

import { maskBlockElements, maskKey, maskThreshold } from "./mask.ts";

const f = Math.fround;
const two32 = 2 ** 32;

/** The bits of a float rounded to f32, as u32. */
export function bitsOf(x: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  return view.getUint32(0);
}

export function floatOf(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits);
  return view.getFloat32(0);
}

/** The bits of |x| for each element: they order as magnitudes do. */
export function keysOf(x: Float32Array): Uint32Array {
  return new Uint32Array(x.buffer, x.byteOffset, x.length).map((bits) => bits % 0x80000000);
}

// ---- Storage formats

interface Format {
  readonly exponentBits: number;
  readonly fractionBits: number;
}

const bf16: Format = { exponentBits: 8, fractionBits: 7 };
const f16: Format = { exponentBits: 5, fractionBits: 10 };

/** IEEE 754 interchange format to number, by the definition of the standard. */
function decode(bits: number, { exponentBits, fractionBits }: Format): number {
  const top = 2 ** exponentBits - 1;
  const bias = (top - 1) / 2;
  const sign = Math.floor(bits / 2 ** (exponentBits + fractionBits)) === 1 ? -1 : 1;
  const exponent = Math.floor(bits / 2 ** fractionBits) % 2 ** exponentBits;
  const fraction = (bits % 2 ** fractionBits) / 2 ** fractionBits;
  if (exponent === top) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias);
  return sign * (1 + fraction) * 2 ** (exponent - bias);
}

/** As `decode`, in a format whose highest exponent is one like the others. */
function decodeFinite(bits: number, { exponentBits, fractionBits }: Format): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = Math.floor(bits / 2 ** (exponentBits + fractionBits)) === 1 ? -1 : 1;
  const exponent = Math.floor(bits / 2 ** fractionBits) % 2 ** exponentBits;
  const fraction = (bits % 2 ** fractionBits) / 2 ** fractionBits;
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias);
  return sign * (1 + fraction) * 2 ** (exponent - bias);
}

/** E4M3 (OCP 8-bit floating point, "FN"): no infinities, and only all ones is NaN. */
export function decode_f8_e4m3(input: Uint8Array): Float32Array {
  return Float32Array.from(input, (bits) =>
    bits % 128 === 127 ? NaN : decodeFinite(bits, { exponentBits: 4, fractionBits: 3 }),
  );
}

export function decode_f8_e5m2(input: Uint8Array): Float32Array {
  return Float32Array.from(input, (bits) => decode(bits, { exponentBits: 5, fractionBits: 2 }));
}

export function encode_f8_e4m3(input: Float32Array): Uint8Array {
  return Uint8Array.from(input, (x) => {
    if (Number.isNaN(x)) return 127;
    const sign = x < 0 || Object.is(x, -0) ? 128 : 0;
    return sign + Math.min(finiteUnits(Math.abs(x), { exponentBits: 4, fractionBits: 3 }), 127);
  });
}

export function encode_f8_e5m2(input: Float32Array): Uint8Array {
  return Uint8Array.from(input, (x) => (Number.isNaN(x) ? 127 : encode(x, { exponentBits: 5, fractionBits: 2 })));
}

/** f64 in storage, computed in f32. */
export function decode_f64(input: Float64Array): Float32Array {
  return Float32Array.from(input);
}

export function encode_f64(input: Float32Array): Float64Array {
  return Float64Array.from(input);
}

/** The words of Philox that stochastic rounding takes: element i has word i mod 4 of block ⌊i/4⌋. */
export function philox_words(key: readonly [number, number], block: number, count: number): Uint32Array {
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const b = block + Math.floor(i / 4);
    words[i] = philox([b % two32, Math.floor(b / two32), 0, 0], key)[i % 4]!;
  }
  return words;
}

/** Up from the lower neighbour where the random part of a distance, in as many bits as matter, is below the remainder. */
export function dither(x: Float32Array, bits: Uint32Array, fraction: number, lowest: number): Float32Array {
  return x.map((v, i) => {
    if (!Number.isFinite(v)) return v;
    const magnitude = Math.abs(v);
    const normal = magnitude >= 2 ** lowest;
    const unit = 2 ** ((normal ? binade(magnitude) : lowest) - fraction);
    const down = Math.floor(magnitude / unit);
    const rest = magnitude / unit - down;
    // A normal f32 has 23 − fraction bits below the unit, so as many random bits decide; below, all 32 do.
    const steps = 2 ** (23 - fraction);
    const up = normal ? Math.floor(bits[i]! / (two32 / steps)) + rest * steps >= steps : bits[i]! < rest * two32;
    const result = (up ? down + 1 : down) * unit;
    return v < 0 || Object.is(v, -0) ? -result : result;
  });
}

/** Round half to even. */
function roundEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

/** The e with 2^e ≤ x < 2^(e+1), for x > 0. The logarithm may be off by an ulp, next to powers of two. */
function binade(x: number): number {
  const e = Math.floor(Math.log2(x));
  if (2 ** e > x) return e - 1;
  return 2 ** (e + 1) <= x ? e + 1 : e;
}

/** Number to IEEE 754 interchange format: nearest even, NaN as the positive quiet NaN without payload. */
function encode(x: number, { exponentBits, fractionBits }: Format): number {
  const top = 2 ** exponentBits - 1;
  const infinity = top * 2 ** fractionBits;
  if (Number.isNaN(x)) return infinity + 2 ** (fractionBits - 1);
  const sign = x < 0 || Object.is(x, -0) ? 2 ** (exponentBits + fractionBits) : 0;
  const magnitude = Math.abs(x);
  if (magnitude === Infinity) return sign + infinity;
  return sign + Math.min(finiteUnits(magnitude, { exponentBits, fractionBits }), infinity);
}

/** The pattern of a magnitude, without an end: nearest even. */
function finiteUnits(magnitude: number, { exponentBits, fractionBits }: Format): number {
  if (magnitude === Infinity) return Infinity;
  const bias = 2 ** (exponentBits - 1) - 1;
  // The unit of the last place is that of the binade, and that of the lowest binade below it.
  const exponent = Math.max(1 - bias, binade(magnitude));
  const units = roundEven(magnitude / 2 ** (exponent - fractionBits));
  // `units` counts from the binade's zero; the implicit bit, and a carry into the next binade, add to the exponent by themselves.
  return (exponent - (1 - bias)) * 2 ** fractionBits + units;
}

export function decode_bf16(input: Uint16Array): Float32Array {
  return Float32Array.from(input, (bits) => decode(bits, bf16));
}

export function decode_f16(input: Uint16Array): Float32Array {
  return Float32Array.from(input, (bits) => decode(bits, f16));
}

export function encode_bf16(input: Float32Array): Uint16Array {
  return Uint16Array.from(input, (x) => encode(x, bf16));
}

export function encode_f16(input: Float32Array): Uint16Array {
  return Uint16Array.from(input, (x) => encode(x, f16));
}

/** As bits, because a NaN's bits need not survive in a number. */
export function encode_f32(input: Float32Array): Uint32Array {
  return Uint32Array.from(input, (x) => (Number.isNaN(x) ? 0x7fc00000 : bitsOf(x)));
}

// ---- Non-finite values

/** Of decoded values. */
export function nonfinite(x: Float32Array): number {
  return x.filter((v) => !Number.isFinite(v)).length;
}

export function first_nonfinite(x: Float32Array): number {
  return x.findIndex((v) => !Number.isFinite(v));
}

export function replace_nonfinite(x: Float32Array, base: Float32Array): Float32Array {
  return x.map((v, i) => (Number.isFinite(v) ? v : base[i]!));
}

// ---- Arithmetic

export function delta(x: Float32Array, base: Float32Array): Float32Array {
  return x.map((v, i) => f(v - base[i]!));
}

export function scale(x: Float32Array, c: number): Float32Array {
  return x.map((v) => f(f(c) * v));
}

export function axpy(acc: Float32Array, x: Float32Array, c: number): Float32Array {
  return acc.map((v, i) => f(v + f(f(c) * x[i]!)));
}

/** `right` is rank rows of `pitch` numbers. */
export function fold_row(left: Float32Array, right: Float32Array, pitch: number, count: number): Float32Array {
  const out = new Float32Array(count);
  for (let j = 0; j < count; j++) {
    let sum = 0;
    for (let k = 0; k < left.length; k++) sum = f(sum + f(left[k]! * right[k * pitch + j]!));
    out[j] = sum;
  }
  return out;
}

/** `fold_row` of four rows of left, one after the other. */
export function fold_four(left: Float32Array, right: Float32Array, pitch: number, count: number): Float32Array[] {
  const rank = left.length / 4;
  return [0, 1, 2, 3].map((i) => fold_row(left.subarray(i * rank, (i + 1) * rank), right, pitch, count));
}

export function finish(base: Float32Array, acc: Float32Array, lambda: number): Float32Array {
  return base.map((v, i) => f(v + f(f(lambda) * acc[i]!)));
}

export function clamp_finite(x: Float32Array, limit: number): { x: Float32Array; changed: number } {
  const over = (v: number) => Math.abs(v) > f(limit);
  return { x: x.map((v) => (over(v) ? Math.sign(v) * f(limit) : v)), changed: x.filter(over).length };
}

// ---- The random mask, braid-mask-v1

/** Philox4x32 (Salmon et al., SC 2011). */
export function philox(
  counter: readonly number[],
  key: readonly number[],
  rounds = 10,
): [number, number, number, number] {
  const product = (a: number, b: number) => {
    const p = BigInt(a) * BigInt(b);
    return { hi: Number(p >> 32n), lo: Number(p & 0xffffffffn) };
  };
  const xor = (...values: number[]) => values.reduce((a, b) => a ^ b) >>> 0;
  let [c0, c1, c2, c3] = counter as [number, number, number, number];
  let [k0, k1] = key as [number, number];
  for (let round = 0; round < rounds; round++) {
    const a = product(0xd2511f53, c0);
    const b = product(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [xor(b.hi, c1, k0), b.lo, xor(a.hi, c3, k1), a.lo];
    k0 = (k0 + 0x9e3779b9) % two32;
    k1 = (k1 + 0xbb67ae85) % two32;
  }
  return [c0, c1, c2, c3];
}

/** The 16 bytes of block (lo, hi): four words, each little-endian. */
export function blockBytes(lo: number, hi: number, key: readonly number[]): number[] {
  return philox([lo, hi, 0, 0], key).flatMap((word) => [0, 8, 16, 24].map((shift) => (word >>> shift) % 256));
}

function refine(lo: number, hi: number, index: number, key: readonly number[]): number {
  return philox([lo, hi, 1, index >> 2], key)[index & 3]! >>> 8;
}

/** From element 0 of block (blockLo, blockHi) on; `thresholds` holds one for every element. 0xff keeps. */
export function keep_mask_each(
  key: readonly number[],
  blockLo: number,
  blockHi: number,
  thresholds: ArrayLike<number>,
): Uint8Array {
  const mask = new Uint8Array(thresholds.length);
  let [lo, hi] = [blockLo, blockHi];
  for (let start = 0; start < mask.length; start += maskBlockElements) {
    const bytes = blockBytes(lo, hi, key);
    for (let i = start; i < Math.min(start + maskBlockElements, mask.length); i++) {
      const threshold = thresholds[i]!;
      const byte = bytes[i - start]!;
      const upper = threshold >>> 24;
      // The 24 lower bits matter only where the byte leaves the comparison open.
      const drops = byte === upper ? refine(lo, hi, i - start, key) < threshold % 2 ** 24 : byte < upper;
      mask[i] = drops ? 0 : 0xff;
    }
    lo = (lo + 1) % two32;
    if (lo === 0) hi = (hi + 1) % two32;
  }
  return mask;
}

export function keep_mask(
  key: readonly number[],
  blockLo: number,
  blockHi: number,
  threshold: number,
  count: number,
): Uint8Array {
  return keep_mask_each(key, blockLo, blockHi, new Uint32Array(count).fill(threshold));
}

/** Keeps where byte·2²⁴ + r lies in [start, start + length) mod 2³². */
export function keep_mask_within(
  key: readonly number[],
  blockLo: number,
  blockHi: number,
  start: number,
  length: number,
  count: number,
): Uint8Array {
  let [lo, hi] = [blockLo, blockHi];
  let bytes: number[] = [];
  return Uint8Array.from({ length: count }, (_, i) => {
    const index = i % maskBlockElements;
    if (index === 0) {
      if (i > 0) lo = (lo + 1) % two32;
      if (i > 0 && lo === 0) hi = (hi + 1) % two32;
      bytes = blockBytes(lo, hi, key);
    }
    const u = bytes[index]! * 2 ** 24 + refine(lo, hi, index, key);
    return (u - start + two32) % two32 < length ? 0xff : 0;
  });
}

/** The mask of elements [first, first + count) of a tensor: 0xff keeps, 0 drops. */
export function braidMask(
  seed: number,
  modelIndex: number,
  tensorName: string,
  p: number,
  first: number,
  count: number,
): Uint8Array {
  const block = Math.floor(first / maskBlockElements);
  const skip = first - block * maskBlockElements;
  const key = maskKey(seed, modelIndex, tensorName);
  const mask = keep_mask(key, block % two32, Math.floor(block / two32), maskThreshold(p), skip + count);
  return mask.slice(skip);
}

export function select(x: Float32Array, mask: Uint8Array): Float32Array {
  return x.map((v, i) => (mask[i] === 0 ? 0 : v));
}

// ---- Trim and elect

export function trim(x: Float32Array, above: number, equalBefore: number): { x: Float32Array; kept: number } {
  const keys = keysOf(x);
  const keep = Array.from(keys, (key, i) => key > above || (key === above && i < equalBefore));
  return { x: x.map((v, i) => (keep[i] ? v : 0)), kept: keep.filter(Boolean).length };
}

export function window(
  x: Float32Array,
  low: number,
  lowFrom: number,
  high: number,
  highBefore: number,
): { x: Float32Array; kept: number } {
  const keys = keysOf(x);
  const keep = Array.from(
    keys,
    (key, i) => (key > low || (key === low && i >= lowFrom)) && (key < high || (key === high && i < highBefore)),
  );
  return { x: x.map((v, i) => (keep[i] ? v : 0)), kept: keep.filter(Boolean).length };
}

/** Of decoded bf16. */
export function window_mask(x: Float32Array, base: Float32Array, low: number, high: number): Uint8Array {
  const keys = keysOf(delta(x, base));
  return Uint8Array.from(keys, (key) => (key >= low && key <= high ? 0xff : 0));
}

export interface Election {
  readonly by: "sum" | "count";
  readonly zero: "none" | "positive" | "negative";
  readonly divide: boolean;
}

/** `votes[m]` is the tile of model m. */
export function elect(
  votes: readonly Float32Array[],
  factors: ArrayLike<number>,
  weights: ArrayLike<number>,
  how: Election,
): Float32Array {
  return Float32Array.from(votes[0] ?? [], (_, i) => {
    let sum = 0;
    for (const vote of votes) sum = f(sum + (how.by === "sum" ? vote[i]! : Math.sign(vote[i]!)));
    if (Number.isNaN(sum)) return NaN;
    const ofZero = { none: 0, positive: 1, negative: -1 }[how.zero];
    const elected = sum === 0 ? ofZero : Math.sign(sum);
    if (elected === 0) return 0;
    let total = 0;
    let weight = 0;
    votes.forEach((vote, m) => {
      if (Math.sign(vote[i]!) !== elected) return;
      total = f(total + f(factors[m]! * vote[i]!));
      weight = f(weight + weights[m]!);
    });
    if (!how.divide) return total;
    return f(total / (Math.abs(weight) < f(1e-8) ? 1 : weight));
  });
}

// ---- Statistics

/** Σ value(i) in f64: lane j of eight sums the indices ≡ j (mod 8), ascending; then the lanes, as a tree. */
function laneSum(count: number, value: (i: number) => number): number {
  const s = [0, 0, 0, 0, 0, 0, 0, 0] as [number, number, number, number, number, number, number, number];
  for (let i = 0; i < count; i++) s[i % 8]! += value(i);
  return s[0] + s[4] + (s[2] + s[6]) + (s[1] + s[5] + (s[3] + s[7]));
}

export function dot(a: Float32Array, b: Float32Array): number {
  return laneSum(a.length, (i) => a[i]! * b[i]!);
}

export function l1(a: Float32Array): number {
  return laneSum(a.length, (i) => Math.abs(a[i]!));
}

export function max_abs(a: Float32Array): number {
  return a.filter((v) => !Number.isNaN(v)).reduce((top, v) => Math.max(top, Math.abs(v)), 0);
}

export function nonzero(a: Float32Array): number {
  return a.filter((v) => v !== 0).length;
}

/** `slots` holds pairs of a key, or 2³² − 1 for several, and a count. */
export function bracket(
  slots: Uint32Array,
  x: Float32Array,
  low: number,
  high: number,
  shift: number,
): { slots: Uint32Array; above: number } {
  const out = slots.slice();
  const keys = keysOf(x);
  for (const key of keys) {
    if (key < low || key >= high) continue;
    const slot = 2 * Math.floor((key - low) / 2 ** shift);
    out[slot] = out[slot + 1] === 0 || out[slot] === key ? key : 0xffffffff;
    out[slot + 1]! += 1;
  }
  return { slots: out, above: keys.filter((key) => key >= high).length };
}

export function equals(x: Float32Array, key: number): number {
  return keysOf(x).filter((k) => k === key).length;
}

export function nth_equal(x: Float32Array, key: number, n: number): number {
  return Array.from(keysOf(x).entries()).filter(([, k]) => k === key)[n]?.[0] ?? -1;
}

export function same_bytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}

// ---- Rows

/** How many keys of the row are below each one's own, or equal to it at lower indices. */
export function rankRow(x: Float32Array): number[] {
  const keys = keysOf(x);
  const order = [...keys.keys()].sort((a, b) => keys[a]! - keys[b]! || a - b);
  const ranks = new Array<number>(x.length);
  order.forEach((i, rank) => {
    ranks[i] = rank;
  });
  return ranks;
}

export function select_scaled(x: Float32Array, mask: Uint8Array, factors: Float32Array): Float32Array {
  return x.map((v, i) => (mask[i] ? f(v * factors[i]!) : 0));
}
