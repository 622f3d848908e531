// Which tensors the output has, and where each stands: its slice, its layer, its t.

import { BraidError, type Diagnostic, quote } from "../errors.ts";
import { isBeforeLayers, type LayerName, layerOf } from "./layers.ts";
import { checkModules, isText, moduleFinder } from "./modules.ts";
import type { ParsedModule, ParsedRecipe, ParsedSlice, ParsedSource } from "./parsed.ts";

/** The tensor names of a model of the recipe. */
export type NamesOf = (modelIndex: number) => ReadonlySet<string>;

export interface Place {
  /** In the output. */
  readonly name: string;
  readonly slice: number;
  readonly module: number;
  readonly t: number;
  /** In the output; null outside of layers. */
  readonly layer: number | null;
  /** Layer within the slice, counted from 0. */
  readonly step: number;
  readonly parts: LayerName | null;
}

/** The names of a model, taken apart once. */
interface Index {
  readonly outside: readonly string[];
  readonly layers: ReadonlyMap<number, readonly { readonly name: string; readonly parts: LayerName }[]>;
  /** Layers of each stack, by prefix. */
  readonly counts: ReadonlyMap<string, number>;
}

function indexNames(names: readonly string[]): Index {
  const outside: string[] = [];
  const layers = new Map<number, { name: string; parts: LayerName }[]>();
  const counts = new Map<string, number>();
  for (const name of names) {
    const parts = layerOf(name);
    if (!parts) {
      outside.push(name);
      continue;
    }
    const list = layers.get(parts.layer);
    if (list) list.push({ name, parts });
    else layers.set(parts.layer, [{ name, parts }]);
    counts.set(parts.prefix, Math.max(counts.get(parts.prefix) ?? 0, parts.layer + 1));
  }
  return { outside, layers, counts };
}

/** Every output tensor, embeddings first, then layer by layer, then the rest; by code units of the name within each group. */
export function placesOf(recipe: ParsedRecipe, namesOf: NamesOf): Place[] {
  const used = new Set(recipe.slices.flatMap((s) => s.sources.map(({ model }) => model)));
  checkModules(recipe, new Set([...used].flatMap((model) => [...namesOf(model)])));
  const moduleOf = moduleFinder(recipe.modules);
  const indexes = new Map<string, Index>();
  const indexOf = (model: number, module: number): Index => {
    const key = `${model} ${module}`;
    const index = indexes.get(key) ?? indexNames([...namesOf(model)].filter((name) => moduleOf(name) === module));
    indexes.set(key, index);
    return index;
  };
  const places: { place: Place; group: number }[] = [];
  for (const [number, module] of recipe.modules.entries()) {
    if (module.form === "slices") checkRanges(recipe, module, (model) => indexOf(model, number));
    let offset = 0;
    for (let index = module.first; index < module.end; index++) {
      const slice = recipe.slices[index]!;
      const around = { first: module.first, last: module.end - 1, offset, module: number };
      for (const place of placesOfSlice(slice, index, around, (model) => indexOf(model, number))) {
        places.push({ place, group: place.layer !== null ? 1 : isBeforeLayers(place.name) ? 0 : 2 });
      }
      const range = slice.sources[0]!.layerRange;
      offset += range ? range[1] - range[0] : 0;
    }
  }
  const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return places
    .sort(
      ({ place: a, group: ga }, { place: b, group: gb }) =>
        ga - gb ||
        compare(a.parts?.prefix ?? "", b.parts?.prefix ?? "") ||
        (a.layer ?? 0) - (b.layer ?? 0) ||
        compare(a.name, b.name),
    )
    .map(({ place }) => place);
}

/** The output tensors of a slice: the union over its models, mapped by layer. */
function placesOfSlice(
  slice: ParsedSlice,
  index: number,
  { first, last, offset, module }: { first: number; last: number; offset: number; module: number },
  indexOf: (model: number) => Index,
): Iterable<Place> {
  const places = new Map<string, Place>();
  const counts = new Map<string, number>();
  for (const { model } of slice.sources) {
    for (const [prefix, n] of indexOf(model).counts) counts.set(prefix, Math.max(n, counts.get(prefix) ?? 0));
  }
  const place = (name: string, step: number, layers: number, layer: number, parts: LayerName): void => {
    if (places.has(name)) return;
    places.set(name, { name, slice: index, module, t: layers === 1 ? 1 : step / (layers - 1), layer, step, parts });
  };
  for (const { model, layerRange } of slice.sources) {
    const { outside, layers } = indexOf(model);
    for (const name of outside) {
      // Embeddings belong to the first slice, the final norm and the head to the last one.
      const owner = isBeforeLayers(name) ? first : last;
      if (owner === index) places.set(name, { name, slice: index, module, t: 0, layer: null, step: 0, parts: null });
    }
    if (layerRange) {
      const [from, end] = layerRange;
      for (let n = from; n < end; n++) {
        const layer = offset + n - from;
        for (const { parts } of layers.get(n) ?? []) {
          place(`${parts.prefix}${layer}${parts.suffix}`, n - from, end - from, layer, parts);
        }
      }
    } else {
      for (const [n, list] of layers) {
        for (const { name, parts } of list) place(name, n, counts.get(parts.prefix)!, n, parts);
      }
    }
  }
  return places.values();
}

/** The name of a place's tensor in a source's model. */
export function inputName({ name, parts, step }: Place, { layerRange }: ParsedSource): string {
  return parts && layerRange ? `${parts.prefix}${layerRange[0] + step}${parts.suffix}` : name;
}

/** Slices cut one stack of layers (which one would be a guess where models have several), and only layers that are there. */
function checkRanges(recipe: ParsedRecipe, module: ParsedModule, indexOf: (model: number) => Index): void {
  const problems = new Map<string, Diagnostic>();
  const prefixes = new Set<string>();
  const slices = recipe.slices.slice(module.first, module.end);
  let next = 0;
  let moved = false;
  let most = 0;
  for (const { sources } of slices) {
    for (const { model, layerRange, rangeAt, at } of sources) {
      const { counts } = indexOf(model);
      for (const prefix of counts.keys()) prefixes.add(prefix);
      const count = Math.max(0, ...counts.values());
      most = Math.max(most, count);
      moved ||= layerRange![0] !== next;
      if (layerRange && layerRange[1] > count) {
        const where = rangeAt ?? at;
        const message = `layer_range [${layerRange.join(", ")}] goes beyond ${quote(recipe.models[model]!.display)}, which has ${count} layers`;
        problems.set(`${where.line}:${where.column}`, { kind: "recipe-schema", message, where });
      }
    }
    const [first, end] = sources[0]!.layerRange!;
    next += end - first;
  }
  if (prefixes.size > 1) {
    const names = [...prefixes].sort().map((p) => quote(`${p}N`));
    problems.set("stacks", {
      kind: "recipe-unsupported",
      message: `Cannot cut layers into slices: the models have ${prefixes.size} stacks of layers, ${names.join(", ")}`,
      where: slices[0]!.at,
      hint: "Use models: to merge them whole, or modules: with one for each stack.",
    });
  } else if (!isText(module) && problems.size === 0 && (moved || next !== most)) {
    problems.set("moved", {
      kind: "recipe-unsupported",
      message: `Cannot stack the layers of modules.${module.name} in another order or number: only the text's config is written anew`,
      where: slices[0]!.at,
      hint: `Its slices must be all of its ${most} layers, in their order.`,
    });
  }
  if (problems.size > 0) throw new BraidError([...problems.values()]);
}
