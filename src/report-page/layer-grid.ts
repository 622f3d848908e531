// From an analysis' tensors to tables of depth against kind. Measures of several tensors in one place (two norms of a layer, the
// experts of a mixture) are joined as if they were one tensor.

import type { Analysis, TensorGroup, TensorKind } from "../analyze/analysis.ts";
import { tensorKinds } from "../analyze/analysis.ts";

/** A number for a group of tensors in one place, or null where it has none. */
export type Measure = (tensors: readonly TensorGroup[]) => number | null;

export interface Grid {
  /** "" for the only stack; else as the names of its tensors begin. */
  readonly stack: string;
  readonly kinds: readonly TensorKind[];
  readonly layers: readonly number[];
  /** By kind, then by layer. */
  readonly values: readonly (readonly (number | null)[])[];
}

/** One grid for each stack of layers; kinds in their usual order, those that a stack lacks left out. */
export function layerGrids(analysis: Analysis, measure: Measure): Grid[] {
  const stacks = new Map<string, Map<string, TensorGroup[]>>();
  for (const tensor of analysis.tensors) {
    if (tensor.layer === null) continue;
    const places = stacks.get(tensor.stack ?? "") ?? new Map<string, TensorGroup[]>();
    stacks.set(tensor.stack ?? "", places);
    const place = `${tensor.layer} ${tensor.kind}`;
    places.set(place, [...(places.get(place) ?? []), tensor]);
  }
  return [...stacks].map(([stack, places]) => {
    const groups = [...places.values()];
    const layers = [...new Set(groups.map(([t]) => t!.layer!))].sort((a, b) => a - b);
    const present = new Set(groups.map(([t]) => t!.kind));
    const kinds = tensorKinds.filter((kind) => present.has(kind));
    const values = kinds.map((kind) => layers.map((layer) => measure(places.get(`${layer} ${kind}`) ?? [])));
    return { stack, kinds, layers, values };
  });
}

/** ‖δ‖/‖base‖ of one model. */
export const ratioOf =
  (model: number): Measure =>
  (tensors) => {
    let [delta, base] = [0, 0];
    for (const t of tensors) {
      const own = t.models[model];
      if (!own) continue;
      delta += own.norm * own.norm;
      base += t.base.norm * t.base.norm;
    }
    return base > 0 ? Math.sqrt(delta / base) : null;
  };

/** Of a pair of models: the share of the elements that both change which they move apart. */
export const conflictOf =
  (a: number, b: number): Measure =>
  (tensors) => {
    let [apart, both] = [0, 0];
    for (const t of tensors) {
      const pair = t.pairs.find((p) => p.a === a && p.b === b);
      if (!pair || pair.conflict === null) continue;
      apart += pair.conflict * pair.bothChange;
      both += pair.bothChange;
    }
    return both > 0 ? apart / both : null;
  };

/** The mean conflict of all pairs of the models given, by the elements that they share. */
export const meanConflict =
  (models: readonly number[]): Measure =>
  (tensors) => {
    let [apart, both] = [0, 0];
    for (const t of tensors) {
      for (const pair of t.pairs) {
        if (pair.conflict === null || !models.includes(pair.a) || !models.includes(pair.b)) continue;
        apart += pair.conflict * pair.bothChange;
        both += pair.bothChange;
      }
    }
    return both > 0 ? apart / both : null;
  };

/** Of one model: the share of elements that are exactly the base's. */
export const unchangedOf =
  (model: number): Measure =>
  (tensors) => {
    let [zeros, count] = [0, 0];
    for (const t of tensors) {
      const own = t.models[model];
      zeros += own?.zeros ?? 0;
      count += own?.count ?? 0;
    }
    return count > 0 ? zeros / count : null;
  };

/** The least and the largest of what grids hold; null where they hold nothing. */
export function rangeOf(grids: readonly Grid[]): { readonly least: number; readonly most: number } | null {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const grid of grids)
    for (const row of grid.values)
      for (const value of row) {
        if (value === null) continue;
        least = Math.min(least, value);
        most = Math.max(most, value);
      }
  return least <= most ? { least, most } : null;
}
