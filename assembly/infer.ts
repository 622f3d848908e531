// The forward pass of a Llama: products of rows, norms, rotations, softmax. Rows are contiguous f32; weights are f32 or bf16 as
// [out][in], as checkpoints store them. Nothing here depends on how many rows go through together.

import { loadPart, storePart, widenBf16High, widenBf16Low } from "./lanes";
import { dot } from "./tally";

// An element of a product is one sum: lane l of 4 adds the products of inner indices ≡ l (mod 4), in order from +0, and then
//
//   | s0 | s1 | s2 | s3 |  →  (s0 + s2) + (s1 + s3)
//
// whatever tile it lies in: 4 rows of x by 2 of w, 1 by 4, or 1 by 1.

@inline
function across(v: v128): f32 {
  const pair = f32x4.add(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  return f32x4.extract_lane(pair, 0) + f32x4.extract_lane(pair, 1);
}

/** The `left` (1…3) f32 at ptr, then zeros. */
@inline
function some(ptr: usize, left: usize): v128 {
  return loadPart(ptr, left << 2);
}

/** Two rows of w by four of x. x rows are `xStep` bytes apart, w rows `wStep`, out rows `outStep`; `bytes` of inner index. */
@inline
function fourByTwo(out: usize, outStep: usize, x: usize, xStep: usize, w: usize, wStep: usize, depth: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let d0 = f32x4.splat(0);
  let d1 = f32x4.splat(0);
  const xb = x + xStep;
  const xc = xb + xStep;
  const xd = xc + xStep;
  const w1 = w + wStep;
  const whole = (depth & ~3) << 2;
  let k: usize = 0;
  for (; k < whole; k += 16) {
    const u = v128.load(w + k);
    const v = v128.load(w1 + k);
    const p = v128.load(x + k);
    a0 = f32x4.add(a0, f32x4.mul(p, u));
    a1 = f32x4.add(a1, f32x4.mul(p, v));
    const q = v128.load(xb + k);
    b0 = f32x4.add(b0, f32x4.mul(q, u));
    b1 = f32x4.add(b1, f32x4.mul(q, v));
    const r = v128.load(xc + k);
    c0 = f32x4.add(c0, f32x4.mul(r, u));
    c1 = f32x4.add(c1, f32x4.mul(r, v));
    const s = v128.load(xd + k);
    d0 = f32x4.add(d0, f32x4.mul(s, u));
    d1 = f32x4.add(d1, f32x4.mul(s, v));
  }
  const left = depth & 3;
  if (left) {
    const u = some(w + k, left);
    const v = some(w1 + k, left);
    const p = some(x + k, left);
    a0 = f32x4.add(a0, f32x4.mul(p, u));
    a1 = f32x4.add(a1, f32x4.mul(p, v));
    const q = some(xb + k, left);
    b0 = f32x4.add(b0, f32x4.mul(q, u));
    b1 = f32x4.add(b1, f32x4.mul(q, v));
    const r = some(xc + k, left);
    c0 = f32x4.add(c0, f32x4.mul(r, u));
    c1 = f32x4.add(c1, f32x4.mul(r, v));
    const s = some(xd + k, left);
    d0 = f32x4.add(d0, f32x4.mul(s, u));
    d1 = f32x4.add(d1, f32x4.mul(s, v));
  }
  store<f32>(out, across(a0));
  store<f32>(out, across(a1), 4);
  out += outStep;
  store<f32>(out, across(b0));
  store<f32>(out, across(b1), 4);
  out += outStep;
  store<f32>(out, across(c0));
  store<f32>(out, across(c1), 4);
  out += outStep;
  store<f32>(out, across(d0));
  store<f32>(out, across(d1), 4);
}

/** One row of x by four of w: four sums at once hide the latency of an addition. */
@inline
function oneByFour(out: usize, x: usize, w: usize, wStep: usize, depth: usize): void {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  const wb = w + wStep;
  const wc = wb + wStep;
  const wd = wc + wStep;
  const whole = (depth & ~3) << 2;
  let k: usize = 0;
  for (; k < whole; k += 16) {
    const p = v128.load(x + k);
    a = f32x4.add(a, f32x4.mul(p, v128.load(w + k)));
    b = f32x4.add(b, f32x4.mul(p, v128.load(wb + k)));
    c = f32x4.add(c, f32x4.mul(p, v128.load(wc + k)));
    d = f32x4.add(d, f32x4.mul(p, v128.load(wd + k)));
  }
  const left = depth & 3;
  if (left) {
    const p = some(x + k, left);
    a = f32x4.add(a, f32x4.mul(p, some(w + k, left)));
    b = f32x4.add(b, f32x4.mul(p, some(wb + k, left)));
    c = f32x4.add(c, f32x4.mul(p, some(wc + k, left)));
    d = f32x4.add(d, f32x4.mul(p, some(wd + k, left)));
  }
  store<f32>(out, across(a));
  store<f32>(out, across(b), 4);
  store<f32>(out, across(c), 8);
  store<f32>(out, across(d), 12);
}

@inline
function oneByOne(out: usize, x: usize, w: usize, depth: usize): void {
  let a = f32x4.splat(0);
  const whole = (depth & ~3) << 2;
  let k: usize = 0;
  for (; k < whole; k += 16) a = f32x4.add(a, f32x4.mul(v128.load(x + k), v128.load(w + k)));
  const left = depth & 3;
  if (left) a = f32x4.add(a, f32x4.mul(some(x + k, left), some(w + k, left)));
  store<f32>(out, across(a));
}

/** out[i·outPitch + j] ← Σ over k of x[i·depth + k]·w[j·depth + k], i < rows, j < count. */
export function project_f32(
  out: usize,
  outPitch: usize,
  x: usize,
  w: usize,
  rows: usize,
  depth: usize,
  count: usize,
): void {
  const step = depth << 2;
  const outStep = outPitch << 2;
  let i: usize = 0;
  for (; i + 4 <= rows; i += 4, x += step << 2, out += outStep << 2) {
    let j: usize = 0;
    let from = w;
    for (; j + 2 <= count; j += 2, from += step << 1) fourByTwo(out + (j << 2), outStep, x, step, from, step, depth);
    if (j < count) {
      for (let r: usize = 0; r < 4; r++) oneByOne(out + (j << 2) + r * outStep, x + r * step, from, depth);
    }
  }
  for (; i < rows; i++, x += step, out += outStep) {
    let j: usize = 0;
    let from = w;
    for (; j + 4 <= count; j += 4, from += step << 2) oneByFour(out + (j << 2), x, from, step, depth);
    for (; j < count; j++, from += step) oneByOne(out + (j << 2), x, from, depth);
  }
}

/** One row of x by one of w in bf16, two vectors at a time; the sums are those of f32. */
@inline
function oneByOneBf16(out: usize, x: usize, w: usize, depth: usize): void {
  let a = f32x4.splat(0);
  const eights = depth & ~7;
  let k: usize = 0;
  for (; k < eights; k += 8) {
    const v = v128.load(w + (k << 1));
    a = f32x4.add(a, f32x4.mul(v128.load(x + (k << 2)), widenBf16Low(v)));
    a = f32x4.add(a, f32x4.mul(v128.load(x + (k << 2), 16), widenBf16High(v)));
  }
  for (; k < depth; k += 4) {
    const left = min<usize>(4, depth - k);
    const v = widenBf16Low(loadPart(w + (k << 1), left << 1));
    a = f32x4.add(a, f32x4.mul(left < 4 ? some(x + (k << 2), left) : v128.load(x + (k << 2)), v));
  }
  store<f32>(out, across(a));
}

/** One row of x by four of w in bf16. */
@inline
function oneByFourBf16(out: usize, x: usize, w: usize, wStep: usize, depth: usize): void {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  const wb = w + wStep;
  const wc = wb + wStep;
  const wd = wc + wStep;
  for (let k: usize = 0; k < depth; k += 8) {
    const p = v128.load(x + (k << 2));
    const q = v128.load(x + (k << 2), 16);
    const at = k << 1;
    let v = v128.load(w + at);
    a = f32x4.add(a, f32x4.mul(p, widenBf16Low(v)));
    a = f32x4.add(a, f32x4.mul(q, widenBf16High(v)));
    v = v128.load(wb + at);
    b = f32x4.add(b, f32x4.mul(p, widenBf16Low(v)));
    b = f32x4.add(b, f32x4.mul(q, widenBf16High(v)));
    v = v128.load(wc + at);
    c = f32x4.add(c, f32x4.mul(p, widenBf16Low(v)));
    c = f32x4.add(c, f32x4.mul(q, widenBf16High(v)));
    v = v128.load(wd + at);
    d = f32x4.add(d, f32x4.mul(p, widenBf16Low(v)));
    d = f32x4.add(d, f32x4.mul(q, widenBf16High(v)));
  }
  store<f32>(out, across(a));
  store<f32>(out, across(b), 4);
  store<f32>(out, across(c), 8);
  store<f32>(out, across(d), 12);
}

/** `project_f32` of one row with w in bf16, read as it lies: a step of decoding waits for the weights' bytes and for little else. */
export function project_bf16(out: usize, x: usize, w: usize, depth: usize, count: usize): void {
  const step = depth << 1;
  let j: usize = 0;
  if ((depth & 7) == 0) {
    for (; j + 4 <= count; j += 4, w += step << 2) oneByFourBf16(out + (j << 2), x, w, step, depth);
  }
  for (; j < count; j++, w += step) oneByOneBf16(out + (j << 2), x, w, depth);
}

/** out[i] ← weight[i]·(x[i]·r), r = 1/√(Σ x²/count + epsilon) in f64, rounded once. `out` may be `x`. */
export function rms_norm(out: usize, x: usize, weight: usize, epsilon: f64, count: usize): void {
  const r = <f32>(1.0 / sqrt<f64>(dot(x, x, count) / <f64>count + epsilon));
  const scale = f32x4.splat(r);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16, weight += 16, out += 16) {
    v128.store(out, f32x4.mul(v128.load(weight), f32x4.mul(v128.load(x), scale)));
  }
  for (; x < end; x += 4, weight += 4, out += 4) store<f32>(out, load<f32>(weight) * (load<f32>(x) * r));
}

