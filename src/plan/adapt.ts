// A model with adapters: the tensors that they change become views of the base's, so that methods see the folded weights and
// nothing is ever written in between.

import { fail, quote } from "../errors.ts";
import type { AdapterView } from "../kernel/adapter.ts";
import type { ViewSource } from "../kernel/view.ts";
import type { Adapter, AdapterModule } from "../tensor/adapter.ts";
import type { TensorInfo } from "../tensor/checkpoint.ts";
import { type FloatDtype, isFloat } from "../tensor/dtype.ts";
import { type InputModel, type Override, storedDtype } from "./model.ts";

/**
 * The model with an adapter folded in, under a new reference. `round`: the dtype that folding rounds to; null keeps f32 until
 * the output; "weight" takes each weight's own, as PEFT does.
 *
 * @throws `adapter` where it does not fit the model.
 */
export function adaptModel(
  model: InputModel,
  adapter: Adapter,
  reference: string,
  round: FloatDtype | "weight" | null,
): InputModel {
  const file = model.files.length;
  const overrides = new Map(model.overrides);
  const source = (info: TensorInfo, from = file): ViewSource => ({
    file: from,
    start: info.start,
    dtype: info.dtype as FloatDtype,
  });
  const lookUp = (name: string): Override => {
    const info = overrides.get(name) ?? model.tensors.get(name);
    if (!info) refuse(adapter, model, `the model has no tensor ${quote(name)}`);
    if (!isFloat(info.dtype)) refuse(adapter, model, `${quote(name)} is ${info.dtype} in the model`);
    return info;
  };
  /** The tensor as it was before this adapter. */
  const before = (info: Override): ViewSource => ({
    file: info.file,
    start: info.start,
    dtype: info.dtype as FloatDtype,
    ...(info.view ? { view: info.view } : {}),
  });
  const rounding = (info: Override): FloatDtype | null =>
    round === "weight" ? (info.dtype === "F32" ? null : (info.dtype as FloatDtype)) : round;
  const put = (info: Override, view: AdapterView) =>
    overrides.set(info.name, { ...info, dtype: "F32", storedAs: storedDtype(info), view });

  for (const [name, info] of adapter.replacements) {
    const known = overrides.has(name) || model.tensors.has(name);
    if (!known && !/(^|\.)(lm_head|score|classifier)\./.test(name))
      refuse(adapter, model, `it replaces ${quote(name)}, which the model does not have`);
    overrides.set(name, { ...info, name, file });
  }
  for (const module of adapter.modules) {
    const info = lookUp(`${module.path}.weight`);
    const [rows, columns] = checkShape(adapter, model, module, info);
    const { rank, scale, transposed } = module;
    put(info, {
      op: "adapter",
      rows,
      columns,
      weight: before(info),
      factors: [{ rank, scale, transposed, a: source(module.a), b: source(module.b) }],
      magnitude: module.magnitude && source(module.magnitude),
      round: rounding(info),
    });
    if (!module.bias) continue;
    const bias = lookUp(`${module.path}.bias`);
    if (bias.count !== module.bias.count)
      refuse(
        adapter,
        model,
        `the bias of ${quote(module.path)} has ${bias.count} elements, the adapter's ${module.bias.count}`,
      );
    put(bias, {
      op: "adapter",
      rows: 1,
      columns: bias.count,
      weight: before(bias),
      factors: [{ rank: 1, scale, transposed: false, a: source(module.bias), b: null }],
      magnitude: null,
      round: rounding(bias),
    });
  }
  return { ...model, reference, files: [...model.files, adapter.file], overrides };
}

function checkShape(
  adapter: Adapter,
  model: InputModel,
  module: AdapterModule,
  { shape }: TensorInfo,
): [rows: number, columns: number] {
  const { a, b, transposed, magnitude } = module;
  const [rows, columns] = transposed ? [a.shape[1]!, b.shape[0]!] : [b.shape[0]!, a.shape[1]!];
  if (shape.length !== 2 || shape[0] !== rows || shape[1] !== columns) {
    refuse(
      adapter,
      model,
      `${quote(module.path)} is [${shape.join(", ")}] in the model, the adapter's product is [${rows}, ${columns}]`,
    );
  }
  if (magnitude && magnitude.count !== rows)
    refuse(adapter, model, `${quote(module.path)} has ${magnitude.count} DoRA magnitudes for ${rows} rows`);
  return [rows, columns];
}

function refuse(adapter: Adapter, model: InputModel, what: string): never {
  fail("adapter", `Cannot fold the adapter ${quote(adapter.reference)} into ${quote(model.reference)}: ${what}`, {
    hint: "An adapter fits the base model that it was trained on (base_model_name_or_path in its adapter_config.json).",
  });
}
