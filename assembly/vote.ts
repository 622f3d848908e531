// The elections of the fused kernels: every model casts its vote, then those that agree are summed. See merge.ts for what
// they return and for what keeps a NaN from getting lost.

import { evens, isBeyond, larger, odds, pack, signBits, underHalf, unitUpper, upperHalves, Yes } from "./pairs";
import { agrees, divisorOf, electedOf, flipOf, tieOf } from "./ties";

/** Eight 0xff: the mask of a model without one. */
const allKept: usize = memory.data(8, 8);
/** For each model, where its mask starts, and −1, or 0 for `allKept`: the mask of element i is at start + (i & step). */
const maskStarts: usize = memory.data(4 * 4, 4);
const maskSteps: usize = memory.data(4 * 4, 4);
// Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop.
const lambdaAt: usize = memory.data(4, 4);
const tieAt: usize = memory.data(4, 4);
/** Votes of eight elements of every model, as f32. */
const votes: usize = memory.data(64 * 32, 16);

function placeMasks(masks: usize, models: usize): void {
  store<u64>(allKept, -1);
  for (let m: usize = 0; m < models; m++) {
    const mask = load<u32>(masks + (m << 2));
    store<u32>(maskStarts + (m << 2), mask ? mask : <u32>allKept);
    store<i32>(maskSteps + (m << 2), mask ? -1 : 0);
  }
}

/** "At least the key" as a signed compare with one less: keys have 31 bits, and a limit beyond them keeps nothing. */
function floorOf(above: usize): i32 {
  return <i32>(min<u32>(load<u32>(above), 0x80000000) - 1);
}

function trimmed(v: v128, floor: v128): v128 {
  return v128.and(v, i32x4.gt_s(v128.and(v, i32x4.splat(0x7fffffff)), floor));
}

/** The vote of one model: its delta, trimmed, times its scale. A floor of −1 keeps all. */
@inline
function voteOf<Masked, Unit>(x: v128, base: v128, floor: v128, c: v128): v128 {
  let v = f32x4.sub(x, base);
  if (!isFloat<Masked>()) v = trimmed(v, floor);
  if (!isFloat<Unit>()) v = f32x4.mul(c, v);
  return v;
}

/** The merged elements of four lanes; the arguments of a model that is not there are not used. */
@inline
function outcome<Third, Fourth, Masked, Divided, Unit>(
  b: v128,
  xA: v128,
  xB: v128,
  xC: v128,
  xD: v128,
  floorA: v128,
  floorB: v128,
  floorC: v128,
  floorD: v128,
  cA: v128,
  cB: v128,
  cC: v128,
  cD: v128,
  sign: v128,
  tie: v128,
  factor: v128,
  weights: usize,
): v128 {
  let vA = voteOf<Masked, Unit>(xA, b, floorA, cA);
  let vB = voteOf<Masked, Unit>(xB, b, floorB, cB);
  let vC = xC;
  let vD = xD;
  let sum = f32x4.add(vA, vB);
  if (isFloat<Third>()) {
    vC = voteOf<Masked, Unit>(xC, b, floorC, cC);
    sum = f32x4.add(sum, vC);
  }
  if (isFloat<Fourth>()) {
    vD = voteOf<Masked, Unit>(xD, b, floorD, cD);
    sum = f32x4.add(sum, vD);
  }
  // With the signs of all votes flipped where − is elected, those that agree are the positive ones. Rounding is symmetric.
  const zero = f32x4.splat(0);
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
  if (isFloat<Divided>()) {
    // Keys of positive numbers are positive integers.
    const mA = i32x4.gt_s(vA, zero);
    const mB = i32x4.gt_s(vB, zero);
    if (isFloat<Unit>()) {
      let agreeing = i32x4.add(mA, mB);
      if (isFloat<Third>()) agreeing = i32x4.add(agreeing, i32x4.gt_s(vC, zero));
      if (isFloat<Fourth>()) agreeing = i32x4.add(agreeing, i32x4.gt_s(vD, zero));
      // Minus the number, but at least 1.
      total = f32x4.div(total, f32x4.convert_i32x4_s(i32x4.max_s(i32x4.neg(agreeing), i32x4.splat(1))));
    } else {
      let weight = f32x4.add(v128.and(v128.load32_splat(weights), mA), v128.and(v128.load32_splat(weights, 4), mB));
      if (isFloat<Third>()) {
        weight = f32x4.add(weight, v128.and(v128.load32_splat(weights, 8), i32x4.gt_s(vC, zero)));
      }
      if (isFloat<Fourth>()) {
        weight = f32x4.add(weight, v128.and(v128.load32_splat(weights, 12), i32x4.gt_s(vD, zero)));
      }
      total = f32x4.div(total, divisorOf(weight));
    }
  }
  // A sum of zero: `tie` is 0 to elect none, or NaN, which equals nothing, to go with the total of the positive votes.
  // A total of −0 (of votes that are all −0) becomes +0.
  total = f32x4.add(zero, v128.andnot(v128.xor(total, flip), f32x4.eq(sum, tie)));
  return f32x4.add(b, f32x4.mul(factor, total));
}

