// braid-mask-v1, the host's part: the key of a mask, its threshold and the rescale that goes with it (docs/mask.md).

import { sha256 } from "@noble/hashes/sha2.js";

/** Elements that share one Philox block, a byte each. */
export const maskBlockElements = 16;

const two32 = 2 ** 32;

/**
 * The Philox key of one model's mask for one tensor: the first two little-endian u32 of
 * SHA-256("braid-mask-v1\0seed\0modelIndex\0tensorName") in UTF-8. `modelIndex` counts the recipe's non-base models from 0.
 */
export function maskKey(seed: number | bigint | string, modelIndex: number, tensorName: string): [number, number] {
  return keyOf(`braid-mask-v1\0${seed}\0${modelIndex}\0${tensorName}`);
}

/**
 * The Philox key of one output tensor's stochastic rounding: as `maskKey`, of "braid-round-v1\0seed\0tensorName".
 */
export function roundingKey(seed: number | bigint | string, tensorName: string): [number, number] {
  return keyOf(`braid-round-v1\0${seed}\0${tensorName}`);
}

/** A Philox key: the first two little-endian u32 of the SHA-256 of a text in UTF-8. */
export function keyOf(text: string): [number, number] {
  const digest = sha256(new TextEncoder().encode(text));
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  return [view.getUint32(0, true), view.getUint32(4, true)];
}

/** T = min(⌊p·2³² + ½⌋, 2³² − 1) for a drop probability p in [0, 1]; an element drops when its 32 bits are below T. */
export function maskThreshold(dropProbability: number): number {
  return Math.min(Math.floor(dropProbability * two32 + 0.5), two32 - 1);
}

/** 1/(1 − T/2³²), the factor that keeps the expectation: exact for the probability that the mask really has. f64. */
export function maskRescale(threshold: number): number {
  return 1 / (1 - threshold / two32);
}
