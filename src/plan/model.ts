// A model as the plan sees it: a checkpoint, and tensors of it that are views (adapters folded in, rows of another vocabulary).

import type { View } from "../kernel/view.ts";
import type { Checkpoint, TensorInfo } from "../tensor/checkpoint.ts";

/** A tensor that stands in for the checkpoint's: another one, or a view that is computed while it is read. */
export interface Override extends TensorInfo {
  /** `dtype` and `shape` are then the view's. */
  readonly view?: View;
}

/** `files` are the checkpoint's own, then whatever overrides read beside them. */
export interface InputModel extends Checkpoint {
  /** By name; they stand in for the checkpoint's tensors of the same names, or beside them. */
  readonly overrides: ReadonlyMap<string, Override>;
  /** Tensors of the checkpoint that are none of the model: scales of others. */
  readonly hidden: ReadonlySet<string>;
}

/** Names of the model's tensors. */
export function tensorNames({ tensors, overrides, hidden }: InputModel): Set<string> {
  return new Set([...[...tensors.keys()].filter((name) => !hidden.has(name)), ...overrides.keys()]);
}
