// The DARE step before methods on deltas: what they make of the thinned models' deltas, they make of the models with `dare`.

import { describe, expect, test } from "bun:test";
import { maskThreshold } from "../../src/kernel/mask.ts";
import * as reference from "../../src/kernel/reference.ts";
import { vectors } from "../support/fixture.ts";
import { mergeOne } from "../support/one-tensor.ts";

const count = 5000;
const shape = [50, 100];
const zeros = new Array<number>(count).fill(0);
// Multiples of 1/256: sums of deltas, and the doubled ones, are exact, so that thinning first or later gives one result.
const deltas = vectors(3, count, 11).map((v) => v.map((x) => Math.round(x * 128) / 256));
/** What is left of each model's delta at p = 0.5 and, of the last, 0.75. */
const rates = [0.5, 0.5, 0.75];
const thin = (rescale: boolean) =>
  deltas.map((delta, m) => {
    const mask = reference.braidMask(42, m, "w", rates[m]!, 0, count);
    const scale = rescale ? 1 / (1 - maskThreshold(rates[m]!) / 2 ** 32) : 1;
    return delta.map((x, i) => (mask[i] ? scale * x : 0));
  });

type Case = readonly [method: string, parameters: Record<string, unknown>, perModel?: Record<string, unknown>];
const cases: readonly Case[] = [
  ["task_arithmetic", {}],
  ["task_arithmetic", { normalize: true, lambda: 0.5 }],
  ["ties", {}],
  ["ties", { normalize: false, elect: "count", zero: "positive" }],
  ["ties", { elect: "unweighted", trim_basis: "all" }, { density: 0.2 }],
  ["breadcrumbs", { gamma: 0.05 }, { density: 0.3 }],
  ["breadcrumbs_ties", { gamma: 0.02, scope: "row", ties: "exact" }, { density: 0.4 }],
  ["sce", {}],
  ["sce", { select_topk: 0.2 }],
  ["ram", {}],
  ["ram", { epsilon: 0.25 }],
  ["ramplus_tl", { r: 0.5, alpha: 1 }],
  ["ramplus_tl", { r: 0.5, alpha: 1, epsilon: 0.25 }],
  ["magmax", {}],
  ["consensus_ta", { k: 2 }],
  ["consensus_ties", { k: 1 }, { density: 1 }],
  ["emr", {}],
];

describe("DARE before methods on deltas", () => {
  for (const [method, parameters, perModel = {}] of cases) {
    for (const dare_rescale of [true, false]) {
      for (const dtype of ["float32", "bfloat16"]) {
        test(`${method} ${JSON.stringify(parameters)}, rescale ${dare_rescale}, ${dtype}`, async () => {
          const shared = { method, base: zeros, shape, dtype };
          const got = await mergeOne({
            ...shared,
            models: deltas,
            perModel: rates.map((dare) => ({ ...perModel, dare })),
            parameters: { ...parameters, dare_rescale },
          });
          const models = thin(dare_rescale);
          const { trim_basis: _, ...rest } = parameters;
          const want = await mergeOne({ ...shared, models, perModel: rates.map(() => perModel), parameters: rest });
          expect(got.values).toEqual(want.values);
          const whole = await mergeOne({
            ...shared,
            models: deltas,
            perModel: rates.map(() => perModel),
            parameters: rest,
          });
          expect(got.values).not.toEqual(whole.values);
        });
      }
    }
  }
  for (const [method, scope] of [
    ["ties", "tensor"],
    ["ties", "row"],
    ["ties", "model"],
    ["consensus_ties", null],
  ] as const) {
    test(`${method}${scope ? `, scope ${scope}` : ""}: the trim's fraction is that of what the drop left`, async () => {
      const [delta] = vectors(1, count, 5) as [number[]]; // no two are equal
      const mask = reference.braidMask(42, 0, "w", 0.5, 0, count);
      const left = delta.map((x, i) => (mask[i] ? 2 * x : 0));
      const got = await mergeOne({
        method,
        base: zeros,
        models: [delta],
        perModel: [{ dare: 0.5, density: 0.3 }],
        parameters: method === "ties" ? { scope } : { k: 1 },
        shape,
      });
      const rows = scope === "row" ? 50 : 1;
      const want = Array.from({ length: rows }, (_, r) => {
        const row = left.slice((r * count) / rows, ((r + 1) * count) / rows);
        const sizes = row
          .map(Math.abs)
          .filter((x) => x > 0)
          .sort((a, b) => b - a);
        const limit = sizes[Math.max(1, Math.floor(0.3 * sizes.length + 0.5)) - 1]!;
        return row.map((x) => (Math.abs(x) >= limit ? x : 0));
      }).flat();
      expect(got.values).toEqual(want);
    });
  }
  test("an l1 match is to the whole delta, in place of the step's own rescale", async () => {
    const parameters = { rescale: "l1" };
    const got = await mergeOne({
      method: "ties",
      base: zeros,
      models: [deltas[0]!],
      perModel: [{ dare: 0.5 }],
      parameters,
    });
    const mask = reference.braidMask(42, 0, "w", 0.5, 0, count);
    const sum = (v: readonly number[]) => v.reduce((s, x) => s + Math.abs(x), 0);
    const left = deltas[0]!.map((x, i) => (mask[i] ? x : 0));
    const scale = sum(deltas[0]!) / sum(left);
    got.values.forEach((v, i) => {
      expect(Math.abs(v - scale * left[i]!)).toBeLessThan(1e-6);
    });
  });
});
