// What a planned tensor's program carries of a recipe's parameters, as numbers.

import type { Plan, PlanTensor } from "../../src/plan/plan.ts";

export interface Carried {
  /** λ · w · s; undefined where a survey gives one of them. */
  readonly factor: number | undefined;
  /** Fraction that the selection keeps, whichever kind it is; 1 where there is none. */
  readonly density: number;
  readonly gamma: number | undefined;
  readonly epsilon: number | undefined;
  /** What survives of a drop with this density is multiplied by 1/density. */
  readonly random: boolean;
}

/** By the model's reference; the base has none where it is no term. */
export function carriedBy(plan: Plan, tensor: PlanTensor): Map<string, Carried> {
  const { program } = tensor;
  const carried = new Map<string, Carried>();
  if (program.op !== "merge") return carried;
  for (const { input, weight, scale, keep } of program.terms) {
    const numbers = [program.lambda, weight, scale].map((x) => (typeof x === "number" ? x : Number.NaN));
    const factor = numbers.reduce((a, b) => a * b, 1);
    const trim = tensor.surveys.flatMap((s) => (s.op === "threshold" ? s.operands : [])).find((o) => o.input === input);
    const rank = keep.rows?.rule.op === "rank" ? keep.rows.rule : undefined;
    carried.set(plan.inputs[tensor.inputs[input]!.model]!.reference, {
      factor: Number.isNaN(factor) ? undefined : factor,
      density: keep.random ? 1 - keep.random.threshold / 2 ** 32 : (rank?.density ?? trim?.density ?? 1),
      gamma: trim?.gamma,
      epsilon: rank?.epsilon,
      random: keep.random !== undefined,
    });
  }
  return carried;
}
