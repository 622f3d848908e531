// From logits to a token: the largest, or one drawn at a temperature. Draws are addressed by seed, text and position, like masks, so
// that they do not depend on what runs beside them.

import { keyOf } from "../kernel/mask.ts";
import { philox } from "../kernel/reference.ts";

/** The first of the largest; NaN counts as larger than everything, as in torch. */
export function largest(logits: Float32Array): number {
  let best = 0;
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) {
    const x = logits[i]!;
    if (x > top) {
      top = x;
      best = i;
    } else if (Number.isNaN(x)) return i;
  }
  return best;
}

/** 53 bits in [0, 1) for a position of a text: Philox under SHA-256("braid-sample-v1\0seed"). */
export function uniform(seed: string, text: number, position: number): number {
  const [a, b] = philox([position, text, 0, 0], keyOf(`braid-sample-v1\0${seed}`)) as [number, number, ...number[]];
  return ((a >>> 5) * 2 ** 26 + (b >>> 6)) / 2 ** 53;
}

/**
 * The token where the distribution softmax(logits / temperature) first exceeds `u` in [0, 1); the largest at temperature 0. `exp` is
 * the kernels', so that every engine draws the same.
 */
export function draw(logits: Float32Array, temperature: number, u: number, exp: (x: number) => number): number {
  const best = largest(logits);
  if (temperature === 0 || !Number.isFinite(logits[best]!)) return best;
  const top = logits[best]!;
  const weights = Float64Array.from(logits, (x) => exp((x - top) / temperature));
  let sum = 0;
  for (const w of weights) sum += w;
  let rest = u * sum;
  for (let i = 0; i < weights.length; i++) {
    rest -= weights[i]!;
    if (rest < 0) return i;
  }
  return best;
}
