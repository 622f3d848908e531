// Rules that look at the deltas of all models at one element: who contributes, whose is the largest, who agrees with the sum.
// Deltas of model m start at deltas + 4·stride·m. Sums run in model order from +0. A NaN is never lost in a comparison: it
// makes the element NaN.

import { agrees, loadLanes, storeLanes } from "./ties";

const signBit: i32 = 0x80000000;

// As in ties.ts: T is v128 for the body, and f32 for the ragged end, one element in lane 0 and zeros beside it.

/** RAM (arXiv 2601.13572): what one model alone has changed is added, what several have is averaged. */
function contributeLanes<T>(
  out: usize,
  end: usize,
  deltas: usize,
  boosts: usize,
  models: usize,
  strideBytes: usize,
  epsilon: v128,
): usize {
  const size = sizeof<T>();
  const one = f32x4.splat(1);
  for (; out + size <= end; out += size, deltas += size) {
    let contributors = f32x4.splat(0);
    let total = f32x4.splat(0);
    let alone = f32x4.splat(0);
    let at = deltas;
    for (let m: usize = 0; m < models; m++, at += strideBytes) {
      const delta = loadLanes<T>(at);
      const small = f32x4.le(f32x4.abs(delta), epsilon); // false for NaN, which contributes
      contributors = f32x4.add(contributors, v128.andnot(one, small));
      total = f32x4.add(total, v128.andnot(delta, small));
      alone = f32x4.add(alone, v128.andnot(f32x4.mul(v128.load32_splat(boosts + (m << 2)), delta), small));
    }
    const mean = f32x4.div(total, f32x4.max(contributors, one));
    storeLanes<T>(out, v128.bitselect(alone, mean, f32x4.eq(contributors, one)));
  }
  return out;
}

export function contribute(
  out: usize,
  deltas: usize,
  boosts: usize,
  models: usize,
  stride: usize,
  epsilon: f32,
  count: usize,
): void {
  const limit = f32x4.splat(epsilon);
  const end = out + (count << 2);
  const ragged = contributeLanes<v128>(out, end, deltas, boosts, models, stride << 2, limit);
  contributeLanes<f32>(ragged, end, deltas + (ragged - out), boosts, models, stride << 2, limit);
}

/** Per model: elements that it alone has changed, and elements that others have changed too, added to `counts`. */
function contributorsLanes<T>(
  counts: usize,
  deltas: usize,
  end: usize,
  models: usize,
  strideBytes: usize,
  epsilon: v128,
  keep: v128,
): usize {
  const size = sizeof<T>();
  const one = i32x4.splat(1);
  for (; deltas + size <= end; deltas += size) {
    let contributors = i32x4.splat(0);
    let at = deltas;
    for (let m: usize = 0; m < models; m++, at += strideBytes) {
      const small = f32x4.le(f32x4.abs(loadLanes<T>(at)), epsilon);
      contributors = i32x4.add(contributors, v128.andnot(one, small));
    }
    const single = i32x4.eq(contributors, one);
    at = deltas;
    for (let m: usize = 0; m < models; m++, at += strideBytes) {
      const small = f32x4.le(f32x4.abs(loadLanes<T>(at)), epsilon);
      const contributes = v128.andnot(keep, small);
      const to = counts + (m << 3);
      store<u32>(to, load<u32>(to) + popcnt(i32x4.bitmask(v128.and(contributes, single))));
      store<u32>(to, load<u32>(to, 4) + popcnt(i32x4.bitmask(v128.andnot(contributes, single))), 4);
    }
  }
  return deltas;
}

export function contributors(
  counts: usize,
  deltas: usize,
  models: usize,
  stride: usize,
  epsilon: f32,
  count: usize,
): void {
  const limit = f32x4.splat(epsilon);
  const end = deltas + (count << 2);
  const ragged = contributorsLanes<v128>(counts, deltas, end, models, stride << 2, limit, i32x4.splat(-1));
  // A negative epsilon takes even zeros for changes: the lanes beside the last elements must not count.
  contributorsLanes<f32>(counts, ragged, end, models, stride << 2, limit, i32x4(-1, 0, 0, 0));
}

/** MagMax (Marczak et al. 2024, arXiv 2407.06322): keys order as magnitudes do, with NaN on top. */
function largestLanes<T>(out: usize, end: usize, deltas: usize, models: usize, strideBytes: usize): usize {
  const size = sizeof<T>();
  const magnitude = i32x4.splat(~signBit);
  for (; out + size <= end; out += size, deltas += size) {
    let best = loadLanes<T>(deltas);
    let at = deltas + strideBytes;
    for (let m: usize = 1; m < models; m++, at += strideBytes) {
      const delta = loadLanes<T>(at);
      const later = i32x4.ge_s(v128.and(delta, magnitude), v128.and(best, magnitude));
      best = v128.bitselect(delta, best, later);
    }
    storeLanes<T>(out, best);
  }
  return out;
}

