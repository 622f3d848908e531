import { compileMatrix, compileMean, deltaWeights, matricesParameter, matrixOf } from "./matrix.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter, weightParameter } from "./parameters.ts";

/** Iso-C (Marczak et al. 2025, arXiv 2502.04959): the sum of the deltas with every singular value replaced by their mean. */
export const isoC: Method = {
  name: "iso_c",
  title: "Iso-C",
  paper: "https://arxiv.org/abs/2502.04959",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    { ...weightParameter, describe: "Multiplies this model's deltas before all else. Given for no model: 1." },
    { ...lambdaParameter, aliases: [{ name: "alpha", as: "same" }], describe: "α, the scale of the merged delta." },
    matricesParameter,
  ],
  compile(tensor: MethodTensor): Compiled {
    const matrix = matrixOf(tensor);
    if (!matrix) return compileMean(tensor);
    const rule = { op: "isotropic", common: Math.min(matrix.rows, matrix.columns), specific: 0 } as const;
    return compileMatrix(tensor, { rule, weights: deltaWeights(tensor) });
  },
};
