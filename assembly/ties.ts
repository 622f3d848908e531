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

function loadLanes<T>(ptr: usize): v128 {
  if (sizeof<T>() == 16) return v128.load(ptr);
  return v128.load32_zero(ptr);
}

function storeLanes<T>(ptr: usize, v: v128): void {
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

/** The sign bit wherever − is elected. Votes agree when they are positive after it is flipped. */
function flipOf(sum: v128, tie: v128): v128 {
  const zero = f32x4.splat(0);
  return v128.and(f32x4.lt(v128.bitselect(tie, sum, f32x4.eq(sum, zero)), zero), f32x4.splat(-0.0));
}

function agrees(vote: v128, flip: v128): v128 {
  return f32x4.gt(v128.xor(vote, flip), f32x4.splat(0));
}

/** Divides where asked, drops what nobody was elected for, and lets NaN through. */
function settle(total: v128, weight: v128, sum: v128, tie: v128, divide: i32): v128 {
  const zero = f32x4.splat(0);
  if (divide) {
    const tiny = f32x4.lt(f32x4.abs(weight), f32x4.splat(1e-8));
    total = f32x4.div(total, v128.bitselect(f32x4.splat(1), weight, tiny));
  }
  const none = v128.and(f32x4.eq(sum, zero), f32x4.eq(tie, zero));
  return v128.bitselect(v128.andnot(total, none), i32x4.splat(0x7fc00000), f32x4.eq(sum, sum));
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
    const flip = flipOf(sum, tie);
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
    storeLanes<T>(out, settle(total, weight, sum, tie, divide));
  }
  return out;
}

/** The number at position `m`, or 0 for a model that is not there. */
function numberAt(numbers: usize, m: i32, models: i32): v128 {
  return m < models ? v128.load32_splat(numbers + (<usize>m << 2)) : f32x4.splat(0);
}

/**
 * Up to four models, whose votes stay in registers: three times as fast. A model that is not there votes +0, which changes
 * no sum.
 */
function electFew<T>(
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
    let sum = ballot(a, by);
    if (models > 1) {
      b = loadLanes<T>(votes + strideBytes);
      sum = f32x4.add(sum, ballot(b, by));
    }
    if (models > 2) {
      c = loadLanes<T>(votes + 2 * strideBytes);
      sum = f32x4.add(sum, ballot(c, by));
    }
    if (models > 3) {
      d = loadLanes<T>(votes + 3 * strideBytes);
      sum = f32x4.add(sum, ballot(d, by));
    }
    const flip = flipOf(sum, tie);
    const maskA = agrees(a, flip);
    const maskB = agrees(b, flip);
    const maskC = agrees(c, flip);
    const maskD = agrees(d, flip);
    let total = f32x4.add(zero, v128.and(f32x4.mul(factorA, a), maskA));
    total = f32x4.add(total, v128.and(f32x4.mul(factorB, b), maskB));
    total = f32x4.add(total, v128.and(f32x4.mul(factorC, c), maskC));
    total = f32x4.add(total, v128.and(f32x4.mul(factorD, d), maskD));
    let weight = zero;
    if (divide) {
      weight = f32x4.add(weight, v128.and(numberAt(weights, 0, models), maskA));
      weight = f32x4.add(weight, v128.and(numberAt(weights, 1, models), maskB));
      weight = f32x4.add(weight, v128.and(numberAt(weights, 2, models), maskC));
      weight = f32x4.add(weight, v128.and(numberAt(weights, 3, models), maskD));
    }
    storeLanes<T>(out, settle(total, weight, sum, tie, divide));
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
  const tie = f32x4.splat(zero == 1 ? 1 : zero == 2 ? -1 : 0);
  const strideBytes = stride << 2;
  const end = out + (count << 2);
  if (models > 0 && models <= 4) {
    const ragged = electFew<v128>(out, end, votes, factors, weights, models, strideBytes, by, tie, divide);
    electFew<f32>(ragged, end, votes + (ragged - out), factors, weights, models, strideBytes, by, tie, divide);
  } else {
    const ragged = electMany<v128>(out, end, votes, factors, weights, models, strideBytes, by, tie, divide);
    electMany<f32>(ragged, end, votes + (ragged - out), factors, weights, models, strideBytes, by, tie, divide);
  }
}
