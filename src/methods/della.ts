import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import {
  densityParameter,
  electionParameters,
  epsilonParameter,
  lambdaParameter,
  normalizeParameter,
  rankRescaleParameter,
  weightParameter,
} from "./parameters.ts";
import { epsilonFits } from "./rows.ts";

/**
 * DARE by rank, then the sign election and disjoint mean of TIES: large deltas of a row stay more often than small ones (Deep et al.
 * 2024, arXiv 2406.11617).
 */
export const della: Method = {
  name: "della",
  title: "DELLA",
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
    normalizeParameter(true),
    lambdaParameter,
    rankRescaleParameter,
    ...electionParameters,
  ],
  check: epsilonFits,
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "rank",
      elect: true,
      normalize: true,
      rescale: "exact",
      density: undefined,
      weight: "one",
    }),
  solve: solveDelta,
};
