// models, slices or modules of a recipe, made into one list of slices.

import type { Position } from "../errors.ts";
import { quote } from "../errors.ts";
import { type ModelReference, modelKey, readModel } from "./model.ts";
import type { Layout, ParsedSource, Reading } from "./parsed.ts";
import { noSettings, readSettings, type Settings } from "./settings.ts";
import { get, type MapNode, type Node, present } from "./yaml.ts";

export function readLayout(r: Reading): Layout | undefined {
  const named = present(get(r.root, "modules")?.value);
  if (!exactlyOne(r.root, ["models", "slices", "modules"], "the recipe", r.error)) return undefined;
  const baseNode = present(get(r.root, "base_model")?.value);
  const baseReference = baseNode && readModel(baseNode, r.error);
  const drafts: ModuleDraft[] = [];
  for (const { name, holder, at } of holdersOf(r.root, named, r.error)) {
    const draft = readModule(name, holder, at, r);
    if (draft) drafts.push(draft);
  }
  if (drafts.length === 0 || drafts.some((d) => d.slices.length === 0)) return undefined;
  const owns = drafts.map((d) => d.slices.map((s) => (s.ownBase ? indexOf(r.models, s.ownBase) : null)));
  const base = baseReference ? indexOf(r.models, baseReference) : null;
  const slices: Mutable<Layout["slices"][number]>[] = [];
  const modules = drafts.map((draft, d): Layout["modules"][number] => {
    const first = slices.length;
    for (const [i, { sources, parameters, at }] of draft.slices.entries()) {
      // In the models: form a base that is not listed joins as the last input.
      if (draft.form === "models" && base !== null && !sources.some((s) => s.model === base))
        sources.push({ model: base, layerRange: null, parameters: noSettings, at: baseNode!.at });
      slices.push({ sources, base: owns[d]![i] ?? base, parameters, at });
    }
    const { name, form, parameters, at } = draft;
    return { name, form, first, end: slices.length, parameters, at };
  });
  return { slices, modules, parameters: readSettings(get(r.root, "parameters")?.value), base };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface ModuleDraft {
  readonly name: string | null;
  readonly form: "models" | "slices";
  readonly parameters: Settings;
  readonly at: Position;
  readonly slices: readonly {
    readonly sources: ParsedSource[];
    readonly ownBase: ModelReference | undefined;
    readonly parameters: Settings;
    readonly at: Position;
  }[];
}

/** Where models or slices stand: the recipe itself, or each of its modules. */
function holdersOf(
  root: MapNode,
  named: Node | undefined,
  error: Reading["error"],
): { name: string | null; holder: MapNode; at: Position }[] {
  if (!named) return [{ name: null, holder: root, at: root.at }];
  if (named.kind !== "map") return [];
  if (named.entries.length === 0) error(named.at, "There is no module to merge: the mapping is empty");
  return named.entries.flatMap(({ key, value }) => {
    if (value.kind !== "map" || !exactlyOne(value, ["models", "slices"], `modules.${key.text}`, error)) return [];
    return [{ name: key.text, holder: value, at: key.at }];
  });
}

function readModule(name: string | null, holder: MapNode, at: Position, r: Reading): ModuleDraft | undefined {
  const models = present(get(holder, "models")?.value);
  const drafts = models
    ? [{ sources: models, node: models, slice: undefined as MapNode | undefined }]
    : sliceDrafts(get(holder, "slices")!.value);
  const slices = drafts.map(({ sources, node, slice }) => {
    const baseOfSlice = slice && present(get(slice, "base_model")?.value);
    return {
      sources: readSources(sources, r, models !== undefined),
      ownBase: baseOfSlice && readModel(baseOfSlice, r.error),
      parameters: slice ? readSettings(get(slice, "parameters")?.value) : noSettings,
      at: node.at,
    };
  });
  const none = slices.find((s) => s.sources.length === 0);
  if (slices.length === 0 || none) {
    const where = (none ?? { at: (get(holder, "slices") ?? get(holder, "models"))!.key.at }).at;
    const empty = drafts.length === 0 || drafts.some((d) => d.sources.kind === "list" && d.sources.items.length === 0);
    if (empty) r.error(where, "There is no model to merge: the list is empty", undefined, "recipe-models");
    return undefined;
  }
  const parameters = name === null ? noSettings : readSettings(get(holder, "parameters")?.value);
  return { name, form: models ? "models" : "slices", parameters, at, slices };
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
