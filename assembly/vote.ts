// The elections of the fused kernels: every model casts its vote, then those that agree are summed. See merge.ts for what they
// return and for what keeps a NaN from getting lost.

import {
  firstKept, firstOf, largerOf, magnitudeBits, No, plainOf, rawOf, secondKept, secondOf, signBits, storeOf, underHalf,
  unitUpper, upperHalves, wentBeyond, widthOf,
} from "./pairs";
import { agrees, electedOf, flipOf, tieOf } from "./ties";

// Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop.
const lambdaAt: usize = memory.data(4, 4);
const floorsAt: usize = memory.data(16, 4);
const limits: usize = memory.data<f32>([1, 1e-8], 4);
/** Votes of eight elements of every model, as f32. */
const votes: usize = memory.data(64 * 32, 16);

/** "At least the key" as a signed compare with one less: keys have 31 bits, and a limit beyond them keeps nothing. */
function floorOf(above: usize): i32 {
  return <i32>(min<u32>(load<u32>(above), 0x80000000) - 1);
}

/** Whether a trim may drop what is not finite, so that the output does not show it. */
export function trimsInfinity(above: usize, models: usize): bool {
  for (let m: usize = 0; m < models; m++) if (load<u32>(above + (m << 2)) > 0x7f800000) return true;
  return false;
}

function trimmed(v: v128, floor: v128, magnitude: v128): v128 {
  return v128.and(v, i32x4.gt_s(v128.and(v, magnitude), floor));
}

/** As `divisorOf` of ties.ts, with its constants in registers. */
function divisor(weight: v128, one: v128, tiny: v128, magnitude: v128): v128 {
  return v128.bitselect(one, weight, f32x4.lt(v128.and(weight, magnitude), tiny));
}

/** The vote of one model: its delta, trimmed if there are no masks, times its scale. A floor of −1 keeps all. */
@inline
function voteOf<Masked, Unit>(delta: v128, floor: v128, c: v128, magnitude: v128): v128 {
  let v = delta;
  if (!isFloat<Masked>()) v = trimmed(v, floor, magnitude);
  if (!isFloat<Unit>()) v = f32x4.mul(c, v);
  return v;
}

