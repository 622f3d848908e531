// Masks of one bit an element: bit i mod 8 of byte i div 8, the least significant first (EMR-merging's masks on disk).

/** Four lanes whose mask is set where both values have one sign and neither is zero. NaN agrees with nothing. */
function agreeLanes(x: usize, y: usize): v128 {
  const a = v128.load(x);
  const b = v128.load(y);
  const zero = f32x4.splat(0);
  // Compared rather than multiplied: a product of two small deltas underflows to zero.
  const both = v128.and(f32x4.gt(a, zero), f32x4.gt(b, zero));
  return v128.or(both, v128.and(f32x4.lt(a, zero), f32x4.lt(b, zero)));
}

export function agree_bits(bits: usize, x: usize, y: usize, count: usize): i32 {
  let total = 0;
  const end = bits + (count >> 3);
  for (; bits < end; bits++, x += 32, y += 32) {
    const byte = i32x4.bitmask(agreeLanes(x, y)) | (i32x4.bitmask(agreeLanes(x + 16, y + 16)) << 4);
    store<u8>(bits, byte);
    total += popcnt(byte);
  }
  const ragged = count & 7;
  if (ragged == 0) return total;
  let byte = 0;
  for (let i: usize = 0; i < ragged; i++) {
    const a = load<f32>(x + (i << 2));
    const b = load<f32>(y + (i << 2));
    if ((a > 0 && b > 0) || (a < 0 && b < 0)) byte |= 1 << (<i32>i);
  }
  store<u8>(bits, byte);
  return total + popcnt(byte);
}

/** acc + c·x where the bit is set, rounded twice; elsewhere acc as it was. */
export function axpy_bits(acc: usize, x: usize, bits: usize, firstBit: usize, c: f32, count: usize): void {
  const lanes = i32x4(1, 2, 4, 8);
  const factor = f32x4.splat(c);
  const end = acc + (count << 2);
  let bit = firstBit;
  for (; acc + 16 <= end; acc += 16, x += 16, bit += 4) {
    const shift = <u32>(bit & 7);
    const at = bits + (bit >> 3);
    let word: u32 = load<u8>(at);
    if (shift > 4) word |= <u32>load<u8>(at, 1) << 8;
    const set = i32x4.ne(v128.and(i32x4.splat(<i32>(word >> shift)), lanes), i32x4.splat(0));
    const before = v128.load(acc);
    const after = f32x4.add(before, f32x4.mul(factor, v128.load(x)));
    v128.store(acc, v128.bitselect(after, before, set));
  }
  for (; acc < end; acc += 4, x += 4, bit++) {
    if (((<u32>load<u8>(bits + (bit >> 3)) >> (<u32>(bit & 7))) & 1) == 0) continue;
    store<f32>(acc, load<f32>(acc) + c * load<f32>(x));
  }
}
