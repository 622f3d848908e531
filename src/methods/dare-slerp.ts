import { fail, quote } from "../errors.ts";
import { compileArc, type End, positionOf, solveArc } from "./arc.ts";
import { compileAlone } from "./combination.ts";
import { drop } from "./dare.ts";
import type { Compiled, Method, MethodInput, MethodTensor } from "./method.ts";
import { densityParameter, slerpParameter } from "./parameters.ts";
import { randomParameters } from "./random.ts";
import { densityOf, flagOf } from "./weights.ts";

/**
 * SLERP of two fine-tunes after DARE: each becomes base + what its mask keeps of the delta, rescaled; the arc runs between those
 * two, as whole weights. Masks of the two are independent.
 */
export const dareSlerp: Method = {
  name: "dare_slerp",
  title: "DARE, SLERP",
  paper: "https://arxiv.org/abs/2311.03099",
  base: "required",
  baseIsInput: false,
  minModels: 2,
  maxModels: 2,
  implemented: true,
  parameters: [
    { ...slerpParameter, required: false, default: 0.5, describe: "Position on the arc: 0 is the first model." },
    densityParameter(undefined),
    {
      name: "rescale",
      kind: "boolean",
      per: "tensor",
      default: true,
      describe: "Multiply what survives by 1/(1 − p).",
    },
    ...randomParameters,
  ],
  compile(tensor: MethodTensor): Compiled {
    const base = tensor.inputs.find((i) => i.isBase);
    if (!base) {
      fail(
        "tensor-missing",
        `Cannot merge ${quote(tensor.name)}: the base model does not have it, so there is no delta`,
      );
    }
    const rescale = flagOf(tensor, "rescale", true);
    const ends = tensor.inputs.filter((i) => !i.isBase);
    const rateOf = (input: MethodInput) => 1 - densityOf(tensor, input, undefined);
    const [from, to] = ends.map((input): End => ({ input, ...drop(tensor, input, rateOf, rescale) }));
    if (!from) return compileAlone(tensor, base);
    return compileArc(tensor, base, from, to ?? from, positionOf(tensor, 0.5));
  },
  solve: solveArc,
};
