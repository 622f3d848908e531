// From what was counted to what is told: every measure of docs/analyze.md. Nothing but + − × ÷ √ and our own arccos, so that the
// numbers are the same everywhere.

import { acos } from "../methods/trig.ts";
import {
  type DeltaStats,
  type Group,
  type PairStats,
  type QuantileName,
  quantiles,
  type Together,
} from "./analysis.ts";
import type { Counted, CountedModel, CountedPair } from "./counted.ts";
import { countBelow, magnitudes, ofKey, ranked, signedCounts, unsigned } from "./spread.ts";

/** The article's rule: what is below this share of the largest |δ| is near zero. */
export const nearZeroOfMax = 0.01;

export function groupOf(c: Counted, signed: boolean): Group {
  const squares = c.models.reduce((sum, m) => sum + (m?.l2 ?? 0), 0);
  return {
    tensors: c.tensors,
    parameters: c.parameters,
    base: {
      norm: Math.sqrt(c.base.l2),
      mean: c.parameters > 0 ? c.base.l1 / c.parameters : 0,
      nonFinite: c.base.nonFinite,
    },
    models: c.models.map((m) => m && deltaStats(m, squares, signed)),
    pairs: c.pairs.flatMap((p) => (p ? [pairStats(p)] : [])),
    together: c.models.length > 1 ? togetherOf(c) : null,
  };
}

function deltaStats(m: CountedModel, squares: number, signed: boolean): DeltaStats {
  const spread = unsigned(m.spread);
  const { count, l1, l2 } = m;
  const zeros = count - m.nonzero;
  const max = ofKey(m.most);
  const rms = count > 0 ? Math.sqrt(l2 / count) : 0;
  const ranks = Object.entries(quantiles).map(([name, q]) => {
    const rank = Math.min(Math.floor(count * q), count - 1);
    return [name, ranked(spread, rank)] as const;
  });
  const below = countBelow(spread, Math.fround(nearZeroOfMax * max));
  const share = (n: number) => (m.nonzero === 0 ? 1 : n / count);
  return {
    count,
    identicalTensors: m.identical,
    zeros,
    nonFinite: m.nonFinite,
    mean: count > 0 ? l1 / count : 0,
    max,
    std: count > 1 ? Math.sqrt(Math.max(0, (l2 - (l1 * l1) / count) / (count - 1))) : null,
    norm: Math.sqrt(l2),
    rms,
    ratio: m.baseL2 > 0 ? Math.sqrt(l2) / Math.sqrt(m.baseL2) : null,
    dominance: squares > 0 ? l2 / squares : null,
    nearZero: { value: share(below.value), low: share(below.low), high: share(below.high) },
    quantiles: Object.fromEntries(ranks.map(([name, r]) => [name, r.value])) as Record<QuantileName, number>,
    quantileError: Math.max(...ranks.map(([, r]) => r.error)),
    magnitudes: magnitudes(spread, zeros),
    ...(signed && rms > 0 ? { signed: signedCounts(m.spread, rms, zeros) } : {}),
  };
}

/** The share of disagreeing signs of jointly Gaussian deltas of this correlation: arccos(ρ)/π. */
export function expectedConflict(cosine: number): number {
  return acos(cosine) / Math.PI;
}

function pairStats(p: CountedPair): PairStats {
  const { a, b, dot, both, apart, top, topA, topB, count } = p;
  const norms = Math.sqrt(p.squareA) * Math.sqrt(p.squareB);
  const cosine = norms > 0 ? Math.min(1, Math.max(-1, dot / norms)) : null;
  const conflict = both > 0 ? apart / both : null;
  const conflictExpected = cosine === null ? null : expectedConflict(cosine);
  const either = topA + topB - top;
  const overlap = either > 0 ? top / either : null;
  const overlapExpected = either > 0 ? p.topChance / (topA + topB - p.topChance) : null;
  const over = (x: number | null, y: number | null) => (x === null || y === null ? null : x - y);
  return {
    a,
    b,
    dot,
    cosine,
    bothChange: both,
    conflict,
    conflictExpected,
    conflictExcess: over(conflict, conflictExpected),
    overlap,
    overlapExpected,
    overlapExcess: over(overlap, overlapExpected),
    topShares: count > 0 ? [topA / count, topB / count] : [0, 0],
  };
}

function togetherOf({ models, patterns, together, parameters }: Counted): Together {
  const side = models.length + 1;
  const changedBy = new Array<number>(side).fill(0);
  let [agreement, mixed] = [0, 0];
  // Exact multiples of 1/(p + q) each, in the order of the cells.
  patterns.forEach((n, cell) => {
    const [up, down] = [Math.floor(cell / side), cell % side];
    if (up + down >= side) return;
    changedBy[up + down]! += n;
    agreement += up + down === 0 ? n : (n * Math.abs(up - down)) / (up + down);
    if (up > 0 && down > 0) mixed += n;
  });
  const all = models.reduce((sum, m) => sum + (m?.l1 ?? 0), 0);
  const massAgreement = all > 0 ? together / all : null;
  const norms = models.flatMap((m) => (m && m.l2 > 0 ? [Math.sqrt(m.l2)] : []));
  return {
    changedBy,
    signAgreement: parameters > 0 ? agreement / parameters : 1,
    mixed: parameters > 0 ? mixed / parameters : 0,
    massAgreement,
    interference: massAgreement === null ? null : 1 - massAgreement,
    imbalance: norms.length > 1 ? Math.max(...norms) / Math.min(...norms) : null,
  };
}
