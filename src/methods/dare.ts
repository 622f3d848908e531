// The DARE step before another method: `dare: p` on a model drops that part of its delta at random and rescales the rest.

import { fail, quote } from "../errors.ts";
import { maskRescale } from "../kernel/mask.ts";
import type { Thinned } from "../kernel/program.ts";
import type { ParameterSpec } from "../recipe/catalogue.ts";
import type { MethodInput, MethodTensor } from "./method.ts";
import { randomDrop, randomParameters } from "./random.ts";
import { flagOf } from "./weights.ts";

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
  ...randomParameters,
];

/** A delta after a random drop with probability `rateOf(input)` (Yu et al. 2024, arXiv 2311.03099). */
export function drop(
  tensor: MethodTensor,
  input: MethodInput,
  rateOf: (input: MethodInput) => number,
  rescale: boolean,
): Thinned {
  const random = randomDrop(tensor, input, rateOf);
  if (!random) return { keep: {}, scale: 1 };
  return { keep: { random }, scale: rescale ? maskRescale(random.threshold) : 1 };
}

/** p of a model's `dare` step, 0 without one. */
export function dareRate(tensor: MethodTensor, input: MethodInput): number {
  const rate = input.parameters.dare ?? 0;
  if (typeof rate === "number" && rate >= 0 && rate < 1) return rate;
  fail(
    "recipe-parameter",
    `Cannot use dare ${String(rate)} of ${quote(input.model)} for ${quote(tensor.name)}: the drop rate must be in [0, 1)`,
  );
}

/** The `dare` step of one model; without one, its whole delta. `base` null: there is no delta to drop from. */
export function dareOf(tensor: MethodTensor, input: MethodInput, base: MethodInput | null): Thinned {
  const rateOf = (i: MethodInput) => dareRate(tensor, i);
  if (rateOf(input) > 0 && base === null) {
    fail(
      "recipe-parameter",
      `Cannot drop from the delta of ${quote(input.model)} for ${quote(tensor.name)}: there is no base to take it from`,
      { hint: "Give a base_model that has this tensor, or leave out `dare`." },
    );
  }
  return drop(tensor, input, rateOf, flagOf(tensor, "dare_rescale", true));
}
