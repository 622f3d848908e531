// The sums of the fused kernels: out = base + lambda · Σ c·(x − base), or out = lambda · Σ c·x. See merge.ts for what they
// return and for what keeps a NaN from getting lost.
//
// Up to four models are one pass, with their pointers and scales in registers: a loop over the models, which loads both again at
// every step, took 1.5 times as long. More models take a pass for every four, over a few elements at a time, whose
// partial sums wait in memory as f32. The order of the additions stays that of the
// models, so the bits do too.

import {
  firstKept, firstOf, largerOf, No, plainOf, rawOf, secondKept, secondOf, storeOf, underHalf, unitUpper, upperHalves,
  wentBeyond, widthOf, Yes,
} from "./pairs";

/** Elements that several passes take together: inputs and partial sums stay in the first cache. */
const chunkElements: usize = 512;
/** Partial sums: of every eight elements the even ones, then the odd ones. */
const partial: usize = memory.data(512 * 4, 16);
/** Numbers on their way to vectors: from memory they get there once, otherwise at every turn of the loop. */
const lambdaAt: usize = memory.data(4, 4);

/** The scaled delta of one model, added to the sum of those before it. */
@inline
function plus<Starts>(sum: v128, delta: v128, c: v128): v128 {
  const term = f32x4.mul(c, delta);
  return isFloat<Starts>() ? term : f32x4.add(sum, term);
}

@inline
function firstDelta<Wide, Based, Masked, High>(x: usize, raw: v128, base: v128, unit: v128): v128 {
  const v = firstOf<Wide, High>(x, raw, unit);
  return isFloat<Based>() ? firstKept<Wide, Masked>(f32x4.sub(v, base), raw) : v;
}

@inline
function secondDelta<Wide, Based, Masked, High>(x: usize, raw: v128, base: v128, upper: v128): v128 {
  const v = secondOf<Wide, High>(x, raw, upper);
  return isFloat<Based>() ? secondKept<Wide, Masked>(f32x4.sub(v, base), raw) : v;
}

/** Eight elements of a pass: stores them merged and returns what `storeOf` does, or leaves their partial sums at `sums`. */
@inline
function step<Wide, Based, Masked, Second, Third, Fourth, Starts, Ends, High>(
  out: usize, base: usize, pA: usize, pB: usize, pC: usize, pD: usize, maskA: usize, maskB: usize, maskC: usize, maskD: usize,
  sums: usize, cA: v128, cB: v128, cC: v128, cD: v128, factor: v128, top: v128, unit: v128, upper: v128, half: v128,
): v128 {
  const b = isFloat<Based>() ? plainOf<Wide, High>(base) : cA;
  const b0 = isFloat<Based>() ? firstOf<Wide, High>(base, b, unit) : cA;
  const b1 = isFloat<Based>() ? secondOf<Wide, High>(base, b, upper) : cA;
  let x = rawOf<Wide, Masked, High>(pA, b, maskA);
  let s0 = plus<Starts>(isFloat<Starts>() ? cA : v128.load(sums), firstDelta<Wide, Based, Masked, High>(pA, x, b0, unit), cA);
  let s1 = plus<Starts>(isFloat<Starts>() ? cA : v128.load(sums, 16), secondDelta<Wide, Based, Masked, High>(pA, x, b1, upper), cA);
  if (isFloat<Second>()) {
    x = rawOf<Wide, Masked, High>(pB, b, maskB);
    s0 = plus<No>(s0, firstDelta<Wide, Based, Masked, High>(pB, x, b0, unit), cB);
    s1 = plus<No>(s1, secondDelta<Wide, Based, Masked, High>(pB, x, b1, upper), cB);
  }
  if (isFloat<Third>()) {
    x = rawOf<Wide, Masked, High>(pC, b, maskC);
    s0 = plus<No>(s0, firstDelta<Wide, Based, Masked, High>(pC, x, b0, unit), cC);
    s1 = plus<No>(s1, secondDelta<Wide, Based, Masked, High>(pC, x, b1, upper), cC);
  }
  if (isFloat<Fourth>()) {
    x = rawOf<Wide, Masked, High>(pD, b, maskD);
    s0 = plus<No>(s0, firstDelta<Wide, Based, Masked, High>(pD, x, b0, unit), cD);
    s1 = plus<No>(s1, secondDelta<Wide, Based, Masked, High>(pD, x, b1, upper), cD);
  }
  if (!isFloat<Ends>()) {
    v128.store(sums, s0);
    v128.store(sums, s1, 16);
    return top;
  }
  s0 = f32x4.mul(factor, s0);
  s1 = f32x4.mul(factor, s1);
  if (isFloat<Based>()) {
    s0 = f32x4.add(b0, s0);
    s1 = f32x4.add(b1, s1);
  }
  return storeOf<Wide, High, Based>(out, s0, s1, top, unit, upper, half);
}

