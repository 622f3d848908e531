import { dareParameters } from "./dare.ts";
import { choiceProgram, holdersOf } from "./holders.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { lambdaParameter } from "./parameters.ts";
import { numberOf } from "./weights.ts";

/** Of the models' deltas at an element the largest in magnitude, the later model's of equal ones (Marczak et al. 2024, arXiv 2407.06322). */
export const magmax: Method = {
  name: "magmax",
  title: "MagMax",
  paper: "https://arxiv.org/abs/2407.06322",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [{ ...lambdaParameter, default: 0.5 }, ...dareParameters],
  compile(tensor: MethodTensor): Compiled {
    const lambda = numberOf(tensor, "lambda", 0.5);
    return {
      surveys: [],
      program: choiceProgram(tensor, holdersOf(tensor), { op: "largest" }, lambda),
      solve: {},
      notes: [],
    };
  },
};
