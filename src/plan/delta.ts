// What of a fine-tune an adapter can hold: which tensors are weights of linear layers, and what becomes of the others. Pure: names,
// shapes and dtypes only.

import { type Diagnostic, fail, quote } from "../errors.ts";
import type { TaskInput } from "../kernel/program.ts";
import { moveView } from "../kernel/view.ts";
import { type FloatDtype, isFloat } from "../tensor/dtype.ts";
import { type InputModel, type Override, tensorNames } from "./model.ts";

/** A tensor of both models, or of the fine-tune alone. */
export interface DeltaTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  /** Null: the base has none. */
  readonly base: DeltaInput | null;
  readonly model: DeltaInput;
  /** How it could be stored whole: with its module, or as the bias of a linear layer. Null: PEFT has no place for it. */
  readonly as: "module" | "bias" | null;
}

export interface DeltaInput extends TaskInput {
  readonly dtype: FloatDtype;
}

export interface DeltaTensors {
  /** Weights of linear layers, for factors. */
  readonly weights: readonly DeltaTensor[];
  /** Embeddings and heads that were asked for: they are stored whole. */
  readonly whole: readonly DeltaTensor[];
  /** Norms, biases, embeddings and whatever else: lost, or stored whole with --save-rest. */
  readonly rest: readonly DeltaTensor[];
  /** Weights that were excluded. */
  readonly excluded: readonly DeltaTensor[];
  readonly warnings: readonly Diagnostic[];
}

export interface Selection {
  /** Substrings of tensor names, in which `*` stands for anything. None: everything but embeddings and heads. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

const tables =
  /(^|\.)(embed_tokens|word_embeddings|embed_in|wte|wpe|embed_positions|shared|tok_embeddings|position_embeddings)\.weight$/;
const heads = /(^|\.)(lm_head|embed_out|output|score|classifier)\.weight$/;

/** Whether a name holds the pattern. */
export function matches(pattern: string, name: string): boolean {
  let at = 0;
  for (const piece of pattern.split("*")) {
    const found = name.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return true;
}

/**
 * Sorts the fine-tune's tensors. Files of the fine-tune follow those of the base.
 *
 * @throws `tensor-missing`, `shape-mismatch` or `dtype-unsupported` for weights that have no delta.
 */
export function deltaTensors(base: InputModel, model: InputModel, { include, exclude }: Selection): DeltaTensors {
  const shift = base.files.length;
  const warnings: Diagnostic[] = [];
  const sorted = {
    weights: [] as DeltaTensor[],
    whole: [] as DeltaTensor[],
    rest: [] as DeltaTensor[],
    excluded: [] as DeltaTensor[],
  };
  const warn = (kind: Diagnostic["kind"], message: string) => warnings.push({ kind, message });
  for (const name of [...tensorNames(model)].sort((a, b) => (a < b ? -1 : 1))) {
    const own = find(model, name)!;
    const its = find(base, name);
    const table = tables.test(name) || heads.test(name);
    const asked = include.some((p) => matches(p, name)) && !exclude.some((p) => matches(p, name));
    const wanted = include.length === 0 ? !table && !exclude.some((p) => matches(p, name)) : asked;
    const linear = own.shape.length === 2 && name.endsWith(".weight") && !table;
    const problem =
      linear && wanted ? fail : (kind: Diagnostic["kind"], message: string) => warn(kind, `${message}: it is left out`);
    const cannot = `Cannot extract ${quote(name)}`;
    if (!isFloat(own.dtype) || (its && !isFloat(its.dtype))) {
      if (/^(BOOL|[UI](8|16|32|64))$/.test(own.dtype) && !linear) continue;
      problem(
        "dtype-unsupported",
        `${cannot}: it is ${its?.dtype ?? "nothing"} in ${quote(base.reference)} and ${own.dtype} in ${quote(model.reference)}`,
      );
      continue;
    }
    if (!its && !(table && asked)) {
      problem("tensor-missing", `${cannot}: ${quote(base.reference)} has no such tensor`);
      continue;
    }
    if (its && its.shape.join() !== own.shape.join()) {
      const shapes = `it is [${its.shape.join(", ")}] in ${quote(base.reference)} and [${own.shape.join(", ")}] in ${quote(model.reference)}`;
      problem("shape-mismatch", `${cannot}: ${shapes}`);
      continue;
    }
    const tensor: DeltaTensor = {
      name,
      shape: own.shape,
      count: own.count,
      base: its ? input(its, 0) : null,
      model: input(own, shift),
      as: savedAs(name, model),
    };
    if (table && asked) sorted.whole.push(tensor);
    else if (!linear) sorted.rest.push(tensor);
    else if (wanted) sorted.weights.push(tensor);
    else sorted.excluded.push(tensor);
  }
  for (const name of tensorNames(base)) {
    if (!find(model, name))
      warn("tensor-missing", `${quote(model.reference)} has no ${quote(name)}: it stays the base's`);
  }
  for (const pattern of [...include, ...exclude]) {
    if (![...tensorNames(model)].some((name) => matches(pattern, name)))
      fail("usage", `Cannot extract: no tensor's name holds ${quote(pattern)}`);
  }
  if (sorted.weights.length === 0) {
    fail(
      "tensor-missing",
      `Cannot extract an adapter from ${quote(model.reference)}: it has no weights of linear layers to take`,
      {
        hint: "Linear layers have tensors of two dimensions whose names end in .weight.",
      },
    );
  }
  return { ...sorted, warnings };
}

function savedAs(name: string, model: InputModel): DeltaTensor["as"] {
  if (name.endsWith(".weight")) return "module";
  if (!name.endsWith(".bias")) return null;
  const weight = `${name.slice(0, -5)}.weight`;
  return find(model, weight)?.shape.length === 2 && !tables.test(weight) && !heads.test(weight) ? "bias" : "module";
}

function find(model: InputModel, name: string): Override | undefined {
  if (model.hidden.has(name)) return undefined;
  return model.overrides.get(name) ?? model.tensors.get(name);
}

function input(info: Override, shift: number): DeltaInput {
  return {
    file: info.file + shift,
    start: info.start,
    dtype: info.dtype as FloatDtype,
    ...(info.view ? { view: moveView(info.view, shift) } : {}),
  };
}
