// A model out of an EMR export: the base with its unified delta behind the model's masks, as views that are made while they are read.

import { fail, quote } from "../errors.ts";
import { type FloatDtype, isFloat } from "../tensor/dtype.ts";
import type { EmrModel } from "../tensor/emr.ts";
import { type InputModel, type Override, storedDtype } from "./model.ts";

/**
 * The model under a new reference.
 *
 * @throws `adapter` where the export does not fit the base.
 */
export function maskedModel(base: InputModel, emr: EmrModel, reference: string): InputModel {
  const refuse = (what: string): never =>
    fail("adapter", `Cannot apply the EMR export ${quote(emr.reference)} to ${quote(base.reference)}: ${what}`, {
      hint: `It belongs to the base_model that it was made with: ${quote(emr.baseModel)}.`,
    });
  const overrides = new Map(base.overrides);
  const [unifiedFile, maskFile] = [base.files.length, base.files.length + 1];
  for (const { unified, mask } of emr.tensors) {
    const { name, shape, dtype, start } = unified;
    const own: Override = overrides.get(name) ?? base.tensors.get(name) ?? refuse(`it has no tensor ${quote(name)}`);
    if (own.shape.join() !== shape.join())
      refuse(`${quote(name)} is [${own.shape.join(", ")}] there and [${shape.join(", ")}] in the export`);
    if (!isFloat(own.dtype)) refuse(`${quote(name)} is ${own.dtype} there`);
    overrides.set(name, {
      ...own,
      dtype: "F32",
      storedAs: storedDtype(own),
      view: {
        op: "masked",
        base: {
          file: own.file,
          start: own.start,
          dtype: own.dtype as FloatDtype,
          ...(own.view ? { view: own.view } : {}),
        },
        unified: { file: unifiedFile, start, dtype: dtype as FloatDtype },
        mask: { file: maskFile, start: mask.start },
        scale: emr.scale,
      },
    });
  }
  return { ...base, reference, files: [...base.files, emr.unifiedFile, emr.maskFile], overrides };
}
