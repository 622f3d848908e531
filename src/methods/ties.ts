import { dareParameters } from "./dare.ts";
import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import {
  densityParameter,
  electionParameters,
  lambdaParameter,
  normalizeParameter,
  rescaleParameter,
  scopeParameter,
  tiesParameter,
  trimBasisParameter,
  weightParameter,
} from "./parameters.ts";

/** Trim by magnitude, elect a sign, merge what agrees (Yadav et al. 2023, arXiv 2306.01708). */
export const ties: Method = {
  name: "ties",
  title: "TIES",
  paper: "https://arxiv.org/abs/2306.01708",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    weightParameter,
    densityParameter(1),
    normalizeParameter(true),
    lambdaParameter,
    rescaleParameter(false),
    tiesParameter,
    scopeParameter,
    ...electionParameters,
    ...dareParameters,
    trimBasisParameter,
  ],
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "magnitude",
      elect: true,
      normalize: true,
      rescale: "none",
      density: 1,
      weight: "one",
    }),
  solve: solveDelta,
};