export function largest(out: usize, deltas: usize, models: usize, stride: usize, count: usize): void {
  const end = out + (count << 2);
  const ragged = largestLanes<v128>(out, end, deltas, models, stride << 2);
  largestLanes<f32>(ragged, end, deltas + (ragged - out), models, stride << 2);
}

/** EMR-merging (Huang et al. 2024, arXiv 2405.17461): the sign of the sum, − where it is zero, and the largest that agrees. */
function unifyLanes<T>(out: usize, end: usize, deltas: usize, models: usize, strideBytes: usize): usize {
  const size = sizeof<T>();
  const zero = f32x4.splat(0);
  for (; out + size <= end; out += size, deltas += size) {
    let sum = zero;
    let at = deltas;
    for (let m: usize = 0; m < models; m++, at += strideBytes) sum = f32x4.add(sum, loadLanes<T>(at));
    const flip = v128.andnot(i32x4.splat(signBit), f32x4.gt(sum, zero));
    let top = zero;
    at = deltas;
    // Those that agree are positive after `flip`.
    for (let m: usize = 0; m < models; m++, at += strideBytes) top = f32x4.max(top, v128.xor(loadLanes<T>(at), flip));
    const unified = v128.xor(top, v128.and(flip, f32x4.gt(top, zero)));
    storeLanes<T>(out, v128.or(unified, f32x4.ne(sum, sum)));
  }
  return out;
}

export function unify(out: usize, deltas: usize, models: usize, stride: usize, count: usize): void {
  const end = out + (count << 2);
  const ragged = unifyLanes<v128>(out, end, deltas, models, stride << 2);
  unifyLanes<f32>(ragged, end, deltas + (ragged - out), models, stride << 2);
}

/** Consensus (Wang et al. 2024, arXiv 2405.07813): the total stays where `least` models have |δ| > λ·|total − δ|. */
function consentLanes<T>(
  out: usize,
  end: usize,
  total: usize,
  deltas: usize,
  lambdas: usize,
  models: usize,
  strideBytes: usize,
  least: v128,
): usize {
  const size = sizeof<T>();
  for (; out + size <= end; out += size, total += size, deltas += size) {
    const sum = loadLanes<T>(total);
    let backers = i32x4.splat(0);
    let at = deltas;
    for (let m: usize = 0; m < models; m++, at += strideBytes) {
      const delta = loadLanes<T>(at);
      const others = f32x4.abs(f32x4.sub(sum, delta));
      const backs = f32x4.gt(f32x4.abs(delta), f32x4.mul(v128.load32_splat(lambdas + (m << 2)), others));
      backers = i32x4.sub(backers, backs);
    }
    // No delta is large beside an infinity, which stays for all that.
    const none = f32x4.sub(sum, sum);
    storeLanes<T>(out, v128.and(sum, v128.or(i32x4.ge_s(backers, least), f32x4.ne(none, none))));
  }
  return out;
}

export function consent(
  out: usize,
  total: usize,
  deltas: usize,
  lambdas: usize,
  models: usize,
  stride: usize,
  least: i32,
  count: usize,
): void {
  const limit = i32x4.splat(least);
  const end = out + (count << 2);
  const ragged = consentLanes<v128>(out, end, total, deltas, lambdas, models, stride << 2, limit);
  const done = ragged - out;
  consentLanes<f32>(ragged, end, total + done, deltas + done, lambdas, models, stride << 2, limit);
}

/**
 * SCE (Wan et al. 2024, arXiv 2408.07990), its last step: the weighted mean of the deltas that have the sign of their sum, + where
 * it is zero. A weight below `floor` counts as `floor`; where it is 0 even so, the result is 0.
 */
function eraseLanes<T>(
  out: usize,
  end: usize,
  deltas: usize,
  weights: usize,
  models: usize,
  strideBytes: usize,
  floor: v128,
): usize {
  const size = sizeof<T>();
  const zero = f32x4.splat(0);
  for (; out + size <= end; out += size, deltas += size) {
    let sum = zero;
    let at = deltas;
    for (let m: usize = 0; m < models; m++, at += strideBytes) sum = f32x4.add(sum, loadLanes<T>(at));
    const flip = v128.and(i32x4.splat(signBit), f32x4.lt(sum, zero));
    let total = zero;
    let weight = zero;
    at = deltas;
    for (let m: usize = 0; m < models; m++, at += strideBytes) {
      const delta = loadLanes<T>(at);
      const mask = agrees(delta, flip);
      const w = v128.load32_splat(weights + (m << 2));
      total = f32x4.add(total, v128.and(f32x4.mul(w, delta), mask));
      weight = f32x4.add(weight, v128.and(w, mask));
    }
    const divisor = f32x4.max(weight, floor);
    const mean = v128.and(f32x4.div(total, divisor), f32x4.gt(divisor, zero));
    storeLanes<T>(out, v128.or(mean, f32x4.ne(sum, sum)));
  }
  return out;
}

