import { fail, quote } from "../errors.ts";
import type { Survey } from "../kernel/program.ts";
import { dareParameters } from "./dare.ts";
import { choiceProgram, holdersOf } from "./holders.ts";
import type { Compiled, Method, MethodTensor, SurveyResult } from "./method.ts";
import { int8Parameter, tiesParameter } from "./parameters.ts";
import { choiceOf, numberOf } from "./weights.ts";

/** mergekit takes smaller weights for equal ones, and divides by no less. */
const mergekitFloor = 1e-6;

/**
 * Select, calculate, erase (Wan et al. 2024, arXiv 2408.07990). Select: the fraction τ of the elements whose deltas vary most
 * between the models. Calculate: each model's weight, the mean square of its selected deltas, of all models' together. Erase:
 * deltas against the sign of the sum; what is left is averaged by the weights.
 */
export const sce: Method = {
  name: "sce",
  title: "SCE",
  paper: "https://arxiv.org/abs/2408.07990",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
  parameters: [
    {
      name: "select_topk",
      kind: "number",
      per: "tensor",
      default: 1,
      min: 0,
      exclusiveMin: true,
      max: 1,
      describe: "Fraction τ that is kept of the elements that vary between the models; 1 keeps every element.",
    },
    tiesParameter,
    int8Parameter,
    ...dareParameters,
  ],
  compile(tensor: MethodTensor): Compiled {
    const holders = holdersOf(tensor);
    const { base, others } = holders;
    const share = shareOf(tensor);
    const weights = others.map((_, k) => ({ from: `weight.${k}` }));
    const floor = tensor.mergekit ? mergekitFloor : 0;
    const select = share < 1 ? { above: { from: "above" }, equalBefore: { from: "equalBefore" } } : undefined;
    const combine = { op: "erase", floor, ...(select ? { select } : {}) } as const;
    const program = choiceProgram(tensor, holders, combine, 1, weights);
    const solve = { models: others.length, count: tensor.count, mergekit: tensor.mergekit };
    // Nothing selected, as mergekit understands a fraction of 0: the base.
    if (others.length === 0 || share <= 0) {
      return { surveys: [], program: { ...program, terms: [] }, solve, notes: [] };
    }
    const { inputs } = program;
    const operands = program.terms.map(({ input, keep, scale }) => ({ input, base: base.input, keep, scale }));
    const surveys: Survey[] = [{ op: "norms", inputs, operands, ...(select ? { select } : {}) }];
    if (select) {
      const variance = others.map((i) => i.input);
      const ties = choiceOf(tensor, "ties", ["include", "exact"] as const, tensor.mergekit ? "exact" : "include");
      const rounding = tensor.mergekit ? "truncate" : "floor";
      const { input } = operands[0]!;
      const thinned = operands.some((o) => o.keep.random)
        ? { thinned: operands.map(({ keep, scale }) => ({ keep, scale })) }
        : {};
      const ranked = {
        input,
        base: base.input,
        keep: {},
        variance,
        ...thinned,
        density: share,
        of: "nonzero",
        rounding,
        ties,
      } as const;
      surveys.unshift({ op: "threshold", inputs, operands: [ranked] });
    }
    const alone = select && others.length === 1;
    const notes = alone ? ["with one model nothing varies, so select_topk below 1 leaves the base as it is"] : [];
    return { surveys, program, solve, notes };
  },
  solve(solve, results: readonly SurveyResult[]): Record<string, number> {
    const scalars: Record<string, number> = {};
    for (const r of results) {
      if (r.op === "threshold") {
        const { key, equalBefore } = r.thresholds[0]!;
        // Key 0: every element that varies. The others are not among those that were ranked.
        scalars.above = key;
        scalars.equalBefore = key === 0 ? 0 : equalBefore;
      } else if (r.op === "norms") {
        const means = r.norms.map((n) => n.l2 / (solve.count as number));
        const sum = means.reduce((a, b) => a + b, 0);
        const unknown = !Number.isFinite(sum) || (solve.mergekit ? sum < mergekitFloor : sum === 0);
        means.forEach((mean, k) => {
          scalars[`weight.${k}`] = unknown ? 1 / means.length : mean / sum;
        });
      }
    }
    return scalars;
  },
};

function shareOf(tensor: MethodTensor): number {
  const share = numberOf(tensor, "select_topk", 1);
  if ((share > 0 && share <= 1) || tensor.mergekit) return share;
  fail(
    "recipe-parameter",
    `Cannot select ${share} of ${quote(tensor.name)}: select_topk is the fraction kept, in (0, 1]`,
  );
}
