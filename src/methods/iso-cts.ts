import { compileMatrix, compileMean, deltaWeights, fractionOf, matricesParameter, matrixOf } from "./matrix.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter, weightParameter } from "./parameters.ts";

/**
 * Iso-CTS (Marczak et al. 2025, arXiv 2502.04959): the first components of the sum of the deltas, and of what each delta has beside
 * them its first ones; orthogonal, with one singular value for all.
 */
export const isoCts: Method = {
  name: "iso_cts",
  title: "Iso-CTS",
  paper: "https://arxiv.org/abs/2502.04959",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    { ...weightParameter, describe: "Multiplies this model's deltas before all else. Given for no model: 1." },
    {
      name: "common_fraction",
      kind: "number",
      per: "tensor",
      default: 0.8,
      min: 0,
      exclusiveMin: true,
      max: 1,
      exclusiveMax: true,
      describe:
        "Fraction of the components that comes from the sum of the deltas, in (0, 1); each model gives an equal share of the rest.",
    },
    { ...lambdaParameter, aliases: [{ name: "alpha", as: "same" }], describe: "α, the scale of the merged delta." },
    matricesParameter,
  ],
  compile(tensor: MethodTensor): Compiled {
    const matrix = matrixOf(tensor);
    if (!matrix) return compileMean(tensor);
    const side = Math.min(matrix.rows, matrix.columns);
    const left = side - Math.floor(side * fractionOf(tensor, "common_fraction", 0.8, false));
    const specific = halfEven(left / matrix.deltas);
    const common = side - specific * matrix.deltas;
    return compileMatrix(tensor, { rule: { op: "isotropic", common, specific }, weights: deltaWeights(tensor) });
  },
};

/** To the nearest whole number, halves to the even one, as the authors' code rounds. */
function halfEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