/** Eight elements, those of the base where the mask drops: their delta is then +0, as if it were selected. */
@inline
function selected<Masked>(x: v128, base: v128, mask: usize): v128 {
  if (isFloat<Masked>()) return v128.bitselect(x, base, v128.load8x8_s(mask));
  return x;
}

/**
 * Two to four models (`Third`, `Fourth`): their votes stay in registers. They are either masked or trimmed; `Unit`: scales,
 * and weights if they divide, are all 1. `zero` is 0 or 1.
 */
export function electedFew<Third, Fourth, Masked, Divided, Unit>(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  lambda: f32,
  zero: i32,
  weights: usize,
  count: usize,
): i32 {
  const none = f32x4.splat(0);
  store<f32>(lambdaAt, lambda);
  const factor = v128.load32_splat(lambdaAt);
  store<f32>(tieAt, zero ? NaN : 0);
  const tie = v128.load32_splat(tieAt);
  let pA = <usize>load<u32>(inputs);
  let pB = <usize>load<u32>(inputs, 4);
  let pC: usize = 0;
  let pD: usize = 0;
  const cA = isFloat<Unit>() ? none : v128.load32_splat(scales);
  const cB = isFloat<Unit>() ? none : v128.load32_splat(scales, 4);
  let cC = none;
  let cD = none;
  const floorA = isFloat<Masked>() ? none : i32x4.splat(floorOf(above));
  const floorB = isFloat<Masked>() ? none : i32x4.splat(floorOf(above + 4));
  let floorC = none;
  let floorD = none;
  if (isFloat<Third>()) {
    pC = <usize>load<u32>(inputs, 8);
    if (!isFloat<Unit>()) cC = v128.load32_splat(scales, 8);
    if (!isFloat<Masked>()) floorC = i32x4.splat(floorOf(above + 8));
  }
  if (isFloat<Fourth>()) {
    pD = <usize>load<u32>(inputs, 12);
    if (!isFloat<Unit>()) cD = v128.load32_splat(scales, 12);
    if (!isFloat<Masked>()) floorD = i32x4.splat(floorOf(above + 12));
  }
  // A model without a mask reads the same eight bytes again and again.
  if (isFloat<Masked>()) placeMasks(masks, isFloat<Fourth>() ? 4 : isFloat<Third>() ? 3 : 2);
  const maskA = <usize>load<u32>(maskStarts);
  const maskB = <usize>load<u32>(maskStarts, 4);
  const maskC = <usize>load<u32>(maskStarts, 8);
  const maskD = <usize>load<u32>(maskStarts, 12);
  const stepA = <usize>load<u32>(maskSteps);
  const stepB = <usize>load<u32>(maskSteps, 4);
  const stepC = <usize>load<u32>(maskSteps, 8);
  const stepD = <usize>load<u32>(maskSteps, 12);
  const sign = signBits();
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = i64x2.splat(0);
  for (let i: usize = 0; i < count; i += 8) {
    const at = i << 1;
    const b = v128.load(base + at);
    let xA = v128.load(pA + at);
    let xB = v128.load(pB + at);
    let xC = b;
    let xD = b;
    top = larger(larger(larger(top, b), xA), xB);
    xA = selected<Masked>(xA, b, maskA + (i & stepA));
    xB = selected<Masked>(xB, b, maskB + (i & stepB));
    if (isFloat<Third>()) {
      xC = v128.load(pC + at);
      top = larger(top, xC);
      xC = selected<Masked>(xC, b, maskC + (i & stepC));
    }
    if (isFloat<Fourth>()) {
      xD = v128.load(pD + at);
      top = larger(top, xD);
      xD = selected<Masked>(xD, b, maskD + (i & stepD));
    }
    const even = outcome<Third, Fourth, Masked, Divided, Unit>(
      evens(b, unit), evens(xA, unit), evens(xB, unit), evens(xC, unit), evens(xD, unit), floorA, floorB, floorC, floorD, cA, cB, cC, cD, sign, tie, factor, weights,
    );
    const odd = outcome<Third, Fourth, Masked, Divided, Unit>(
      odds(b, upper), odds(xA, upper), odds(xB, upper), odds(xC, upper), odds(xD, upper), floorA, floorB, floorC, floorD, cA, cB, cC, cD, sign, tie, factor, weights,
    );
    const merged = pack(even, odd, unit, upper, half);
    top = larger(top, merged);
    v128.store(out + at, merged);
  }
  return isBeyond(top);
}

