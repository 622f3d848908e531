// What a sweep varies: `NAME=VALUE,VALUE…`, and how a value gets into a recipe's text.

import { type Document, isMap, isScalar, isSeq, parseAllDocuments, parseDocument, type YAMLMap } from "yaml";
import { fail, quote } from "../errors.ts";
import { type Catalogue, findParameter, parameterNames } from "../recipe/catalogue.ts";
import { placeKeys } from "../recipe/keys.ts";
import { nearest } from "../recipe/nearest.ts";

export interface Axis {
  /** As the user wrote it. */
  readonly name: string;
  /** YAML, as text. */
  readonly values: readonly string[];
}

/** One combination of values, by the names of the axes. */
export interface Point {
  readonly values: Readonly<Record<string, string>>;
  readonly recipe: string;
}

/** A grid has no more points than a person would wait for. */
export const maxPoints = 10_000;

/** Shorter words for keys at the top of a recipe. */
const synonyms: Readonly<Record<string, string>> = { seed: "random_seed", method: "merge_method", base: "base_model" };
const topKeys = placeKeys.recipe.filter((key) => !["models", "slices", "modules", "parameters", "name"].includes(key));

const usage = (message: string, hint?: string): never => fail("usage", message, hint ? { hint } : {});

/** Commas inside of brackets belong to a value: `density=[0.1,0.5],[0.5,0.1]` has two. */
function splitValues(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let part = "";
  for (const c of text) {
    if (c === "," && depth === 0) {
      parts.push(part);
      part = "";
      continue;
    }
    if (c === "[" || c === "{") depth++;
    if (c === "]" || c === "}") depth--;
    part += c;
  }
  return [...parts, part].map((p) => p.trim());
}

/**
 * Axes of `NAME=VALUE,VALUE…`.
 *
 * @throws BraidError `usage` for a missing value, a value or a name that comes twice.
 */
export function parseAxes(given: readonly string[]): Axis[] {
  const axes = given.map((text): Axis => {
    const [, name, list] = /^\s*([^=\s]+)\s*=(.*)$/s.exec(text) ?? [];
    if (name === undefined || list === undefined) {
      return usage(
        `Cannot read --over ${quote(text)}: expected NAME=VALUE,VALUE…`,
        "For example --over drop_rate=0.8,0.9,0.95.",
      );
    }
    const values = splitValues(list);
    if (values.includes("")) usage(`Cannot read --over ${quote(text)}: it has an empty value`);
    const twice = values.find((value, i) => values.indexOf(value) !== i);
    if (twice !== undefined) usage(`Cannot read --over ${quote(text)}: it has ${quote(twice)} twice`);
    return { name, values };
  });
  const twice = axes.find((a, i) => axes.findIndex((b) => b.name === a.name) !== i);
  if (twice) usage(`Cannot sweep over ${quote(twice.name)} twice`, "Give all its values in one --over.");
  const points = axes.reduce((product, a) => product * a.values.length, 1);
  if (points > maxPoints) usage(`Cannot sweep over ${points} points: the limit is ${maxPoints}`);
  return axes;
}

/** How documents are read and written: every scalar keeps the text it has. */
const asText = { version: "1.1", schema: "failsafe", merge: false, uniqueKeys: false } as const;

/** All combinations, the last axis fastest, each with its recipe. Of a file of several recipes the last one is changed. */
export function gridOf(recipe: string, axes: readonly Axis[], catalogue: Catalogue): Point[] {
  let points: Record<string, string>[] = [{}];
  for (const { name, values } of axes) points = points.flatMap((p) => values.map((value) => ({ ...p, [name]: value })));
  return points.map((values) => {
    const documents = parseAllDocuments(recipe, asText) as Document[];
    const last = documents.at(-1);
    if (!last || !isMap(last.contents)) return usage("Cannot sweep over this recipe: it is not a mapping of keys");
    // The method comes first, so that parameters are looked up in the one that will be used.
    for (const { name } of [...axes].sort((a, b) => Number(isMethod(b.name)) - Number(isMethod(a.name)))) {
      setValue(last, name, values[name]!, catalogue);
    }
    return { values, recipe: documents.map((d) => d.toString({ lineWidth: 0 })).join("") };
  });
}

const isMethod = (name: string) => (synonyms[name] ?? name) === "merge_method";

