// Which inputs of a tensor are fine-tunes and which is their base, and the program that methods on deltas share.

import { fail, quote } from "../errors.ts";
import type { Choice, MergeProgram, Scalar, Term, Thinned } from "../kernel/program.ts";
import { dareOf } from "./dare.ts";
import type { MethodInput, MethodTensor } from "./method.ts";

export interface Holders {
  readonly base: MethodInput;
  readonly others: readonly MethodInput[];
}

/** @throws BraidError `tensor-missing` where the base lacks the tensor. */
export function holdersOf(tensor: MethodTensor): Holders {
  const base = tensor.inputs.find((i) => i.isBase);
  if (base) return { base, others: tensor.inputs.filter((i) => !i.isBase) };
  fail("tensor-missing", `Cannot merge ${quote(tensor.name)}: the base model does not have it, so there is no delta`, {
    hint: "Use a base_model that has this tensor, or leave the tensor out of the fine-tuned models.",
  });
}

/** base + lambda · what `combine` makes of the deltas, after a `dare` step; `weights` of all are 1 unless given. */
export function choiceProgram(
  tensor: MethodTensor,
  { base, others }: Holders,
  combine: Choice,
  lambda: Scalar = 1,
  weights: readonly Scalar[] = others.map(() => 1),
): Omit<MergeProgram, "terms"> & { readonly terms: readonly (Term & Thinned)[] } {
  return {
    op: "merge",
    inputs: tensor.inputs.map((i) => i.dtype),
    out: tensor.out,
    base: base.input,
    terms: others.map((o, k) => ({ input: o.input, weight: weights[k]!, ...dareOf(tensor, o, base) })),
    combine,
    lambda,
  };
}
