// Whole programs in one pass over bf16, for the common cases: inputs are read and the output is written once, and nothing
// in between leaves the registers. Every operation is the one that the separate kernels do, in their order, so the bits
// are the same.

import { narrowBf16, widenBf16High, widenBf16Low } from "./lanes";
import { agrees, divisorOf, electedOf, flipOf, settle, tieOf } from "./ties";

/** More models than this take the separate kernels. */
const maxModels: usize = 8;

// The ragged end is copied here, a row of 16 elements for each input, and merged as a whole step.
const tailInputs: usize = memory.data(8 * 32, 16);
const tailMasks: usize = memory.data(8 * 16, 16);
const tailBase: usize = memory.data(32, 16);
const tailOut: usize = memory.data(32, 16);
const tailInputPointers: usize = memory.data(8 * 4, 4);
const tailMaskPointers: usize = memory.data(8 * 4, 4);
/** Votes of eight elements of every model, as f32. */
const votes: usize = memory.data(8 * 32, 16);

function gatherTail(base: usize, inputs: usize, masks: usize, models: usize, first: usize, rest: usize): void {
  if (base) memory.copy(tailBase, base + (first << 1), rest << 1);
  for (let m: usize = 0; m < models; m++) {
    const row = tailInputs + (m << 5);
    memory.copy(row, <usize>load<u32>(inputs + (m << 2)) + (first << 1), rest << 1);
    store<u32>(tailInputPointers + (m << 2), <u32>row);
    if (!masks) continue;
    const mask = <usize>load<u32>(masks + (m << 2));
    const maskRow = tailMasks + (m << 4);
    if (mask) memory.copy(maskRow, mask + first, rest);
    store<u32>(tailMaskPointers + (m << 2), mask ? <u32>maskRow : 0);
  }
}

function storeBf16(out: usize, a: v128, b: v128): void {
  v128.store(out, i16x8.narrow_i32x4_u(narrowBf16(a), narrowBf16(b)));
}

// ---- Sums. They start at −0, the neutral element of addition: −0 + x is x, for both zeros too.

function linear(out: usize, inputs: usize, scales: usize, models: usize, lambda: f32, count: usize): void {
  const factor = f32x4.splat(lambda);
  for (let i: usize = 0; i < count; i += 16) {
    const at = i << 1;
    let s0 = f32x4.splat(-0.0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let m: usize = 0; m < models << 2; m += 4) {
      const x = <usize>load<u32>(inputs + m) + at;
      const c = v128.load32_splat(scales + m);
      const v = v128.load(x);
      s0 = f32x4.add(s0, f32x4.mul(c, widenBf16Low(v)));
      s1 = f32x4.add(s1, f32x4.mul(c, widenBf16High(v)));
      const w = v128.load(x, 16);
      s2 = f32x4.add(s2, f32x4.mul(c, widenBf16Low(w)));
      s3 = f32x4.add(s3, f32x4.mul(c, widenBf16High(w)));
    }
    storeBf16(out + at, f32x4.mul(factor, s0), f32x4.mul(factor, s1));
    storeBf16(out + at + 16, f32x4.mul(factor, s2), f32x4.mul(factor, s3));
  }
}

export function merge_linear_bf16(
  out: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): void {
  if (models > maxModels) unreachable();
  const whole = count & ~15;
  linear(out, inputs, scales, models, lambda, whole);
  if (whole == count) return;
  gatherTail(0, inputs, 0, models, whole, count - whole);
  linear(tailOut, tailInputPointers, scales, models, lambda, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
}

function sum(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  models: usize,
  lambda: f32,
  count: usize,
): void {
  const factor = f32x4.splat(lambda);
  for (let i: usize = 0; i < count; i += 16) {
    const at = i << 1;
    const low = v128.load(base + at);
    const high = v128.load(base + at, 16);
    const b0 = widenBf16Low(low);
    const b1 = widenBf16High(low);
    const b2 = widenBf16Low(high);
    const b3 = widenBf16High(high);
    let s0 = f32x4.splat(-0.0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let m: usize = 0; m < models << 2; m += 4) {
      const x = <usize>load<u32>(inputs + m) + at;
      const v = v128.load(x);
      const w = v128.load(x, 16);
      let d0 = f32x4.sub(widenBf16Low(v), b0);
      let d1 = f32x4.sub(widenBf16High(v), b1);
      let d2 = f32x4.sub(widenBf16Low(w), b2);
      let d3 = f32x4.sub(widenBf16High(w), b3);
      const mask = masks ? <usize>load<u32>(masks + m) : 0;
      if (mask) {
        // Bytes to lanes by sign extension, as in `select`.
        const bytes = v128.load(mask + i);
        const first = i16x8.extend_low_i8x16_s(bytes);
        d0 = v128.and(d0, i32x4.extend_low_i16x8_s(first));
        d1 = v128.and(d1, i32x4.extend_high_i16x8_s(first));
        const second = i16x8.extend_high_i8x16_s(bytes);
        d2 = v128.and(d2, i32x4.extend_low_i16x8_s(second));
        d3 = v128.and(d3, i32x4.extend_high_i16x8_s(second));
      }
      const c = v128.load32_splat(scales + m);
      s0 = f32x4.add(s0, f32x4.mul(c, d0));
      s1 = f32x4.add(s1, f32x4.mul(c, d1));
      s2 = f32x4.add(s2, f32x4.mul(c, d2));
      s3 = f32x4.add(s3, f32x4.mul(c, d3));
    }
    storeBf16(out + at, f32x4.add(b0, f32x4.mul(factor, s0)), f32x4.add(b1, f32x4.mul(factor, s1)));
    storeBf16(out + at + 16, f32x4.add(b2, f32x4.mul(factor, s2)), f32x4.add(b3, f32x4.mul(factor, s3)));
  }
}

export function merge_dare_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  models: usize,
  lambda: f32,
  count: usize,
): void {
  if (models > maxModels) unreachable();
  const whole = count & ~15;
  sum(out, base, inputs, scales, masks, models, lambda, whole);
  if (whole == count) return;
  gatherTail(base, inputs, masks, models, whole, count - whole);
  sum(tailOut, tailBase, tailInputPointers, scales, masks ? tailMaskPointers : 0, models, lambda, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
}

export function merge_delta_bf16(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  models: usize,
  lambda: f32,
  count: usize,
): void {
  merge_dare_bf16(out, base, inputs, scales, 0, models, lambda, count);
}

// ---- Elections, eight elements at a time: every model casts its vote, then those that agree are summed.

/** The lanes of a mask, four elements from `mask` on. */
function maskLanes(mask: usize): v128 {
  return i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(mask)));
}

