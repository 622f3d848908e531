// From the text of a recipe to one ParsedRecipe for each document, or to one error that lists everything wrong with it.

import { BraidError, type Diagnostic, type Position, quote } from "../errors.ts";
import { type Catalogue, findParameter, type MethodSpec, parameterNames } from "./catalogue.ts";
import { checkAllKeys, type KeyReport } from "./keys.ts";
import { type ModelReference, modelKey, readModel } from "./model.ts";
import { similar } from "./nearest.ts";
import { dtypes, recipeSchema } from "./schema.ts";
import { noSettings, readSettings, type Setting, type Settings } from "./settings.ts";
import { readTokenizer, type TokenizerChoice } from "./tokenizer.ts";
import { describeNode, get, type MapNode, type Node, parseYaml, toPlain, type YamlDocument } from "./yaml.ts";

export type RecipeDtype = (typeof dtypes)[number];

export interface ParsedSource {
  /** Index into `models`. */
  readonly model: number;
  /** Layers [first, end) of the model; null takes all (the `models:` form). */
  readonly layerRange: readonly [first: number, end: number] | null;
  readonly parameters: Settings;
  readonly at: Position;
  readonly rangeAt?: Position;
}

export interface ParsedSlice {
  readonly sources: readonly ParsedSource[];
  /** The slice's own base_model, else the recipe's: index into `models`. */
  readonly base: number | null;
  readonly parameters: Settings;
  readonly at: Position;
}

export interface ParsedRecipe {
  readonly file: string;
  /** In a file of several recipes, the name by which later ones use this one's output as a model. */
  readonly name?: string;
  readonly method: string;
  readonly methodAt: Position;
  /** Distinct, by first appearance in the sources; bases that are not among them come last. */
  readonly models: readonly ModelReference[];
  /** Index of the recipe's base_model. */
  readonly base: number | null;
  readonly dtype?: RecipeDtype;
  readonly outDtype?: RecipeDtype;
  readonly seed?: bigint;
  readonly chatTemplate?: string;
  readonly tokenizer?: TokenizerChoice;
  /** `models`: one slice over all layers. */
  readonly form: "models" | "slices";
  readonly slices: readonly ParsedSlice[];
  /** Set where the recipe was written under `modules:`; its parameters stand between the slice's and the top's. */
  readonly module: { readonly name: string; readonly parameters: Settings } | null;
  readonly parameters: Settings;
  readonly warnings: readonly Diagnostic[];
}

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

