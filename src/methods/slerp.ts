import { compileArc, positionOf, slerpWeights, solveArc } from "./arc.ts";
import { dareOf, dareParameters } from "./dare.ts";
import type { Compiled, Method, MethodTensor, SurveyResult } from "./method.ts";
import { slerpParameter } from "./parameters.ts";

/**
 * Spherical interpolation of two whole tensors, taken as flat vectors (Shoemake 1985): t = 0 is the base_model. The survey
 * gives the three dot products; what is left is a sum with two scalars.
 */
export const slerp: Method = {
  name: "slerp",
  title: "SLERP",
  paper: "https://doi.org/10.1145/325334.325242",
  base: "required",
  baseIsInput: true,
  minModels: 2,
  maxModels: 2,
  implemented: true,
  parameters: [slerpParameter, ...dareParameters],
  compile(tensor: MethodTensor): Compiled {
    const t = positionOf(tensor, Number.NaN);
    const inputs = tensor.inputs.map((i) => i.dtype);
    const from = tensor.inputs.find((i) => i.isBase);
    const to = tensor.inputs.find((i) => !i.isBase);
    const shape = { op: "merge", inputs, out: tensor.out, base: null, combine: { op: "sum" }, lambda: 1 } as const;
    if (!from || !to) {
      // Only one of the two has the tensor: it is passed through.
      const terms = tensor.inputs.map((i) => ({ input: i.input, weight: 1, scale: 1, keep: {} }));
      return { surveys: [], program: { ...shape, terms }, solve: {}, notes: [] };
    }
    const thinned = dareOf(tensor, to, from);
    if (thinned.keep.random) {
      return compileArc(tensor, from, { input: null, keep: {}, scale: 1 }, { input: to, ...thinned }, t);
    }
    return {
      surveys: [
        {
          op: "dots",
          inputs,
          operands: [
            { input: from.input, base: null, keep: {} },
            { input: to.input, base: null, keep: {} },
          ],
        },
      ],
      program: {
        ...shape,
        terms: [
          { input: from.input, weight: { from: "from" }, scale: 1, keep: {} },
          { input: to.input, weight: { from: "to" }, scale: 1, keep: {} },
        ],
      },
      solve: { t, mergekit: tensor.mergekit },
      notes: [],
    };
  },
  solve(solve, results: readonly SurveyResult[]): Record<string, number> {
    const [survey] = results;
    if (survey?.op !== "dots") return {};
    if (solve.ends) return solveArc(solve, results);
    const [aa, ab, bb] = survey.dots as [number, number, number];
    return slerpWeights(solve.t as number, aa, ab, bb, solve.mergekit === true);
  },
};