/** "At least the key" as a signed compare with one less: keys have 31 bits, and a limit beyond them keeps nothing. */
function floorOf(above: usize): i32 {
  return <i32>(min<u32>(load<u32>(above), 0x80000000) - 1);
}

function trimmed(v: v128, floor: i32): v128 {
  return v128.and(v, i32x4.gt_s(v128.and(v, i32x4.splat(0x7fffffff)), i32x4.splat(floor)));
}

/** The vote of one model on elements i … i+3; a `mask` of 0 and a `floor` of −1 keep all. */
function voteOf(x: usize, i: usize, base: v128, mask: usize, floor: i32, c: v128): v128 {
  let v = f32x4.sub(i32x4.shl(v128.load16x4_u(x + (i << 1)), 16), base);
  if (mask) v = v128.and(v, maskLanes(mask + i));
  if (floor >= 0) v = trimmed(v, floor);
  return f32x4.mul(c, v);
}

/** Two to four models: their votes stay in registers. */
function electedFew(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  models: usize,
  lambda: f32,
  tie: v128,
  divide: i32,
  weights: usize,
  count: usize,
): void {
  const zero = f32x4.splat(0);
  const factor = f32x4.splat(lambda);
  const more = models > 2;
  const most = models > 3;
  const xA = <usize>load<u32>(inputs);
  const xB = <usize>load<u32>(inputs, 4);
  const xC = more ? <usize>load<u32>(inputs, 8) : 0;
  const xD = most ? <usize>load<u32>(inputs, 12) : 0;
  const cA = v128.load32_splat(scales);
  const cB = v128.load32_splat(scales, 4);
  const cC = more ? v128.load32_splat(scales, 8) : zero;
  const cD = most ? v128.load32_splat(scales, 12) : zero;
  const maskA = <usize>load<u32>(masks);
  const maskB = <usize>load<u32>(masks, 4);
  const maskC = more ? <usize>load<u32>(masks, 8) : 0;
  const maskD = most ? <usize>load<u32>(masks, 12) : 0;
  const floorA = floorOf(above);
  const floorB = floorOf(above + 4);
  const floorC = more ? floorOf(above + 8) : 0;
  const floorD = most ? floorOf(above + 12) : 0;
  for (let i: usize = 0; i < count; i += 4) {
    const at = i << 1;
    const b = i32x4.shl(v128.load16x4_u(base + at), 16);
    const a0 = voteOf(xA, i, b, maskA, floorA, cA);
    const a1 = voteOf(xB, i, b, maskB, floorB, cB);
    let a2 = zero;
    let a3 = zero;
    let sum = f32x4.add(f32x4.add(zero, a0), a1);
    if (more) {
      a2 = voteOf(xC, i, b, maskC, floorC, cC);
      sum = f32x4.add(sum, a2);
    }
    if (most) {
      a3 = voteOf(xD, i, b, maskD, floorD, cD);
      sum = f32x4.add(sum, a3);
    }
    sum = electedOf(sum, tie);
    const flip = flipOf(sum);
    const agrees0 = agrees(a0, flip);
    const agrees1 = agrees(a1, flip);
    const agrees2 = agrees(a2, flip);
    const agrees3 = agrees(a3, flip);
    let total = f32x4.add(v128.and(a0, agrees0), v128.and(a1, agrees1));
    if (more) total = f32x4.add(total, v128.and(a2, agrees2));
    if (most) total = f32x4.add(total, v128.and(a3, agrees3));
    if (divide) {
      let weight = f32x4.add(zero, v128.and(v128.load32_splat(weights), agrees0));
      weight = f32x4.add(weight, v128.and(v128.load32_splat(weights, 4), agrees1));
      if (more) weight = f32x4.add(weight, v128.and(v128.load32_splat(weights, 8), agrees2));
      if (most) weight = f32x4.add(weight, v128.and(v128.load32_splat(weights, 12), agrees3));
      total = f32x4.div(total, divisorOf(weight));
    }
    const result = narrowBf16(f32x4.add(b, f32x4.mul(factor, settle(total, sum))));
    v128.store64_lane(out + at, i16x8.narrow_i32x4_u(result, result), 0);
  }
}