/** Pairs (x[i], x[half + i]) turned by the angles whose cosines and sines are given: RoPE as Llama's checkpoints lie. */
export function rotate_half(x: usize, cosines: usize, sines: usize, half: usize): void {
  const far = half << 2;
  const end = x + far;
  for (; x + 16 <= end; x += 16, cosines += 16, sines += 16) {
    const a = v128.load(x);
    const b = v128.load(x + far);
    const c = v128.load(cosines);
    const s = v128.load(sines);
    v128.store(x, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
    v128.store(x + far, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
  }
  for (; x < end; x += 4, cosines += 4, sines += 4) {
    const a = load<f32>(x);
    const b = load<f32>(x + far);
    const c = load<f32>(cosines);
    const s = load<f32>(sines);
    store<f32>(x, a * c - b * s);
    store<f32>(x + far, b * c + a * s);
  }
}

const log2e: f32 = 1.44269504;
// ln 2 in two parts: the first has 15 bits, so that its multiple by any exponent is exact.
const ln2High: f32 = 0.693145751953125;
const ln2Low: f32 = 1.4286068e-6;
const least: f32 = -87.3;
const most: f32 = 88.3;

/** e^x in f32, within two units in the last place; 0 below −87.3, and no more than e^88.3, which is short of infinity. */
@inline
function powers(x: v128): v128 {
  const at = f32x4.max(f32x4.min(x, f32x4.splat(most)), f32x4.splat(least));
  const k = f32x4.nearest(f32x4.mul(at, f32x4.splat(log2e)));
  const high = f32x4.sub(at, f32x4.mul(k, f32x4.splat(ln2High)));
  const r = f32x4.sub(high, f32x4.mul(k, f32x4.splat(ln2Low)));
  // Σ r^j / j!: at |r| ≤ ln 2 / 2 the term of j = 8 is below 2^-27.
  let series = f32x4.splat(1.0 / 5040.0);
  series = f32x4.add(f32x4.mul(series, r), f32x4.splat(1.0 / 720.0));
  series = f32x4.add(f32x4.mul(series, r), f32x4.splat(1.0 / 120.0));
  series = f32x4.add(f32x4.mul(series, r), f32x4.splat(1.0 / 24.0));
  series = f32x4.add(f32x4.mul(series, r), f32x4.splat(1.0 / 6.0));
  series = f32x4.add(f32x4.mul(series, r), f32x4.splat(0.5));
  const value = f32x4.add(f32x4.splat(1), f32x4.add(r, f32x4.mul(f32x4.mul(r, r), series)));
  const scale = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(k), i32x4.splat(127)), 23);
  return v128.andnot(f32x4.mul(value, scale), f32x4.lt(x, f32x4.splat(least)));
}

