import { fail, quote } from "../errors.ts";
import { compileMatrix, compileMean, deltaWeights, fractionOf, matricesParameter, matrixOf } from "./matrix.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter, weightParameter } from "./parameters.ts";

/**
 * TSV-Merge (Gargiulo et al. 2025, arXiv 2412.00081): the first k = ⌊min(m, n)/N⌋ singular vectors of every delta, made orthogonal
 * over the models, with their singular values.
 */
export const tsv: Method = {
  name: "tsv",
  title: "TSV-Merge",
  paper: "https://arxiv.org/abs/2412.00081",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    { ...weightParameter, describe: "Multiplies this model's deltas before all else. Given for no model: 1." },
    {
      name: "rank_fraction",
      kind: "number",
      per: "tensor",
      min: 0,
      exclusiveMin: true,
      max: 1,
      describe:
        "Fraction of the singular components that each model keeps; 1/N if not given, and no more than fit side by side.",
    },
    lambdaParameter,
    matricesParameter,
  ],
  compile(tensor: MethodTensor): Compiled {
    const matrix = matrixOf(tensor);
    if (!matrix) return compileMean(tensor);
    const { rows, columns, deltas } = matrix;
    const side = Math.min(rows, columns);
    // ⌊side/N⌋ itself: side·(1/N) may round below it.
    const given = tensor.parameters.rank_fraction !== undefined && tensor.parameters.rank_fraction !== null;
    const wanted = given ? side * fractionOf(tensor, "rank_fraction", 1, true) : side / deltas;
    const rank = Math.max(1, Math.floor(wanted));
    if (given && rank > 1 && rank * deltas > side) {
      fail(
        "recipe-parameter",
        `Cannot take ${rank} components of each of ${deltas} models for ${quote(tensor.name)}: its smaller side has ${side} in all`,
        { hint: `Use a rank_fraction of at most 1/${deltas}, or none.` },
      );
    }
    return compileMatrix(tensor, { rule: { op: "tsv", rank }, weights: deltaWeights(tensor) });
  },
};
