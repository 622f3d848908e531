// What was counted of a tensor, and what adds up over tensors. Sums are added in the order of the plan; counts in any.

import { addTo, noSpread, type Spread, unsigned } from "./spread.ts";

/** Of a tensor, or of several as if they were one. */
export interface Counted {
  tensors: number;
  parameters: number;
  /** Σ|b|, Σb², and how many are NaN or infinite. */
  base: { l1: number; l2: number; nonFinite: number };
  /** Null: the model has none of it. */
  readonly models: (CountedModel | null)[];
  /** Of a < b, row by row over all models; null where one lacks it. */
  readonly pairs: (CountedPair | null)[];
  /** Σ|Σδ|. */
  together: number;
  /** At p·(N + 1) + q: elements that p models move up and q down. */
  readonly patterns: number[];
}

export interface CountedModel {
  count: number;
  identical: number;
  nonzero: number;
  nonFinite: number;
  /** Elements among the largest. */
  top: number;
  /** A key. */
  most: number;
  l1: number;
  l2: number;
  /** Σb² where the model has it. */
  baseL2: number;
  /** Of a tensor signed; of groups that ask for no signs, of magnitudes. */
  spread: Spread;
}

export interface CountedPair {
  readonly a: number;
  readonly b: number;
  count: number;
  dot: number;
  both: number;
  apart: number;
  top: number;
  /** The largest of each, of the tensors that both have. */
  topA: number;
  topB: number;
  /** Σ of what masks of their shares have in common by chance. */
  topChance: number;
  squareA: number;
  squareB: number;
}

export const pairsOf = (models: number): (readonly [number, number])[] =>
  Array.from({ length: models }, (_, a) =>
    Array.from({ length: models - a - 1 }, (_, i) => [a, a + 1 + i] as const),
  ).flat();

export function nothing(models: number): Counted {
  return {
    tensors: 0,
    parameters: 0,
    base: { l1: 0, l2: 0, nonFinite: 0 },
    models: new Array<null>(models).fill(null),
    pairs: pairsOf(models).map(() => null),
    together: 0,
    patterns: new Array<number>((models + 1) ** 2).fill(0),
  };
}

/** Adds a tensor to a group. Its spreads are left out: they were added when the tensor was done. */
export function add(to: Counted, one: Counted): void {
  to.tensors += one.tensors;
  to.parameters += one.parameters;
  to.base.l1 += one.base.l1;
  to.base.l2 += one.base.l2;
  to.base.nonFinite += one.base.nonFinite;
  to.together += one.together;
  one.patterns.forEach((n, i) => {
    to.patterns[i]! += n;
  });
  one.models.forEach((m, i) => {
    if (!m) return;
    to.models[i] ??= emptyModel();
    const was = to.models[i];
    for (const key of ["count", "identical", "nonzero", "nonFinite", "top", "l1", "l2", "baseL2"] as const)
      was[key] += m[key];
    was.most = Math.max(was.most, m.most);
  });
  one.pairs.forEach((p, i) => {
    if (!p) return;
    to.pairs[i] ??= { ...p, ...noPair };
    const was = to.pairs[i];
    for (const key of Object.keys(noPair) as (keyof typeof noPair)[]) was[key] += p[key];
  });
}

/** Adds a tensor's spreads to a group's. */
export function addSpread(to: Counted, one: Counted, signed: boolean): void {
  one.models.forEach((m, i) => {
    if (!m) return;
    to.models[i] ??= emptyModel();
    const was = to.models[i];
    was.spread = addTo(was.spread, signed ? m.spread : unsigned(m.spread));
  });
}

const noPair = { count: 0, dot: 0, both: 0, apart: 0, top: 0, topA: 0, topB: 0, topChance: 0, squareA: 0, squareB: 0 };

export function emptyModel(): CountedModel {
  const zeros = { count: 0, identical: 0, nonzero: 0, nonFinite: 0, top: 0, most: 0, l1: 0, l2: 0, baseL2: 0 };
  return { ...zeros, spread: noSpread };
}
