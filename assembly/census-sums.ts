// Sums of a census: magnitudes and squares of one, products of two.

import { chunkBytes, wideMagnitude } from "./census-state";

@inline
function times(sum: v128, p: usize, q: usize): v128 {
  return f64x2.add(
    sum,
    f64x2.mul(f64x2.promote_low_f32x4(v128.load64_zero(p)), f64x2.promote_low_f32x4(v128.load64_zero(q))),
  );
}

// Lane j of eight sums the elements with index mod 8 = j, as in tally.ts; lanes wait in memory from chunk to chunk.

/** Adds |x| of a chunk to the lanes at `magnitudes`, and x² to those at `squares`. */
export function addOwn(magnitudes: usize, squares: usize, x: usize, byteLength: usize): void {
  for (let quarter: usize = 0; quarter < 64; quarter += 16) {
    const magnitude = v128.load64_splat(wideMagnitude);
    let sum = v128.load(magnitudes + quarter);
    let square = v128.load(squares + quarter);
    let p = x + (quarter >> 1);
    for (const end = p + byteLength; p < end; p += 32) {
      const v = f64x2.promote_low_f32x4(v128.load64_zero(p));
      sum = f64x2.add(sum, v128.and(v, magnitude));
      square = f64x2.add(square, f64x2.mul(v, v));
    }
    v128.store(magnitudes + quarter, sum);
    v128.store(squares + quarter, square);
  }
}

/** All sums of three models at once, with their nine lanes in registers: at `at` Σ|δ|, behind it the products. */
export function addTriple(at: usize, x: usize, byteLength: usize): void {
  for (let quarter: usize = 0; quarter < 64; quarter += 16, at += 16) {
    const magnitude = v128.load64_splat(wideMagnitude);
    let sumA = v128.load(at);
    let sumB = v128.load(at, 64);
    let sumC = v128.load(at, 128);
    let aa = v128.load(at, 192);
    let ab = v128.load(at, 256);
    let ac = v128.load(at, 320);
    let bb = v128.load(at, 384);
    let bc = v128.load(at, 448);
    let cc = v128.load(at, 512);
    let p = x + (quarter >> 1);
    for (const end = p + byteLength; p < end; p += 32) {
      const a = f64x2.promote_low_f32x4(v128.load64_zero(p));
      const b = f64x2.promote_low_f32x4(v128.load64_zero(p, 2048));
      const c = f64x2.promote_low_f32x4(v128.load64_zero(p, 4096));
      sumA = f64x2.add(sumA, v128.and(a, magnitude));
      sumB = f64x2.add(sumB, v128.and(b, magnitude));
      sumC = f64x2.add(sumC, v128.and(c, magnitude));
      aa = f64x2.add(aa, f64x2.mul(a, a));
      ab = f64x2.add(ab, f64x2.mul(a, b));
      ac = f64x2.add(ac, f64x2.mul(a, c));
      bb = f64x2.add(bb, f64x2.mul(b, b));
      bc = f64x2.add(bc, f64x2.mul(b, c));
      cc = f64x2.add(cc, f64x2.mul(c, c));
    }
    v128.store(at, sumA);
    v128.store(at, sumB, 64);
    v128.store(at, sumC, 128);
    v128.store(at, aa, 192);
    v128.store(at, ab, 256);
    v128.store(at, ac, 320);
    v128.store(at, bb, 384);
    v128.store(at, bc, 448);
    v128.store(at, cc, 512);
  }
}

function addProducts(at: usize, x: usize, y: usize, byteLength: usize): void {
  let s01 = v128.load(at);
  let s23 = v128.load(at, 16);
  let s45 = v128.load(at, 32);
  let s67 = v128.load(at, 48);
  for (const end = x + byteLength; x < end; x += 32, y += 32) {
    s01 = times(s01, x, y);
    s23 = times(s23, x + 8, y + 8);
    s45 = times(s45, x + 16, y + 16);
    s67 = times(s67, x + 24, y + 24);
  }
  v128.store(at, s01);
  v128.store(at, s23, 16);
  v128.store(at, s45, 32);
  v128.store(at, s67, 48);
}

/** Sums of any number of models: at `at` Σ|δ|, behind it the products. */
export function addPairs(at: usize, deltas: usize, models: usize, byteLength: usize): void {
  let products = at + (models << 6);
  for (let m: usize = 0; m < models; m++) {
    const x = deltas + m * chunkBytes;
    addOwn(at + (m << 6), products, x, byteLength);
    products += 64;
    for (let k = m + 1; k < models; k++, products += 64) addProducts(products, x, deltas + k * chunkBytes, byteLength);
  }
}

export function fold(at: usize): f64 {
  const even = f64x2.add(v128.load(at), v128.load(at, 32));
  const odd = f64x2.add(v128.load(at, 16), v128.load(at, 48));
  const sum = f64x2.add(even, odd);
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}
