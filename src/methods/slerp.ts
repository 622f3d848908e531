import { fail, quote } from "../errors.ts";
import type { Compiled, Method, MethodTensor, SurveyResult } from "./method.ts";
import { slerpParameter } from "./parameters.ts";
import { acos, sin } from "./trig.ts";
import { numberOf } from "./weights.ts";

/** Below this norm a direction means nothing; above this |cosine| the arc is a line (mergekit's constants). */
const smallestNorm = 1e-8;
const colinear = 0.9995;

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
  parameters: [slerpParameter],
  compile(tensor: MethodTensor): Compiled {
    const t = numberOf(tensor, "t", Number.NaN);
    if ((t < 0 || t > 1) && !tensor.mergekit) {
      fail("recipe-parameter", `Cannot use t ${t} for ${quote(tensor.name)}: it must be in [0, 1]`);
    }
    const inputs = tensor.inputs.map((i) => i.dtype);
    const from = tensor.inputs.find((i) => i.isBase);
    const to = tensor.inputs.find((i) => !i.isBase);
    const shape = { op: "merge", inputs, out: tensor.out, base: null, combine: { op: "sum" }, lambda: 1 } as const;
    if (!from || !to) {
      // Only one of the two has the tensor: it is passed through.
      const terms = tensor.inputs.map((i) => ({ input: i.input, weight: 1, scale: 1, keep: {} }));
      return { surveys: [], program: { ...shape, terms }, solve: {}, notes: [] };
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
    const [aa, ab, bb] = survey.dots as [number, number, number];
    return slerpWeights(solve.t as number, aa, ab, bb, solve.mergekit === true);
  },
};

/**
 * The two scalars of slerp from v0·v0, v0·v1 and v1·v1, applied to the vectors as they are (not normalised). A vector without a
 * direction is met on a line; mergekit lets it stand at a right angle.
 */
export function slerpWeights(
  t: number,
  aa: number,
  ab: number,
  bb: number,
  mergekit = false,
): { from: number; to: number } {
  const na = Math.sqrt(aa);
  const nb = Math.sqrt(bb);
  const line = { from: 1 - t, to: t };
  if ((na <= smallestNorm || nb <= smallestNorm) && !mergekit) return line;
  const unit = (norm: number) => (norm > smallestNorm ? norm : 1);
  const cosine = Math.max(-1, Math.min(1, ab / unit(na) / unit(nb)));
  if (Math.abs(cosine) > colinear) return line;
  const angle = acos(cosine);
  const whole = sin(angle);
  return { from: sin((1 - t) * angle) / whole, to: sin(t * angle) / whole };
}