function setValue(document: Document, name: string, value: string, catalogue: Catalogue): void {
  const node = parseDocument(value, asText).contents;
  const top = synonyms[name] ?? name;
  if ((topKeys as readonly string[]).includes(top)) {
    document.setIn([top], node);
    return;
  }
  if (/[.[]/.test(name)) {
    setAtPath(document, name, node);
    return;
  }
  setParameter(document, name, node, catalogue);
}

/** `models[0].parameters.weight`: the place must be there, but for its last part. */
function setAtPath(document: Document, name: string, node: unknown): void {
  const steps = name
    .split(/\.|\[(\d+)\]/)
    .filter((s) => s !== undefined && s !== "")
    .map((s) => (/^\d+$/.test(s) ? Number(s) : s));
  let at: unknown = document.contents;
  for (const [i, step] of steps.slice(0, -1).entries()) {
    const so = steps.slice(0, i + 1);
    const next = isMap(at)
      ? at.get(step, true)
      : isSeq(at) && typeof step === "number"
        ? at.get(step, true)
        : undefined;
    if (next === undefined && step === "parameters" && isMap(at)) {
      document.setIn(so, document.createNode({}));
      at = at.get(step, true);
      continue;
    }
    if (next === undefined) {
      const keys = isMap(at) ? keysOf(at) : isSeq(at) ? at.items.map((_, k) => `[${k}]`) : [];
      const near = typeof step === "string" ? nearest(step, keys) : undefined;
      usage(
        `Cannot sweep over ${quote(name)}: the recipe has no ${quote(pathText(so))}`,
        near
          ? `Did you mean ${quote(pathText([...so.slice(0, -1), near]))}?`
          : keys.length > 0
            ? `There is ${keys.join(", ")}.`
            : undefined,
      );
    }
    at = next;
  }
  if (!isMap(at) && !(isSeq(at) && typeof steps.at(-1) === "number" && Number(steps.at(-1)) < at.items.length)) {
    usage(
      `Cannot sweep over ${quote(name)}: ${quote(pathText(steps.slice(0, -1)))} holds no ${quote(String(steps.at(-1)))}`,
    );
  }
  document.setIn(steps, node);
}

function pathText(steps: readonly (string | number)[]): string {
  return steps.reduce<string>(
    (text, s) => (typeof s === "number" ? `${text}[${s}]` : text === "" ? s : `${text}.${s}`),
    "",
  );
}

const keysOf = (map: YAMLMap): string[] =>
  map.items.map(({ key }) => (isScalar(key) ? String(key.value) : String(key)));

/**
 * A parameter of the method: wherever the recipe gives it, in any of its spellings, or for all models where it does not.
 *
 * @throws BraidError `usage` when the method has no such parameter, or the recipe gives it by filters.
 */
function setParameter(document: Document, name: string, node: unknown, catalogue: Catalogue): void {
  const methodName = document.get("merge_method");
  const method = catalogue.get(String(methodName));
  const known = method ? findParameter(method, name) : undefined;
  if (!method || (!known && name !== "dare")) {
    const own = method ? [...parameterNames(new Map([[method.name, method]]))] : [...parameterNames(catalogue)];
    const near =
      nearest(name, [...own, ...topKeys, ...Object.keys(synonyms)]) ?? nearest(name, parameterNames(catalogue));
    usage(
      `Cannot sweep over ${quote(name)}: ${method ? `${method.name} has no such parameter` : "it is no parameter of any method"}`,
      near && near !== name ? `Did you mean ${quote(near)}?` : own.length > 0 ? `It has ${own.join(", ")}.` : undefined,
    );
  }
  const spellings = known ? [known.spec.name, ...(known.spec.aliases ?? []).map((a) => a.name)] : [name];
  let found = false;
  for (const [place, parameters] of parameterMaps(document)) {
    for (const spelling of spellings) {
      if (!parameters.has(spelling)) continue;
      const before = parameters.get(spelling, true);
      if (isMap(before) || (isSeq(before) && before.items.some(isMap))) {
        usage(
          `Cannot sweep over ${quote(name)}: ${place}.${spelling} is given by filters`,
          `Name the place to replace it: --over ${place}.${spelling}=…`,
        );
      }
      parameters.delete(spelling);
      parameters.set(name, node);
      found = true;
    }
  }
  if (!found) document.setIn(["parameters", name], node);
}

/** Every `parameters` mapping of a recipe, with where it stands. */
function parameterMaps(document: Document): [string, YAMLMap][] {
  const found: [string, YAMLMap][] = [];
  const visit = (node: unknown, place: string): void => {
    if (isSeq(node)) for (const [i, item] of node.items.entries()) visit(item, `${place}[${i}]`);
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : String(key);
      const at = place === "" ? name : `${place}.${name}`;
      if (name === "parameters") {
        if (isMap(value)) found.push([at, value]);
      } else if (["models", "slices", "sources", "modules"].includes(name) || place.startsWith("modules"))
        visit(value, at);
    }
  };
  visit(document.contents, "");
  return found;
}
