// How often a merge reads its inputs: once to merge, and once for each round of a survey.

import { type Survey, sampledFrom } from "../kernel/program.ts";
import type { Dtype } from "../tensor/dtype.ts";
import { type PlanTensor, readWidth } from "./plan.ts";

/** Bytes of tensor data that all passes over all inputs read, about: where a sample misses, a round is added. */
export function bytesReadBy(tensors: readonly PlanTensor[]): number {
  const together = tensors.filter((t) => t.surveys.some(isOfModel));
  const allTogether = together.reduce((sum, t) => sum + t.count, 0);
  const allInputs = together.flatMap((t) => t.inputs.map((i) => i.dtype));
  const passesOf = (survey: Survey, count: number) =>
    isOfModel(survey) ? roundsOf(survey, allTogether, allInputs) : roundsOf(survey, count, survey.inputs);
  return tensors.reduce(
    (sum, t) => sum + t.count * readWidth(t) * (1 + t.surveys.reduce((n, s) => n + passesOf(s, t.count), 0)),
    0,
  );
}

/** Whether a survey ranks or adds up all tensors together. */
function isOfModel(survey: Survey): boolean {
  return "scope" in survey && survey.scope === "model";
}

/** Passes over the data that a survey mostly takes. Threshold keys of bf16 and f16 are found in one, where there is a sample. */
function roundsOf(survey: Survey, count: number, inputs: readonly Dtype[]): number {
  if (survey.op !== "threshold") return 1;
  const varied = survey.operands.some((o) => o.variance || o.keep.rows);
  const search = count < sampledFrom || inputs.includes("F32") || varied ? 2 : 1;
  return search + (survey.operands.some((o) => o.ties === "exact") ? 1 : 0);
}
