// From the text of a recipe to one ParsedRecipe for each document, or to one error that lists everything wrong with it.

import { BraidError, type Diagnostic, type Position, quote } from "../errors.ts";
import { type Catalogue, parameterNames } from "./catalogue.ts";
import { checkAllKeys, type KeyReport } from "./keys.ts";
import { readLayout } from "./layout.ts";
import { similar } from "./nearest.ts";
import type { ParsedRecipe, Reading, RecipeDtype } from "./parsed.ts";
import { checkModels, checkSettings } from "./rules.ts";
import { dtypes } from "./schema.ts";
import { checkShape } from "./shape.ts";
import { readTokenizer } from "./tokenizer.ts";
import { describeNode, get, type MapNode, parseYaml, present, type YamlDocument } from "./yaml.ts";

export type { ParsedRecipe, ParsedSlice, ParsedSource, RecipeDtype } from "./parsed.ts";

/** Reads every recipe of a file. Throws one BraidError with all diagnostics, in the order of the text. */
export function parseRecipe(text: string, file: string, catalogue: Catalogue): ParsedRecipe[] {
  const documents = parseYaml(text, file);
  const errors: Diagnostic[] = [];
  const recipes: ParsedRecipe[] = [];
  if (documents.length === 0)
    errors.push({
      kind: "recipe-schema",
      message: "Cannot read the recipe: the file is empty",
      where: { file, line: 1, column: 1 },
    });
  const names = new Map<string, Position>();
  documents.forEach((document, index) => {
    const recipe = readDocument(document, file, catalogue, documents.length, errors);
    if (!recipe) return;
    recipes.push(recipe);
    if (documents.length === 1) return;
    const nameAt =
      document.root.kind === "map" ? (get(document.root, "name")?.value.at ?? document.root.at) : document.root.at;
    if (recipe.name === undefined && index < documents.length - 1) {
      errors.push({
        kind: "recipe-schema",
        message: `Recipe ${index + 1} of ${documents.length} has no name, so no later one can use it`,
        where: nameAt,
        hint: "Only the last recipe of a file may go without a name.",
      });
    } else if (recipe.name !== undefined && names.has(recipe.name)) {
      errors.push({
        kind: "recipe-schema",
        message: `Two recipes of this file have the name ${quote(recipe.name)}`,
        where: nameAt,
      });
    }
    if (recipe.name !== undefined) names.set(recipe.name, nameAt);
  });
  if (errors.length > 0) throw new BraidError(tidy(errors));
  return recipes;
}

/** Sorted by place, without repeats (an aliased block is visited once for each use). */
function tidy(list: readonly Diagnostic[]): Diagnostic[] {
  const seen = new Set<string>();
  const kept = list.filter((d) => {
    const key = `${d.where?.line}:${d.where?.column}:${d.hint ?? d.message}`;
    return !seen.has(key) && seen.add(key);
  });
  return kept.sort(
    (a, b) => (a.where?.line ?? 0) - (b.where?.line ?? 0) || (a.where?.column ?? 0) - (b.where?.column ?? 0),
  );
}

