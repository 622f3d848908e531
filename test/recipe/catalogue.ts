// What a recipe may say to each of mergekit 0.1.5's methods, for the tests of the recipe layer.

import type { Catalogue, MethodSpec, ParameterSpec } from "../../src/recipe/catalogue.ts";

type Extra = Partial<ParameterSpec>;
const number = (name: string, per: "model" | "tensor", describe: string, extra: Extra = {}): ParameterSpec => ({
  name,
  kind: "number",
  per,
  describe,
  ...extra,
});
const boolean = (name: string, describe: string, value?: boolean): ParameterSpec => ({
  name,
  kind: "boolean",
  per: "tensor",
  describe,
  ...(value === undefined ? {} : { default: value }),
});
const choice = (
  name: string,
  describe: string,
  choices: readonly (string | boolean)[],
  extra: Extra = {},
): ParameterSpec => ({
  name,
  kind: "choice",
  per: "tensor",
  describe,
  choices,
  ...extra,
});

const weight = (required: ParameterSpec["required"]): ParameterSpec =>
  number("weight", "model", "Factor of the model.", { required: required ?? true });
const density = (extra: Extra): ParameterSpec =>
  number("density", "model", "Fraction of the delta that is kept.", {
    min: 0,
    exclusiveMin: true,
    max: 1,
    aliases: [{ name: "drop_rate", as: "complement" }],
    ...extra,
  });
const lambda = number("lambda", "tensor", "Scale of the merged delta.", { default: 1 });
const mask = boolean("int8_mask", "Read for mergekit's sake; masks take no memory here.", false);
const rescaleChoices = [true, false, "exact", "l1", "l2", "linf", "q", "none"];
const delta = (normalize: boolean, rescale: boolean, weights: ParameterSpec["required"] = true): ParameterSpec[] => [
  weight(weights),
  boolean("normalize", "Divide by the sum of the weights.", normalize),
  lambda,
  mask,
  choice("rescale", "How kept elements make up for dropped ones.", rescaleChoices, { default: rescale }),
  number("q", "tensor", "The q of rescale: q.", { min: 0, exclusiveMin: true }),
  choice("combine", "Sum or mean of what is kept.", ["sum", "mean"]),
  choice("elect", "What the sign election sums.", ["weighted", "unweighted", "count"]),
  choice("zero", "The elected sign where the sum is zero.", ["drop", "positive", "majority"]),
  choice("ties", "Equal magnitudes at the threshold.", ["include", "exact"]),
  choice("scope", "What a density is a fraction of.", ["tensor", "row", "model"]),
  number("trim", "model", "Fraction kept by a TIES trim after the drop.", { min: 0, exclusiveMin: true, max: 1 }),
  choice("trim_basis", "What trim is a fraction of.", ["elements", "nonzero"]),
  choice("mask", "Masks of several models.", ["independent", "disjoint"]),
];

const any = { base: "none", baseIsInput: true, minModels: 1, maxModels: Number.POSITIVE_INFINITY } as const;
const based = { base: "required", baseIsInput: false, minModels: 1, maxModels: Number.POSITIVE_INFINITY } as const;
type Shape = Pick<MethodSpec, "base" | "baseIsInput" | "minModels" | "maxModels">;
const method = (
  name: string,
  title: string,
  shape: Shape,
  parameters: readonly ParameterSpec[],
  check?: MethodSpec["check"],
): MethodSpec => ({
  name,
  title,
  ...shape,
  parameters,
  implemented: true,
  ...(check ? { check } : {}),
});

const epsilonFits: NonNullable<MethodSpec["check"]> = (_, inputs) =>
  inputs.flatMap(({ density: d, epsilon: e }, input) =>
    typeof d === "number" && typeof e === "number" && d < 1 && !(d - e > 0 && d + e < 1)
      ? [{ parameter: "epsilon", input, message: `epsilon must leave density ± epsilon in (0, 1), found ${d} ± ${e}` }]
      : [],
  );
