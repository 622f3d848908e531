// The tensors that an output is made of, as they were found in the models: of one shape, and of dtypes that become one.

import { fail, quote } from "../errors.ts";
import type { TensorAssignment } from "../recipe/assign.ts";
import type { ParsedRecipe } from "../recipe/recipe.ts";
import { type Dtype, type FloatDtype, floatDtypes, isFloat, promote, torchNames } from "../tensor/dtype.ts";
import { findTensor, type InputModel, type Override, storedDtype } from "./model.ts";

export interface Found {
  readonly model: number;
  readonly info: Override;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** The tensors that an output is made of, in the order of the recipe's models, all of one shape; at least one. */
export function findInputs(
  { name, inputs }: TensorAssignment,
  checkpoints: readonly InputModel[],
  allowMissing: boolean,
  warn: (message: string) => void,
): [Found, ...Found[]] {
  const found: Found[] = [];
  for (const input of inputs) {
    const checkpoint = checkpoints[input.model]!;
    const info = findTensor(checkpoint, input.tensor);
    if (info) {
      found.push({ model: input.model, info, parameters: input.parameters });
      continue;
    }
    // mergekit's architecture tables call biases optional; without tables the name says it.
    if (!allowMissing && !input.tensor.endsWith(".bias")) {
      fail(
        "tensor-missing",
        `Cannot merge ${quote(name)}: model ${quote(checkpoint.reference)} has no tensor ${quote(input.tensor)}`,
        {
          hint: "Are these models of one architecture? --allow-missing merges each tensor from the models that have it.",
        },
      );
    }
    warn(`${quote(checkpoint.reference)} has no ${quote(input.tensor)}: it is merged from the other models`);
  }
  const [first, ...rest] = found;
  if (!first) fail("tensor-missing", `Cannot merge ${quote(name)}: no model has it`);
  checkShapes(name, found, checkpoints);
  return [first, ...rest];
}

function checkShapes(name: string, found: readonly Found[], checkpoints: readonly InputModel[]): void {
  const first = found[0]!;
  for (const f of found) {
    const same =
      f.info.shape.length === first.info.shape.length && f.info.shape.every((d, i) => d === first.info.shape[i]);
    if (same) continue;
    const [a, b] = [first, f].map((x) => `[${x.info.shape.join(", ")}] in ${quote(checkpoints[x.model]!.reference)}`);
    const rest =
      f.info.shape.length === first.info.shape.length &&
      f.info.shape.slice(1).every((d, i) => d === first.info.shape[i + 1]);
    if (rest && /(embed|wte|lm_head|output)/.test(name)) {
      fail(
        "vocabulary-mismatch",
        `Cannot merge ${quote(name)}: vocabulary sizes differ, ${first.info.shape[0]} and ${f.info.shape[0]} (${a}, ${b})`,
        {
          hint: "The models use different tokenizers or padding. tokenizer_source: base (or union, or a model) brings them to one vocabulary.",
        },
      );
    }
    fail("shape-mismatch", `Cannot merge ${quote(name)}: its shape is ${a} and ${b}`, {
      hint: "Only models of one architecture and size can be merged.",
    });
  }
}

/** What they become: the dtype that the recipe asks for, or what theirs promote to. */
export function outputDtype(
  recipe: ParsedRecipe,
  name: string,
  found: readonly Found[],
  checkpoints: readonly InputModel[],
): FloatDtype {
  for (const f of found) {
    if (isFloat(f.info.dtype)) continue;
    fail(
      "dtype-unsupported",
      `Cannot merge ${quote(name)} of ${quote(checkpoints[f.model]!.reference)}: its dtype is ${f.info.dtype}, Braid merges ${floatDtypes.join(", ")}`,
    );
  }
  const asked = recipe.outDtype ?? recipe.dtype;
  if (asked === undefined || asked === null) return found.map((f) => storedDtype(f.info)).reduce(promote);
  const dtype = (Object.keys(torchNames) as (keyof typeof torchNames)[]).find((d) => torchNames[d] === asked);
  if (dtype === undefined || !isFloat(dtype as Dtype)) {
    fail(
      "dtype-unsupported",
      `Cannot write ${quote(String(asked))}: the output dtype is one of ${floatDtypes.map((d) => torchNames[d]).join(", ")}`,
    );
  }
  return dtype as FloatDtype;
}
