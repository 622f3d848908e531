import { dareParameters } from "./dare.ts";
import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import {
  densityParameter,
  electionParameters,
  gammaParameter,
  lambdaParameter,
  normalizeParameter,
  rescaleParameter,
  scopeParameter,
  tiesParameter,
  weightParameter,
} from "./parameters.ts";

/** The window of Model Breadcrumbs (Davari & Belilovsky 2024), then the sign election of TIES over what is left. */
export const breadcrumbsTies: Method = {
  name: "breadcrumbs_ties",
  title: "Model Breadcrumbs, TIES",
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
    ...electionParameters,
    ...dareParameters,
  ],
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "magnitude",
      elect: true,
      normalize: false,
      rescale: "none",
      density: 0.9,
      gamma: 0.01,
      weight: "one",
    }),
  solve: solveDelta,
};
