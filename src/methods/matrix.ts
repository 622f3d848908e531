// Methods on whole matrices: what they share is which tensors they take, and what becomes of the others.

import { fail, quote } from "../errors.ts";
import type { MatrixRule } from "../kernel/program.ts";
import type { ParameterSpec } from "../recipe/catalogue.ts";
import { compileDelta } from "./delta.ts";
import { holdersOf } from "./holders.ts";
import type { Compiled, MethodTensor } from "./method.ts";
import { choiceOf, numberOf, weightsOf } from "./weights.ts";

export const matricesParameter: ParameterSpec = {
  name: "matrices",
  kind: "choice",
  per: "tensor",
  default: "inner",
  choices: ["inner", "all", "none"],
  describe:
    "Which tensors are taken as matrices: all of two dimensions but embeddings and heads (inner), those too (all), or none. The others take the mean of their deltas.",
};

/** Tables of one row a token or position: their rows are not a linear map, and they are the largest matrices of a model. */
const table =
  /(^|\.)(embed_tokens|embed_in|embed_out|wte|wpe|word_embeddings|position_embeddings|shared|lm_head)\.weight$/;

/** Matrices of one model: rule, one weight a term, and what the user should know. */
export interface MatrixStyle {
  readonly rule: MatrixRule;
  readonly weights: readonly number[];
  readonly notes?: readonly string[];
}

/** The sides of a tensor that the method takes as a matrix, with as many deltas; null: `compileMean` is for it. */
export function matrixOf(tensor: MethodTensor): { rows: number; columns: number; deltas: number } | null {
  const which = choiceOf(tensor, "matrices", ["inner", "all", "none"] as const, "inner");
  const { others } = holdersOf(tensor);
  const [rows, columns] = tensor.shape;
  if (which === "none" || (which === "inner" && table.test(tensor.name))) return null;
  if (tensor.shape.length !== 2 || tensor.count === 0 || others.length === 0) return null;
  return { rows: rows!, columns: columns!, deltas: others.length };
}

export function compileMatrix(tensor: MethodTensor, { rule, weights, notes = [] }: MatrixStyle): Compiled {
  const { base, others } = holdersOf(tensor);
  const [rows, columns] = tensor.shape as [number, number];
  return {
    surveys: [],
    program: {
      op: "matrix",
      inputs: tensor.inputs.map((i) => i.dtype),
      out: tensor.out,
      rows,
      columns,
      base: base.input,
      terms: others.map(({ input }, k) => ({ input, weight: weights[k]! })),
      rule,
      lambda: numberOf(tensor, "lambda", 1),
    },
    solve: {},
    notes,
  };
}

/** The mean of the deltas, times λ: what biases, norms, embeddings and tensors of other dimensions get. */
export function compileMean(tensor: MethodTensor, notes: readonly string[] = []): Compiled {
  const compiled = compileDelta(tensor, {
    sparsify: "none",
    elect: false,
    normalize: true,
    rescale: "none",
    density: 1,
    weight: "one",
  });
  const more = tensor.shape.length > 2 ? ["tensors of three and more dimensions take the mean of their deltas"] : [];
  return { ...compiled, notes: [...notes, ...more] };
}

/** One weight for each fine-tuned model that has the tensor; 1 where the recipe gives none. */
export function deltaWeights(tensor: MethodTensor): number[] {
  return weightsOf(tensor, holdersOf(tensor).others, 1);
}

/** A fraction in (0, 1), or with `whole` in (0, 1]. */
export function fractionOf(tensor: MethodTensor, name: string, fallback: number, whole: boolean): number {
  const value = numberOf(tensor, name, fallback);
  if (value > 0 && (value < 1 || (whole && value === 1))) return value;
  fail(
    "recipe-parameter",
    `Cannot use ${name} ${value} for ${quote(tensor.name)}: it must be above 0 and ${whole ? "at most" : "below"} 1`,
  );
}
