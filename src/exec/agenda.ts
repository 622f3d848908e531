// The order in which tensors are worked on. A survey that ranks all of them together goes over every one, round by round, before any
// is merged; where signs are elected for all tensors together, those of each are gathered next; then come the merges.

import type { SurveyResult } from "../methods/method.ts";
import type { Plan, PlanTensor } from "../plan/plan.ts";
import {
  gatherModel,
  gatherModelNorms,
  type ModelNorms,
  type ModelRound,
  type ModelThresholds,
} from "./model-survey.ts";

/** A survey of all tensors under way. */
interface ModelSurvey {
  readonly members: readonly PlanTensor[];
  readonly rounds: Generator<ModelRound, ModelThresholds | ModelNorms, void>;
  round: ModelRound;
}

/** A tensor to work on, and which member of the survey of all tensors it is asked as, or −1. */
export interface Turn {
  readonly tensor: PlanTensor;
  readonly member: number;
}

export class Agenda {
  private readonly tensors: readonly PlanTensor[];
  private readonly kept: (model: number, kept: number) => void;
  /** Of tensors whose surveys for all tensors are done. */
  private readonly surveyed = new Map<PlanTensor, SurveyResult[]>();
  private modelSurvey: ModelSurvey | null;
  /** Tensors whose elections count for all of them: none is merged before their surveys are done. */
  private electing: readonly PlanTensor[] | null;
  private at = 0;

  /** `kept` is told how many elements of a model a survey of all tensors keeps. */
  constructor({ tensors }: Plan, kept: (model: number, kept: number) => void) {
    this.tensors = tensors;
    this.kept = kept;
    this.modelSurvey = startModelSurvey(tensors);
    const electing = tensors.filter((t) => t.surveys.at(-1)?.op === "signs");
    this.electing = electing.length > 0 ? electing : null;
  }

  /** The next tensor to work on, or null: then nothing is left, or it waits for tensors under way (`idle`: there are none). */
  next(idle: boolean): Turn | null {
    for (let survey = this.modelSurvey; survey; survey = this.modelSurvey) {
      const { asked } = survey.round;
      if (this.at < asked.length) {
        const member = asked[this.at++]!;
        return { tensor: survey.members[member]!, member };
      }
      if (!idle) return null; // the round is not over
      this.at = 0;
      const step = survey.rounds.next();
      if (step.done) this.closeModelSurvey(survey, step.value);
      else survey.round = step.value;
    }
    if (this.electing) {
      if (this.at < this.electing.length) return { tensor: this.electing[this.at++]!, member: -1 };
      if (!idle) return null; // signs of some tensors are still to come
      this.at = 0;
      this.closeElection(this.electing);
    }
    const tensor = this.tensors[this.at++];
    return tensor ? { tensor, member: -1 } : null;
  }

  /** The round of the survey of all tensors. */
  get round(): ModelRound {
    return this.modelSurvey!.round;
  }

  /** Tensors are only surveyed by now: what is found waits for the others. */
  get elects(): boolean {
    return this.electing !== null;
  }

  /** What surveys for all tensors have found of one. */
  resultsOf(tensor: PlanTensor): SurveyResult[] {
    return this.surveyed.get(tensor) ?? [];
  }

  /** Notes what the surveys of one have found. */
  note(tensor: PlanTensor, results: SurveyResult[]): void {
    this.surveyed.set(tensor, results);
  }

  /** Every tensor is told the signs of all of them: integers, so their order does not matter. */
  private closeElection(members: readonly PlanTensor[]): void {
    const sum: { op: "signs"; positive: number; negative: number } = { op: "signs", positive: 0, negative: 0 };
    for (const tensor of members) {
      const own = this.surveyed.get(tensor)!.pop()!;
      if (own.op !== "signs") throw new TypeError("expected signs");
      sum.positive += own.positive;
      sum.negative += own.negative;
    }
    for (const tensor of members) this.surveyed.get(tensor)!.push(sum);
    this.electing = null;
  }

  private closeModelSurvey(survey: ModelSurvey, outcome: ModelThresholds | ModelNorms): void {
    survey.members.forEach((tensor, i) => {
      const result: SurveyResult =
        "norms" in outcome
          ? { op: "norms", norms: outcome.norms[i]!, squares: outcome.squares }
          : { op: "threshold", thresholds: outcome.thresholds[i]! };
      this.surveyed.set(tensor, [result]);
    });
    if ("kept" in outcome) for (const [model, n] of outcome.kept) this.kept(model, n);
    this.modelSurvey = null;
  }
}

function startModelSurvey(tensors: readonly PlanTensor[]): ModelSurvey | null {
  const members = tensors
    .filter((t) => modelSurveyOf(t))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const parts = members.map((t) => {
    const survey = modelSurveyOf(t)!;
    return { survey, count: t.count, models: survey.operands.map((o) => t.inputs[o.input]!.model) };
  });
  // A method asks for one kind of survey only.
  const ranks = parts.flatMap(({ survey, ...part }) =>
    survey.op === "threshold" ? [{ ...part, operands: survey.operands }] : [],
  );
  const sums = parts.map(({ survey, ...part }) => ({ ...part, operands: survey.operands }));
  const rounds = ranks.length > 0 ? gatherModel(ranks) : gatherModelNorms(sums);
  const step = members.length > 0 ? rounds.next() : null;
  return !step || step.done ? null : { members, rounds, round: step.value };
}

/** A tensor's part in the survey of all tensors; it comes before its other surveys. */
function modelSurveyOf({ surveys }: PlanTensor) {
  const [first] = surveys;
  return first && "scope" in first && first.scope === "model" ? first : null;
}
