// Measures and ModelCypher's report against the worked examples of their definitions (exact binary fractions).

import { describe, expect, test } from "bun:test";
import { groupOf } from "../../src/analyze/group.ts";
import {
  type Configuration,
  configurations,
  modelCypherDefect,
  modelCypherOf,
} from "../../src/analyze/model-cypher.ts";
import { addSpreads, addTo, noSpread, type Spread } from "../../src/analyze/spread.ts";
import { countsOf } from "./counts.ts";

const base = [1, -2, 0.5, 0, 1.5, -1, 2, -0.5];
const a = [0.5, -0.25, 0.125, 0, -0.375, 0.0625, 0.75, -0.125];
const b = [-0.125, -0.5, 0.375, 0.25, 0.375, -0.0625, -0.75, 0.5];
const c = [0.25, 0.25, -0.125, 0.125, 0.5, 0.25, 0.5, -0.25];
const zero = [0, 0, 0, 0, 0, 0, 0, 0];

describe("a group of three models", () => {
  const abc = groupOf(countsOf(base, [a, b, c]), true);
  const [A, B, C] = abc.models;

  test("norms, ratios and dominance", () => {
    expect([A!.norm, B!.norm, C!.norm].map((x) => x.toFixed(7))).toEqual(["1.0250762", "1.1940608", "0.8838835"]);
    expect([A!.ratio!, B!.ratio!, C!.ratio!].map((x) => x.toFixed(7))).toEqual(["0.2870788", "0.3344039", "0.2475369"]);
    // MetaGPT's weights.
    const shares = [A!.dominance!, B!.dominance!, C!.dominance!].map((x) => x.toFixed(7));
    expect(shares).toEqual(["0.3225420", "0.4376499", "0.2398082"]);
    expect(A!.mean).toBe(2.1875 / 8);
    expect([A!.zeros, B!.zeros, A!.max]).toEqual([1, 0, 0.75]);
    expect(abc.base.mean).toBe(8.5 / 8);
  });

  test("cosines and disagreeing signs, beside what Gaussian deltas of that cosine have", () => {
    const cosines = abc.pairs.map((p) => [p.a, p.b, p.dot, p.cosine!.toFixed(7)]);
    expect(cosines).toEqual([
      [0, 1, -0.66015625, "-0.5393419"],
      [0, 2, 0.28125, "0.3104140"],
      [1, 2, -0.5, "-0.4737493"],
    ]);
    expect(abc.pairs[0]!.conflict).toBe(5 / 7);
    expect(abc.pairs[0]!.bothChange).toBe(7);
    expect(abc.pairs[0]!.conflictExcess!).toBeCloseTo(5 / 7 - Math.acos(-0.5393419) / Math.PI, 6);
    expect(abc.together!.imbalance!).toBeCloseTo(1.1940608 / 0.8838835, 6);
  });

  test("sign agreement, mixed signs, mass agreement and interference", () => {
    const { signAgreement, mixed, massAgreement, interference, changedBy } = abc.together!;
    expect(signAgreement).toBeCloseTo((7 / 3 + 1) / 8, 14);
    expect(mixed).toBe(7 / 8);
    expect(massAgreement!.toFixed(7)).toBe("0.4406780");
    expect(interference).toBe(1 - massAgreement!);
    expect(changedBy).toEqual([0, 0, 1, 7]);
  });

  test("overlap of the largest: two of eight share one of three", () => {
    const untied = b.with(7, 0.4375);
    const [pair] = groupOf(countsOf(base, [a, untied], 0.25), false).pairs;
    expect(pair!.overlap).toBe(1 / 3);
    expect(pair!.topShares).toEqual([2 / 8, 2 / 8]);
    expect(pair!.overlapExpected!).toBeCloseTo(0.5 / 3.5, 12);
  });

  test("overlap where several are equal at the threshold: all of them are in, and the real shares are told", () => {
    const [pair] = groupOf(countsOf(base, [a, b], 0.25), false).pairs;
    expect(pair!.topShares).toEqual([2 / 8, 3 / 8]);
    expect(pair!.overlap).toBe(1 / 4);
  });

  test("a model that changes nothing has no cosine and no conflict", () => {
    const g = groupOf(countsOf(base, [a, zero]), true);
    expect(g.models[1]).toMatchObject({
      mean: 0,
      max: 0,
      zeros: 8,
      identicalTensors: 1,
      magnitudes: { first: 0, counts: [] },
    });
    expect(g.models[1]!.nearZero.value).toBe(1);
    expect(g.models[1]!.signed).toBeUndefined();
    expect(g.pairs[0]).toMatchObject({ cosine: null, conflict: null, conflictExcess: null, overlap: 0 });
    expect(g.together!.imbalance).toBeNull();
    expect(groupOf(countsOf(base, [zero, zero]), true).together).toMatchObject({
      massAgreement: null,
      signAgreement: 1,
    });
    expect(groupOf(countsOf(base, [a]), true).together).toBeNull();
  });
});