/** The merged elements of four lanes from the deltas of the models; those of a model that is not there are not used. */
@inline
function outcome<Third, Fourth, Masked, Positive, Divided, Unit>(
  b: v128,
  dA: v128,
  dB: v128,
  dC: v128,
  dD: v128,
  floorA: v128,
  floorB: v128,
  floorC: v128,
  floorD: v128,
  cA: v128,
  cB: v128,
  cC: v128,
  cD: v128,
  sign: v128,
  magnitude: v128,
  factor: v128,
  one: v128,
  tiny: v128,
  weights: usize,
): v128 {
  const zero = f32x4.splat(0);
  let vA = voteOf<Masked, Unit>(dA, floorA, cA, magnitude);
  let vB = voteOf<Masked, Unit>(dB, floorB, cB, magnitude);
  let vC = dC;
  let vD = dD;
  let sum = f32x4.add(vA, vB);
  if (isFloat<Third>()) {
    vC = voteOf<Masked, Unit>(dC, floorC, cC, magnitude);
    sum = f32x4.add(sum, vC);
  }
  if (isFloat<Fourth>()) {
    vD = voteOf<Masked, Unit>(dD, floorD, cD, magnitude);
    sum = f32x4.add(sum, vD);
  }
  // A sum of −0 (of votes that are all −0) is a sum of zero too: it elects +.
  if (isFloat<Positive>()) sum = f32x4.add(sum, zero);
  // With the signs of all votes flipped where − is elected, those that agree are the positive ones. Rounding is symmetric.
  const flip = v128.and(sum, sign);
  vA = v128.xor(vA, flip);
  vB = v128.xor(vB, flip);
  let total = f32x4.add(f32x4.pmax(vA, zero), f32x4.pmax(vB, zero));
  if (isFloat<Third>()) {
    vC = v128.xor(vC, flip);
    total = f32x4.add(total, f32x4.pmax(vC, zero));
  }
  if (isFloat<Fourth>()) {
    vD = v128.xor(vD, flip);
    total = f32x4.add(total, f32x4.pmax(vD, zero));
  }
  // Votes that are all −0 leave a total of −0.
  if (isFloat<Positive>()) total = f32x4.add(total, zero);
  if (isFloat<Divided>()) {
    // Keys of positive numbers are positive integers.
    const mA = i32x4.gt_s(vA, zero);
    const mB = i32x4.gt_s(vB, zero);
    if (isFloat<Unit>()) {
      let agreeing = i32x4.add(mA, mB);
      if (isFloat<Third>()) agreeing = i32x4.add(agreeing, i32x4.gt_s(vC, zero));
      if (isFloat<Fourth>()) agreeing = i32x4.add(agreeing, i32x4.gt_s(vD, zero));
      // That is minus the number, and the divisor is at least 1.
      total = f32x4.div(total, f32x4.pmax(v128.xor(f32x4.convert_i32x4_s(agreeing), sign), one));
    } else {
      let weight = f32x4.add(v128.and(v128.load32_splat(weights), mA), v128.and(v128.load32_splat(weights, 4), mB));
      if (isFloat<Third>()) {
        weight = f32x4.add(weight, v128.and(v128.load32_splat(weights, 8), i32x4.gt_s(vC, zero)));
      }
      if (isFloat<Fourth>()) {
        weight = f32x4.add(weight, v128.and(v128.load32_splat(weights, 12), i32x4.gt_s(vD, zero)));
      }
      total = f32x4.div(total, divisor(weight, one, tiny, magnitude));
    }
  }
  total = v128.xor(total, flip);
  // A sum of zero elects none.
  if (!isFloat<Positive>()) total = v128.andnot(total, f32x4.eq(sum, zero));
  return f32x4.add(b, f32x4.mul(factor, total));
}

@inline
function firstDelta<Wide, Masked>(x: usize, raw: v128, base: v128, unit: v128): v128 {
  return firstKept<Wide, Masked>(f32x4.sub(firstOf<Wide, No>(x, raw, unit), base), raw);
}

@inline
function secondDelta<Wide, Masked>(x: usize, raw: v128, base: v128, upper: v128): v128 {
  return secondKept<Wide, Masked>(f32x4.sub(secondOf<Wide, No>(x, raw, upper), base), raw);
}

/**
 * Two to four models (`Third`, `Fourth`), elements [first, end), a multiple of 8: their votes stay in registers. They are all
 * masked, or trimmed but not of infinities; `Unit`: scales, and weights if they divide, are all 1. A sum of zero elects +
 * (`Positive`) or none.
 */
