// The elections of the fused kernels: every model casts its vote (cast.ts), then those that agree are summed. See merge.ts for what
// they return and for what keeps a NaN from getting lost.

import { castAndCount, castBy, finish, looked } from "./cast";
import { magnitudeBits, No, signBits, wentBeyond, widthOf, Yes } from "./pairs";
import { electedOf, tieOf } from "./ties";

/** Elements whose votes wait together: those of up to 16 models, and of more. */
const chunkElements: usize = 256;
const chunkOfMany: usize = 64;
/** Votes as f32: those of model m lie at 4 · m · elements of a chunk. */
const votes: usize = memory.data(64 * 64 * 4, 16);

// Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop.
const minusAt: usize = memory.data(4, 4);
const limits: usize = memory.data<f32>([1, 1e-8], 4);
const smallest: f32 = 1e-8;

/** As `divisorOf` of ties.ts, with its constants in registers. */
function divisor(weight: v128, one: v128, tiny: v128, magnitude: v128): v128 {
  return v128.bitselect(one, weight, f32x4.lt(v128.and(weight, magnitude), tiny));
}

/** What the votes of four lanes elect and sum to. Votes of a model that is not there are not used. */
@inline
function outcome<Third, Fourth, Positive, Divided, Same>(
  vA: v128, vB: v128, vC: v128, vD: v128, wA: v128, wB: v128, wC: v128, wD: v128, minus: v128, sign: v128, magnitude: v128,
  one: v128, tiny: v128,
): v128 {
  const zero = f32x4.splat(0);
  let sum = f32x4.add(vA, vB);
  if (isFloat<Third>()) sum = f32x4.add(sum, vC);
  if (isFloat<Fourth>()) sum = f32x4.add(sum, vD);
  // A sum of −0 (of votes that are all −0) is a sum of zero too: it elects +.
  if (isFloat<Positive>()) sum = f32x4.add(sum, zero);
  // With the signs of all votes flipped where − is elected, those that agree are the positive ones. Rounding is symmetric.
  const flip = v128.and(sum, sign);
  const a = v128.xor(vA, flip);
  const b = v128.xor(vB, flip);
  const c = isFloat<Third>() ? v128.xor(vC, flip) : zero;
  const d = isFloat<Fourth>() ? v128.xor(vD, flip) : zero;
  let total = f32x4.add(f32x4.pmax(a, zero), f32x4.pmax(b, zero));
  if (isFloat<Third>()) total = f32x4.add(total, f32x4.pmax(c, zero));
  if (isFloat<Fourth>()) total = f32x4.add(total, f32x4.pmax(d, zero));
  // Votes that are all −0 leave a total of −0.
  if (isFloat<Positive>()) total = f32x4.add(total, zero);
  if (isFloat<Divided>()) {
    // Keys of positive numbers are positive integers.
    const mA = i32x4.gt_s(a, zero);
    const mB = i32x4.gt_s(b, zero);
    if (isFloat<Same>()) {
      let agreeing = i32x4.add(mA, mB);
      if (isFloat<Third>()) agreeing = i32x4.add(agreeing, i32x4.gt_s(c, zero));
      if (isFloat<Fourth>()) agreeing = i32x4.add(agreeing, i32x4.gt_s(d, zero));
      // That is minus the number, and so is the weight. Where nobody agrees the total is zero, whatever divides it.
      total = f32x4.div(total, f32x4.pmax(f32x4.mul(f32x4.convert_i32x4_s(agreeing), minus), wA));
    } else {
      let weight = f32x4.add(v128.and(wA, mA), v128.and(wB, mB));
      if (isFloat<Third>()) weight = f32x4.add(weight, v128.and(wC, i32x4.gt_s(c, zero)));
      if (isFloat<Fourth>()) weight = f32x4.add(weight, v128.and(wD, i32x4.gt_s(d, zero)));
      total = f32x4.div(total, divisor(weight, one, tiny, magnitude));
    }
  }
  total = v128.xor(total, flip);
  // A sum of zero elects none.
  return isFloat<Positive>() ? total : v128.andnot(total, f32x4.eq(sum, zero));
}

/**
 * Elects among the votes of two to four models (`Third`, `Fourth`) at `count` elements, a multiple of 4, and leaves what they sum to in
 * place of those of the first. A sum of zero elects + (`Positive`) or none; `Divided` by the weights that agree, which are all the `Same`.
 */
function elect<Third, Fourth, Positive, Divided, Same>(weights: usize, count: usize): void {
  store<f32>(minusAt, -load<f32>(weights));
  const minus = v128.load32_splat(minusAt);
  const wA = v128.load32_splat(weights);
  const wB = isFloat<Same>() ? wA : v128.load32_splat(weights, 4);
  const wC = isFloat<Same>() || !isFloat<Third>() ? wA : v128.load32_splat(weights, 8);
  const wD = isFloat<Same>() || !isFloat<Fourth>() ? wA : v128.load32_splat(weights, 12);
  const one = v128.load32_splat(limits);
  const tiny = v128.load32_splat(limits, 4);
  const sign = signBits();
  const magnitude = magnitudeBits();
  for (let at = votes, end = votes + (count << 2); at < end; at += 16) {
    const a = v128.load(at);
    const b = v128.load(at, 1024);
    const c = isFloat<Third>() ? v128.load(at, 2048) : a;
    const d = isFloat<Fourth>() ? v128.load(at, 3072) : a;
    v128.store(at, outcome<Third, Fourth, Positive, Divided, Same>(a, b, c, d, wA, wB, wC, wD, minus, sign, magnitude, one, tiny));
  }
}

// Each choice doubles the number of loops that are compiled. A loop is called by reference: otherwise all of them become one function,
// which takes the engines half a second to optimise, and until then a merge runs at a third of its speed.

