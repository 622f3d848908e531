// One output tensor before it has its place: what it is made of, by which program, and with which statistics.

import { fail, quote } from "../errors.ts";
import { roundingKey } from "../kernel/mask.ts";
import type { Program } from "../kernel/program.ts";
import { moveSource, moveView, type View } from "../kernel/view.ts";
import type { Compiled, Method, MethodInput } from "../methods/method.ts";
import type { TensorAssignment } from "../recipe/assign.ts";
import type { ParsedRecipe } from "../recipe/recipe.ts";
import { byteWidth, type Dtype, dtypeBits, type FloatDtype, isFloat } from "../tensor/dtype.ts";
import { findInputs, outputDtype } from "./found.ts";
import type { InputModel, Override } from "./model.ts";
import type { PlanTensor } from "./plan.ts";

export interface DraftOptions {
  readonly seed: string;
  readonly mergekit: boolean;
  readonly rounding: "nearest" | "stochastic";
  /** Merge each tensor from the models that have it. */
  readonly allowMissing: boolean;
}

export interface Draft {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly count: number;
  readonly inputs: PlanTensor["inputs"];
  readonly compiled: Compiled | null;
  readonly program: Program;
}

/** Null: the method leaves the tensor out. */
export function draftTensor(
  recipe: ParsedRecipe,
  assignment: TensorAssignment,
  checkpoints: readonly InputModel[],
  firstFile: readonly number[],
  method: Method,
  options: DraftOptions,
  warn: (message: string, hint?: string) => void,
): Draft | null {
  const { name } = assignment;
  const found = findInputs(assignment, checkpoints, options.allowMissing, warn);
  const [first] = found;
  const { shape, count } = first.info;
  const inputs = found.map(({ model, info }) => ({
    file: firstFile[model]! + info.file,
    start: info.start,
    ...viewOf(info, model, firstFile),
    dtype: info.dtype,
    model,
    tensor: info.name,
  }));

  const asked = recipe.outDtype ?? recipe.dtype ?? null;
  const stays = found.length === 1 && asked === null && dtypeBits[first.info.dtype] % 8 === 0;
  const copied = isWholeNumbers(first.info.dtype) || (stays && method.copies?.(first.parameters) === true);
  if (found.every((f) => !isFloat(f.info.dtype)) && copied) {
    const odd = found.find((f) => f.info.dtype !== first.info.dtype);
    if (odd)
      fail(
        "dtype-unsupported",
        `Cannot copy ${quote(name)}: it is ${first.info.dtype} in ${quote(checkpoints[first.model]!.reference)} and ${odd.info.dtype} in ${quote(checkpoints[odd.model]!.reference)}`,
      );
    return {
      name,
      dtype: first.info.dtype,
      shape,
      count,
      inputs,
      compiled: null,
      program: { op: "copy", byteWidth: byteWidth(first.info.dtype) },
    };
  }
  const out = outputDtype(recipe, name, found, checkpoints);
  const nonBase = recipe.models.map((_, i) => i).filter((i) => i !== assignment.base);
  const methodInputs = found.map(
    (f, input): MethodInput => ({
      input,
      dtype: f.info.dtype as FloatDtype,
      model: checkpoints[f.model]!.reference,
      isBase: f.model === assignment.base,
      modelIndex: nonBase.indexOf(f.model),
      parameters: f.parameters,
    }),
  );
  const { lambda } = assignment.shared;
  if (typeof lambda === "number" && (lambda > 2 || lambda < -1))
    warn(`${method.name}: lambda is ${lambda > 2 ? "above 2" : "below -1"}, which is seldom meant`);
  const whole = method.compile({
    name,
    shape,
    count,
    inputs: methodInputs,
    out,
    parameters: assignment.shared,
    seed: options.seed,
    mergekit: options.mergekit,
    models: assignment.inputs.filter((i) => i.model !== assignment.base).length,
  });
  const rounded = (program: Compiled["program"]): Compiled["program"] => {
    if (options.rounding === "nearest") return program;
    if (program.op === "merge") return { ...program, rounding: { key: roundingKey(options.seed, name) } };
    warn(`${method.name} rounds whole matrices to the nearest; --rounding stochastic has no effect on them`);
    return program;
  };
  // Nothing to survey and nothing to merge: a tensor of no elements is only named in the header.
  const compiled: Compiled =
    count === 0 && whole.program.op === "merge"
      ? { ...whole, surveys: [], program: { ...whole.program, terms: [], lambda: 1, baseWeight: 1 } }
      : whole;
  for (const note of compiled.notes) warn(`${method.name}: ${note}`);
  if (compiled.omit) return null;
  const copies = compiled.copies && first.info.dtype === out && !inputs[0]!.view;
  const program = copies ? ({ op: "copy", byteWidth: byteWidth(out) } as const) : rounded(compiled.program);
  return { name, dtype: out, shape, count, inputs, compiled, program };
}

/** The view of an input, its files counted over all models. */
function viewOf({ view, across }: Override, model: number, firstFile: readonly number[]): { view?: View } {
  if (across) {
    const sources = across.view.sources.map((s, i) => moveSource(s, firstFile[across.models[i]!]!));
    return { view: { ...across.view, sources } };
  }
  return view ? { view: moveView(view, firstFile[model]!) } : {};
}

function isWholeNumbers(dtype: Dtype): boolean {
  return /^(BOOL|[UI](8|16|32|64))$/.test(dtype);
}

/** Whether elements of it are left out. */
export function drops({ program }: Draft): boolean {
  return program.op === "merge" && program.terms.some(({ keep }) => keep.random || keep.magnitude || keep.rows);
}