export function electedFew<Wide, Third, Fourth, Masked, Positive, Divided, Unit>(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  lambda: f32,
  weights: usize,
  first: usize,
  end: usize,
): i32 {
  const none = f32x4.splat(0);
  store<f32>(lambdaAt, lambda);
  const factor = v128.load32_splat(lambdaAt);
  const one = v128.load32_splat(limits);
  const tiny = v128.load32_splat(limits, 4);
  const pA = <usize>load<u32>(inputs);
  const pB = <usize>load<u32>(inputs, 4);
  const pC: usize = isFloat<Third>() ? <usize>load<u32>(inputs, 8) : 0;
  const pD: usize = isFloat<Fourth>() ? <usize>load<u32>(inputs, 12) : 0;
  const maskA: usize = isFloat<Masked>() ? <usize>load<u32>(masks) : 0;
  const maskB: usize = isFloat<Masked>() ? <usize>load<u32>(masks, 4) : 0;
  const maskC: usize = isFloat<Masked>() && isFloat<Third>() ? <usize>load<u32>(masks, 8) : 0;
  const maskD: usize = isFloat<Masked>() && isFloat<Fourth>() ? <usize>load<u32>(masks, 12) : 0;
  const cA = isFloat<Unit>() ? none : v128.load32_splat(scales);
  const cB = isFloat<Unit>() ? none : v128.load32_splat(scales, 4);
  const cC = isFloat<Unit>() || !isFloat<Third>() ? none : v128.load32_splat(scales, 8);
  const cD = isFloat<Unit>() || !isFloat<Fourth>() ? none : v128.load32_splat(scales, 12);
  if (!isFloat<Masked>()) {
    store<i32>(floorsAt, floorOf(above));
    store<i32>(floorsAt, floorOf(above + 4), 4);
    if (isFloat<Third>()) store<i32>(floorsAt, floorOf(above + 8), 8);
    if (isFloat<Fourth>()) store<i32>(floorsAt, floorOf(above + 12), 12);
  }
  const floorA = isFloat<Masked>() ? none : v128.load32_splat(floorsAt);
  const floorB = isFloat<Masked>() ? none : v128.load32_splat(floorsAt, 4);
  const floorC = isFloat<Masked>() ? none : v128.load32_splat(floorsAt, 8);
  const floorD = isFloat<Masked>() ? none : v128.load32_splat(floorsAt, 12);
  const sign = signBits();
  const magnitude = magnitudeBits();
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = i64x2.splat(0);
  for (let i = first; i < end; i += 8) {
    const at = i << widthOf<Wide>();
    const b = plainOf<Wide, No>(base + at);
    const xA = rawOf<Wide, Masked, No>(pA + at, b, maskA + i);
    const xB = rawOf<Wide, Masked, No>(pB + at, b, maskB + i);
    const xC = isFloat<Third>() ? rawOf<Wide, Masked, No>(pC + at, b, maskC + i) : b;
    const xD = isFloat<Fourth>() ? rawOf<Wide, Masked, No>(pD + at, b, maskD + i) : b;
    const b0 = firstOf<Wide, No>(base + at, b, unit);
    const m0 = outcome<Third, Fourth, Masked, Positive, Divided, Unit>(
      b0,
      firstDelta<Wide, Masked>(pA + at, xA, b0, unit),
      firstDelta<Wide, Masked>(pB + at, xB, b0, unit),
      isFloat<Third>() ? firstDelta<Wide, Masked>(pC + at, xC, b0, unit) : b0,
      isFloat<Fourth>() ? firstDelta<Wide, Masked>(pD + at, xD, b0, unit) : b0,
      floorA, floorB, floorC, floorD, cA, cB, cC, cD, sign, magnitude, factor, one, tiny, weights,
    );
    const b1 = secondOf<Wide, No>(base + at, b, upper);
    const m1 = outcome<Third, Fourth, Masked, Positive, Divided, Unit>(
      b1,
      secondDelta<Wide, Masked>(pA + at, xA, b1, upper),
      secondDelta<Wide, Masked>(pB + at, xB, b1, upper),
      isFloat<Third>() ? secondDelta<Wide, Masked>(pC + at, xC, b1, upper) : b1,
      isFloat<Fourth>() ? secondDelta<Wide, Masked>(pD + at, xD, b1, upper) : b1,
      floorA, floorB, floorC, floorD, cA, cB, cC, cD, sign, magnitude, factor, one, tiny, weights,
    );
    top = storeOf<Wide, No>(out + at, m0, m1, top, unit, upper, half);
    // Without masks what is not finite reaches the output, and that of the base always does.
    if (isFloat<Masked>()) {
      top = largerOf<Wide, No>(largerOf<Wide, No>(top, pA + at), pB + at);
      if (isFloat<Third>()) top = largerOf<Wide, No>(top, pC + at);
      if (isFloat<Fourth>()) top = largerOf<Wide, No>(top, pD + at);
    }
  }
  return wentBeyond<Wide>(top);
}

/**
 * Any number of models up to 64, elements [first, end), a multiple of 8; their votes are kept in memory. Masks of all of them
 * (`Masked`) or of none.
 */