interface Reading {
  readonly root: MapNode;
  readonly method: MethodSpec | undefined;
  readonly error: (at: Position, message: string, hint?: string, kind?: Diagnostic["kind"]) => void;
  readonly warn: (at: Position, message: string, hint?: string) => void;
  readonly models: ModelReference[];
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

function present(node: Node | undefined): Node | undefined {
  return node && !(node.kind === "scalar" && node.type === "null") ? node : undefined;
}

function textOf(map: MapNode, key: string): string | undefined {
  const node = get(map, key)?.value;
  return node?.kind === "scalar" && node.type === "text" ? node.text : undefined;
}

const missingHints: Readonly<Record<string, string>> = {
  layer_range: "To merge whole models, list them under models: instead of slices:.",
};

/** Wrong types and missing keys, by the zod schema, told with our own words and places. */
function checkShape(root: MapNode, error: Reading["error"]): void {
  const result = recipeSchema.safeParse(toPlain(root));
  for (const issue of result.success ? [] : result.error.issues) {
    let node: Node | undefined = root;
    let parent: Node = root;
    let path = "";
    for (const step of issue.path) {
      parent = node ?? parent;
      path += typeof step === "number" ? `[${step}]` : `${path && "."}${String(step)}`;
      node =
        node?.kind === "list"
          ? node.items[Number(step)]
          : node?.kind === "map"
            ? node.entries.find((e) => String(e.key.value) === String(step))?.value
            : undefined;
    }
    if (node) error(node.at, `${path} must be ${issue.message}, found ${describeNode(node)}`);
    else error(parent.at, `${path} is missing: it must be ${issue.message}`, missingHints[String(issue.path.at(-1))]);
  }
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
  }[name];
  if (!found) {
    const hint = short ? `Did you mean ${quote(short)}?` : undefined;
    error(
      get(root, key)!.value.at,
      `${key} must be one of ${dtypes.join(", ")}, found ${quote(written)}`,
      hint,
      name === "float64" ? "recipe-unsupported" : "recipe-schema",
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

type Layout = Pick<ParsedRecipe, "form" | "slices" | "module" | "parameters" | "base">;

function readLayout(r: Reading): Layout | undefined {
  const modules = present(get(r.root, "modules")?.value);
  if (!exactlyOne(r.root, ["models", "slices", "modules"], "the recipe", r.error)) return undefined;
  let holder = r.root;
  let module: Layout["module"] = null;
  if (modules) {
    if (modules.kind !== "map") return undefined;
    const entry = modules.entries[0];
    if (modules.entries.length !== 1 || entry?.key.text !== "default") {
      const found = modules.entries.map((e) => quote(e.key.text)).join(", ") || "none";
      r.error(
        modules.at,
        `Only the module "default" can be merged, found ${found}`,
        "Merge the parts of a composite model one by one.",
        "recipe-unsupported",
      );
      return undefined;
    }
    if (entry.value.kind !== "map" || !exactlyOne(entry.value, ["models", "slices"], "modules.default", r.error))
      return undefined;
    holder = entry.value;
    module = { name: "default", parameters: readSettings(get(holder, "parameters")?.value) };
  }
  const baseNode = present(get(r.root, "base_model")?.value);
  const baseReference = baseNode && readModel(baseNode, r.error);
  const models = present(get(holder, "models")?.value);
  const drafts = models
    ? [{ sources: models, node: models, slice: undefined as MapNode | undefined }]
    : sliceDrafts(get(holder, "slices")!.value);
  const slices: { sources: ParsedSource[]; ownBase: ModelReference | undefined; parameters: Settings; at: Position }[] =
    [];
  for (const { sources, node, slice } of drafts) {
    const baseOfSlice = slice && present(get(slice, "base_model")?.value);
    slices.push({
      sources: readSources(sources, r, models !== undefined),
      ownBase: baseOfSlice && readModel(baseOfSlice, r.error),
      parameters: slice ? readSettings(get(slice, "parameters")?.value) : noSettings,
      at: node.at,
    });
  }
  if (slices.length === 0 || slices.some((s) => s.sources.length === 0)) {
    const where = (
      slices.find((s) => s.sources.length === 0) ?? { at: (get(holder, "slices") ?? get(holder, "models"))!.key.at }
    ).at;
    if (drafts.every((d) => d.sources.kind === "list"))
      r.error(where, "There is no model to merge: the list is empty", undefined, "recipe-models");
    return undefined;
  }
  const own = slices.map((s) => (s.ownBase ? indexOf(r.models, s.ownBase) : null));
  const base = baseReference ? indexOf(r.models, baseReference) : null;
  // In the models: form a base that is not listed joins as the last input.
  if (models && base !== null && !slices[0]!.sources.some((s) => s.model === base)) {
    slices[0]!.sources.push({ model: base, layerRange: null, parameters: noSettings, at: baseNode!.at });
  }
  return {
    form: models ? "models" : "slices",
    slices: slices.map((s, i) => ({ sources: s.sources, base: own[i] ?? base, parameters: s.parameters, at: s.at })),
    module,
    parameters: readSettings(get(r.root, "parameters")?.value),
    base,
  };
}

function sliceDrafts(list: Node): { sources: Node; node: Node; slice: MapNode | undefined }[] {
  return (list.kind === "list" ? list.items : []).flatMap((slice) => {
    const sources = slice.kind === "map" ? get(slice, "sources")?.value : undefined;
    return slice.kind === "map" && sources ? [{ sources, node: slice, slice }] : [];
  });
}

function exactlyOne(map: MapNode, keys: readonly string[], place: string, error: Reading["error"]): boolean {
  const found = keys.filter((key) => present(get(map, key)?.value));
  if (found.length === 1) return true;
  const names = `${keys.slice(0, -1).join(", ")} or ${keys.at(-1)}`;
  const at = found.length > 1 ? get(map, found[1]!)!.key.at : map.at;
  error(at, `Exactly one of ${names} must be in ${place}, found ${found.length === 0 ? "none" : found.join(" and ")}`);
  return false;
}

/** The index of a model, which joins the list at its first appearance. */
function indexOf(models: ModelReference[], model: ModelReference): number {
  const found = models.findIndex((m) => modelKey(m) === modelKey(model));
  return found >= 0 ? found : models.push(model) - 1;
}

function readSources(list: Node, r: Reading, wholeModels: boolean): ParsedSource[] {
  const sources: ParsedSource[] = [];
  let layers: number | undefined;
  for (const item of list.kind === "list" ? list.items : []) {
    if (item.kind !== "map") continue;
    const modelNode = get(item, "model")?.value;
    const reference = modelNode && readModel(modelNode, r.error);
    const rangeNode = wholeModels ? undefined : get(item, "layer_range")?.value;
    const range = rangeNode && readRange(rangeNode, r.error);
    if (!reference) continue;
    const model = indexOf(r.models, reference);
    if (sources.some((s) => s.model === model)) {
      r.error(
        modelNode.at,
        `${quote(reference.display)} is listed twice in one slice`,
        wholeModels ? "Add up its weights instead." : "Give each range a slice of its own.",
        "recipe-models",
      );
      continue;
    }
    const count = range && range[1] - range[0];
    if (count !== undefined && layers !== undefined && count !== layers) {
      r.error(
        rangeNode!.at,
        `All sources of a slice must have the same number of layers: this one has ${count}, the first ${layers}`,
      );
    }
    layers ??= count;
    sources.push({
      model,
      layerRange: range ?? null,
      parameters: readSettings(get(item, "parameters")?.value),
      at: item.at,
      ...(rangeNode ? { rangeAt: rangeNode.at } : {}),
    });
  }
  return sources;
}

function readRange(node: Node, error: Reading["error"]): [number, number] | undefined {
  if (node.kind !== "list" || node.items.length !== 2) return undefined;
  const ends = node.items.map((item) =>
    item.kind === "scalar" && (item.type === "number" || item.type === "text") ? Number(item.value) : Number.NaN,
  );
  const [first, end] = ends as [number, number];
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(end)) return undefined;
  if (first >= 0 && end > first) return [first, end];
  const hint =
    end < 0
      ? "Negative numbers do not count from the end: write the number of layers."
      : "The range takes layers first … end − 1.";
  error(node.at, `layer_range [${first}, ${end}] has no layers: it must be [first, end) with 0 ≤ first < end`, hint);
  return undefined;
}

/** The number of models and the part of the base. */
function checkModels(r: Reading, layout: Layout, method: MethodSpec): void {
  layout.slices.forEach((slice, i) => {
    const where = layout.form === "models" ? "models" : `slices[${i}]`;
    const baseListed = slice.sources.some((s) => s.model === slice.base);
    if (slice.base === null && method.base === "required") {
      const hint = method.baseIsInput
        ? "Name the model to start from (t = 0) as base_model."
        : "Name the model that the others were fine-tuned from as base_model.";
      if (i === 0)
        r.error(get(r.root, "merge_method")!.value.at, `${method.name} needs a base_model`, hint, "recipe-models");
    } else if (slice.base !== null && !baseListed && method.base !== "none") {
      const message = `base_model ${quote(r.models[slice.base]!.display)} is not among the sources of ${where}`;
      r.error(
        slice.at,
        message,
        "List it there with the layer_range that the other sources are compared with.",
        "recipe-models",
      );
      return;
    }
    const counted = slice.sources.filter((s) => method.baseIsInput || s.model !== slice.base).length;
    if (counted < method.minModels || counted > method.maxModels) {
      const wanted =
        method.minModels === method.maxModels
          ? `exactly ${method.minModels}`
          : counted < method.minModels
            ? `at least ${method.minModels}`
            : `at most ${method.maxModels}`;
      const which =
        method.base === "none"
          ? ""
          : method.baseIsInput
            ? " (base_model is one of them)"
            : slice.base === null
              ? ""
              : " beside the base_model";
      r.error(
        slice.at,
        `${method.name} needs ${wanted} model${wanted.endsWith(" 1") ? "" : "s"}${which} in ${where}, found ${counted}`,
        undefined,
        "recipe-models",
      );
    }
  });
}

/** Parameters at a level where they are never read, two spellings at once, conditions that can never be reached. */
function checkSettings(r: Reading, layout: Layout, method: MethodSpec): void {
  const outer: [string, Settings][] = [["parameters", layout.parameters]];
  if (layout.module) outer.push([`modules.${layout.module.name}.parameters`, layout.module.parameters]);
  for (const [path, settings] of outer) checkLevel(settings, path, method, r);
  layout.slices.forEach((slice, i) => {
    const prefix = layout.form === "models" ? "models" : `slices[${i}].sources`;
    checkLevel(slice.parameters, `slices[${i}].parameters`, method, r);
    slice.sources.forEach((source, j) => {
      const path = `${prefix}[${j}].parameters`;
      checkLevel(source.parameters, path, method, r);
      for (const [name, setting] of source.parameters) {
        const found = findParameter(method, name);
        const isBase = source.model === slice.base && !method.baseIsInput;
        if (found?.spec.per === "model" && isBase)
          r.warn(setting.at, `${quote(name)} in ${path} is not used: the base_model has none of its own`);
        if (found?.spec.per !== "tensor") continue;
        const message = `${quote(name)} is one value for all models and is never read in ${path}`;
        const read = [slice.parameters, layout.module?.parameters ?? noSettings, layout.parameters];
        const names = [found.spec.name, ...(found.spec.aliases ?? []).map((a) => a.name)];
        const elsewhere = read.some((level) => names.some((n) => level.has(n)));
        if (elsewhere) r.warn(setting.at, `${message}; the value under the outer parameters: counts`);
        else r.error(setting.at, message, "It belongs under parameters: at the top of the recipe, or of a slice.");
      }
    });
  });
}

function checkLevel(settings: Settings, path: string, method: MethodSpec, r: Reading): void {
  const before = new Map<string, Setting>();
  for (const [name, setting] of settings) {
    const spec = findParameter(method, name)?.spec;
    if (!spec) continue;
    const other = before.get(spec.name);
    if (other)
      r.error(setting.at, `${quote(other.name)} and ${quote(name)} in ${path} say the same thing: give one of them`);
    before.set(spec.name, setting);
    const all = setting.cases.findIndex((c) => c.filter === null);
    const dead = all >= 0 ? setting.cases[all + 1] : undefined;
    if (dead)
      r.warn(
        dead.at,
        `A condition of ${quote(name)} in ${path} is never reached: the one before it takes every tensor`,
      );
  }
}
