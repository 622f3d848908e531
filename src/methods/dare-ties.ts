import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import {
  densityParameter,
  electionParameters,
  lambdaParameter,
  normalizeParameter,
  qParameters,
  rescaleParameter,
  scopeParameter,
  tiesParameter,
  trimParameters,
  weightParameter,
} from "./parameters.ts";
import { randomParameters } from "./random.ts";

/** DARE's random drop, then the sign election of TIES over the survivors (Yu et al. 2024, arXiv 2311.03099). */
export const dareTies: Method = {
  name: "dare_ties",
  title: "DARE, TIES",
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
    tiesParameter,
    scopeParameter,
    ...electionParameters,
    ...trimParameters,
  ],
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "random",
      elect: true,
      normalize: false,
      rescale: "exact",
      density: undefined,
      weight: "mean",
    }),
  solve: solveDelta,
};
