// A pretend Llama, and short ways to read a recipe and to catch what is wrong with it.

import { BraidError, type Diagnostic } from "../../src/errors.ts";
import { assignTensors, type TensorAssignment } from "../../src/recipe/assign.ts";
import { type ParsedRecipe, parseRecipe } from "../../src/recipe/recipe.ts";
import { catalogue } from "./catalogue.ts";

const perLayer = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "mlp.gate_proj",
  "mlp.up_proj",
];
perLayer.push("mlp.down_proj", "input_layernorm", "post_attention_layernorm");

/** Tensor names of a Llama: 9 for each layer and embed, norm and head. */
export function llama(layers: number): ReadonlySet<string> {
  const names = new Set(["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"]);
  for (let i = 0; i < layers; i++) for (const part of perLayer) names.add(`model.layers.${i}.${part}.weight`);
  return names;
}

export function recipe(text: string): ParsedRecipe {
  return parseRecipe(text, "r.yml", catalogue)[0]!;
}

export function assign(text: string, names = llama(4), warnings: Diagnostic[] = []): TensorAssignment[] {
  return assignTensors(
    recipe(text),
    catalogue,
    () => names,
    (d) => warnings.push(d),
  );
}

export function problems(work: () => unknown): readonly Diagnostic[] {
  try {
    work();
  } catch (error) {
    if (error instanceof BraidError) return error.diagnostics;
    throw error;
  }
  return [];
}

/** `line:column message`, and the hint behind a bar. */
export function told(list: readonly Diagnostic[]): string[] {
  return list.map((d) => `${d.where?.line}:${d.where?.column} ${d.message}${d.hint ? ` | ${d.hint}` : ""}`);
}

/** Equal up to 1e-12 in numbers, exactly in everything else. */
export function close(a: unknown, b: unknown): boolean {
  if (typeof a === "number" && typeof b === "number") return Math.abs(a - b) <= 1e-12;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const keys = Object.keys(a);
  const get = (o: object, key: string): unknown => (o as Record<string, unknown>)[key];
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && close(get(a, key), get(b, key)))
  );
}
