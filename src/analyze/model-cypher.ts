// A report in the terms of ModelCypher's `dare_sparsity` (Ethyros-AI/ModelCypher at 4da2eca9), written from its description, so that
// its numbers can be compared. What it says is worth little at its defaults: see `defect`.

import type { ModelCypher } from "./analysis.ts";
import { type CountedModel, emptyModel } from "./counted.ts";
import { addTo, countBelow, ofKey, ranked, type Spread, unsigned } from "./spread.ts";

/** `Configuration`, and its presets. */
export interface Configuration {
  readonly sparsityThreshold: number;
  readonly droppablePercentile: number;
  /** Only layers whose names are these; null: all. */
  readonly analysisLayers: readonly string[] | null;
  readonly computePerLayerMetrics: boolean;
}

export const configurations = {
  default: { sparsityThreshold: 0.01, droppablePercentile: 0.95, analysisLayers: null, computePerLayerMetrics: true },
  aggressive: {
    sparsityThreshold: 0.001,
    droppablePercentile: 0.99,
    analysisLayers: null,
    computePerLayerMetrics: true,
  },
} as const satisfies Record<string, Configuration>;

export const modelCypherDefect =
  "The threshold is the larger of 1 % of max|δ| and the 95th percentile of |δ|, so at least 95 % of any deltas are below it: effective sparsity is 0.95 or more, the recommended drop rate 0.95 or 0.9 and the readiness ready or too_sparse, whatever the deltas are. For comparison only; the advice does not use it.";

/** A share below which a layer has significant updates. */
const significantBelow = 0.9;

export interface NamedCounts {
  readonly name: string;
  readonly model: CountedModel;
}

/** Of one model, layer by layer. Their spreads hold magnitudes or signed deltas. */
export function modelCypherOf(layers: readonly NamedCounts[], configuration: Configuration): ModelCypher {
  const { sparsityThreshold, droppablePercentile, analysisLayers, computePerLayerMetrics } = configuration;
  const chosen = layers.filter(({ name }) => !analysisLayers || analysisLayers.includes(name));
  const all = sum(chosen.map(({ model }) => model));
  const n = all.count;
  const max = ofKey(all.most);
  const percentile = (q: number) => ranked(all.spread, Math.max(0, Math.min(Math.floor(n * q), n - 1)));
  const droppable = percentile(droppablePercentile);
  const byMax = max * sparsityThreshold;
  const threshold = Math.max(byMax, droppable.value);
  const below = atMost(all.spread, threshold);
  // What is at most the element of a rank is at least that rank and one.
  const floor = threshold === droppable.value ? Math.min(Math.floor(n * droppablePercentile), n - 1) + 1 : 0;
  const sparsity = n === 0 || max === 0 ? 1 : Math.max(below.value, floor) / n;
  const recommended = n === 0 ? 0 : recommendedDropRate(sparsity);
  const mean = n > 0 ? all.l1 / n : 0;
  return {
    configuration: { sparsityThreshold, droppablePercentile, computePerLayerMetrics },
    totalParameters: n,
    nonZeroParameters: all.nonzero,
    effectiveSparsity: sparsity,
    essentialFraction: 1 - sparsity,
    threshold,
    recommendedDropRate: recommended,
    mergeReadiness: sparsity >= 0.99 ? "too_sparse" : sparsity >= 0.8 ? "ready" : "needs_more_training",
    qualityAssessment: qualityOf(sparsity),
    magnitudeStats: {
      mean,
      standardDeviation: n > 0 ? Math.sqrt(Math.max(0, all.l2 / n - mean * mean)) : 0,
      median: ranked(all.spread, Math.floor(n / 2)).value,
      max,
      minNonZero: all.nonzero > 0 ? ranked(all.spread, n - all.nonzero).value : 0,
      percentile1: percentile(0.01).value,
      percentile5: percentile(0.05).value,
      percentile95: percentile(0.95).value,
      percentile99: percentile(0.99).value,
    },
    perLayerSparsity: computePerLayerMetrics ? chosen.map((l) => layerOf(l, threshold, recommended)) : [],
    sparsityError: n > 0 ? (below.high - below.low) / n : 0,
    defect: modelCypherDefect,
  };
}

function layerOf({ name, model }: NamedCounts, threshold: number, recommended: number) {
  const { count, l1, most } = model;
  const sparsity = count === 0 ? 1 : atMost(unsigned(model.spread), threshold).value / count;
  return {
    layerName: name,
    parameterCount: count,
    sparsity,
    meanMagnitude: count > 0 ? l1 / count : 0,
    maxMagnitude: ofKey(most),
    essentialFraction: 1 - sparsity,
    hasSignificantUpdates: count > 0 && sparsity < significantBelow,
    importance: Math.min(1, Math.max(0, 1 - sparsity)),
    canDrop: sparsity >= recommended,
  };
}

function recommendedDropRate(sparsity: number): number {
  if (sparsity > 0.95) return 0.95;
  if (sparsity > 0.9) return 0.9;
  if (sparsity > 0.8) return 0.85;
  return sparsity > 0.5 ? 0.9 * sparsity : 0.5 * sparsity;
}

function qualityOf(sparsity: number): ModelCypher["qualityAssessment"] {
  if (sparsity >= 0.95) return "excellentForMerging";
  if (sparsity >= 0.8) return "good";
  if (sparsity >= 0.5) return "moderate";
  return sparsity >= 0.2 ? "dense" : "concerninglyDense";
}

/** How many magnitudes are at most `limit`: those below the next f32. */
function atMost(s: Spread, limit: number) {
  return countBelow(s, next(limit));
}

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The smallest f32 above x ≥ 0. */
function next(x: number): number {
  float[0] = x;
  if (float[0]! <= x) word[0]!++;
  return float[0]!;
}

function sum(models: readonly CountedModel[]): CountedModel {
  const total = emptyModel();
  for (const m of models) {
    for (const key of ["count", "nonzero", "l1", "l2"] as const) total[key] += m[key];
    total.most = Math.max(total.most, m.most);
    total.spread = addTo(total.spread, unsigned(m.spread));
  }
  return total;
}
