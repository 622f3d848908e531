// Trim and elect (TIES: Yadav et al. 2023, arXiv 2306.01708).

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

/** The number at position `m`, or 0 for a model that is not there. */
function numberAt(numbers: usize, m: i32, models: i32): v128 {
  return m < models ? v128.load32_splat(numbers + (<usize>m << 2)) : f32x4.splat(0);
}

/**
 * Up to four models that vote with their values: votes stay in registers, which is twice as fast. A model that is not there
 * votes +0, which changes no sum.
 */
function electFew<T>(
  out: usize,
  end: usize,
  votes: usize,
  factors: usize,
  weights: usize,
  models: i32,
  strideBytes: usize,
  tie: v128,
  divide: i32,
): usize {
  const size = sizeof<T>();
  const zero = f32x4.splat(0);
  const factorA = numberAt(factors, 0, models);
  const factorB = numberAt(factors, 1, models);
  const factorC = numberAt(factors, 2, models);
  const factorD = numberAt(factors, 3, models);
  for (; out + size <= end; out += size, votes += size) {
    const a = loadLanes<T>(votes);
    let b = zero;
    let c = zero;
    let d = zero;
    let sum = f32x4.add(zero, a);
    if (models > 1) {
      b = loadLanes<T>(votes + strideBytes);
      sum = f32x4.add(sum, b);
    }
    if (models > 2) {
      c = loadLanes<T>(votes + 2 * strideBytes);
      sum = f32x4.add(sum, c);
    }
    if (models > 3) {
      d = loadLanes<T>(votes + 3 * strideBytes);
      sum = f32x4.add(sum, d);
    }
    const elected = electedOf(sum, tie);
    const flip = flipOf(elected);
    let total = f32x4.add(zero, v128.and(f32x4.mul(factorA, a), agrees(a, flip)));
    total = f32x4.add(total, v128.and(f32x4.mul(factorB, b), agrees(b, flip)));
    if (models > 2) {
      total = f32x4.add(total, v128.and(f32x4.mul(factorC, c), agrees(c, flip)));
      total = f32x4.add(total, v128.and(f32x4.mul(factorD, d), agrees(d, flip)));
    }
    if (divide) {
      let weight = f32x4.add(zero, v128.and(numberAt(weights, 0, models), agrees(a, flip)));
      weight = f32x4.add(weight, v128.and(numberAt(weights, 1, models), agrees(b, flip)));
      weight = f32x4.add(weight, v128.and(numberAt(weights, 2, models), agrees(c, flip)));
      weight = f32x4.add(weight, v128.and(numberAt(weights, 3, models), agrees(d, flip)));
      total = f32x4.div(total, divisorOf(weight));
    }
    storeLanes<T>(out, settle(total, elected));
  }
  return out;
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
  if (by == 0 && models > 0 && models <= 4) {
    const ragged = electFew<v128>(out, end, votes, factors, weights, models, strideBytes, tie, divide);
    electFew<f32>(ragged, end, votes + (ragged - out), factors, weights, models, strideBytes, tie, divide);
  } else {
    const ragged = electMany<v128>(out, end, votes, factors, weights, models, strideBytes, by, tie, divide);
    electMany<f32>(ragged, end, votes + (ragged - out), factors, weights, models, strideBytes, by, tie, divide);
  }
}