describe("near zero, the rule of 1 % of the largest", () => {
  const both = groupOf(countsOf([...base, ...base], [[...a, ...b]]), true).models[0]!;

  test("of two deltas as one", () => {
    expect(both.nearZero).toEqual({ value: 1 / 16, low: 1 / 16, high: 1 / 16 });
    expect(both.mean).toBe(0.3203125);
    expect(both.std!.toFixed(7)).toBe("0.2359323");
  });

  test("what is equal to the threshold is not below it", () => {
    const deltas = [0, 0, 0, 0.001, 0.002, 0.0049, 0.005, 0.5];
    const [m] = groupOf(countsOf(base, [deltas]), true).models;
    // 0.0049 and 0.005 are in bins of their own, of one element each: known exactly.
    expect(m!.nearZero).toEqual({ value: 0.75, low: 0.75, high: 0.75 });
  });

  test("of a bin of several values only bounds are known", () => {
    const near = Math.fround(0.01) * (1 + 2 ** -12);
    const deltas = [1, near, near, near * (1 - 2 ** -9), 0, 0, 0, 0];
    const [m] = groupOf(countsOf(base, [deltas]), true).models;
    expect(m!.nearZero.low).toBe(4 / 8);
    expect(m!.nearZero.high).toBe(7 / 8);
    expect(m!.nearZero.value).toBeGreaterThanOrEqual(4 / 8);
    expect(m!.nearZero.value).toBeLessThanOrEqual(7 / 8);
    expect(m!.quantileError).toBe(2 ** -7);
    expect(m!.quantiles.p75).toBeCloseTo(near, 4);
  });
});

describe("adding histograms", () => {
  test("changes the sum in place where it holds all bins, and never what is added", () => {
    const of = (...x: number[]) => countsOf(x, [x]).models[0]!.spread;
    const text = (s: Spread) => [...s.bins].map((bin, i) => `${bin}:${s.counts[i]}/${s.lows[i]}`).join(" ");
    const all = of(1, 0.3, -2, 0, 1, 1, 0.3, 5);
    let sum = addTo(noSpread, of(1, 0.3, -2));
    const part = of(0, 1);
    const before = text(part);
    sum = addTo(sum, part);
    const again = of(1, 0.3);
    expect(addTo(sum, again)).toBe(sum);
    sum = addTo(sum, of(5));
    expect(text(sum)).toBe(text(all));
    expect(text(part)).toBe(before);
    expect(text(again)).toBe(text(of(1, 0.3)));
    expect(noSpread.bins.length).toBe(0);
    expect(text(addSpreads(of(1, 0.3, -2, 0), of(1, 1, 0.3, 5)))).toBe(text(all));
  });
});

describe("histograms", () => {
  test("by powers of two, exact zeros apart", () => {
    const [m] = groupOf(countsOf(base, [a]), true).models;
    // 0.0625 | 0.125 0.125 | 0.25 0.375 | 0.5 0.75
    expect(m!.magnitudes).toEqual({ first: -4, counts: [1, 2, 2, 2] });
    expect(m!.zeros).toBe(1);
  });

  test("signed, by standard deviations; what is beyond the range is told", () => {
    const wide = [...Array(99).fill(0.5), ...Array(99).fill(-0.5), 64, -0];
    const [m] = groupOf(countsOf(Array(200).fill(1), [wide]), true).models;
    const { range, width, counts, below, above, negative, positive } = m!.signed!;
    expect([below, above, negative, positive]).toEqual([0, 1, 99, 100]);
    expect(counts.reduce((x, y) => x + y, 0)).toBe(198);
    const bin = (x: number) => Math.floor((x / m!.rms + range) / width);
    expect(counts[bin(0.5)]).toBe(99);
    expect(counts[bin(-0.5)]).toBe(99);
  });
});

