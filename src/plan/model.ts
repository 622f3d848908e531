// A model as the plan sees it: a checkpoint, and tensors of it that are views (adapters folded in, rows of another vocabulary).

import type { View } from "../kernel/view.ts";
import type { Checkpoint, TensorInfo } from "../tensor/checkpoint.ts";

/** A tensor that is computed while it is read. `dtype` and `shape` are the view's; files count in its model's list. */
export interface ViewedTensor extends TensorInfo {
  readonly view: View;
}

/** `files` are the checkpoint's own and whatever its views read beside them. */
export interface InputModel extends Checkpoint {
  /** By name; they stand in for the checkpoint's tensors of the same names, or beside them. */
  readonly views: ReadonlyMap<string, ViewedTensor>;
}

export function withoutViews(checkpoint: Checkpoint): InputModel {
  return { ...checkpoint, views: new Map() };
}
