import { fail, quote } from "../errors.ts";
import { type Coefficients, compileAlone, compileCombination, type Gram, linesOf, solvedBy } from "./combination.ts";
import { dareParameters } from "./dare.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { flagOf } from "./weights.ts";

/** mergekit divides by no product of norms below this, which pulls the cosine of small deltas towards 0. */
const mergekitFloor = 1e-6;
/** Where 1 + (N − 1)c is smaller, there is no ratio: the base stays. */
const smallestDenominator = 1e-6;

/**
 * base + t · mean(δ) with t = N c / (1 + (N − 1) c), c the mean cosine of all pairs of deltas (Jang et al. 2024,
 * arXiv 2403.19522). Deltas that point apart give t < 0 or, near c = −1/(N − 1), any size: t is clamped to [0, 1], as mergekit
 * does not.
 */
export const modelStock: Method = {
  name: "model_stock",
  title: "Model Stock",
  paper: "https://arxiv.org/abs/2403.19522",
  base: "required",
  baseIsInput: false,
  minModels: 2,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    { name: "filter_wise", kind: "boolean", per: "tensor", default: false, describe: "A ratio for each row." },
    {
      name: "clamp",
      kind: "boolean",
      per: "tensor",
      describe: "Keep the ratio t in [0, 1], so that the result lies between the base and the mean. Default true.",
    },
    ...dareParameters,
  ],
  compile(tensor: MethodTensor): Compiled {
    const base = tensor.inputs.find((i) => i.isBase);
    if (!base) {
      fail("tensor-missing", `Cannot merge ${quote(tensor.name)}: the base model does not have it`, {
        hint: "Use a base_model that has this tensor, or leave the tensor out of the fine-tuned models.",
      });
    }
    const models = tensor.inputs.filter((i) => !i.isBase);
    if (models.length < 2) {
      const note = "tensors that only one fine-tuned model has stay as the base has them: there is no pair to compare";
      return { ...compileAlone(tensor, base), omit: tensor.mergekit && models.length === 1, notes: [note] };
    }
    const lines = flagOf(tensor, "filter_wise", false) ? linesOf(tensor, "row") : null;
    const clamp = tensor.parameters.clamp ?? !tensor.mergekit;
    return compileCombination(tensor, models, base, { clamp, mergekit: tensor.mergekit }, { common: true, lines });
  },
  ...solvedBy((gram, { clamp, mergekit }) => stockRatio(gram, clamp === true, mergekit === true)),
};

/** t/N for every delta. */
function stockRatio(gram: Gram, clamp: boolean, mergekit: boolean): Coefficients {
  const n = gram.length;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const product = Math.sqrt(gram[i]![i]!) * Math.sqrt(gram[j]![j]!);
      const divisor = mergekit ? Math.max(product, mergekitFloor) : product;
      sum += divisor > 0 ? Math.max(-1, Math.min(1, gram[i]![j]! / divisor)) : 0;
    }
  }
  const cosine = sum / ((n * (n - 1)) / 2);
  const denominator = 1 + (n - 1) * cosine;
  const t = Math.abs(denominator) < smallestDenominator ? 0 : (n * cosine) / denominator;
  if (!clamp || (t >= 0 && t <= 1)) return { of: gram.map(() => t / n) };
  return { of: gram.map(() => Math.min(1, Math.max(0, t)) / n), remark: "the ratio t was beyond [0, 1] and clamped" };
}
