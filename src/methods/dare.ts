// The DARE step before another method: `dare: p` on a model drops that part of its delta at random and rescales the rest.

import { fail, quote } from "../errors.ts";
import { maskKey, maskRescale, maskThreshold } from "../kernel/mask.ts";
import type { Keep } from "../kernel/program.ts";
import type { ParameterSpec } from "../recipe/catalogue.ts";
import type { MethodInput, MethodTensor } from "./method.ts";
import { flagOf } from "./weights.ts";

/** What is left of a delta, and the factor that keeps its expectation. */
export interface Thinned {
  readonly keep: Keep;
  readonly scale: number;
}

export const dareParameters: readonly ParameterSpec[] = [
  {
    name: "dare",
    kind: "number",
    per: "model",
    min: 0,
    max: 1,
    exclusiveMax: true,
    describe: "DARE first: drop this fraction of the model's delta at random, in [0, 1). Needs a base_model.",
  },
  {
    name: "dare_rescale",
    kind: "boolean",
    per: "tensor",
    default: true,
    describe: "With dare: multiply what survives by 1/(1 − p).",
  },
];

/** A delta after a random drop with probability `rate` (Yu et al. 2024, arXiv 2311.03099). */
export function drop(tensor: MethodTensor, input: MethodInput, rate: number, rescale: boolean): Thinned {
  const threshold = maskThreshold(rate);
  if (threshold === 0) return { keep: {}, scale: 1 };
  const key = maskKey(tensor.seed, input.modelIndex, tensor.name);
  return { keep: { random: { key, threshold } }, scale: rescale ? maskRescale(threshold) : 1 };
}

/** The `dare` step of one model; without one, its whole delta. `base` null: there is no delta to drop from. */
export function dareOf(tensor: MethodTensor, input: MethodInput, base: MethodInput | null): Thinned {
  const rate = input.parameters.dare ?? 0;
  if (typeof rate !== "number" || !(rate >= 0 && rate < 1)) {
    fail(
      "recipe-parameter",
      `Cannot use dare ${String(rate)} of ${quote(input.model)} for ${quote(tensor.name)}: the drop rate must be in [0, 1)`,
    );
  }
  if (rate > 0 && base === null) {
    fail(
      "recipe-parameter",
      `Cannot drop from the delta of ${quote(input.model)} for ${quote(tensor.name)}: there is no base to take it from`,
      { hint: "Give a base_model that has this tensor, or leave out `dare`." },
    );
  }
  return drop(tensor, input, rate, flagOf(tensor, "dare_rescale", true));
}
