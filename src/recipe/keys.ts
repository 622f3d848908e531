// Keys that are not read: a slip of a known name and a known name in the wrong place are errors, anything else is a warning.
// mergekit drops all of them without a word.

import { type Diagnostic, quote } from "../errors.ts";
import { nearest } from "./nearest.ts";
import type { MapEntry, MapNode, Node } from "./yaml.ts";
import { get } from "./yaml.ts";

/** The keys of every kind of mapping in a recipe, but for parameter names. */
export const placeKeys = {
  recipe: [
    "merge_method",
    "models",
    "slices",
    "modules",
    "base_model",
    "dtype",
    "out_dtype",
    "parameters",
    "chat_template",
    "tokenizer_source",
    "tokenizer",
    "name",
    "random_seed",
  ],
  "model entry": ["model", "parameters"],
  slice: ["sources", "base_model", "parameters"],
  source: ["model", "layer_range", "parameters"],
  module: ["models", "slices", "parameters"],
  condition: ["filter", "value"],
  "model reference": ["model", "lora"],
  path: ["path", "revision"],
  tokenizer: ["source", "tokens", "pad_to_multiple_of"],
  token: ["source", "force"],
  "token source": ["kind", "model", "token", "token_id"],
  parameters: [],
} as const;
export type Place = keyof typeof placeKeys;

/** Where keys belong that are worth pointing out elsewhere. */
const homes: Readonly<Record<string, string>> = {
  merge_method: "at the top of the recipe",
  models: "at the top of the recipe",
  slices: "at the top of the recipe",
  modules: "at the top of the recipe",
  sources: "in an entry of slices",
  base_model: "at the top of the recipe or in an entry of slices",
  dtype: "at the top of the recipe",
  out_dtype: "at the top of the recipe",
  chat_template: "at the top of the recipe",
  tokenizer_source: "at the top of the recipe",
  tokenizer: "at the top of the recipe",
  random_seed: "at the top of the recipe",
  parameters: "at the top, in a model, a slice, a source or a module",
  layer_range: "in an entry of slices[].sources",
  revision: "in the model itself: model: path@revision, or model: {model: {path: …, revision: …}}",
  lora: "in the model itself: model: path+lora, or model: {model: …, lora: …}",
  tokens: "under tokenizer",
  pad_to_multiple_of: "under tokenizer",
  filter: "in a list under the parameter: - {filter: …, value: …}",
};

/** Words people write for a key whose spelling is further away than a slip. */
const synonyms: Readonly<Record<string, string>> = {
  method: "merge_method",
  base: "base_model",
  seed: "random_seed",
  torch_dtype: "dtype",
};

export interface KeyReport {
  readonly errors: Diagnostic[];
  readonly warnings: Diagnostic[];
  /** Parameter names of the method (or of all methods while the method is unknown), and of all methods. */
  readonly own: ReadonlySet<string>;
  readonly all: ReadonlySet<string>;
  /** Keys already warned about. */
  readonly warned: Set<string>;
}

export function checkKeys(map: MapNode, place: Place, path: string, report: KeyReport): void {
  const known: readonly string[] = placeKeys[place];
  for (const { key } of map.entries) {
    if (key.type !== "text") {
      const message = `Cannot read a key of ${path}: it must be text, found ${key.text === "" ? "nothing" : key.text}`;
      report.errors.push({ kind: "recipe-schema", message, where: key.at, hint: `Put it in quotes: "${key.text}".` });
    } else if (!known.includes(key.text)) judge(key.text, known, { place, path, at: key.at, map }, report);
  }
}

function judge(
  name: string,
  known: readonly string[],
  here: { place: Place; path: string; at: Diagnostic["where"] & object; map: MapNode },
  report: KeyReport,
): void {
  const unread = `${quote(name)} is not read ${here.place === "parameters" ? `in ${here.path}` : `here (${here.path})`}`;
  const hint = whereItBelongs(name, known, here, report);
  if (hint) report.errors.push({ kind: "recipe-schema", message: unread, where: here.at, hint });
  else if (here.place === "parameters" && report.all.has(name)) {
    warn(`${quote(name)} in ${here.path} is not used by this method`, name, here, report);
  } else warn(`${quote(name)} is not a key that is read in ${here.path}; it has no effect`, name, here, report);
}

/** Places whose mappings stand beside a `parameters:` block. */
const besideParameters: ReadonlySet<Place> = new Set(["recipe", "model entry", "slice", "source", "module"]);

