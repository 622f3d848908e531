// Products of a low-rank pair, a row at a time: what an adapter adds to a row of its weight.

import { loadPart, storePart } from "./lanes";

/** out[j] ← Σ over k of left[k] · right[k·pitch + j], k ascending from +0, every product and sum rounded to f32. */
export function fold_row(out: usize, left: usize, right: usize, rank: u32, pitch: usize, count: usize): void {
  const step = pitch << 2;
  const end = out + (count << 2);
  // Sixteen columns at a time: four sums stay in registers while all of the rank goes by.
  for (; out + 64 <= end; out += 64, right += 64) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    let c = f32x4.splat(0);
    let d = f32x4.splat(0);
    let from = right;
    for (let k: u32 = 0; k < rank; k++, from += step) {
      const l = v128.load32_splat(left + ((k as usize) << 2));
      a = f32x4.add(a, f32x4.mul(l, v128.load(from)));
      b = f32x4.add(b, f32x4.mul(l, v128.load(from, 16)));
      c = f32x4.add(c, f32x4.mul(l, v128.load(from, 32)));
      d = f32x4.add(d, f32x4.mul(l, v128.load(from, 48)));
    }
    v128.store(out, a);
    v128.store(out, b, 16);
    v128.store(out, c, 32);
    v128.store(out, d, 48);
  }
  for (; out < end; out += 16, right += 16) {
    const part = min<usize>(16, end - out);
    let a = f32x4.splat(0);
    let from = right;
    for (let k: u32 = 0; k < rank; k++, from += step) {
      a = f32x4.add(a, f32x4.mul(v128.load32_splat(left + ((k as usize) << 2)), part < 16 ? loadPart(from, part) : v128.load(from)));
    }
    if (part < 16) storePart(out, a, part);
    else v128.store(out, a);
  }
}

/**
 * Four rows of out, `outPitch` elements apart, of four rows of left, `rank` apart: `fold_row` of each, with every load of right
 * serving all four.
 */
export function fold_four(
  out: usize,
  outPitch: usize,
  left: usize,
  right: usize,
  rank: u32,
  pitch: usize,
  count: usize,
): void {
  const step = pitch << 2;
  const outStep = outPitch << 2;
  const leftStep = (rank as usize) << 2;
  const end = out + ((count & ~7) << 2);
  const columns = out;
  // Eight columns at a time: eight sums, and two vectors of right.
  for (; out < end; out += 32, right += 32) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let c0 = f32x4.splat(0);
    let c1 = f32x4.splat(0);
    let d0 = f32x4.splat(0);
    let d1 = f32x4.splat(0);
    let from = right;
    let l = left;
    const last = left + leftStep;
    for (; l < last; l += 4, from += step) {
      const r0 = v128.load(from);
      const r1 = v128.load(from, 16);
      let x = v128.load32_splat(l);
      a0 = f32x4.add(a0, f32x4.mul(x, r0));
      a1 = f32x4.add(a1, f32x4.mul(x, r1));
      let row = l + leftStep;
      x = v128.load32_splat(row);
      b0 = f32x4.add(b0, f32x4.mul(x, r0));
      b1 = f32x4.add(b1, f32x4.mul(x, r1));
      row += leftStep;
      x = v128.load32_splat(row);
      c0 = f32x4.add(c0, f32x4.mul(x, r0));
      c1 = f32x4.add(c1, f32x4.mul(x, r1));
      row += leftStep;
      x = v128.load32_splat(row);
      d0 = f32x4.add(d0, f32x4.mul(x, r0));
      d1 = f32x4.add(d1, f32x4.mul(x, r1));
    }
    let to = out;
    v128.store(to, a0);
    v128.store(to, a1, 16);
    to += outStep;
    v128.store(to, b0);
    v128.store(to, b1, 16);
    to += outStep;
    v128.store(to, c0);
    v128.store(to, c1, 16);
    to += outStep;
    v128.store(to, d0);
    v128.store(to, d1, 16);
  }
  const rest = count - ((out - columns) >> 2);
  if (rest == 0) return;
  for (let i: usize = 0; i < 4; i++) fold_row(out + i * outStep, left + i * leftStep, right, rank, pitch, rest);
}
