// Trim and elect (TIES: Yadav et al. 2023, arXiv 2306.01708).

import { loadPart, storePart } from "./lanes";

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

/** What one vote adds to the election: itself, or its sign (NaN stays NaN, so that it reaches the sum). */
function ballot(vote: v128, by: i32): v128 {
  if (by == 0) return vote;
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const sign = f32x4.sub(v128.and(f32x4.gt(vote, zero), one), v128.and(f32x4.lt(vote, zero), one));
  return v128.bitselect(sign, vote, f32x4.eq(vote, vote));
}

/** The sum of the agreeing, four lanes: elected sign from `sum`, models in order. */
function agreeing(
  votes: usize,
  factors: usize,
  weights: usize,
  models: i32,
  strideBytes: usize,
  sum: v128,
  tie: v128,
  divide: i32,
  part: usize,
): v128 {
  const zero = f32x4.splat(0);
  // `tie` decides where the sum is zero: 0, 1 or −1. Elected is then > 0, < 0, or neither (none, or NaN).
  const elected = v128.bitselect(tie, sum, f32x4.eq(sum, zero));
  // Votes agree when they are positive after their sign is flipped wherever − was elected.
  const flip = v128.and(f32x4.lt(elected, zero), i32x4.splat(0x80000000));
  let total = zero;
  let weight = zero;
  for (let m = 0; m < models; m++, votes += strideBytes) {
    const vote = part == 16 ? v128.load(votes) : loadPart(votes, part);
    const agrees = f32x4.gt(v128.xor(vote, flip), zero);
    const term = f32x4.mul(v128.load32_splat(factors + (<usize>m << 2)), vote);
    total = f32x4.add(total, v128.and(term, agrees)); // a total that starts at +0 is never −0: adding +0 leaves it alone
    if (divide) weight = f32x4.add(weight, v128.and(v128.load32_splat(weights + (<usize>m << 2)), agrees));
  }
  if (divide) {
    const tiny = f32x4.lt(f32x4.abs(weight), f32x4.splat(1e-8));
    total = f32x4.div(total, v128.bitselect(f32x4.splat(1), weight, tiny));
  }
  const result = v128.andnot(total, f32x4.eq(elected, zero));
  return v128.bitselect(result, i32x4.splat(0x7fc00000), f32x4.eq(sum, sum));
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
  for (; out < end; out += 16, votes += 16) {
    const part = min<usize>(16, end - out);
    let sum = f32x4.splat(0);
    let vote = votes;
    for (let m = 0; m < models; m++, vote += strideBytes) {
      sum = f32x4.add(sum, ballot(part == 16 ? v128.load(vote) : loadPart(vote, part), by));
    }
    const result = agreeing(votes, factors, weights, models, strideBytes, sum, tie, divide, part);
    if (part == 16) v128.store(out, result);
    else storePart(out, result, part);
  }
}