/**
 * One pass over elements [first, end), a multiple of 16, of one to four models (`Second`, `Third`, `Fourth`). It starts with
 * the first model or with the partial sums, and ends with the output or leaves them. Masks of all its models, or of none.
 */
function pass<Wide, Based, Masked, Second, Third, Fourth, Starts, Ends>(
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
    const at = i << widthOf<Wide>();
    const sums = partial + ((i - first) << 2);
    top = step<Wide, Based, Masked, Second, Third, Fourth, Starts, Ends, No>(
      out + at, base + at, pA + at, pB + at, pC + at, pD + at, maskA + i, maskB + i, maskC + i, maskD + i, sums,
      cA, cB, cC, cD, factor, top, unit, upper, half,
    );
    top = step<Wide, Based, Masked, Second, Third, Fourth, Starts, Ends, Yes>(
      out + at, base + at, pA + at, pB + at, pC + at, pD + at, maskA + i, maskB + i, maskC + i, maskD + i, sums + 32,
      cA, cB, cC, cD, factor, top, unit, upper, half,
    );
    // Without masks what is not finite reaches the output.
    if (isFloat<Masked>()) {
      top = largerOf<Wide, Yes>(largerOf<Wide, No>(top, pA + at), pA + at);
      if (isFloat<Second>()) top = largerOf<Wide, Yes>(largerOf<Wide, No>(top, pB + at), pB + at);
      if (isFloat<Third>()) top = largerOf<Wide, Yes>(largerOf<Wide, No>(top, pC + at), pC + at);
      if (isFloat<Fourth>()) top = largerOf<Wide, Yes>(largerOf<Wide, No>(top, pD + at), pD + at);
    }
  }
  return top;
}

// Passes are called by reference, so that each is a function of its own: engines optimise a small one sooner.
type Pass = (
  out: usize, base: usize, inputs: usize, scales: usize, masks: usize, lambda: f32, first: usize, end: usize,
) => v128;

/** The last pass, of one to four models. */
function closing<Wide, Based, Masked, Starts>(models: usize): Pass {
  if (models == 1) return (out, base, inputs, scales, masks, lambda, first, end) =>
      pass<Wide, Based, Masked, No, No, No, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
  if (models == 2) return (out, base, inputs, scales, masks, lambda, first, end) =>
      pass<Wide, Based, Masked, Yes, No, No, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
  if (models == 3) return (out, base, inputs, scales, masks, lambda, first, end) =>
      pass<Wide, Based, Masked, Yes, Yes, No, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
  return (out, base, inputs, scales, masks, lambda, first, end) =>
      pass<Wide, Based, Masked, Yes, Yes, Yes, Starts, Yes>(out, base, inputs, scales, masks, lambda, first, end);
}

/**
 * Elements [first, end), a multiple of 16, of any number of models but 0. Returns 1 when something is not finite, else 0.
 */
export function summed<Wide, Based, Masked>(
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
  let last = closing<Wide, Based, Masked, Yes>(models);
  if (models <= 4) return wentBeyond<Wide>(last(out, base, inputs, scales, masks, lambda, first, end));
  last = closing<Wide, Based, Masked, No>(((models - 1) & 3) + 1);
  let beyond = 0;
  for (; first < end; first += chunkElements) {
    const to = min(first + chunkElements, end);
    let top = pass<Wide, Based, Masked, Yes, Yes, Yes, Yes, No>(out, base, inputs, scales, masks, lambda, first, to);
    beyond |= wentBeyond<Wide>(top);
    let done: usize = 4;
    for (; models - done > 4; done += 4) {
      const at = done << 2;
      top = pass<Wide, Based, Masked, Yes, Yes, Yes, No, No>(out, base, inputs + at, scales + at, masks + at, lambda, first, to);
      beyond |= wentBeyond<Wide>(top);
    }
    const at = done << 2;
    top = last(out, base, inputs + at, scales + at, masks + at, lambda, first, to);
    beyond |= wentBeyond<Wide>(top);
  }
  return beyond;
}
