import { dareParameters } from "./dare.ts";
import { choiceProgram, holdersOf } from "./holders.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { changeParameter } from "./parameters.ts";
import { numberOf } from "./weights.ts";

/** What one model alone has changed is added as it is; what several have changed is averaged over those (arXiv 2601.13572). */
export const ram: Method = {
  name: "ram",
  title: "RAM",
  paper: "https://arxiv.org/abs/2601.13572",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [changeParameter, ...dareParameters],
  compile(tensor: MethodTensor): Compiled {
    const epsilon = numberOf(tensor, "epsilon", 1e-5);
    return {
      surveys: [],
      program: choiceProgram(tensor, holdersOf(tensor), { op: "contribute", epsilon }),
      solve: {},
      notes: [],
    };
  },
};