/** Any number of models up to 64; their votes are kept in memory. */
export function electedMany(
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
  count: usize,
): i32 {
  const none = f32x4.splat(0);
  const tie = tieOf(zero);
  const factor = f32x4.splat(lambda);
  const end = models << 2;
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = i64x2.splat(0);
  for (let i: usize = 0; i < count; i += 8) {
    const at = i << 1;
    const b = v128.load(base + at);
    top = larger(top, b);
    const b0 = evens(b, unit);
    const b1 = odds(b, upper);
    let sum0 = none;
    let sum1 = none;
    for (let m: usize = 0; m < end; m += 4) {
      let x = v128.load(<usize>load<u32>(inputs + m) + at);
      top = larger(top, x);
      const mask = <usize>load<u32>(masks + m);
      if (mask) x = selected<Yes>(x, b, mask + i);
      let d0 = f32x4.sub(evens(x, unit), b0);
      let d1 = f32x4.sub(odds(x, upper), b1);
      const floor = floorOf(above + m);
      if (floor >= 0) {
        d0 = trimmed(d0, i32x4.splat(floor));
        d1 = trimmed(d1, i32x4.splat(floor));
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
    if (divide) {
      let weight0 = none;
      let weight1 = none;
      for (let m: usize = 0; m < end; m += 4) {
        const w = v128.load32_splat(weights + m);
        weight0 = f32x4.add(weight0, v128.and(w, agrees(v128.load(votes + (m << 3)), flip0)));
        weight1 = f32x4.add(weight1, v128.and(w, agrees(v128.load(votes + (m << 3), 16), flip1)));
      }
      total0 = f32x4.div(total0, divisorOf(weight0));
      total1 = f32x4.div(total1, divisorOf(weight1));
    }
    total0 = f32x4.add(none, v128.andnot(v128.xor(total0, flip0), f32x4.eq(sum0, none)));
    total1 = f32x4.add(none, v128.andnot(v128.xor(total1, flip1), f32x4.eq(sum1, none)));
    const merged = pack(
      f32x4.add(b0, f32x4.mul(factor, total0)),
      f32x4.add(b1, f32x4.mul(factor, total1)),
      unit,
      upper,
      half,
    );
    top = larger(top, merged);
    v128.store(out + at, merged);
  }
  return isBeyond(top);
}
