import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import {
  densityParameter,
  int8Parameter,
  lambdaParameter,
  normalizeParameter,
  qParameters,
  rescaleParameter,
  weightParameter,
} from "./parameters.ts";
import { randomParameters } from "./random.ts";

/** Drop deltas at random, rescale the survivors by 1/(1 − p), sum (Yu et al. 2024, arXiv 2311.03099). */
export const dareLinear: Method = {
  name: "dare_linear",
  title: "DARE, linear",
  paper: "https://arxiv.org/abs/2311.03099",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    weightParameter,
    densityParameter(undefined),
    normalizeParameter(false),
    lambdaParameter,
    rescaleParameter(true),
    ...qParameters,
    ...randomParameters,
    int8Parameter,
  ],
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "random",
      elect: false,
      normalize: false,
      rescale: "exact",
      density: undefined,
      weight: "mean",
    }),
  solve: solveDelta,
};
