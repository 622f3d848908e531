// Which tensors the output has, and where each stands: its slice, its layer, its t.

import { BraidError, type Diagnostic, quote } from "../errors.ts";
import { isBeforeLayers, type LayerName, layerOf } from "./layers.ts";
import type { ParsedRecipe, ParsedSlice, ParsedSource } from "./parsed.ts";

/** The tensor names of a model of the recipe. */
export type NamesOf = (modelIndex: number) => ReadonlySet<string>;

export interface Place {
  /** In the output. */
  readonly name: string;
  readonly slice: number;
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

function indexNames(names: ReadonlySet<string>): Index {
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
  const indexes = new Map<number, Index>();
  const indexOf = (model: number): Index => {
    const index = indexes.get(model) ?? indexNames(namesOf(model));
    indexes.set(model, index);
    return index;
  };
  if (recipe.form === "slices") checkRanges(recipe, indexOf);
  const places: { place: Place; group: number }[] = [];
  let offset = 0;
  recipe.slices.forEach((slice, index) => {
    for (const place of placesOfSlice(slice, index, { last: recipe.slices.length - 1, offset }, indexOf)) {
      places.push({ place, group: place.layer !== null ? 1 : isBeforeLayers(place.name) ? 0 : 2 });
    }
    const range = slice.sources[0]!.layerRange;
    offset += range ? range[1] - range[0] : 0;
  });
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
  { last, offset }: { last: number; offset: number },
  indexOf: (model: number) => Index,
): Iterable<Place> {
  const places = new Map<string, Place>();
  const counts = new Map<string, number>();
  for (const { model } of slice.sources) {
    for (const [prefix, n] of indexOf(model).counts) counts.set(prefix, Math.max(n, counts.get(prefix) ?? 0));
  }
  const place = (name: string, step: number, layers: number, layer: number, parts: LayerName): void => {
    if (places.has(name)) return;
    places.set(name, { name, slice: index, t: layers === 1 ? 1 : step / (layers - 1), layer, step, parts });
  };
  for (const { model, layerRange } of slice.sources) {
    const { outside, layers } = indexOf(model);
    for (const name of outside) {
      // Embeddings belong to the first slice, the final norm and the head to the last one.
      const owner = isBeforeLayers(name) ? 0 : last;
      if (owner === index) places.set(name, { name, slice: index, t: 0, layer: null, step: 0, parts: null });
    }
    if (layerRange) {
      const [first, end] = layerRange;
      for (let n = first; n < end; n++) {
        const layer = offset + n - first;
        for (const { parts } of layers.get(n) ?? []) {
          place(`${parts.prefix}${layer}${parts.suffix}`, n - first, end - first, layer, parts);
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
function checkRanges(recipe: ParsedRecipe, indexOf: (model: number) => Index): void {
  const problems = new Map<string, Diagnostic>();
  const prefixes = new Set<string>();
  for (const { sources } of recipe.slices) {
    for (const { model, layerRange, rangeAt, at } of sources) {
      const { counts } = indexOf(model);
      for (const prefix of counts.keys()) prefixes.add(prefix);
      const count = Math.max(0, ...counts.values());
      if (layerRange && layerRange[1] > count) {
        const where = rangeAt ?? at;
        const message = `layer_range [${layerRange.join(", ")}] goes beyond ${quote(recipe.models[model]!.display)}, which has ${count} layers`;
        problems.set(`${where.line}:${where.column}`, { kind: "recipe-schema", message, where });
      }
    }
  }
  if (prefixes.size > 1) {
    const names = [...prefixes].sort().map((p) => quote(`${p}N`));
    problems.set("stacks", {
      kind: "recipe-unsupported",
      message: `Cannot cut layers into slices: the models have ${prefixes.size} stacks of layers, ${names.join(", ")}`,
      where: recipe.slices[0]!.at,
      hint: "Use models: to merge them whole.",
    });
  }
  if (problems.size > 0) throw new BraidError([...problems.values()]);
}
