// Keep of a multi-task vector what several tasks need (Wang et al. 2024, arXiv 2405.07813). A task needs an element where its own
// delta is large beside what the others add: |δ| > lambda_mask·|total − δ| (its TALL mask).

import { fail, quote } from "../errors.ts";
import type { MergeProgram, Survey, ThresholdOperand } from "../kernel/program.ts";
import type { ParameterSpec } from "../recipe/catalogue.ts";
import { dareParameters } from "./dare.ts";
import { solveDelta } from "./delta.ts";
import { choiceProgram, holdersOf } from "./holders.ts";
import type { Compiled, Method, MethodInput, MethodTensor } from "./method.ts";
import { densityParameter } from "./parameters.ts";
import { densityOf, numberOf } from "./weights.ts";

const trimmed = 0.2;

const parameters: readonly ParameterSpec[] = [
  {
    name: "lambda_mask",
    kind: "number",
    per: "model",
    default: 0.4,
    min: 0,
    exclusiveMin: true,
    describe: "How large a delta must be beside what the other models add; the paper searches 0.2 to 0.6.",
  },
  {
    name: "k",
    kind: "number",
    per: "tensor",
    default: 2,
    integer: true,
    min: 1,
    describe: "How many models must need an element: 1 drops what none needs, 2 also what one alone does.",
  },
  { name: "alpha", kind: "number", per: "tensor", default: 1, describe: "Scale of what is kept." },
  ...dareParameters,
];

function lambdaOf(tensor: MethodTensor, input: MethodInput): number {
  const value = input.parameters.lambda_mask ?? 0.4;
  if (typeof value === "number" && value > 0 && Number.isFinite(value)) return value;
  fail(
    "recipe-parameter",
    `Cannot use lambda_mask ${String(value)} of ${quote(input.model)} for ${quote(tensor.name)}: it must be a number above 0`,
  );
}

function compileConsensus(tensor: MethodTensor, elect: boolean): Compiled {
  const holders = holdersOf(tensor);
  const { base, others } = holders;
  const least = numberOf(tensor, "k", 2);
  if (least > tensor.models) {
    fail(
      "recipe-parameter",
      `Cannot keep what ${least} models need in ${quote(tensor.name)}: k is ${least}, the recipe has ${tensor.models} models beside the base`,
      { hint: "Use a k of at most the number of models; 2 is the paper's." },
    );
  }
  const lambdas = others.map((i) => lambdaOf(tensor, i));
  const program = choiceProgram(
    tensor,
    holders,
    { op: "consent", least, elect },
    numberOf(tensor, "alpha", 1),
    lambdas,
  );
  if (!elect) return { surveys: [], program, solve: {}, notes: [] };

  const operands: ThresholdOperand[] = [];
  const terms = others.map((input, k): MergeProgram["terms"][number] => {
    const density = densityOf(tensor, input, trimmed);
    const term = program.terms[k]!;
    if (density === 1) return term;
    const at = operands.length;
    operands.push({
      input: input.input,
      base: base.input,
      keep: term.keep,
      density,
      // After a random drop, of what it left.
      of: term.keep.random ? "nonzero" : "elements",
      rounding: "nearest",
      ties: "include",
    });
    const magnitude = { above: { from: `above.${at}` }, equalBefore: { from: `equalBefore.${at}` } };
    return { ...term, keep: { ...term.keep, magnitude } };
  });
  const surveys: Survey[] = operands.length > 0 ? [{ op: "threshold", inputs: program.inputs, operands }] : [];
  return { surveys, program: { ...program, terms }, solve: { norms: [], guard: 0 }, notes: [] };
}

const shared = {
  paper: "https://arxiv.org/abs/2405.07813",
  base: "required",
  baseIsInput: false,
  minModels: 1,
  maxModels: Number.POSITIVE_INFINITY,
  implemented: true,
} as const;

/** The total is the sum of all deltas. */
export const consensusTa: Method = {
  ...shared,
  name: "consensus_ta",
  title: "Consensus Task Arithmetic",
  parameters,
  compile: (tensor) => compileConsensus(tensor, false),
};

/** The total is TIES': trimmed deltas that have the elected sign, added up. Masks compare it with whole deltas. */
export const consensusTies: Method = {
  ...shared,
  name: "consensus_ties",
  title: "Consensus TIES",
  parameters: [...parameters, densityParameter(trimmed)],
  compile: (tensor) => compileConsensus(tensor, true),
  solve: solveDelta,
};