const della = (normalize: boolean): ParameterSpec[] => [
  ...delta(normalize, true),
  density({ default: 1 }),
  number("epsilon", "model", "Half the width of the window of densities.", { default: 0.15, min: 0 }),
];
const gamma = number("gamma", "model", "Fraction of the largest elements that is dropped.", {
  default: 0.01,
  min: 0,
  max: 1,
  exclusiveMax: true,
});
const epsilon = number("epsilon", "tensor", "Deltas up to this size count as zero.", { default: 1e-5, min: 0 });

const methods: MethodSpec[] = [
  method("linear", "Weighted average", any, [
    weight(true),
    boolean("normalize", "Divide by the sum of the weights.", true),
  ]),
  method("slerp", "Spherical interpolation", { base: "required", baseIsInput: true, minModels: 2, maxModels: 2 }, [
    number("t", "tensor", "0 is the base, 1 the other model.", { required: true, min: 0, max: 1 }),
  ]),
  method("nuslerp", "SLERP of models or deltas", { base: "optional", baseIsInput: false, minModels: 2, maxModels: 2 }, [
    weight(true),
    boolean("nuslerp_flatten", "Take the tensor as one vector.", true),
    boolean("nuslerp_row_wise", "Rows as vectors instead of columns.", false),
  ]),
  method("multislerp", "SLERP of several models", { ...based, base: "optional", minModels: 2 }, [
    weight(true),
    boolean("normalize_weights", "Divide by the sum of the weights.", true),
    number("eps", "tensor", "Norms below this count as zero.", { default: 1e-8, min: 0 }),
  ]),
  method("karcher", "Mean on the sphere", { ...any, minModels: 2 }, [
    number("max_iter", "tensor", "Most steps.", { default: 10, integer: true, min: 1 }),
    number("tol", "tensor", "Step at which to stop.", { default: 1e-5, min: 0, exclusiveMin: true }),
  ]),
  method("task_arithmetic", "Sum of deltas", based, [...delta(false, false), density({ default: 1 })]),
  method("ties", "Trim, elect sign, merge", based, [...delta(true, false), density({ default: 1 })]),
  method("dare_linear", "Drop, rescale, sum", based, [...delta(false, true, "if-any"), density({ required: true })]),
  method("dare_ties", "Drop, rescale, elect sign, merge", based, [
    ...delta(false, true, "if-any"),
    density({ required: true }),
  ]),
  method("breadcrumbs", "Drop the smallest and the largest", based, [
    ...delta(false, false),
    density({ default: 1 }),
    gamma,
  ]),
  method("breadcrumbs_ties", "Breadcrumbs and sign election", based, [
    ...delta(false, false),
    density({ default: 1 }),
    gamma,
  ]),
  method("della", "Drop by rank, elect sign", based, della(true), epsilonFits),
  method("della_linear", "Drop by rank, sum", based, della(false), epsilonFits),
  method("model_stock", "Interpolate by the angle of deltas", { ...based, minModels: 2 }, [
    boolean("filter_wise", "Row by row.", false),
  ]),
  method("nearswap", "Move where models are near", { ...based, maxModels: 1 }, [
    number("t", "tensor", "Distance that counts as near.", { required: true, min: 0 }),
  ]),
  method("arcee_fusion", "Take the important changes", { ...based, maxModels: 1 }, []),
  method("sce", "Select, calculate, erase", based, [
    mask,
    number("select_topk", "tensor", "Fraction of positions.", { default: 1, min: 0, exclusiveMin: true, max: 1 }),
  ]),
  method("ram", "Average where models overlap", based, [epsilon]),
  method("ramplus_tl", "RAM with rescaled unique parts", based, [
    epsilon,
    number("r", "tensor", "Scale of unique parts.", { default: 0.1 }),
    number("alpha", "tensor", "How much overlap matters.", { default: 0.2 }),
  ]),
  method("passthrough", "Copy", { ...any, maxModels: 1 }, [
    number("scale", "model", "Factor; absent leaves the tensor as it is.", { default: null }),
  ]),
];

export const catalogue: Catalogue = new Map(methods.map((m) => [m.name, m]));
