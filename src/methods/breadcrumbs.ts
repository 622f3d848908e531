import { dareParameters } from "./dare.ts";
import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import {
  densityParameter,
  gammaParameter,
  int8Parameter,
  lambdaParameter,
  normalizeParameter,
  rescaleParameter,
  scopeParameter,
  tiesParameter,
  weightParameter,
} from "./parameters.ts";

/** Drop both tails of every delta, the largest and the smallest magnitudes, and add up the rest (Davari & Belilovsky 2024). */
export const breadcrumbs: Method = {
  name: "breadcrumbs",
  title: "Model Breadcrumbs",
  paper: "https://arxiv.org/abs/2312.06795",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    weightParameter,
    densityParameter(0.9),
    gammaParameter,
    normalizeParameter(false),
    lambdaParameter,
    rescaleParameter(false),
    tiesParameter,
    scopeParameter,
    int8Parameter,
    ...dareParameters,
  ],
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "magnitude",
      elect: false,
      normalize: false,
      rescale: "none",
      density: 0.9,
      gamma: 0.01,
      weight: "one",
    }),
  solve: solveDelta,
};