function readDocument(
  document: YamlDocument,
  file: string,
  catalogue: Catalogue,
  documents: number,
  all: Diagnostic[],
): ParsedRecipe | undefined {
  const { root } = document;
  const errors: Diagnostic[] = [];
  const warnings: Diagnostic[] = [];
  const error: Reading["error"] = (where, message, hint, kind = "recipe-schema") => {
    errors.push({ kind, message, where, ...(hint ? { hint } : {}) });
  };
  const warn: Reading["warn"] = (where, message, hint) => {
    warnings.push({ kind: "recipe-schema", message, where, ...(hint ? { hint } : {}) });
  };
  if (root.kind !== "map") {
    const empty = root.kind === "scalar" && root.type === "null";
    error(
      root.at,
      empty
        ? "Cannot read the recipe: it is empty"
        : `Cannot read the recipe: it must be a mapping with merge_method and models, found ${describeNode(root)}`,
    );
    all.push(...errors);
    return undefined;
  }
  for (const { key, at, first, map } of document.duplicates) {
    const pasted = map === root.at && ["merge_method", "models", "slices", "modules"].includes(key);
    if (pasted)
      error(
        at,
        `${quote(key)} stands twice; the first is in line ${first.line}`,
        "Two recipes in one document? Put a line --- between them.",
      );
    else warn(at, `${quote(key)} stands twice; this one counts, the one in line ${first.line} does not`);
  }
  checkShape(root, error);

  const methodNode = get(root, "merge_method")?.value;
  const name = methodNode?.kind === "scalar" && methodNode.type === "text" ? methodNode.text : undefined;
  const method = name === undefined ? undefined : catalogue.get(name);
  if (name !== undefined && !method) {
    const close = similar(name, catalogue.keys());
    const hint =
      close.length > 0
        ? `Did you mean ${close.map((n) => quote(n)).join(" or ")}?`
        : `Known methods: ${[...catalogue.keys()].sort().join(", ")}.`;
    error(methodNode!.at, `Cannot merge by ${quote(name)}: there is no such method`, hint, "unknown-method");
  }
  const allNames = parameterNames(catalogue);
  const own = method ? parameterNames(new Map([[method.name, method]])) : allNames;
  const keys: KeyReport = { errors, warnings, own, all: allNames, warned: new Set() };
  checkAllKeys(root, keys);

  const reading: Reading = { root, method, error, warn, models: [] };
  const layout = readLayout(reading);
  const tokenizer = readTokenizer(root, error);
  if (tokenizer?.source.kind === "base" && !present(get(root, "base_model")?.value)) {
    error(
      tokenizer.at,
      "The tokenizer of base is asked for, but the recipe has no base_model",
      undefined,
      "recipe-models",
    );
  }
  const scalars = {
    ...optional("name", textOf(root, "name")),
    ...optional("dtype", readDtype(root, "dtype", error)),
    ...optional("outDtype", readDtype(root, "out_dtype", error)),
    ...optional("seed", readSeed(root, error)),
    ...optional("chatTemplate", textOf(root, "chat_template")),
    ...optional("tokenizer", tokenizer),
  };
  if (scalars.name !== undefined && documents === 1) {
    warn(get(root, "name")!.key.at, `"name" has no effect in a file of one recipe`);
  }
  if (layout && method) checkModels(reading, layout, method);
  if (layout && method) checkSettings(reading, layout, method);
  all.push(...errors);
  if (errors.length > 0 || !layout || !method) return undefined;
  return {
    file,
    method: method.name,
    methodAt: methodNode!.at,
    models: reading.models,
    ...layout,
    ...scalars,
    warnings: tidy(warnings),
  };
}

function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };
}

function textOf(map: MapNode, key: string): string | undefined {
  const node = get(map, key)?.value;
  return node?.kind === "scalar" && node.type === "text" ? node.text : undefined;
}

function readDtype(root: MapNode, key: "dtype" | "out_dtype", error: Reading["error"]): RecipeDtype | undefined {
  const written = textOf(root, key);
  if (written === undefined) return undefined;
  const name = written.startsWith("torch.") ? written.slice("torch.".length) : written;
  const found = dtypes.find((d) => d === name);
  const short = {
    bf16: "bfloat16",
    fp16: "float16",
    f16: "float16",
    half: "float16",
    fp32: "float32",
    f32: "float32",
    float: "float32",
    f64: "float64",
    double: "float64",
    fp8: "float8_e4m3fn",
    float8_e4m3: "float8_e4m3fn",
  }[name];
  if (!found) {
    const hint = short ? `Did you mean ${quote(short)}?` : undefined;
    error(
      get(root, key)!.value.at,
      `${key} must be one of ${dtypes.join(", ")}, found ${quote(written)}`,
      hint,
      "recipe-schema",
    );
  }
  return found;
}

function readSeed(root: MapNode, error: Reading["error"]): bigint | undefined {
  const node = present(get(root, "random_seed")?.value);
  if (
    node?.kind !== "scalar" ||
    !(typeof node.value === "number" || typeof node.value === "bigint" || /^\s*[-+]?[0-9]+\s*$/.test(node.text))
  )
    return undefined;
  if (typeof node.value === "number" && !Number.isSafeInteger(node.value)) return undefined;
  const seed = BigInt(
    typeof node.value === "string" ? node.value.trim().replace("+", "") : (node.value as number | bigint),
  );
  if (seed >= 0n && seed < 1n << 64n) return seed;
  error(node.at, `random_seed must be in [0, 2^64), found ${node.text}`);
  return undefined;
}
