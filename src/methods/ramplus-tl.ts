import { dareParameters } from "./dare.ts";
import { choiceProgram, holdersOf } from "./holders.ts";
import type { Compiled, Method, MethodTensor, SurveyResult } from "./method.ts";
import { changeParameter } from "./parameters.ts";
import { numberOf } from "./weights.ts";

/**
 * RAM with a boost (arXiv 2601.13572), tensor by tensor: what model m alone has changed is multiplied by
 * 1 + r·clip(shared / alone, 0, alpha), from the numbers of elements that it changed with others and alone.
 */
export const ramPlus: Method = {
  name: "ramplus_tl",
  title: "RAM+, tensor by tensor",
  paper: "https://arxiv.org/abs/2601.13572",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    { name: "r", kind: "number", per: "tensor", default: 0.1, describe: "Boost of what one model alone has changed." },
    {
      name: "alpha",
      kind: "number",
      per: "tensor",
      default: 0.2,
      min: 0,
      describe: "Cap of the ratio of shared to unique changes that the boost grows with.",
    },
    changeParameter,
    ...dareParameters,
  ],
  compile(tensor: MethodTensor): Compiled {
    const holders = holdersOf(tensor);
    const { base, others } = holders;
    const epsilon = numberOf(tensor, "epsilon", 1e-5);
    const boosts = others.map((_, k) => ({ from: `boost.${k}` }));
    const program = choiceProgram(tensor, holders, { op: "contribute", epsilon }, 1, boosts);
    const operands = program.terms.map(({ input, keep, scale }) => ({ input, base: base.input, keep, scale }));
    return {
      surveys: others.length > 0 ? [{ op: "contributors", inputs: program.inputs, operands, epsilon }] : [],
      program,
      solve: { r: numberOf(tensor, "r", 0.1), alpha: numberOf(tensor, "alpha", 0.2) },
      notes: [],
    };
  },
  solve({ r, alpha }, [survey]: readonly SurveyResult[]): Record<string, number> {
    if (survey?.op !== "contributors") return {};
    const boost = ({ alone, shared }: { alone: number; shared: number }) =>
      // Without a change of its own there is nothing to boost.
      alone === 0 ? 1 : 1 + (r as number) * Math.min(shared / alone, alpha as number);
    return Object.fromEntries(survey.contributors.map((c, k) => [`boost.${k}`, boost(c)]));
  },
};
