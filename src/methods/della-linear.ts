import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import {
  densityParameter,
  epsilonParameter,
  int8Parameter,
  lambdaParameter,
  normalizeParameter,
  rankRescaleParameter,
  weightParameter,
} from "./parameters.ts";
import { epsilonFits } from "./rows.ts";

/** The random drop of DELLA, by the rank of a delta in its row, then a sum (Deep et al. 2024, arXiv 2406.11617). */
export const dellaLinear: Method = {
  name: "della_linear",
  title: "DELLA, linear",
  paper: "https://arxiv.org/abs/2406.11617",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    weightParameter,
    densityParameter(undefined),
    epsilonParameter,
    normalizeParameter(false),
    lambdaParameter,
    rankRescaleParameter,
    int8Parameter,
  ],
  check: epsilonFits,
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "rank",
      elect: false,
      normalize: false,
      rescale: "exact",
      density: undefined,
      weight: "mean",
    }),
  solve: solveDelta,
};
