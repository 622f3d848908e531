// A model as the plan sees it: a checkpoint, and tensors of it that are views (adapters folded in, rows of another vocabulary).

import type { RowsView, View } from "../kernel/view.ts";
import type { Checkpoint, TensorInfo } from "../tensor/checkpoint.ts";
import type { FloatDtype } from "../tensor/dtype.ts";

/** A tensor that stands in for the checkpoint's: another one, or a view that is computed while it is read. */
export interface Override extends TensorInfo {
  /** `dtype` and `shape` are then the view's. Its files are the model's own. */
  readonly view?: View;
  /** A view whose sources belong to several models: the files of `view.sources[i]` are those of model `models[i]`. */
  readonly across?: { readonly view: RowsView; readonly models: readonly number[] };
  /** For `storedDtype`, where it is not what the view computes in. */
  readonly storedAs?: FloatDtype;
}

/** What a tensor counts as where the output's dtype follows from the inputs'. */
export function storedDtype({ dtype, view, storedAs }: Override): FloatDtype {
  // What fp8 with scales holds fits bfloat16, which is what such models are converted to.
  return storedAs ?? (view?.op === "scaled" ? "BF16" : (dtype as FloatDtype));
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

/** The tensor of that name; a head that is tied to the embeddings is read from them. */
export function findTensor(model: InputModel, name: string): Override | undefined {
  const own = model.overrides.get(name) ?? model.tensors.get(name);
  if (own || !model.tied || !/(^|\.)(lm_head|embed_out)\.weight$/.test(name)) return own;
  for (const [other, info] of model.tensors)
    if (/(^|\.)(embed_tokens|wte|embed_in)\.weight$/.test(other)) return model.overrides.get(other) ?? info;
  return undefined;
}
