import { choiceProgram, holdersOf } from "./holders.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { numberOf } from "./weights.ts";

/**
 * Moves every weight of the base towards the other model's, at most by t: out = (1 − w)·base + w·x with
 * w = min(1, t / max(|x − base|, 1e-6)). What is nearer than t is taken over.
 */
export const nearswap: Method = {
  name: "nearswap",
  title: "Near-swap",
  paper: "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
  base: "required",
  baseIsInput: true,
  minModels: 2,
  maxModels: 2,
  implemented: true,
  parameters: [
    {
      name: "t",
      kind: "number",
      per: "tensor",
      required: true,
      min: 0,
      describe: "How far a weight of the base may move towards the other model's.",
    },
  ],
  compile(tensor: MethodTensor): Compiled {
    const t = numberOf(tensor, "t", Number.NaN);
    return {
      surveys: [],
      program: choiceProgram(tensor, holdersOf(tensor), { op: "near", t }),
      solve: {},
      notes: [],
    };
  },
};