export function electedMany<Wide, Masked>(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  models: usize,
  lambda: f32,
  zero: i32,
  divide: i32,
  weights: usize,
  first: usize,
  until: usize,
): i32 {
  const none = f32x4.splat(0);
  const tie = tieOf(zero);
  store<f32>(lambdaAt, lambda);
  const factor = v128.load32_splat(lambdaAt);
  const one = v128.load32_splat(limits);
  const tiny = v128.load32_splat(limits, 4);
  const end = models << 2;
  const magnitude = magnitudeBits();
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = i64x2.splat(0);
  for (let i = first; i < until; i += 8) {
    const at = i << widthOf<Wide>();
    const b = plainOf<Wide, No>(base + at);
    const b0 = firstOf<Wide, No>(base + at, b, unit);
    const b1 = secondOf<Wide, No>(base + at, b, upper);
    let sum0 = none;
    let sum1 = none;
    for (let m: usize = 0; m < end; m += 4) {
      const p = <usize>load<u32>(inputs + m) + at;
      top = largerOf<Wide, No>(top, p);
      const mask = isFloat<Masked>() ? <usize>load<u32>(masks + m) + i : 0;
      const x = rawOf<Wide, Masked, No>(p, b, mask);
      let d0 = firstDelta<Wide, Masked>(p, x, b0, unit);
      let d1 = secondDelta<Wide, Masked>(p, x, b1, upper);
      const floor = floorOf(above + m);
      if (floor >= 0) {
        d0 = trimmed(d0, i32x4.splat(floor), magnitude);
        d1 = trimmed(d1, i32x4.splat(floor), magnitude);
      }
      const c = v128.load32_splat(scales + m);
      d0 = f32x4.mul(c, d0);
      d1 = f32x4.mul(c, d1);
      v128.store(votes + (m << 3), d0);
      v128.store(votes + (m << 3), d1, 16);
      sum0 = f32x4.add(sum0, d0);
      sum1 = f32x4.add(sum1, d1);
    }
    sum0 = electedOf(sum0, tie);
    sum1 = electedOf(sum1, tie);
    const flip0 = flipOf(sum0);
    const flip1 = flipOf(sum1);
    let total0 = none;
    let total1 = none;
    for (let m: usize = 0; m < end; m += 4) {
      const v0 = v128.load(votes + (m << 3));
      const v1 = v128.load(votes + (m << 3), 16);
      total0 = f32x4.add(total0, f32x4.pmax(v128.xor(v0, flip0), none));
      total1 = f32x4.add(total1, f32x4.pmax(v128.xor(v1, flip1), none));
    }
    // Where nobody agrees with an elected −, the total is +0 and stays it.
    const turn0 = v128.andnot(flip0, f32x4.eq(total0, none));
    const turn1 = v128.andnot(flip1, f32x4.eq(total1, none));
    if (divide) {
      let weight0 = none;
      let weight1 = none;
      for (let m: usize = 0; m < end; m += 4) {
        const w = v128.load32_splat(weights + m);
        weight0 = f32x4.add(weight0, v128.and(w, agrees(v128.load(votes + (m << 3)), flip0)));
        weight1 = f32x4.add(weight1, v128.and(w, agrees(v128.load(votes + (m << 3), 16), flip1)));
      }
      total0 = f32x4.div(total0, divisor(weight0, one, tiny, magnitude));
      total1 = f32x4.div(total1, divisor(weight1, one, tiny, magnitude));
    }
    total0 = v128.andnot(v128.xor(total0, turn0), f32x4.eq(sum0, none));
    total1 = v128.andnot(v128.xor(total1, turn1), f32x4.eq(sum1, none));
    const m0 = f32x4.add(b0, f32x4.mul(factor, total0));
    const m1 = f32x4.add(b1, f32x4.mul(factor, total1));
    top = storeOf<Wide, No>(out + at, m0, m1, top, unit, upper, half);
  }
  return wentBeyond<Wide>(top);
}
