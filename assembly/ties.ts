// Trim and elect (TIES: Yadav et al. 2023, arXiv 2306.01708).

import { No, Yes } from "./pairs";

/** Keeps values whose key, the bits of |x|, is above `floor`; returns how many. */
function trimBelow(x: usize, floor: i32, count: usize): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const limit = i32x4.splat(floor);
  let kept = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) {
    const v = v128.load(x);
    const keep = i32x4.gt_s(v128.and(v, magnitude), limit);
    v128.store(x, v128.and(v, keep));
    kept = i32x4.sub(kept, keep);
  }
  let total = i32x4.extract_lane(kept, 0) + i32x4.extract_lane(kept, 1);
  total += i32x4.extract_lane(kept, 2) + i32x4.extract_lane(kept, 3);
  for (; x < end; x += 4) {
    if ((load<i32>(x) & 0x7fffffff) > floor) total++;
    else store<u32>(x, 0);
  }
  return total;
}

export function trim(x: usize, above: u32, equalBefore: i32, count: usize): i32 {
  // "At least the key" up to `equalBefore` and "above the key" after it are one comparison with two floors. Keys have 31
  // bits, so signed compares order them; a limit beyond them keeps nothing.
  const ties: usize = equalBefore <= 0 ? 0 : min<usize>(<usize>equalBefore, count);
  const beyond = above > 0x7fffffff;
  const before = trimBelow(x, beyond ? 0x7fffffff : <i32>above - 1, ties);
  return before + trimBelow(x + (ties << 2), beyond ? 0x7fffffff : <i32>above, count - ties);
}

// `elect` is written for T lanes: v128 is the body, f32 the ragged end, one element in lane 0 and zeros beside it.

export function loadLanes<T>(ptr: usize): v128 {
  if (sizeof<T>() == 16) return v128.load(ptr);
  return v128.load32_zero(ptr);
}

export function storeLanes<T>(ptr: usize, v: v128): void {
  if (sizeof<T>() == 16) v128.store(ptr, v);
  else v128.store_lane<f32>(ptr, v, 0);
}

/** What one vote adds to the election: itself, or its sign (NaN stays NaN, so that it reaches the sum). */
function ballot(vote: v128, by: i32): v128 {
  if (by == 0) return vote;
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const sign = f32x4.sub(v128.and(f32x4.gt(vote, zero), one), v128.and(f32x4.lt(vote, zero), one));
  return v128.bitselect(sign, vote, f32x4.eq(vote, vote));
}

/** What `zero` (0 none, 1 +, 2 −) elects where the sum is zero: 0, 1 or −1. */
export function tieOf(zero: i32): v128 {
  return f32x4.splat(zero == 1 ? 1 : zero == 2 ? -1 : 0);
}

/** `sum`, and `tie` where it is zero. A sum that starts at +0 is never −0, so the bits can be merged. */
export function electedOf(sum: v128, tie: v128): v128 {
  return v128.or(sum, v128.and(f32x4.eq(sum, f32x4.splat(0)), tie));
}

/** The sign bit where − is elected. */
export function flipOf(elected: v128): v128 {
  return v128.and(elected, f32x4.splat(-0.0));
}

/** Votes agree when they are positive after `flip`. */
export function agrees(vote: v128, flip: v128): v128 {
  return f32x4.gt(v128.xor(vote, flip), f32x4.splat(0));
}

/** The divisor of `divide`: the agreeing weight, or 1 where that is next to nothing. */
export function divisorOf(weight: v128): v128 {
  return v128.bitselect(f32x4.splat(1), weight, f32x4.lt(f32x4.abs(weight), f32x4.splat(1e-8)));
}

/** +0 where nobody is elected, and NaN where the sum was. */
export function settle(total: v128, elected: v128): v128 {
  return v128.or(v128.andnot(total, f32x4.eq(elected, f32x4.splat(0))), f32x4.ne(elected, elected));
}

/** Any number of models. */
function electMany<T>(
  out: usize,
  end: usize,
  votes: usize,
  factors: usize,
  weights: usize,
  models: i32,
  strideBytes: usize,
  by: i32,
  tie: v128,
  divide: i32,
): usize {
  const size = sizeof<T>();
  for (; out + size <= end; out += size, votes += size) {
    let sum = f32x4.splat(0);
    let at = votes;
    for (let m = 0; m < models; m++, at += strideBytes) sum = f32x4.add(sum, ballot(loadLanes<T>(at), by));
    const elected = electedOf(sum, tie);
    const flip = flipOf(elected);
    let total = f32x4.splat(0);
    let weight = f32x4.splat(0);
    at = votes;
    for (let m: usize = 0; m < <usize>models; m++, at += strideBytes) {
      const vote = loadLanes<T>(at);
      const mask = agrees(vote, flip);
      // A total that starts at +0 is never −0, so adding +0 for those that do not agree leaves it as it is.
      total = f32x4.add(total, v128.and(f32x4.mul(v128.load32_splat(factors + (m << 2)), vote), mask));
      if (divide) weight = f32x4.add(weight, v128.and(v128.load32_splat(weights + (m << 2)), mask));
    }
    if (divide) total = f32x4.div(total, divisorOf(weight));
    storeLanes<T>(out, settle(total, elected));
  }
  return out;
}

