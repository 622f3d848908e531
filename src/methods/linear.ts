import type { Compiled, Method, MethodTensor } from "./method.ts";
import { normalizeParameter, weightParameter } from "./parameters.ts";
import { flagOf, weightSum, weightsOf } from "./weights.ts";

/** Weighted average of the models as they are: Σ w·x / Σ w (Wortsman et al. 2022, arXiv 2203.05482). */
export const linear: Method = {
  name: "linear",
  title: "Weighted average",
  paper: "https://arxiv.org/abs/2203.05482",
  base: "optional",
  baseIsInput: true,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [weightParameter, normalizeParameter(true)],
  compile(tensor: MethodTensor): Compiled {
    const weights = weightsOf(tensor, tensor.inputs, 1);
    const divisor = flagOf(tensor, "normalize", true) ? weightSum(tensor, weights) : 1;
    const terms = tensor.inputs.map((i, k) => ({ input: i.input, weight: weights[k]!, scale: 1, keep: {} }));
    const inputs = tensor.inputs.map((i) => i.dtype);
    // Dividing the sum, not each weight, lets equal models average to themselves: 1/3 alone is already rounded.
    return {
      surveys: [],
      program: { op: "merge", inputs, out: tensor.out, base: null, terms, combine: { op: "sum" }, lambda: 1 / divisor },
      solve: {},
      notes: [],
    };
  },
};
