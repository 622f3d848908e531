// What the page and its lab say to each other.

import type { WireError } from "../exec/messages.ts";
import type { ChangeFacts, Distribution, ElectionCounts, Picture } from "./look.ts";
import type { Mount } from "./mounts.ts";

export interface LookOrder {
  readonly text: string;
  readonly mounts: readonly Mount[];
  /** Null: the first that the models have. */
  readonly tensor: string | null;
  readonly model: string | null;
}

export interface LookResult {
  /** Matrices that can be looked at. */
  readonly tensors: readonly string[];
  readonly tensor: string;
  readonly shape: readonly number[];
  readonly origin: string;
  readonly models: readonly string[];
  readonly model: string;
  readonly mask: Picture;
  readonly election: Picture;
  readonly counts: ElectionCounts;
  readonly distribution: Distribution;
  readonly facts: readonly ChangeFacts[];
  /** [model][model], of the changes and of what is left of them. */
  readonly cosineBefore: readonly (readonly number[])[];
  readonly cosineAfter: readonly (readonly number[])[];
  readonly conflictAfter: readonly (readonly number[])[];
  /** Cosine of the merged change with each model's. */
  readonly mergedCosine: readonly number[];
  readonly seconds: number;
}

export interface ScoreOrder {
  readonly text: string;
  readonly mounts: readonly Mount[];
  /** JSONL by the name of the task. */
  readonly tasks: readonly { readonly name: string; readonly text: string }[];
}

export interface TaskScore {
  readonly name: string;
  readonly correct: number;
  readonly asked: number;
  readonly total: number;
  /** One of the prompts, and what the merged model says. */
  readonly example: { readonly prompt: string; readonly said: string; readonly right: boolean } | null;
}

export type ToLab =
  | { readonly type: "look"; readonly id: number; readonly order: LookOrder }
  | { readonly type: "score"; readonly id: number; readonly order: ScoreOrder }
  /** Stop what is under way: the processor is wanted for a merge. */
  | { readonly type: "rest" };

export type FromLab =
  | { readonly type: "looked"; readonly id: number; readonly result: LookResult }
  | {
      readonly type: "scored";
      readonly id: number;
      readonly tasks: readonly TaskScore[];
      readonly done: boolean;
      readonly seconds: number;
    }
  | { readonly type: "failed"; readonly id: number; readonly error: WireError };
