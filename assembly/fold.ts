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
