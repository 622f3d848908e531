// Parameters that several methods share. Ranges and defaults are those of methods.md §12.1 and of mergekit's recipes.

import type { ParameterSpec } from "../recipe/catalogue.ts";

export const weightParameter: ParameterSpec = {
  name: "weight",
  kind: "number",
  per: "model",
  required: "if-any",
  describe: "How much this model counts. Given for no model: equal weights (1/N for DARE).",
};

/** `undefined`: the recipe must say it, because a default of 1 would drop nothing. */
export function densityParameter(fallback: number | undefined): ParameterSpec {
  return {
    name: "density",
    kind: "number",
    per: "model",
    ...(fallback === undefined ? {} : { default: fallback }),
    min: 0,
    exclusiveMin: true,
    max: 1,
    describe: "Fraction of the delta that is kept, in (0, 1]; drop_rate is 1 − density.",
    aliases: [{ name: "drop_rate", as: "complement" }],
  };
}

export function normalizeParameter(fallback: boolean): ParameterSpec {
  return {
    name: "normalize",
    kind: "boolean",
    per: "tensor",
    default: fallback,
    describe: "Divide by the sum of the weights (of the agreeing ones after a sign election).",
  };
}

export const lambdaParameter: ParameterSpec = {
  name: "lambda",
  kind: "number",
  per: "tensor",
  default: 1,
  describe: "Scale of the merged delta before it is added to the base.",
};

/** A boolean as in mergekit, or the name of a rule. */
export function rescaleParameter(fallback: boolean): ParameterSpec {
  return {
    name: "rescale",
    kind: "choice",
    per: "tensor",
    default: fallback,
    choices: [true, false, "exact", "l1", "l2", "linf", "q", "none"],
    describe:
      "What multiplies the survivors: exact 1/(1 − p); l1, l2, linf match that norm of the whole delta; q divides by q; none.",
  };
}

export const rankRescaleParameter: ParameterSpec = {
  name: "rescale",
  kind: "choice",
  per: "tensor",
  default: true,
  choices: [true, false, "exact", "l1", "l2", "linf", "none"],
  describe:
    "What multiplies the survivors: exact, each 1/(its probability of staying); l1, l2, linf match that norm of the whole delta; none.",
};

/** DELLA's, when the recipe names none: mergekit's. */
export const defaultEpsilon = 0.15;

export const epsilonParameter: ParameterSpec = {
  name: "epsilon",
  kind: "number",
  per: "model",
  default: defaultEpsilon,
  min: 0,
  describe:
    "Half the window of keep probabilities: density − epsilon for the smallest delta of a row, density + epsilon for the largest.",
};

export const qParameters: readonly ParameterSpec[] = [
  {
    name: "q",
    kind: "number",
    per: "tensor",
    min: 0,
    exclusiveMin: true,
    describe: "With rescale q: survivors are divided by q, between the density and 1 (DAREx).",
  },
  {
    name: "q_file",
    kind: "string",
    per: "tensor",
    describe: "With rescale q: a JSON file of q by tensor name or part of a name, relative to the recipe.",
  },
];

export const tiesParameter: ParameterSpec = {
  name: "ties",
  kind: "choice",
  per: "tensor",
  choices: ["include", "exact"],
  describe:
    "Equal magnitudes at the threshold: keep them all (include), or the lowest indices until k is reached (exact).",
};

export const gammaParameter: ParameterSpec = {
  name: "gamma",
  kind: "number",
  per: "model",
  default: 0.01,
  min: 0,
  max: 1,
  exclusiveMax: true,
  describe: "Fraction of the largest deltas that drops as well, in [0, 1).",
};

export const scopeParameter: ParameterSpec = {
  name: "scope",
  kind: "choice",
  per: "tensor",
  choices: ["tensor", "model", "row"],
  describe:
    "What a magnitude trim ranks together: each tensor (the default), all merged tensors of a model (the TIES paper), or each row.",
};

export const electionParameters: readonly ParameterSpec[] = [
  {
    name: "elect",
    kind: "choice",
    per: "tensor",
    choices: ["weighted", "unweighted", "count"],
    describe: "What the sign election sums: w·δ, δ, or the signs alone.",
  },
  {
    name: "zero",
    kind: "choice",
    per: "tensor",
    choices: ["drop", "positive", "majority"],
    describe:
      "The sign where the election's sum is zero: none (drop), + (mergekit), or what most elements of the model got (majority).",
  },
  {
    name: "combine",
    kind: "choice",
    per: "tensor",
    choices: ["sum", "mean"],
    describe: "Sum of the agreeing deltas, or that sum divided by the agreeing weights.",
  },
  {
    name: "int8_mask",
    kind: "boolean",
    per: "tensor",
    default: false,
    describe: "Accepted for mergekit's sake: Braid stores no mask.",
  },
];

export const trimBasisParameter: ParameterSpec = {
  name: "trim_basis",
  kind: "choice",
  per: "tensor",
  choices: ["survivors", "all"],
  describe: "What a trim's fraction counts after a random drop: survivors, or all elements.",
};

export const trimParameters: readonly ParameterSpec[] = [
  {
    name: "trim",
    kind: "number",
    per: "tensor",
    min: 0,
    exclusiveMin: true,
    max: 1,
    describe: "After the random drop, keep this fraction of the largest magnitudes.",
  },
  trimBasisParameter,
];

export const int8Parameter: ParameterSpec = electionParameters.find((p) => p.name === "int8_mask")!;

export const slerpParameter: ParameterSpec = {
  name: "t",
  kind: "number",
  per: "tensor",
  required: true,
  min: 0,
  max: 1,
  describe: "Position on the arc: 0 is the base_model, 1 the other model.",
};

export const changeParameter: ParameterSpec = {
  name: "epsilon",
  kind: "number",
  per: "tensor",
  default: 1e-5,
  min: 0,
  describe: "A delta counts as a change where its magnitude is above this.",
};
