// Stochastic rounding: unbiased where nearest-even loses small changes, and the same bits on every machine.

import { philoxBytes } from "./philox";

/** Random words of blocks (blockLo, blockHi), … for `count` elements, four a block; writes up to 124 bytes more. */
export function philox_words(out: usize, k0: u32, k1: u32, blockLo: u32, blockHi: u32, count: usize): void {
  philoxBytes(out, out + (count << 2), blockLo, blockHi, k0, k1);
}

/**
 * Stochastic rounding in place: x becomes one of the two neighbours that a dtype with `fraction` bits and smallest normal
 * 2^`lowest` has, up with the probability of the distance to the lower one. Element i takes word i mod 4 of the words at
 * `bits` (four a block). What the dtype holds, NaN and infinities stay.
 */
export function dither(x: usize, bits: usize, fraction: i32, lowest: i32, count: usize): void {
  const dropped: u32 = <u32>(23 - fraction);
  const low: u32 = (<u32>1 << dropped) - 1;
  const smallest: u32 = <u32>(127 + lowest) << 23;
  // The distance of neighbours below the smallest normal, and its reciprocal: powers of two, in f64 where both are normal.
  const unit = reinterpret<f64>(<u64>(1023 + lowest - fraction) << 52);
  const perUnit = reinterpret<f64>(<u64>(1023 - lowest + fraction) << 52);
  for (let i: usize = 0; i < count; i++) {
    const at = x + (i << 2);
    const raw = load<u32>(at);
    const magnitude = raw & 0x7fffffff;
    if (magnitude >= 0x7f800000) continue;
    const sign = raw & 0x80000000;
    const random = load<u32>(bits + (i << 2));
    if (magnitude >= smallest) {
      // Up where the dropped bits and as many random ones carry.
      store<u32>(at, sign | ((magnitude + (random >> (32 - dropped))) & ~low));
    } else {
      const units = <f64>reinterpret<f32>(magnitude) * perUnit;
      const down = floor<f64>(units);
      const up = <f64>random < (units - down) * 4294967296.0;
      store<u32>(at, sign | reinterpret<u32>(<f32>((up ? down + 1.0 : down) * unit)));
    }
  }
}
