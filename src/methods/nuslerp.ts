import { fail, quote } from "../errors.ts";
import { type Coefficients, compileAlone, compileCombination, type Gram, linesOf, solvedBy } from "./combination.ts";
import { dareParameters } from "./dare.ts";
import type { Compiled, Method, MethodTensor } from "./method.ts";
import { weightParameter } from "./parameters.ts";
import { acos, sin } from "./trig.ts";
import { flagOf, weightsOf } from "./weights.ts";

/** Below this Σ w the weights say nothing about t (mergekit's constant). */
const smallestWeightSum = 1e-6;
/** Where sin θ is below it, the arc is a line (mergekit's constant). */
const smallestSine = 1e-8;

/** SLERP of two models, or of their deltas to a base, at t = w₂/(w₁ + w₂): mergekit's successor of slerp. */
export const nuslerp: Method = {
  name: "nuslerp",
  title: "NuSLERP",
  paper: "https://doi.org/10.1145/325334.325242",
  base: "optional",
  baseIsInput: false,
  minModels: 2,
  maxModels: 2,
  implemented: true,
  parameters: [
    { ...weightParameter, required: true },
    {
      name: "nuslerp_flatten",
      kind: "boolean",
      per: "tensor",
      default: true,
      describe: "Take each tensor as one vector; false: as vectors along its last dimension, or along its first.",
    },
    {
      name: "nuslerp_row_wise",
      kind: "boolean",
      per: "tensor",
      default: false,
      describe:
        "With nuslerp_flatten false: vectors along the first dimension instead of the last (mergekit's name for it).",
    },
    ...dareParameters,
  ],
  compile(tensor: MethodTensor): Compiled {
    const base = tensor.inputs.find((i) => i.isBase) ?? null;
    const models = tensor.inputs.filter((i) => !i.isBase);
    const [only] = models;
    if (!only) return compileAlone(tensor, base!);
    if (models.length < 2) return compileAlone(tensor, only);
    const [first, second] = weightsOf(tensor, models, 1) as [number, number];
    const along = flagOf(tensor, "nuslerp_row_wise", false) ? "column" : "row";
    const lines = flagOf(tensor, "nuslerp_flatten", true) ? null : linesOf(tensor, along);
    const solve = { t: position(tensor, first, second), mergekit: tensor.mergekit };
    return compileCombination(tensor, models, base, solve, { lines });
  },
  ...solvedBy((gram, { t, mergekit }) => nuslerpWeights(gram, t as number, mergekit === true)),
};

function position(tensor: MethodTensor, first: number, second: number): number {
  const sum = first + second;
  if (Math.abs(sum) < smallestWeightSum) {
    if (tensor.mergekit) return 0.5;
    fail("recipe-parameter", `Cannot place ${quote(tensor.name)} on the arc: the weights sum to ${sum}`, {
      hint: "t is w₂/(w₁ + w₂): use weights that do not cancel.",
    });
  }
  const t = second / sum;
  if ((t >= 0 && t <= 1) || tensor.mergekit) return t;
  fail(
    "recipe-parameter",
    `Cannot place ${quote(tensor.name)} on the arc: weights ${first} and ${second} give t ${t}`,
    {
      hint: "t is w₂/(w₁ + w₂), and must be in [0, 1]: use weights of one sign.",
    },
  );
}

/** Coefficients of both vectors. A zero vector is met on a line; mergekit lets it stand at a right angle. */
function nuslerpWeights(gram: Gram, t: number, mergekit: boolean): Coefficients {
  const [[aa, ab], [, bb]] = gram as [number[], number[]];
  const line = { of: [1 - t, t] };
  const na = Math.sqrt(aa!);
  const nb = Math.sqrt(bb!);
  // mergekit divides by no norm below 1e-7, which turns shorter vectors towards the right angle.
  const floor = mergekit ? 1e-7 : 0;
  if ((na === 0 || nb === 0) && !mergekit) return line;
  const cosine = Math.max(-1, Math.min(1, ab! / Math.max(na, floor) / Math.max(nb, floor)));
  if (1 - cosine * cosine <= smallestSine ** 2) return line;
  const angle = acos(cosine);
  const whole = sin(angle);
  return { of: [sin((1 - t) * angle) / whole, sin(t * angle) / whole] };
}
