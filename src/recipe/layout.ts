// models, slices or modules of a recipe, made into one list of slices.

import type { Position } from "../errors.ts";
import { quote } from "../errors.ts";
import { type ModelReference, modelKey, readModel } from "./model.ts";
import type { Layout, ParsedSource, Reading } from "./parsed.ts";
import { noSettings, readSettings, type Settings } from "./settings.ts";
import { get, type MapNode, type Node, present } from "./yaml.ts";

export function readLayout(r: Reading): Layout | undefined {
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
    const empty = drafts.length === 0 || drafts.some((d) => d.sources.kind === "list" && d.sources.items.length === 0);
    if (empty) r.error(where, "There is no model to merge: the list is empty", undefined, "recipe-models");
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
