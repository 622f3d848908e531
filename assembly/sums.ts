// The sums of the fused kernels: out = base + lambda · Σ c·(x − base), or out = lambda · Σ c·x. See merge.ts for what they
// return and for what keeps a NaN from getting lost.
//
// Up to four models are one pass, with their pointers and scales in registers: a loop over the models, which loads both again at
// every step, took 1.5 times as long. More models take a pass for every four, over a few elements at a time, whose
// partial sums wait in memory as f32. The order of the additions stays that of the
// models, so the bits do too.

import { evens, isBeyond, larger, No, odds, pack, underHalf, unitUpper, upperHalves, Yes } from "./pairs";

/** Elements that several passes take together: inputs and partial sums stay in the first cache. */
const chunkElements: usize = 512;
/** Partial sums: of every eight elements the even ones, then the odd ones. */
const partial: usize = memory.data(512 * 4, 16);
/** Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop. */
const lambdaAt: usize = memory.data(4, 4);

/** The sum after one more model. */
@inline
function plus<Based, Starts>(sum: v128, x: v128, base: v128, c: v128): v128 {
  const term = f32x4.mul(c, isFloat<Based>() ? f32x4.sub(x, base) : x);
  return isFloat<Starts>() ? term : f32x4.add(sum, term);
}

/** Eight elements, or (`High`) the next eight: engines add a constant offset for nothing. */
@inline
function eight<High>(x: usize): v128 {
  return isFloat<High>() ? v128.load(x, 16) : v128.load(x);
}

/** Eight elements, those of the base where the mask drops: their delta is then +0, as if it were selected. */
@inline
function selected<Masked, High>(x: usize, base: v128, mask: usize): v128 {
  const v = eight<High>(x);
  if (!isFloat<Masked>()) return v;
  return v128.bitselect(v, base, isFloat<High>() ? v128.load8x8_s(mask, 8) : v128.load8x8_s(mask));
}

/** Eight elements of a pass: returns them merged, or leaves their partial sums at `sums`. */
@inline
function step<Based, Masked, Second, Third, Fourth, Starts, Ends, High>(
  base: usize, pA: usize, pB: usize, pC: usize, pD: usize, maskA: usize, maskB: usize, maskC: usize, maskD: usize, sums: usize,
  cA: v128, cB: v128, cC: v128, cD: v128, factor: v128, unit: v128, upper: v128, half: v128,
): v128 {
  const b = isFloat<Based>() ? eight<High>(base) : cA;
  const b0 = isFloat<Based>() ? evens(b, unit) : cA;
  const b1 = isFloat<Based>() ? odds(b, upper) : cA;
  let x = selected<Masked, High>(pA, b, maskA);
  let s0 = plus<Based, Starts>(isFloat<Starts>() ? cA : v128.load(sums), evens(x, unit), b0, cA);
  let s1 = plus<Based, Starts>(isFloat<Starts>() ? cA : v128.load(sums, 16), odds(x, upper), b1, cA);
  if (isFloat<Second>()) {
    x = selected<Masked, High>(pB, b, maskB);
    s0 = plus<Based, No>(s0, evens(x, unit), b0, cB);
    s1 = plus<Based, No>(s1, odds(x, upper), b1, cB);
  }
  if (isFloat<Third>()) {
    x = selected<Masked, High>(pC, b, maskC);
    s0 = plus<Based, No>(s0, evens(x, unit), b0, cC);
    s1 = plus<Based, No>(s1, odds(x, upper), b1, cC);
  }
  if (isFloat<Fourth>()) {
    x = selected<Masked, High>(pD, b, maskD);
    s0 = plus<Based, No>(s0, evens(x, unit), b0, cD);
    s1 = plus<Based, No>(s1, odds(x, upper), b1, cD);
  }
  if (!isFloat<Ends>()) {
    v128.store(sums, s0);
    v128.store(sums, s1, 16);
    return s0;
  }
  s0 = f32x4.mul(factor, s0);
  s1 = f32x4.mul(factor, s1);
  if (isFloat<Based>()) {
    s0 = f32x4.add(b0, s0);
    s1 = f32x4.add(b1, s1);
  }
  return pack(s0, s1, unit, upper, half);
}

/**
 * One pass over elements [first, end), a multiple of 16, of one to four models (`Second`, `Third`, `Fourth`). It starts with
 * the first model or with the partial sums, and ends with the output or leaves them. Masks of all its models, or of none.
 */
