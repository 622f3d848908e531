// The arc between two weights: what slerp and dare_slerp share.

import { fail, quote } from "../errors.ts";
import type { Operand, Survey, Term, Thinned } from "../kernel/program.ts";
import { type Gram, gramOf } from "./combination.ts";
import type { Compiled, MethodInput, MethodTensor, SurveyResult } from "./method.ts";
import { acos, sin } from "./trig.ts";
import { numberOf } from "./weights.ts";

/** Below this norm a direction means nothing; above this |cosine| the arc is a line (mergekit's constants). */
const smallestNorm = 1e-8;
const colinear = 0.9995;

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

/** Position on the arc, refused beyond its ends. */
export function positionOf(tensor: MethodTensor, fallback: number): number {
  const t = numberOf(tensor, "t", fallback);
  if ((t >= 0 && t <= 1) || tensor.mergekit) return t;
  fail("recipe-parameter", `Cannot use t ${t} for ${quote(tensor.name)}: it must be in [0, 1]`);
}

/** An end of the arc: the base plus what is left of a model's delta to it; without an input, the base itself. */
export interface End extends Thinned {
  readonly input: MethodInput | null;
}

/**
 * The arc from θ₀ + s_a·m_a δ_a to θ₀ + s_b·m_b δ_b. Both are sums of θ₀ and the masked deltas, so the dots of those give theirs,
 * and the point of the arc is (f + g)·θ₀ + f·s_a·m_a δ_a + g·s_b·m_b δ_b.
 */
export function compileArc(tensor: MethodTensor, base: MethodInput, from: End, to: End, t: number): Compiled {
  const inputs = tensor.inputs.map((i) => i.dtype);
  const ends = [from, to].flatMap((end, i) =>
    end.input ? [{ ...end, input: end.input, weight: weightNames[i]! }] : [],
  );
  const deltas = ends.map(({ input, keep }): Operand => ({ input: input.input, base: base.input, keep }));
  const survey: Survey = { op: "dots", inputs, operands: [{ input: base.input, base: null, keep: {} }, ...deltas] };
  const terms = ends.map(
    ({ input, keep, scale, weight }): Term => ({ input: input.input, weight: { from: weight }, scale, keep }),
  );
  return {
    surveys: [survey],
    program: {
      op: "merge",
      inputs,
      out: tensor.out,
      base: base.input,
      terms,
      combine: { op: "sum" },
      lambda: 1,
      baseWeight: { from: "base" },
    },
    solve: {
      t,
      mergekit: tensor.mergekit,
      scales: [1, ...ends.map((e) => e.scale)],
      ends: [from, to].map((end) => ends.findIndex((e) => e.input === end.input) + 1),
    },
    notes: [],
  };
}

const weightNames = ["from", "to"] as const;

/** `solve.ends`: per end its delta's place among the operands, 0 for an end that is the base. */
export function solveArc(
  solve: Readonly<Record<string, unknown>>,
  [survey]: readonly SurveyResult[],
): Record<string, number> {
  if (survey?.op !== "dots") return {};
  const gram = gramOf(survey.dots, solve.scales as readonly number[]);
  const [a, b] = solve.ends as [number, number];
  const { from, to } = slerpWeights(
    solve.t as number,
    dotOnBase(gram, a, a),
    dotOnBase(gram, a, b),
    dotOnBase(gram, b, b),
    solve.mergekit === true,
  );
  return { from, to, base: from + to };
}

/** (θ₀ + δ_a)·(θ₀ + δ_b); index 0 stands for δ = 0. */
function dotOnBase(gram: Gram, a: number, b: number): number {
  const at = (i: number, j: number) => gram[i]![j]!;
  return at(0, 0) + (a && at(0, a)) + (b && at(0, b)) + (a && b && at(a, b));
}
