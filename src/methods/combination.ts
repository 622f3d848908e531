// Methods whose result is a linear combination with coefficients from dot products: a survey takes the dots of all pairs, the
// method turns that Gram matrix into one coefficient per vector, and a plain sum follows.

import { fail, quote } from "../errors.ts";
import type { Lines } from "../kernel/lines.ts";
import type { Operand, Term } from "../kernel/program.ts";
import { dareOf } from "./dare.ts";
import type { Compiled, Method, MethodInput, MethodTensor } from "./method.ts";

/** Dot products of all pairs of vectors, in f64; symmetric. */
export type Gram = readonly (readonly number[])[];

/** One coefficient per vector, and where the user should know it, in what way they are not what the formula gives. */
export interface Coefficients {
  readonly of: readonly number[];
  readonly remark?: string;
}

export type Solver = (gram: Gram, solve: Readonly<Record<string, unknown>>) => Coefficients;

export interface Shape {
  /** The method gives all vectors one coefficient, which then multiplies their sum: deltas of bf16 models are added exactly. */
  readonly common?: boolean;
  /** Each line is a vector of its own; null: the whole tensor is one. */
  readonly lines?: Lines | null;
}

/** base + Σ c_i · v_i, where v_i is the delta of a model to the base after its `dare` step; without a base Σ c_i · x_i. */
export function compileCombination(
  tensor: MethodTensor,
  models: readonly MethodInput[],
  base: MethodInput | null,
  solve: Readonly<Record<string, unknown>>,
  shape: Shape = {},
): Compiled {
  const lines = shape.lines ?? null;
  const common = shape.common === true && !lines;
  const inputs = tensor.inputs.map((i) => i.dtype);
  const thinned = models.map((m) => dareOf(tensor, m, base));
  const from = base?.input ?? null;
  const operands = models.map((m, i): Operand => ({ input: m.input, base: from, keep: thinned[i]!.keep }));
  const terms = models.map(
    (m, i): Term => ({
      input: m.input,
      weight: common || lines ? 1 : { from: coefficientName(i) },
      scale: thinned[i]!.scale,
      keep: thinned[i]!.keep,
    }),
  );
  return {
    surveys: [{ op: "dots", inputs, operands, ...(lines ? { lines } : {}) }],
    program: {
      op: "merge",
      inputs,
      out: tensor.out,
      base: from,
      terms,
      combine: { op: "sum" },
      lambda: common ? { from: coefficientName(0) } : 1,
      ...(lines ? { lines: { ...lines, first: 0, of: models.map((_, i) => ({ from: coefficientName(i) })) } } : {}),
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
  return {
    solve(solve, [survey]) {
      if (survey?.op !== "dots") return {};
      const scales = solve.scales as readonly number[];
      const { dots, lines } = survey;
      const count = lines?.[0]?.length ?? 0;
      const of = scales.map(() => new Float32Array(count));
      for (let line = 0; line < count; line++) {
        const upper = lines!.map((pair) => pair[line]!);
        for (const [i, c] of solver(gramOf(upper, scales), solve).of.entries()) of[i]![line] = c;
      }
      const values = lines ? of : solver(gramOf(dots, scales), solve).of;
      return Object.fromEntries(values.map((c, i) => [coefficientName(i), c]));
    },
    remark(solve, [survey]) {
      if (survey?.op !== "dots") return null;
      const scales = solve.scales as readonly number[];
      const { dots, lines } = survey;
      if (!lines) return solver(gramOf(dots, scales), solve).remark ?? null;
      for (let line = 0; line < lines[0]!.length; line++) {
        const upper = lines.map((pair) => pair[line]!);
        const { remark } = solver(gramOf(upper, scales), solve);
        if (remark) return remark;
      }
      return null;
    },
  };
}

/** The most columns that have coefficients of their own: sums of a task and coefficients of a slice are kept for all of them. */
export const maxColumns = 65_536;

/** Vectors along the last dimension (`row`) or the first (`column`) of a tensor; null where that is one vector. */
export function linesOf(tensor: MethodTensor, by: Lines["by"]): Lines | null {
  const { shape, count } = tensor;
  if (count === 0) return null;
  const length = by === "row" ? shape.at(-1)! : count / shape[0]!;
  if (shape.length < 2 || length === (by === "row" ? count : 1)) return null;
  if (by === "column" && length > maxColumns) {
    fail(
      "recipe-unsupported",
      `Cannot merge ${quote(tensor.name)} along its first dimension: its shape [${shape.join(", ")}] has ${length} such vectors, the limit is ${maxColumns}`,
      { hint: "Take its vectors along the last dimension, or the tensor as one vector." },
    );
  }
  return { by, length };
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
