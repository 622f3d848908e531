import { dareParameters } from "./dare.ts";
import { compileDelta, solveDelta } from "./delta.ts";
import type { Method } from "./method.ts";
import { int8Parameter, lambdaParameter, normalizeParameter, rescaleParameter, weightParameter } from "./parameters.ts";

/** base + λ · Σ w·δ (Ilharco et al. 2023, arXiv 2212.04089). */
export const taskArithmetic: Method = {
  name: "task_arithmetic",
  title: "Task arithmetic",
  paper: "https://arxiv.org/abs/2212.04089",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    weightParameter,
    normalizeParameter(false),
    lambdaParameter,
    int8Parameter,
    rescaleParameter(false),
    ...dareParameters,
  ],
  compile: (tensor) =>
    compileDelta(tensor, {
      sparsify: "none",
      elect: false,
      normalize: false,
      rescale: "none",
      density: 1,
      weight: "one",
    }),
  solve: solveDelta,
};
