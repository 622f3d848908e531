// The tiles of a census: a chunk of each model as f32, the base's as it is and the others' as what they differ from it by.

import { loadPart } from "./lanes";
import { evens, larger, magnitudeBits, odds, unitUpper, upperHalves } from "./pairs";

/** Copies `count` f32 to a tile, padded to eight. */
export function copyTile(tile: usize, x: usize, count: usize): void {
  memory.copy(tile, x, count << 2);
  memory.fill(tile + (count << 2), 0, (((count + 7) & ~7) - count) << 2);
}

/** The largest keys of `count` f32, a multiple of four. */
export function largestOf(x: usize, count: usize): v128 {
  const magnitude = magnitudeBits();
  let most = i64x2.splat(0);
  for (const end = x + (count << 2); x < end; x += 16) most = i32x4.max_s(most, v128.and(v128.load(x), magnitude));
  return most;
}

/** Stores eight bf16 as f32: the even and the odd ones, put in order again. */
@inline
function storeWide(tile: usize, even: v128, odd: v128): void {
  v128.store(tile, i8x16.shuffle(even, odd, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23));
  v128.store(tile, i8x16.shuffle(even, odd, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31), 16);
}

export function widenTile(tile: usize, x: usize, count: usize): void {
  const unit = unitUpper();
  const upper = upperHalves();
  const end = x + (count << 1);
  for (; x < end; x += 16, tile += 32) {
    const v = x + 16 <= end ? v128.load(x) : loadPart(x, end - x);
    storeWide(tile, evens(v, unit), odds(v, upper));
  }
}

/** Stores x − base and returns the largest keys. */
export function subtractTile(tile: usize, x: usize, base: usize, count: usize): v128 {
  const unit = unitUpper();
  const upper = upperHalves();
  const magnitude = magnitudeBits();
  let most = i64x2.splat(0);
  const end = x + (count << 1);
  for (; x < end; x += 16, base += 16, tile += 32) {
    const whole = x + 16 <= end;
    const v = whole ? v128.load(x) : loadPart(x, end - x);
    const b = whole ? v128.load(base) : loadPart(base, end - x);
    const even = f32x4.sub(evens(v, unit), evens(b, unit));
    const odd = f32x4.sub(odds(v, upper), odds(b, upper));
    most = i32x4.max_s(most, i32x4.max_s(v128.and(even, magnitude), v128.and(odd, magnitude)));
    storeWide(tile, even, odd);
  }
  return most;
}

/** Whether all are below 2^127 in magnitude, so that no difference of two overflows. */
export function isModest(x: usize, count: usize): bool {
  const end = x + (count << 1);
  let top = i16x8.splat(0);
  for (; x + 16 <= end; x += 16) top = larger(top, v128.load(x));
  if (x < end) top = larger(top, loadPart(x, end - x));
  return !v128.any_true(i16x8.ge_u(top, i16x8.splat(<i16>0xfe00)));
}