/** Any number of models up to eight; their votes are kept in memory. */
function electedMany(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  models: usize,
  lambda: f32,
  tie: v128,
  divide: i32,
  weights: usize,
  count: usize,
): void {
  const zero = f32x4.splat(0);
  const end = models << 2;
  for (let i: usize = 0; i < count; i += 8) {
    const at = i << 1;
    const b = v128.load(base + at);
    const b0 = widenBf16Low(b);
    const b1 = widenBf16High(b);
    let sum0 = zero;
    let sum1 = zero;
    for (let m: usize = 0; m < end; m += 4) {
      const v = v128.load(<usize>load<u32>(inputs + m) + at);
      let d0 = f32x4.sub(widenBf16Low(v), b0);
      let d1 = f32x4.sub(widenBf16High(v), b1);
      const mask = <usize>load<u32>(masks + m);
      if (mask) {
        const halves = v128.load8x8_s(mask + i);
        d0 = v128.and(d0, i32x4.extend_low_i16x8_s(halves));
        d1 = v128.and(d1, i32x4.extend_high_i16x8_s(halves));
      }
      const floor = floorOf(above + m);
      if (floor >= 0) {
        d0 = trimmed(d0, floor);
        d1 = trimmed(d1, floor);
      }
      const c = v128.load32_splat(scales + m);
      const v0 = f32x4.mul(c, d0);
      const v1 = f32x4.mul(c, d1);
      v128.store(votes + (m << 3), v0);
      v128.store(votes + (m << 3), v1, 16);
      sum0 = f32x4.add(sum0, v0);
      sum1 = f32x4.add(sum1, v1);
    }
    sum0 = electedOf(sum0, tie);
    sum1 = electedOf(sum1, tie);
    const flip0 = flipOf(sum0);
    const flip1 = flipOf(sum1);
    let total0 = zero;
    let total1 = zero;
    for (let m: usize = 0; m < end; m += 4) {
      const v0 = v128.load(votes + (m << 3));
      const v1 = v128.load(votes + (m << 3), 16);
      total0 = f32x4.add(total0, v128.and(v0, agrees(v0, flip0)));
      total1 = f32x4.add(total1, v128.and(v1, agrees(v1, flip1)));
    }
    if (divide) {
      let weight0 = zero;
      let weight1 = zero;
      for (let m: usize = 0; m < end; m += 4) {
        const w = v128.load32_splat(weights + m);
        weight0 = f32x4.add(weight0, v128.and(w, agrees(v128.load(votes + (m << 3)), flip0)));
        weight1 = f32x4.add(weight1, v128.and(w, agrees(v128.load(votes + (m << 3), 16), flip1)));
      }
      total0 = f32x4.div(total0, divisorOf(weight0));
      total1 = f32x4.div(total1, divisorOf(weight1));
    }
    const factor = f32x4.splat(lambda);
    storeBf16(
      out + at,
      f32x4.add(b0, f32x4.mul(factor, settle(total0, sum0))),
      f32x4.add(b1, f32x4.mul(factor, settle(total1, sum1))),
    );
  }
}

function elected(
  out: usize,
  base: usize,
  inputs: usize,
  scales: usize,
  masks: usize,
  above: usize,
  models: usize,
  lambda: f32,
  tie: v128,
  divide: i32,
  weights: usize,
  count: usize,
): void {
  if (models >= 2 && models <= 4) {
    electedFew(out, base, inputs, scales, masks, above, models, lambda, tie, divide, weights, count);
  } else {
    electedMany(out, base, inputs, scales, masks, above, models, lambda, tie, divide, weights, count);
  }
}

export function merge_elect_bf16(
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
): void {
  if (models > maxModels) unreachable();
  const tie = tieOf(zero);
  const whole = count & ~15;
  elected(out, base, inputs, scales, masks, above, models, lambda, tie, divide, weights, whole);
  if (whole == count) return;
  gatherTail(base, inputs, masks, models, whole, count - whole);
  const pointers = tailMaskPointers;
  elected(tailOut, tailBase, tailInputPointers, scales, pointers, above, models, lambda, tie, divide, weights, 16);
  memory.copy(out + (whole << 1), tailOut, (count - whole) << 1);
}
