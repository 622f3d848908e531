// Methods whose result is a linear combination with coefficients from dot products: a survey takes the dots of all pairs, the
// method turns that Gram matrix into one coefficient per vector, and a plain sum follows.

import type { Operand, Term } from "../kernel/program.ts";
import { dareOf } from "./dare.ts";
import type { Compiled, Method, MethodInput, MethodTensor, SurveyResult } from "./method.ts";

/** Dot products of all pairs of vectors, in f64; symmetric. */
export type Gram = readonly (readonly number[])[];

/** One coefficient per vector, and where the user should know it, in what way they are not what the formula gives. */
export interface Coefficients {
  readonly of: readonly number[];
  readonly remark?: string;
}

export type Solver = (gram: Gram, solve: Readonly<Record<string, unknown>>) => Coefficients;

/**
 * base + Σ c_i · v_i, where v_i is the delta of a model to the base after its `dare` step; without a base Σ c_i · x_i. `common`:
 * the method gives all vectors one coefficient, which then multiplies their sum: deltas of bf16 models are added exactly.
 */
export function compileCombination(
  tensor: MethodTensor,
  models: readonly MethodInput[],
  base: MethodInput | null,
  solve: Readonly<Record<string, unknown>>,
  common = false,
): Compiled {
  const inputs = tensor.inputs.map((i) => i.dtype);
  const thinned = models.map((m) => dareOf(tensor, m, base));
  const from = base?.input ?? null;
  const operands = models.map((m, i): Operand => ({ input: m.input, base: from, keep: thinned[i]!.keep }));
  const terms = models.map(
    (m, i): Term => ({
      input: m.input,
      weight: common ? 1 : { from: coefficientName(i) },
      scale: thinned[i]!.scale,
      keep: thinned[i]!.keep,
    }),
  );
  return {
    surveys: [{ op: "dots", inputs, operands }],
    program: {
      op: "merge",
      inputs,
      out: tensor.out,
      base: from,
      terms,
      combine: { op: "sum" },
      lambda: common ? { from: coefficientName(0) } : 1,
    },
    solve: { ...solve, scales: thinned.map((t) => t.scale) },
    notes: [],
  };
}

/** The tensor of one model as it is: what is left of a merge when no other model has it. */
export function compileAlone(tensor: MethodTensor, model: MethodInput): Compiled {
  const inputs = tensor.inputs.map((i) => i.dtype);
  const terms = [{ input: model.input, weight: 1, scale: 1, keep: {} }];
  return {
    surveys: [],
    program: { op: "merge", inputs, out: tensor.out, base: null, terms, combine: { op: "sum" }, lambda: 1 },
    solve: {},
    notes: [],
  };
}

/** `solve` and `remark` of a method that is compiled by `compileCombination`. */
export function solvedBy(solver: Solver): Required<Pick<Method, "solve" | "remark">> {
  const run = (solve: Readonly<Record<string, unknown>>, results: readonly SurveyResult[]): Coefficients | null => {
    const [survey] = results;
    return survey?.op === "dots" ? solver(gramOf(survey.dots, solve.scales as readonly number[]), solve) : null;
  };
  return {
    solve(solve, results) {
      const scalars: Record<string, number> = {};
      run(solve, results)?.of.forEach((c, i) => {
        scalars[coefficientName(i)] = c;
      });
      return scalars;
    },
    remark: (solve, results) => run(solve, results)?.remark ?? null,
  };
}

const coefficientName = (vector: number) => `coefficient.${vector}`;

/** The matrix of a survey's upper triangle, of vectors that are multiplied by `scales` after it. */
export function gramOf(upper: readonly number[], scales: readonly number[]): Gram {
  const n = scales.length;
  const gram = scales.map(() => new Array<number>(n).fill(0));
  let at = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      gram[i]![j] = upper[at++]! * scales[i]! * scales[j]!;
      gram[j]![i] = gram[i]![j]!;
    }
  }
  return gram;
}

/** xᵀ G x, never below zero. */
export function squaredNorm(gram: Gram, x: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) for (let j = 0; j < x.length; j++) sum += x[i]! * x[j]! * gram[i]![j]!;
  return Math.max(0, sum);
}

/** Cosines of all pairs; those with a vector of norm `smallest` or less are 0. */
export function cosines(gram: Gram, smallest = 0): Gram {
  const norms = gram.map((row, i) => Math.sqrt(row[i]!));
  const unit = (i: number) => norms[i]! > smallest;
  return gram.map((row, i) =>
    row.map((dot, j) => {
      if (!unit(i) || !unit(j)) return 0;
      return i === j ? 1 : Math.max(-1, Math.min(1, dot / norms[i]! / norms[j]!));
    }),
  );
}
