import { fail, quote } from "../errors.ts";
import { compileMatrix, compileMean, deltaWeights, matricesParameter, matrixOf } from "./matrix.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter, weightParameter } from "./parameters.ts";
import { numberOf, weightSum } from "./weights.ts";

/**
 * STAR (Lee et al. 2025, arXiv 2502.10339): of every delta the first singular components that hold η % of the nuclear norm, scaled
 * so that they have all of it; then the weighted average.
 */
export const star: Method = {
  name: "star",
  title: "STAR",
  paper: "https://arxiv.org/abs/2502.10339",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    { ...weightParameter, describe: "Weight of this model in the average. Given for no model: equal weights." },
    {
      name: "eta",
      kind: "number",
      per: "tensor",
      default: 40,
      min: 0,
      exclusiveMin: true,
      max: 100,
      describe: "Per cent of the nuclear norm that the components that stay must hold, in (0, 100]; 100 keeps all.",
    },
    lambdaParameter,
    matricesParameter,
  ],
  compile(tensor: MethodTensor): Compiled {
    const eta = numberOf(tensor, "eta", 40);
    if (!(eta > 0 && eta <= 100)) {
      fail("recipe-parameter", `Cannot use eta ${eta} for ${quote(tensor.name)}: it is per cent, in (0, 100]`);
    }
    const notes = eta <= 1 ? [`eta is ${eta}: it is per cent, so nearly nothing stays`] : [];
    // All of it is the average itself, and needs no decomposition.
    if (eta === 100 || !matrixOf(tensor)) return compileMean(tensor, notes);
    const weights = deltaWeights(tensor);
    const sum = weightSum(tensor, weights);
    const rule = { op: "star", share: eta / 100 } as const;
    return compileMatrix(tensor, { rule, weights: weights.map((w) => w / sum), notes });
  },
};