/** The hint that makes an unread key an error; undefined where it is harmless. */
function whereItBelongs(
  name: string,
  known: readonly string[],
  here: { place: Place; path: string },
  report: KeyReport,
): string | undefined {
  if (here.place === "parameters") {
    if (report.all.has(name)) return undefined;
    if (Object.hasOwn(homes, name) && name !== "parameters") return `It belongs ${homes[name]}.`;
    const near = isOwn(name) ? undefined : (nearest(name, report.own) ?? nearest(name, report.all));
    return near && `Did you mean ${quote(near)}?`;
  }
  if (report.all.has(name) && besideParameters.has(here.place)) {
    return `It is a parameter: write it under parameters: in ${here.path}.`;
  }
  if (Object.hasOwn(homes, name)) return `It belongs ${homes[name]}.`;
  if (isOwn(name)) return undefined;
  const key =
    (here.place === "recipe" && Object.hasOwn(synonyms, name) ? synonyms[name] : undefined) ?? nearest(name, known);
  if (key) return `Did you mean ${quote(key)}?`;
  const parameter = besideParameters.has(here.place) ? nearest(name, report.own) : undefined;
  return parameter && `Did you mean ${quote(parameter)}, under parameters:?`;
}

/** Keys of the author's own, as for YAML anchors. */
function isOwn(name: string): boolean {
  return name.startsWith("x-") || name.startsWith("x_");
}

function warn(
  message: string,
  name: string,
  here: { place: Place; at: Diagnostic["where"] & object },
  report: KeyReport,
): void {
  const once = `${here.place === "parameters"}:${name}`;
  if (report.warned.has(once)) return;
  report.warned.add(once);
  report.warnings.push({ kind: "recipe-schema", message, where: here.at });
}

/** Judges the keys of a whole recipe. */
export function checkAllKeys(root: MapNode, report: KeyReport): void {
  checkKeys(root, "recipe", "the recipe", report);
  layout(root, "", report);
  model(get(root, "base_model"), "base_model", report);
  tokenizer(get(root, "tokenizer")?.value, report);
  model(get(root, "tokenizer_source"), "tokenizer_source", report);
  each(get(root, "modules")?.value, (module, name) => {
    checkKeys(module, "module", `modules.${name}`, report);
    layout(module, `modules.${name}.`, report);
  });
}

/** models, slices and parameters of the top or of a module. */
function layout(map: MapNode, prefix: string, report: KeyReport): void {
  parameters(map, prefix, report);
  each(get(map, "models")?.value, (entry, i) => {
    checkKeys(entry, "model entry", `${prefix}models[${i}]`, report);
    model(get(entry, "model"), `${prefix}models[${i}].model`, report);
    parameters(entry, `${prefix}models[${i}].`, report);
  });
  each(get(map, "slices")?.value, (slice, i) => {
    checkKeys(slice, "slice", `${prefix}slices[${i}]`, report);
    model(get(slice, "base_model"), `${prefix}slices[${i}].base_model`, report);
    parameters(slice, `${prefix}slices[${i}].`, report);
    each(get(slice, "sources")?.value, (source, j) => {
      const path = `${prefix}slices[${i}].sources[${j}]`;
      checkKeys(source, "source", path, report);
      model(get(source, "model"), `${path}.model`, report);
      parameters(source, `${path}.`, report);
    });
  });
}

function parameters(map: MapNode, prefix: string, report: KeyReport): void {
  const node = get(map, "parameters")?.value;
  if (node?.kind !== "map") return;
  for (const { key, value } of node.entries) {
    if (key.type === "text" && report.own.has(key.text)) {
      const name = `${prefix}parameters.${key.text}`;
      if (value.kind === "map") checkKeys(value, "condition", name, report);
      each(value.kind === "list" ? value : undefined, (item, i) =>
        checkKeys(item, "condition", `${name}[${i}]`, report),
      );
    }
  }
  const unknown = {
    ...node,
    entries: node.entries.filter(({ key }) => !(key.type === "text" && report.own.has(key.text))),
  };
  checkKeys(unknown, "parameters", `${prefix}parameters`, report);
}

function model(entry: MapEntry | undefined, path: string, report: KeyReport): void {
  if (entry?.value.kind !== "map") return;
  checkKeys(entry.value, "model reference", path, report);
  for (const key of ["model", "lora"]) {
    const part = get(entry.value, key)?.value;
    if (part?.kind === "map") checkKeys(part, "path", `${path}.${key}`, report);
  }
}

function tokenizer(node: Node | undefined, report: KeyReport): void {
  if (node?.kind !== "map") return;
  checkKeys(node, "tokenizer", "tokenizer", report);
  each(get(node, "tokens")?.value, (token, name) => {
    const path = `tokenizer.tokens.${name}`;
    checkKeys(token, "token", path, report);
    const source = get(token, "source")?.value;
    if (source?.kind === "map")
      checkKeys(source, get(source, "kind") ? "token source" : "model reference", `${path}.source`, report);
  });
}

/** The mappings in a list or under a mapping, with their index or key. */
function each(node: Node | undefined, visit: (map: MapNode, name: string) => void): void {
  const members: readonly (readonly [string, Node])[] =
    node?.kind === "list"
      ? node.items.map((item, i) => [String(i), item] as const)
      : node?.kind === "map"
        ? node.entries.map((entry) => [entry.key.text, entry.value] as const)
        : [];
  for (const [name, member] of members) if (member.kind === "map") visit(member, name);
}
