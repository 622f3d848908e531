import { fail, quote } from "../errors.ts";
import {
  type Coefficients,
  compileAlone,
  compileCombination,
  type Gram,
  solvedBy,
  squaredNorm,
} from "./combination.ts";
import { dareParameters } from "./dare.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { weightParameter } from "./parameters.ts";
import { flagOf, numberOf, weightSum, weightsOf } from "./weights.ts";

/**
 * The weighted mean of directions, as long as the weighted mean of lengths: m · Σ w‖v‖ with m = Σ w u / ‖Σ w u‖. mergekit also
 * takes a step in the tangent space at m, which is zero: Σ w (u − (u·m) m) = ‖Σ w u‖ (m − m).
 */
export const multislerp: Method = {
  name: "multislerp",
  title: "Multi-SLERP",
  paper: "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
  base: "optional",
  baseIsInput: false,
  minModels: 2,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    { ...weightParameter, required: true },
    {
      name: "normalize_weights",
      kind: "boolean",
      per: "tensor",
      default: true,
      describe: "Divide the weights by their sum.",
    },
    {
      name: "eps",
      kind: "number",
      per: "tensor",
      default: 1e-8,
      min: 0,
      describe: "Added to every norm that divides; a mean direction shorter than it has no direction.",
    },
    ...dareParameters,
  ],
  compile(tensor: MethodTensor): Compiled {
    const base = tensor.inputs.find((i) => i.isBase) ?? null;
    const models = tensor.inputs.filter((i) => !i.isBase);
    if (models.length < 2) return compileAlone(tensor, models[0] ?? base!);
    const given = weightsOf(tensor, models, 1);
    const sum = flagOf(tensor, "normalize_weights", true) ? weightSum(tensor, given) : 1;
    const weights = given.map((w) => w / sum);
    return compileCombination(tensor, models, base, { weights, eps: numberOf(tensor, "eps", 1e-8), name: tensor.name });
  },
  ...solvedBy((gram, { weights, eps, name }) =>
    multislerpWeights(gram, weights as readonly number[], eps as number, name as string),
  ),
};

function multislerpWeights(gram: Gram, weights: readonly number[], eps: number, name: string): Coefficients {
  const norms = gram.map((row, i) => Math.sqrt(row[i]!));
  const scaled = weights.map((w, i) => (norms[i]! + eps > 0 ? w / (norms[i]! + eps) : 0));
  const length = Math.sqrt(squaredNorm(gram, scaled));
  if (length < eps || length === 0) {
    // Vectors that are all zero (tensors that no fine-tune touched) have a mean. So have two opposite ones, on their line.
    if (weights.length === 2 || norms.every((n) => n === 0)) return { of: weights };
    fail("recipe-parameter", `Cannot merge ${quote(name)}: the weighted directions of the models cancel`, {
      hint: "Change the weights, or merge fewer models.",
    });
  }
  const mean = norms.reduce((sum, n, i) => sum + weights[i]! * n, 0);
  return { of: scaled.map((s) => (s / length) * mean) };
}