/** All bits of the first `left` lanes. */
@inline
function lanes(left: usize): v128 {
  return i32x4.gt_u(i32x4.splat(<i32>left), i32x4(0, 1, 2, 3));
}

/**
 * x ← softmax(scale·x): e^(scale·x − max) over their sum, in f32. Lane l of 4 sums indices ≡ l (mod 4), then (s0 + s2) + (s1 + s3).
 */
export function softmax(x: usize, scale: f32, count: usize): void {
  const by = f32x4.splat(scale);
  const end = x + (count << 2);
  const whole = x + ((count & ~3) << 2);
  const left = count & 3;
  let tops = f32x4.splat(-Infinity);
  let at = x;
  for (; at < whole; at += 16) tops = f32x4.max(tops, f32x4.mul(by, v128.load(at)));
  if (left) {
    tops = f32x4.max(tops, v128.bitselect(f32x4.mul(by, some(at, left)), f32x4.splat(-Infinity), lanes(left)));
  }
  tops = f32x4.max(tops, i8x16.shuffle(tops, tops, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  const top = f32x4.splat(max(f32x4.extract_lane(tops, 0), f32x4.extract_lane(tops, 1)));
  let sums = f32x4.splat(0);
  for (at = x; at < whole; at += 16) {
    const e = powers(f32x4.sub(f32x4.mul(by, v128.load(at)), top));
    v128.store(at, e);
    sums = f32x4.add(sums, e);
  }
  if (left) {
    const e = v128.and(powers(f32x4.sub(f32x4.mul(by, some(at, left)), top)), lanes(left));
    storePart(at, e, left << 2);
    sums = f32x4.add(sums, e);
  }
  const sum = across(sums);
  const all = f32x4.splat(sum);
  for (at = x; at < whole; at += 16) v128.store(at, f32x4.div(v128.load(at), all));
  for (; at < end; at += 4) store<f32>(at, load<f32>(at) / sum);
}

/** gate ← silu(gate)·up, silu(g) = g/(1 + e^−g). */
export function swiglu(gate: usize, up: usize, count: usize): void {
  const one = f32x4.splat(1);
  const end = gate + (count << 2);
  for (; gate + 16 <= end; gate += 16, up += 16) {
    const g = v128.load(gate);
    v128.store(gate, f32x4.mul(f32x4.div(g, f32x4.add(one, powers(f32x4.neg(g)))), v128.load(up)));
  }
  if (gate < end) {
    const g = loadPart(gate, end - gate);
    const u = loadPart(up, end - gate);
    storePart(gate, f32x4.mul(f32x4.div(g, f32x4.add(one, powers(f32x4.neg(g)))), u), end - gate);
  }
}
