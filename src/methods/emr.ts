import { dareParameters } from "./dare.ts";
import { choiceProgram, holdersOf } from "./holders.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter } from "./parameters.ts";
import { numberOf } from "./weights.ts";

/**
 * The unified model of EMR-merging (Huang et al. 2024, arXiv 2405.17461): at every element the sign of the deltas' sum, − where
 * it is zero, and the largest magnitude among the deltas that have it.
 */
export const emr: Method = {
  name: "emr",
  title: "EMR-merging, unified model",
  paper: "https://arxiv.org/abs/2405.17461",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [lambdaParameter, ...dareParameters],
  compile(tensor: MethodTensor): Compiled {
    const lambda = numberOf(tensor, "lambda", 1);
    return {
      surveys: [],
      program: choiceProgram(tensor, holdersOf(tensor), { op: "unify" }, lambda),
      solve: {},
      notes: [],
    };
  },
};