describe("ModelCypher's report", () => {
  const layers = (...deltas: number[][]) =>
    deltas.map((d, i) => ({ name: `layer${i + 1}`, model: countsOf(d, [d]).models[0]! }));
  const configured = (
    sparsityThreshold: number,
    droppablePercentile: number,
    analysisLayers: string[] | null = null,
  ): Configuration => ({
    sparsityThreshold,
    droppablePercentile,
    analysisLayers,
    computePerLayerMetrics: true,
  });

  test("its own example", () => {
    const two = layers([0, 0.2, 0.5, 1], [0.05, 0]);
    const r = modelCypherOf(two, configured(0.2, 0.5));
    expect(r).toMatchObject({
      totalParameters: 6,
      nonZeroParameters: 4,
      effectiveSparsity: 4 / 6,
      threshold: Math.fround(0.2),
    });
    expect(r.essentialFraction).toBeCloseTo(2 / 6, 14);
    expect(r.recommendedDropRate).toBeCloseTo(0.6, 14);
    const f = Math.fround;
    expect(r.magnitudeStats).toMatchObject({
      median: f(0.2),
      minNonZero: f(0.05),
      percentile1: 0,
      percentile5: 0,
      percentile95: 1,
      percentile99: 1,
    });
    const [one, other] = r.perLayerSparsity;
    expect(one).toMatchObject({
      sparsity: 0.5,
      maxMagnitude: 1,
      hasSignificantUpdates: true,
      importance: 0.5,
      canDrop: false,
    });
    expect(one!.meanMagnitude).toBeCloseTo(0.425, 7);
    expect(other).toMatchObject({ sparsity: 1, maxMagnitude: f(0.05), hasSignificantUpdates: false, canDrop: true });
    expect(other!.meanMagnitude).toBeCloseTo(0.025, 7);
    const first = modelCypherOf(two, configured(0.2, 0.5, ["layer1"]));
    expect(first.effectiveSparsity).toBe(0.75);
    expect(first.recommendedDropRate).toBeCloseTo(0.675, 14);
  });

  test("two deltas as two layers", () => {
    const two = layers(a, b);
    const r = modelCypherOf(two, configurations.default);
    expect(r).toMatchObject({ effectiveSparsity: 1, mergeReadiness: "too_sparse", recommendedDropRate: 0.95 });
    const half = modelCypherOf(two, configured(0.01, 0.5));
    expect(half).toMatchObject({
      threshold: 0.375,
      effectiveSparsity: 0.6875,
      recommendedDropRate: 0.61875,
      mergeReadiness: "needs_more_training",
    });
    expect(half.perLayerSparsity.map((l) => l.sparsity)).toEqual([0.75, 0.625]);
    expect(half.magnitudeStats.standardDeviation.toFixed(7)).toBe("0.2284405");
    expect(half.magnitudeStats.median).toBe(0.375);
    expect(half.qualityAssessment).toBe("moderate");
  });

  test("nothing, and nothing but zeros", () => {
    expect(modelCypherOf([], configurations.default)).toMatchObject({ effectiveSparsity: 1, recommendedDropRate: 0 });
    expect(modelCypherOf(layers(zero), configurations.default)).toMatchObject({
      effectiveSparsity: 1,
      mergeReadiness: "too_sparse",
    });
  });

  test("says what is wrong with it: whatever the deltas, at least 95 % are sparse", () => {
    const uniform = Array.from({ length: 4000 }, (_, i) => 5 + i / 4000);
    const r = modelCypherOf(layers(uniform), configurations.default);
    expect(r.effectiveSparsity).toBeGreaterThan(0.95);
    expect(r.effectiveSparsity).toBeLessThan(0.96);
    expect(r).toMatchObject({ recommendedDropRate: 0.95, mergeReadiness: "ready", defect: modelCypherDefect });
    expect(r.sparsityError).toBeLessThan(2 ** -4);
  });
});