// Constants of the loop below come from memory, so that they are loaded once (see pairs.ts).
const constants: usize = memory.data<u32>([0x80000000, 0x7fffffff, 0x3f800000, 0x322bcc77], 16);

/** One model's part of the total, or of the weight. */
@inline
function part(number: v128, vote: v128, mask: v128): v128 {
  return v128.and(f32x4.mul(number, vote), mask);
}

/**
 * Two to four models (`Third`, `Fourth`) that vote with their values, four elements at a time: votes stay in registers, and nothing in
 * the loop branches. Returns where the ragged end begins.
 */
function electFew<Third, Fourth, Divided>(
  out: usize,
  end: usize,
  votes: usize,
  factors: usize,
  weights: usize,
  strideBytes: usize,
  tie: v128,
): usize {
  const zero = f32x4.splat(0);
  const sign = v128.load32_splat(constants);
  const magnitude = v128.load32_splat(constants, 4);
  const one = v128.load32_splat(constants, 8);
  const tiny = v128.load32_splat(constants, 12);
  const factorA = v128.load32_splat(factors);
  const factorB = v128.load32_splat(factors, 4);
  const factorC = isFloat<Third>() ? v128.load32_splat(factors, 8) : zero;
  const factorD = isFloat<Fourth>() ? v128.load32_splat(factors, 12) : zero;
  const weightA = v128.load32_splat(weights);
  const weightB = v128.load32_splat(weights, 4);
  const weightC = isFloat<Third>() ? v128.load32_splat(weights, 8) : zero;
  const weightD = isFloat<Fourth>() ? v128.load32_splat(weights, 12) : zero;
  const second = strideBytes;
  const third = strideBytes * 2;
  const fourth = strideBytes * 3;
  for (; out + 16 <= end; out += 16, votes += 16) {
    const a = v128.load(votes);
    const b = v128.load(votes + second);
    const c = isFloat<Third>() ? v128.load(votes + third) : zero;
    const d = isFloat<Fourth>() ? v128.load(votes + fourth) : zero;
    let sum = f32x4.add(f32x4.add(zero, a), b);
    if (isFloat<Third>()) sum = f32x4.add(sum, c);
    if (isFloat<Fourth>()) sum = f32x4.add(sum, d);
    const elected = v128.or(sum, v128.and(f32x4.eq(sum, zero), tie));
    const flip = v128.and(elected, sign);
    const mA = f32x4.gt(v128.xor(a, flip), zero);
    const mB = f32x4.gt(v128.xor(b, flip), zero);
    const mC = isFloat<Third>() ? f32x4.gt(v128.xor(c, flip), zero) : zero;
    const mD = isFloat<Fourth>() ? f32x4.gt(v128.xor(d, flip), zero) : zero;
    let total = f32x4.add(f32x4.add(zero, part(factorA, a, mA)), part(factorB, b, mB));
    if (isFloat<Third>()) total = f32x4.add(total, part(factorC, c, mC));
    if (isFloat<Fourth>()) total = f32x4.add(total, part(factorD, d, mD));
    if (isFloat<Divided>()) {
      let weight = f32x4.add(f32x4.add(zero, v128.and(weightA, mA)), v128.and(weightB, mB));
      if (isFloat<Third>()) weight = f32x4.add(weight, v128.and(weightC, mC));
      if (isFloat<Fourth>()) weight = f32x4.add(weight, v128.and(weightD, mD));
      total = f32x4.div(total, v128.bitselect(one, weight, f32x4.lt(v128.and(weight, magnitude), tiny)));
    }
    v128.store(out, v128.or(v128.andnot(total, f32x4.eq(elected, zero)), f32x4.ne(elected, elected)));
  }
  return out;
}

type Few = (out: usize, end: usize, votes: usize, factors: usize, weights: usize, strideBytes: usize, tie: v128) => usize;

function fewBy<Third, Fourth>(divide: i32): Few {
  if (divide) return (out, end, votes, factors, weights, strideBytes, tie) =>
      electFew<Third, Fourth, Yes>(out, end, votes, factors, weights, strideBytes, tie);
  return (out, end, votes, factors, weights, strideBytes, tie) =>
    electFew<Third, Fourth, No>(out, end, votes, factors, weights, strideBytes, tie);
}

function fewOf(models: i32, divide: i32): Few {
  if (models == 2) return fewBy<No, No>(divide);
  return models == 3 ? fewBy<Yes, No>(divide) : fewBy<Yes, Yes>(divide);
}

export function elect(
  out: usize,
  votes: usize,
  factors: usize,
  weights: usize,
  models: i32,
  stride: usize,
  count: usize,
  by: i32,
  zero: i32,
  divide: i32,
): void {
  const tie = tieOf(zero);
  const strideBytes = stride << 2;
  const end = out + (count << 2);
  const few = by == 0 && models > 1 && models <= 4;
  const ragged = few
    ? fewOf(models, divide)(out, end, votes, factors, weights, strideBytes, tie)
    : electMany<v128>(out, end, votes, factors, weights, models, strideBytes, by, tie, divide);
  electMany<f32>(ragged, end, votes + (ragged - out), factors, weights, models, strideBytes, by, tie, divide);
}
