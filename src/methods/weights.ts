// Weights and densities of a recipe's models, checked where a method uses them.

import { fail, quote } from "../errors.ts";
import type { MethodInput, MethodTensor } from "./method.ts";
import { smallestWeightSum } from "./method.ts";

/** A number of one input, or undefined where the recipe has none. */
export function finite(tensor: MethodTensor, input: MethodInput, name: string): number | undefined {
  const value = input.parameters[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isFinite(value)) {
    fail(
      "recipe-parameter",
      `Cannot use ${name} ${String(value)} of ${quote(input.model)} for ${quote(tensor.name)}: it must be a finite number`,
    );
  }
  return value;
}

/** One weight per input. None given at all: `fallback`; given for some only: an error that names those without. */
export function weightsOf(tensor: MethodTensor, inputs: readonly MethodInput[], fallback: number): number[] {
  const given = inputs.map((i) => finite(tensor, i, "weight"));
  if (given.every((w) => w === undefined)) return inputs.map(() => fallback);
  return given.map((w, k) => {
    if (w !== undefined) return w;
    return fail(
      "recipe-parameter",
      `Cannot merge ${quote(tensor.name)}: ${quote(inputs[k]!.model)} has no weight, but other models have one`,
      {
        hint: "Give every model a weight, or set `weight` once under the top-level `parameters`.",
      },
    );
  });
}

/** Σ w for a normalised merge, refused where dividing by it means nothing. */
export function weightSum(tensor: MethodTensor, weights: readonly number[]): number {
  const sum = weights.reduce((a, b) => a + b, 0);
  if (Math.abs(sum) >= smallestWeightSum) return sum;
  if (tensor.mergekit) return 1;
  fail("recipe-parameter", `Cannot normalise the weights of ${quote(tensor.name)}: they sum to ${sum}`, {
    hint: "Use weights that do not cancel, or `normalize: false`.",
  });
}

/** The density of an input, or `fallback`; without one (undefined) the recipe must say it. */
export function densityOf(tensor: MethodTensor, input: MethodInput, fallback: number | undefined): number {
  const density = finite(tensor, input, "density") ?? fallback;
  if (density === undefined) {
    fail(
      "recipe-parameter",
      `Cannot merge ${quote(tensor.name)}: ${quote(input.model)} has neither density nor drop_rate, so nothing would be dropped`,
      {
        hint: "Set `drop_rate` (DARE's p; the paper's start is 0.9) or `density` (1 − p) per model or under the top-level `parameters`.",
      },
    );
  }
  const lowest = tensor.mergekit ? density >= 0 : density > 0;
  if (!lowest || (density > 1 && !tensor.mergekit)) {
    fail(
      "recipe-parameter",
      `Cannot use density ${density} (drop rate ${1 - density}) of ${quote(input.model)} for ${quote(tensor.name)}: density must be in (0, 1], drop_rate in [0, 1)`,
    );
  }
  return Math.min(1, density);
}

/** γ, the fraction of the largest that a window drops. */
export function gammaOf(tensor: MethodTensor, input: MethodInput, fallback: number): number {
  const gamma = finite(tensor, input, "gamma") ?? fallback;
  if (gamma >= 0 && gamma < 1) return gamma;
  fail(
    "recipe-parameter",
    `Cannot use gamma ${gamma} of ${quote(input.model)} for ${quote(tensor.name)}: gamma must be in [0, 1)`,
  );
}

/** A parameter of the whole tensor with its default. */
export function numberOf(tensor: MethodTensor, name: string, fallback: number): number {
  const value = tensor.parameters[name] ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value)) {
    fail(
      "recipe-parameter",
      `Cannot use ${name} ${String(value)} for ${quote(tensor.name)}: it must be a finite number`,
    );
  }
  return value;
}

export function flagOf(tensor: MethodTensor, name: string, fallback: boolean): boolean {
  const value = tensor.parameters[name] ?? fallback;
  return Boolean(value);
}

export function choiceOf<T extends string>(tensor: MethodTensor, name: string, choices: readonly T[], fallback: T): T {
  const value = tensor.parameters[name] ?? fallback;
  if (typeof value === "string" && (choices as readonly string[]).includes(value)) return value as T;
  fail(
    "recipe-parameter",
    `Cannot use ${name} ${String(value)} for ${quote(tensor.name)}: it must be one of ${choices.join(", ")}`,
  );
}