function pass<Based, Masked, Second, Third, Fourth, Starts, Ends>(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  lambda: f32,
  first: usize,
  end: usize,
): v128 {
  store<f32>(lambdaAt, lambda);
  const factor = v128.load32_splat(lambdaAt);
  const pA = <usize>load<u32>(inputs);
  const pB: usize = isFloat<Second>() ? <usize>load<u32>(inputs, 4) : 0;
  const pC: usize = isFloat<Third>() ? <usize>load<u32>(inputs, 8) : 0;
  const pD: usize = isFloat<Fourth>() ? <usize>load<u32>(inputs, 12) : 0;
  const maskA: usize = isFloat<Masked>() ? <usize>load<u32>(masks) : 0;
  const maskB: usize = isFloat<Masked>() ? <usize>load<u32>(masks, 4) : 0;
  const maskC: usize = isFloat<Masked>() ? <usize>load<u32>(masks, 8) : 0;
  const maskD: usize = isFloat<Masked>() ? <usize>load<u32>(masks, 12) : 0;
  const cA = v128.load32_splat(scales);
  const cB = isFloat<Second>() ? v128.load32_splat(scales, 4) : cA;
  const cC = isFloat<Third>() ? v128.load32_splat(scales, 8) : cA;
  const cD = isFloat<Fourth>() ? v128.load32_splat(scales, 12) : cA;
  const unit = unitUpper();
  const upper = upperHalves();
  const half = underHalf();
  let top = i64x2.splat(0);
  for (let i = first; i < end; i += 16) {
    const at = i << 1;
    const sums = partial + ((i - first) << 2);
    const low = step<Based, Masked, Second, Third, Fourth, Starts, Ends, No>(
      base + at, pA + at, pB + at, pC + at, pD + at, maskA + i, maskB + i, maskC + i, maskD + i, sums,
      cA, cB, cC, cD, factor, unit, upper, half,
    );
    if (isFloat<Ends>()) {
      top = larger(top, low);
      v128.store(out + at, low);
    }
    const high = step<Based, Masked, Second, Third, Fourth, Starts, Ends, Yes>(
      base + at, pA + at, pB + at, pC + at, pD + at, maskA + i, maskB + i, maskC + i, maskD + i, sums + 32,
      cA, cB, cC, cD, factor, unit, upper, half,
    );
    if (isFloat<Ends>()) {
      top = larger(top, high);
      v128.store(out + at, high, 16);
    }
    // Without masks what is not finite reaches the output.
    if (isFloat<Masked>()) {
      top = larger(larger(top, v128.load(pA + at)), v128.load(pA + at, 16));
      if (isFloat<Second>()) top = larger(larger(top, v128.load(pB + at)), v128.load(pB + at, 16));
      if (isFloat<Third>()) top = larger(larger(top, v128.load(pC + at)), v128.load(pC + at, 16));
      if (isFloat<Fourth>()) top = larger(larger(top, v128.load(pD + at)), v128.load(pD + at, 16));
    }
  }
  return top;
}

/** The last pass, of one to four models. */
function closing<Based, Masked, Starts>(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  models: usize,
  lambda: f32,
  first: usize,
  end: usize,
): v128 {
  if (models == 1) return pass<Based, Masked, No, No, No, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
  if (models == 2) return pass<Based, Masked, Yes, No, No, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
  if (models == 3) return pass<Based, Masked, Yes, Yes, No, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
  return pass<Based, Masked, Yes, Yes, Yes, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
}

/**
 * Elements [first, end), a multiple of 16, of any number of models but 0. Returns 1 when something is not finite, else 0.
 */
export function summed<Based, Masked>(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  models: usize,
  lambda: f32,
  first: usize,
  end: usize,
): i32 {
  if (models <= 4) return isBeyond(closing<Based, Masked, Yes>(out, base, inputs, scales, masks, models, lambda, first, end));
  let beyond = 0;
  for (; first < end; first += chunkElements) {
    const to = min(first + chunkElements, end);
    let top = pass<Based, Masked, Yes, Yes, Yes, Yes, No>(out, base, inputs, scales, masks, lambda, first, to);
    beyond |= isBeyond(top);
    let done: usize = 4;
    for (; models - done > 4; done += 4) {
      const at = done << 2;
      top = pass<Based, Masked, Yes, Yes, Yes, No, No>(out, base, inputs + at, scales + at, masks + at, lambda, first, to);
      beyond |= isBeyond(top);
    }
    const at = done << 2;
    top = closing<Based, Masked, No>(out, base, inputs + at, scales + at, masks + at, models - done, lambda, first, to);
    beyond |= isBeyond(top);
  }
  return beyond;
}