type Elect = (weights: usize, count: usize) => void;

function electBy<Third, Fourth, Positive>(divide: bool, same: bool): Elect {
  if (!divide) return (weights, count) => elect<Third, Fourth, Positive, No, Yes>(weights, count);
  if (same) return (weights, count) => elect<Third, Fourth, Positive, Yes, Yes>(weights, count);
  return (weights, count) => elect<Third, Fourth, Positive, Yes, No>(weights, count);
}

function electOf<Positive>(models: usize, divide: bool, same: bool): Elect {
  if (models == 2) return electBy<No, No, Positive>(divide, same);
  if (models == 3) return electBy<Yes, No, Positive>(divide, same);
  return electBy<Yes, Yes, Positive>(divide, same);
}

/**
 * Whether the weights of two to four models are one number, which is not next to nothing. Then the weight of n that agree is n times
 * it: the sum of two is exact, that of three is rounded as the product is, and with the fourth what was rounded away (two units of the
 * sum at most, and then it is even) comes back.
 */
function areSame(weights: usize, models: usize): bool {
  const w = load<f32>(weights);
  for (let m: usize = 1; m < models; m++) if (load<f32>(weights + (m << 2)) != w) return false;
  return w >= smallest;
}

/**
 * The same for any number of models, whose votes lie `row` bytes apart, and for a sum of zero that elects −: eight elements at a time,
 * so that a weight is loaded once for both vectors.
 */
function electMany<Divided>(models: usize, zero: i32, weights: usize, row: usize, count: usize): void {
  const none = f32x4.splat(0);
  const tie = tieOf(zero);
  const one = v128.load32_splat(limits);
  const tiny = v128.load32_splat(limits, 4);
  const sign = signBits();
  const magnitude = magnitudeBits();
  for (let at = votes, end = votes + (count << 2); at < end; at += 32) {
    const last = at + models * row;
    let sum0 = none;
    let sum1 = none;
    for (let v = at; v < last; v += row) {
      sum0 = f32x4.add(sum0, v128.load(v));
      sum1 = f32x4.add(sum1, v128.load(v, 16));
    }
    sum0 = electedOf(sum0, tie);
    sum1 = electedOf(sum1, tie);
    const flip0 = v128.and(sum0, sign);
    const flip1 = v128.and(sum1, sign);
    let total0 = none;
    let total1 = none;
    let weight0 = none;
    let weight1 = none;
    let w = weights;
    for (let v = at; v < last; v += row) {
      const vote0 = v128.xor(v128.load(v), flip0);
      const vote1 = v128.xor(v128.load(v, 16), flip1);
      total0 = f32x4.add(total0, f32x4.pmax(vote0, none));
      total1 = f32x4.add(total1, f32x4.pmax(vote1, none));
      if (isFloat<Divided>()) {
        const weight = v128.load32_splat(w);
        weight0 = f32x4.add(weight0, v128.and(weight, f32x4.gt(vote0, none)));
        weight1 = f32x4.add(weight1, v128.and(weight, f32x4.gt(vote1, none)));
        w += 4;
      }
    }
    // Where nobody agrees with an elected −, the total is +0 and stays it.
    const turn0 = v128.andnot(flip0, f32x4.eq(total0, none));
    const turn1 = v128.andnot(flip1, f32x4.eq(total1, none));
    if (isFloat<Divided>()) {
      total0 = f32x4.div(total0, divisor(weight0, one, tiny, magnitude));
      total1 = f32x4.div(total1, divisor(weight1, one, tiny, magnitude));
    }
    v128.store(at, v128.andnot(v128.xor(total0, turn0), f32x4.eq(sum0, none)));
    v128.store(at, v128.andnot(v128.xor(total1, turn1), f32x4.eq(sum1, none)), 16);
  }
}

/**
 * Elements [first, end), a multiple of 8, of up to 64 models. `masks`: 0, or those of all models; `above`: keys below are trimmed.
 * `counts`: without masks, keys are counted meanwhile. Returns 1 when something is not finite, else 0.
 */
export function elected<Wide>(
  out: usize, base: usize, inputs: usize, scales: usize, masks: usize, above: usize, models: usize, lambda: f32, zero: i32,
  divide: i32, weights: usize, counts: bool, first: usize, end: usize,
): i32 {
  const few = models > 1 && models <= 4 && zero != 2;
  const chunk = models <= 16 ? chunkElements : chunkOfMany;
  const divides = divide != 0;
  const same = divides && areSame(weights, models);
  const vote = zero ? electOf<Yes>(models, divides, same) : electOf<No>(models, divides, same);
  let top = i64x2.splat(0);
  for (; first < end; first += chunk) {
    const n = min(chunk, end - first);
    const at = first << widthOf<Wide>();
    for (let m: usize = 0; m < models; m++) {
      const x = <usize>load<u32>(inputs + (m << 2)) + at;
      const mask: usize = masks ? <usize>load<u32>(masks + (m << 2)) + first : 0;
      const scale = load<f32>(scales + (m << 2));
      const limit = load<u32>(above + (m << 2));
      const to = votes + ((m * chunk) << 2);
      if (counts) castAndCount<Wide>(to, x, base + at, scale, limit, m, n);
      else top = castBy<Wide>(masks != 0, scale, limit)(to, x, base + at, mask, scale, limit, n, top);
      if (limit > 0x7f800000) top = looked<Wide>(x, n, top);
    }
    if (few) vote(weights, n);
    else if (divides) electMany<Yes>(models, zero, weights, chunk << 2, n);
    else electMany<No>(models, zero, weights, chunk << 2, n);
    top = finish<Wide>(out + at, base + at, votes, lambda, n, top);
  }
  return wentBeyond<Wide>(top);
}
