// Plain arithmetic on f32 tiles. Every operation rounds by itself: no fused multiply-add, so every engine gives the same bits.

import { loadPart, storePart } from "./lanes";

export function delta(out: usize, x: usize, base: usize, count: usize): void {
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16, base += 16, out += 16) {
    v128.store(out, f32x4.sub(v128.load(x), v128.load(base)));
  }
  const part = end - x;
  if (part > 0) storePart(out, f32x4.sub(loadPart(x, part), loadPart(base, part)), part);
}

export function scale(out: usize, x: usize, c: f32, count: usize): void {
  const factor = f32x4.splat(c);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16, out += 16) {
    v128.store(out, f32x4.mul(factor, v128.load(x)));
  }
  const part = end - x;
  if (part > 0) storePart(out, f32x4.mul(factor, loadPart(x, part)), part);
}

export function axpy(acc: usize, x: usize, c: f32, count: usize): void {
  const factor = f32x4.splat(c);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16, acc += 16) {
    v128.store(acc, f32x4.add(v128.load(acc), f32x4.mul(factor, v128.load(x))));
  }
  const part = end - x;
  if (part > 0) storePart(acc, f32x4.add(loadPart(acc, part), f32x4.mul(factor, loadPart(x, part))), part);
}

export function finish(out: usize, base: usize, acc: usize, lambda: f32, count: usize): void {
  const factor = f32x4.splat(lambda);
  const end = acc + (count << 2);
  for (; acc + 16 <= end; acc += 16, base += 16, out += 16) {
    v128.store(out, f32x4.add(v128.load(base), f32x4.mul(factor, v128.load(acc))));
  }
  const part = end - acc;
  if (part > 0) storePart(out, f32x4.add(loadPart(base, part), f32x4.mul(factor, loadPart(acc, part))), part);
}

function clamp(v: v128, limit: v128): v128 {
  const over = f32x4.gt(f32x4.abs(v), limit); // false for NaN, and for the zeros that pad the end
  return v128.bitselect(v128.bitselect(v, limit, f32x4.splat(-0.0)), v, over);
}

export function clamp_finite(x: usize, limit: f32, count: usize): i32 {
  const top = f32x4.splat(limit);
  let changed = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) {
    const v = v128.load(x);
    const clamped = clamp(v, top);
    changed = i32x4.sub(changed, i32x4.ne(v, clamped));
    v128.store(x, clamped);
  }
  if (x < end) {
    const v = loadPart(x, end - x);
    const clamped = clamp(v, top);
    changed = i32x4.sub(changed, i32x4.ne(v, clamped));
    storePart(x, clamped, end - x);
  }
  const total = i32x4.extract_lane(changed, 0) + i32x4.extract_lane(changed, 1);
  return total + i32x4.extract_lane(changed, 2) + i32x4.extract_lane(changed, 3);
}
