// Slow, obvious twins of the kernels on masks of one bit an element (assembly/bits.ts).

/** Bits that say where x and y have one sign and neither is zero, and how many there are. */
export function agreeBits(x: Float32Array, y: Float32Array): { bits: Uint8Array; set: number } {
  const bits = new Uint8Array(Math.ceil(x.length / 8));
  let set = 0;
  for (let i = 0; i < x.length; i++) {
    if (!((x[i]! > 0 && y[i]! > 0) || (x[i]! < 0 && y[i]! < 0))) continue;
    bits[i >> 3]! |= 1 << (i & 7);
    set++;
  }
  return { bits, set };
}

/** acc + c·x where bit `firstBit` + i is set, elsewhere acc. */
export function axpyBits(
  acc: Float32Array,
  x: Float32Array,
  bits: Uint8Array,
  firstBit: number,
  c: number,
): Float32Array {
  return acc.map((a, i) => {
    const bit = firstBit + i;
    return (bits[bit >> 3]! >> (bit & 7)) & 1 ? Math.fround(a + Math.fround(Math.fround(c) * x[i]!)) : a;
  });
}
