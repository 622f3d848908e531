// RoPE's angles as tables of cosines and sines, made from + − × ÷ and the kernels' own exp and log, so that every engine has the
// same ones. Su et al. 2021, arXiv:2104.09864; the scaling "llama3" as Llama 3.1 defines it.

import type { KernelExports } from "../kernel/exports.ts";
import { turn } from "../kernel/turn.ts";
import type { Architecture } from "./architecture.ts";

const fullTurn = 2 * Math.PI;

/** Radians per position of each of the headSize / 2 pairs: θ^(−2i/headSize), scaled as the config says, rounded to f32. */
export function ropeFrequencies(
  { headSize, ropeTheta, ropeScaling }: Pick<Architecture, "headSize" | "ropeTheta" | "ropeScaling">,
  { exp_f64, log_f64 }: Pick<KernelExports, "exp_f64" | "log_f64">,
): Float32Array<ArrayBuffer> {
  const log = log_f64(ropeTheta);
  return Float32Array.from({ length: headSize / 2 }, (_, i) => {
    const frequency = exp_f64(((-2 * i) / headSize) * log);
    if (ropeScaling.kind === "none") return frequency;
    if (ropeScaling.kind === "linear") return frequency / ropeScaling.factor;
    const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = ropeScaling;
    const turns = (originalContext * frequency) / fullTurn;
    // Pairs that turn often over the original context stay, those that hardly turn are stretched, between them it is blended.
    if (turns > high) return frequency;
    if (turns < low) return frequency / factor;
    const share = (turns - low) / (high - low);
    return ((1 - share) * frequency) / factor + share * frequency;
  });
}

/** Cosines, then sines, of position · frequency, `positions` rows of `frequencies.length` each. Angles are f32, as in transformers. */
export function ropeTables(
  frequencies: Float32Array,
  positions: number,
): { cosines: Float32Array<ArrayBuffer>; sines: Float32Array<ArrayBuffer> } {
  const half = frequencies.length;
  const cosines = new Float32Array(positions * half);
  const sines = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const { cos, sin } = turn(Math.fround(position * frequencies[i]!), fullTurn);
      cosines[position * half + i] = cos;
      sines[position * half + i] = sin;
    }
  }
  return { cosines, sines };
}
