// The random drop of a model's delta: which stream of braid-mask-v1 it draws from (docs/mask.md).

import { maskKey, maskThreshold } from "../kernel/mask.ts";
import type { RandomKeep } from "../kernel/program.ts";
import type { ParameterSpec } from "../recipe/catalogue.ts";
import type { MethodInput, MethodTensor } from "./method.ts";
import { columnsOf } from "./rows.ts";
import { choiceOf } from "./weights.ts";

const two32 = 2 ** 32;
/** The MODEL of the stream that models share: none of them. */
const sharedStream = -1;

export const randomParameters: readonly ParameterSpec[] = [
  {
    name: "mask",
    kind: "choice",
    per: "tensor",
    default: "independent",
    choices: ["independent", "disjoint"],
    describe:
      "Masks of the models: independent of each other, or (experimental) disjoint, so that no two keep an element while their densities sum to 1 at most.",
  },
  {
    name: "drop",
    kind: "choice",
    per: "tensor",
    default: "element",
    choices: ["element", "row", "column"],
    describe:
      "What drops at random: elements, or (experimental) whole rows or columns. Tensors of one dimension drop elements.",
  },
];

/** The random drop of one model with probability `rateOf(input)`, or null where that is 0. */
export function randomDrop(
  tensor: MethodTensor,
  input: MethodInput,
  rateOf: (input: MethodInput) => number,
): RandomKeep | null {
  const threshold = maskThreshold(rateOf(input));
  if (threshold === 0) return null;
  const by = choiceOf(tensor, "drop", ["element", "row", "column"] as const, "element");
  const lines = by === "element" || tensor.shape.length < 2 ? {} : { lines: { by, length: columnsOf(tensor) } };
  const name = "lines" in lines ? `${tensor.name}\0${by}s` : tensor.name;
  if (!isDisjoint(tensor)) return { key: maskKey(tensor.seed, input.modelIndex, name), threshold, ...lines };
  // The intervals of the models lie one behind the other.
  const start = tensor.inputs
    .filter((i) => !i.isBase && i.modelIndex < input.modelIndex)
    .reduce((sum, i) => (sum + two32 - maskThreshold(rateOf(i))) % two32, 0);
  return { key: maskKey(tensor.seed, sharedStream, name), threshold, start, ...lines };
}

/** What to say of disjoint masks that cannot all be. */
export function overlapNotes(tensor: MethodTensor, rateOf: (input: MethodInput) => number): string[] {
  if (!isDisjoint(tensor)) return [];
  const kept = tensor.inputs
    .filter((i) => !i.isBase)
    .map((i) => two32 - maskThreshold(rateOf(i)))
    .reduce((a, b) => a + b, 0);
  // Thresholds are rounded, so densities that sum to 1 may be off by as many units as there are models.
  if (kept <= two32 + tensor.inputs.length) return [];
  return [
    `the densities sum to ${Number((kept / two32).toPrecision(6))}, so masks overlap although they should be disjoint`,
  ];
}

function isDisjoint(tensor: MethodTensor): boolean {
  return choiceOf(tensor, "mask", ["independent", "disjoint"] as const, "independent") === "disjoint";
}
