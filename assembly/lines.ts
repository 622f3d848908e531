// Tensors as many vectors: the columns of their rows. Element i of a run belongs to column (first + i) mod length, and sums of a
// column take its elements in their order, as one loop over the elements would.

/** sums[c] += a·b, f64. */
export function dots_columns(sums: usize, a: usize, b: usize, first: usize, length: usize, count: usize): void {
  const end = a + (count << 2);
  let column = first;
  while (a < end) {
    const n = min<usize>(length - column, (end - a) >> 2);
    let at = sums + (column << 3);
    const stop = a + (n << 2);
    for (; a + 8 <= stop; a += 8, b += 8, at += 16) {
      const x = f64x2.promote_low_f32x4(v128.load64_zero(a));
      const y = f64x2.promote_low_f32x4(v128.load64_zero(b));
      v128.store(at, f64x2.add(v128.load(at), f64x2.mul(x, y)));
    }
    if (a < stop) {
      store<f64>(at, load<f64>(at) + <f64>load<f32>(a) * <f64>load<f32>(b));
      a += 4;
      b += 4;
    }
    column = 0;
  }
}

/** out ← c·x, element by element; `out` may be `x`. */
export function scale_each(out: usize, x: usize, c: usize, count: usize): void {
  const end = x + (count << 2);
  for (; x + 16 <= end; out += 16, x += 16, c += 16) v128.store(out, f32x4.mul(v128.load(x), v128.load(c)));
  for (; x < end; out += 4, x += 4, c += 4) store<f32>(out, load<f32>(x) * load<f32>(c));
}

/** acc ← acc + c·x, element by element, rounded twice. */
export function axpy_each(acc: usize, x: usize, c: usize, count: usize): void {
  const end = x + (count << 2);
  for (; x + 16 <= end; acc += 16, x += 16, c += 16)
    v128.store(acc, f32x4.add(v128.load(acc), f32x4.mul(v128.load(x), v128.load(c))));
  for (; x < end; acc += 4, x += 4, c += 4) store<f32>(acc, load<f32>(acc) + load<f32>(x) * load<f32>(c));
}

/** Adds to counts[0] how many are above zero, to counts[1] how many below; NaN is neither. */
export function count_signs(counts: usize, x: usize, count: usize): void {
  const zero = f32x4.splat(0);
  let above = i32x4.splat(0);
  let below = i32x4.splat(0);
  const end = x + (count << 2);
  for (; x + 16 <= end; x += 16) {
    const v = v128.load(x);
    above = i32x4.sub(above, f32x4.gt(v, zero));
    below = i32x4.sub(below, f32x4.lt(v, zero));
  }
  let positive = i32x4.extract_lane(above, 0) + i32x4.extract_lane(above, 1);
  positive += i32x4.extract_lane(above, 2) + i32x4.extract_lane(above, 3);
  let negative = i32x4.extract_lane(below, 0) + i32x4.extract_lane(below, 1);
  negative += i32x4.extract_lane(below, 2) + i32x4.extract_lane(below, 3);
  for (; x < end; x += 4) {
    const v = load<f32>(x);
    positive += i32(v > 0);
    negative += i32(v < 0);
  }
  store<u32>(counts, load<u32>(counts) + positive);
  store<u32>(counts, load<u32>(counts, 4) + negative, 4);
}
