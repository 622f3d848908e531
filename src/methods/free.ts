import { fail, quote } from "../errors.ts";
import { holdersOf } from "./holders.ts";
import { compileMatrix, compileMean, deltaWeights, matricesParameter, matrixOf } from "./matrix.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter, weightParameter } from "./parameters.ts";

/**
 * FR-Merging, the static part of FREE-Merging (Zheng & Wang 2025, arXiv 2411.16815): low frequencies are taken off every delta, and
 * what is left is weighted by its mean magnitude.
 */
export const free: Method = {
  name: "free",
  title: "FR-Merging",
  paper: "https://arxiv.org/abs/2411.16815",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    {
      ...weightParameter,
      describe:
        "Weight of this model. Given for no model: the share of the mean |δ| that the filter leaves, as in the paper.",
    },
    {
      name: "cutoff",
      kind: "number",
      per: "tensor",
      required: true,
      min: 0,
      max: 1,
      describe:
        "Radius of the frequencies that go, of half the smaller side: 0 keeps all, 1 keeps what lies beyond that circle. Try 0.05 to 0.5.",
    },
    lambdaParameter,
    matricesParameter,
  ],
  compile(tensor: MethodTensor): Compiled {
    const { cutoff } = tensor.parameters;
    if (typeof cutoff !== "number" || !(cutoff >= 0 && cutoff <= 1)) {
      fail("recipe-parameter", `Cannot use cutoff ${String(cutoff)} for ${quote(tensor.name)}: it must be in [0, 1]`, {
        hint: "There is no usual value: try some from 0.05 to 0.5.",
      });
    }
    if (!matrixOf(tensor)) return compileMean(tensor);
    const weights = deltaWeights(tensor);
    const energy = holdersOf(tensor).others.every(
      (i) => i.parameters.weight === undefined || i.parameters.weight === null,
    );
    return compileMatrix(tensor, { rule: { op: "high-pass", cutoff, energy }, weights });
  },
};