export function erase(
  out: usize,
  deltas: usize,
  weights: usize,
  models: usize,
  stride: usize,
  floor: f32,
  count: usize,
): void {
  const least = f32x4.splat(floor);
  const end = out + (count << 2);
  const ragged = eraseLanes<v128>(out, end, deltas, weights, models, stride << 2, least);
  eraseLanes<f32>(ragged, end, deltas + (ragged - out), weights, models, stride << 2, least);
}

/** Lanes 2 and 3 moved to 0 and 1, where f64x2.promote_low finds them. */
function upperPair(v: v128): v128 {
  return v128.shuffle<u64>(v, v, 1, 1);
}

/** The population variance of two lanes over the models, in f64; the mean is of the same deltas. */
function varianceOf(low: bool, partial: bool, deltas: usize, models: usize, strideBytes: usize): v128 {
  const n = f64x2.splat(<f64>models);
  let sum = f64x2.splat(0);
  let at = deltas;
  for (let m: usize = 0; m < models; m++, at += strideBytes) sum = f64x2.add(sum, pairAt(low, partial, at));
  const mean = f64x2.div(sum, n);
  let squares = f64x2.splat(0);
  at = deltas;
  for (let m: usize = 0; m < models; m++, at += strideBytes) {
    const d = f64x2.sub(pairAt(low, partial, at), mean);
    squares = f64x2.add(squares, f64x2.mul(d, d));
  }
  return f32x4.demote_f64x2_zero(f64x2.div(squares, n));
}

function pairAt(low: bool, partial: bool, at: usize): v128 {
  const v = partial ? v128.load32_zero(at) : v128.load(at);
  return f64x2.promote_low_f32x4(low ? v : upperPair(v));
}

export function variance(out: usize, deltas: usize, models: usize, stride: usize, count: usize): void {
  const end = out + (count << 2);
  for (; out + 16 <= end; out += 16, deltas += 16) {
    const low = varianceOf(true, false, deltas, models, stride << 2);
    const high = varianceOf(false, false, deltas, models, stride << 2);
    v128.store(out, v128.shuffle<u64>(low, high, 0, 2));
  }
  for (; out < end; out += 4, deltas += 4) {
    v128.store_lane<f32>(out, varianceOf(true, true, deltas, models, stride << 2), 0);
  }
}

/** `trim` by the keys of another tile. */
function trimByKeys(x: usize, scores: usize, floor: i32, count: usize): i32 {
  const magnitude = i32x4.splat(~signBit);
  const limit = i32x4.splat(floor);
  let kept = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16, scores += 16) {
    const keep = i32x4.gt_s(v128.and(v128.load(scores), magnitude), limit);
    v128.store(x, v128.and(v128.load(x), keep));
    kept = i32x4.sub(kept, keep);
  }
  let total = i32x4.extract_lane(kept, 0) + i32x4.extract_lane(kept, 1);
  total += i32x4.extract_lane(kept, 2) + i32x4.extract_lane(kept, 3);
  for (; x < end; x += 4, scores += 4) {
    if ((load<i32>(scores) & ~signBit) > floor) total++;
    else store<u32>(x, 0);
  }
  return total;
}

export function trim_by(x: usize, scores: usize, above: u32, equalBefore: i32, count: usize): i32 {
  const ties: usize = equalBefore <= 0 ? 0 : min<usize>(<usize>equalBefore, count);
  const beyond = above > 0x7fffffff;
  const before = trimByKeys(x, scores, beyond ? 0x7fffffff : <i32>above - 1, ties);
  const rest = ties << 2;
  return before + trimByKeys(x + rest, scores + rest, beyond ? 0x7fffffff : <i32>above, count - ties);
}

/** (1 − w)·a + w·b, where w = min(1, t / max(|a − b|, 1e-6)) and not below 0. */
function near(a: v128, b: v128, t: v128): v128 {
  const one = f32x4.splat(1);
  const distance = f32x4.max(f32x4.abs(f32x4.sub(a, b)), f32x4.splat(1e-6));
  const w = f32x4.min(f32x4.max(f32x4.div(t, distance), f32x4.splat(0)), one);
  return f32x4.add(f32x4.mul(w, b), f32x4.mul(f32x4.sub(one, w), a));
}

export function nearswap(out: usize, a: usize, b: usize, t: f32, count: usize): void {
  const reach = f32x4.splat(t);
  const end = out + (count << 2);
  for (; out + 16 <= end; out += 16, a += 16, b += 16) v128.store(out, near(v128.load(a), v128.load(b), reach));
  for (; out < end; out += 4, a += 4, b += 4) {
    v128.store_lane<f32>(out, near(v128.load32_zero(a), v128.load32_zero(b), reach), 0);
  }
}
