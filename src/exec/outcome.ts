// What a conductor tells of the tensors of a merge, while it goes on and when one is complete.

import type { MatrixFacts, MergeTask, NonFinite, Receipt, Task } from "../kernel/program.ts";
import type { PlanTensor } from "../plan/plan.ts";

/** What happened to one tensor, when its last slice is in. */
export interface TensorOutcome {
  readonly tensor: PlanTensor;
  readonly nonFinite: readonly NonFinite[];
  readonly overflow: { readonly count: number; readonly first: number };
  /** Elements kept, per term of the program. */
  readonly kept: readonly number[];
  /** Of a matrix program. */
  readonly facts: MatrixFacts | null;
  /** What the method says of it. */
  readonly remark: string | null;
  /** The first input whose integer bytes differ, or −1. */
  readonly differs: number;
}

export interface ConductorHooks {
  /** Called as soon as a tensor is complete, or as its survey has seen non-finite inputs. May throw to stop the merge. */
  outcome(outcome: TensorOutcome, complete: boolean): void;
  /** A task is finished: the bytes of the plan that it stands for. */
  progress(bytes: number, tensor: PlanTensor, task: Task, receipt: Receipt): void;
  /** What a task has written stays, for `bytes` that `progress` was not told. */
  written?(bytes: number, tensor: PlanTensor, task: MergeTask): void;
  /** Of a task under way, the bytes that the share of it that is done stands for. */
  beat(bytes: number, tensor: PlanTensor, task: Task): void;
  /** How many elements of a model a survey of all tensors keeps: those of its tensors are not counted one by one. */
  kept(model: number, kept: number): void;
}
