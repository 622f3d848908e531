// `zero: majority`: where an election is tied, the sign that most elements of the whole model got.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { readCheckpoint } from "../support/tensors.ts";

type Tensors = Record<string, number[]>;

/** Merges models of several tensors on a base of zeros. */
async function run(
  models: readonly Tensors[],
  parameters: Record<string, unknown>,
  method = "ties",
  options: { sliceElements?: number; workers?: number } = {},
): Promise<Tensors> {
  return withTempFolder(async (temp) => {
    const write = (name: string, tensors: Tensors) =>
      writeModel(join(temp, name), Object.fromEntries(Object.entries(tensors).map(([t, data]) => [t, { data }])));
    const zeros = Object.fromEntries(Object.entries(models[0]!).map(([t, data]) => [t, data.map(() => 0)]));
    const text = JSON.stringify({
      merge_method: method,
      base_model: write("base", zeros),
      models: models.map((m, i) => ({ model: write(`m${i}`, m) })),
      parameters: { normalize: false, weight: 1, ...parameters },
      dtype: "float32",
    });
    await merge(requestFor(text, options), join(temp, "out"), { overwrite: false }, testHost());
    return Object.fromEntries([...readCheckpoint(join(temp, "out"))].map(([t, { values }]) => [t, [...values]]));
  });
}

/** Eighths, so that sums are exact and ties are many; `lean` moves them to one side. */
function eighths(length: number, seed: number, lean: number): number[] {
  let x = seed;
  return Array.from({ length }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return Math.max(-4, Math.min(4, ((x >>> 24) % 9) - 4 + lean)) / 8;
  });
}

/** The k largest of a list, and all equal to the last of them. */
function trimmed(v: readonly number[], density: number): number[] {
  const k = Math.max(1, Math.floor(density * v.length + 0.5));
  const limit = v.map(Math.abs).sort((a, b) => b - a)[k - 1]!;
  return v.map((x) => (Math.abs(x) >= limit ? x : 0));
}

/** TIES, disjoint sum, with the majority of all tensors together in place of a zero. */
function ties(models: readonly Tensors[], density: number, count: boolean): { merged: Tensors; majority: number } {
  const names = Object.keys(models[0]!);
  const kept = models.map((m) => Object.fromEntries(names.map((t) => [t, trimmed(m[t]!, density)])));
  const at = (t: string, i: number) => kept.map((m) => m[t]![i]!);
  const sum = (v: readonly number[]) => v.reduce((a, b) => a + b, 0);
  const signOf = (t: string, i: number) => Math.sign(sum(count ? at(t, i).map(Math.sign) : at(t, i)));
  const majority = Math.sign(sum(names.flatMap((t) => models[0]![t]!.map((_, i) => signOf(t, i)))));
  const value = (t: string, i: number) => {
    const sign = signOf(t, i) || majority;
    return sum(at(t, i).filter((x) => Math.sign(x) === sign && sign !== 0));
  };
  const merged = Object.fromEntries(names.map((t) => [t, models[0]![t]!.map((_, i) => value(t, i))]));
  return { merged, majority };
}

describe("zero: majority", () => {
  for (const lean of [1, -1]) {
    const models = [3, 4, 5].slice(0, 2).map((seed) => ({
      // The first tensor leans against the others, so a majority of its own would be another one.
      a: eighths(500, seed, -lean),
      b: eighths(9000, seed + 10, lean),
      c: eighths(77, seed + 20, 0),
    }));
    for (const [density, elect] of [
      [1, "weighted"],
      [0.6, "weighted"],
      [0.6, "unweighted"],
      [0.6, "count"],
    ] as const) {
      test(`is that of all tensors: lean ${lean}, density ${density}, elect ${elect}`, async () => {
        const want = ties(models, density, elect === "count");
        expect(want.majority).toBe(lean);
        const parameters = { zero: "majority", density, elect };
        const got = await run(models, parameters);
        expect(got).toEqual(want.merged);
        expect(await run(models, parameters, "ties", { sliceElements: 4096, workers: 2 })).toEqual(want.merged);
        expect(await run(models, { ...parameters, zero: "drop" })).not.toEqual(want.merged);
      });
    }
    test(`with one threshold for the whole model, lean ${lean}`, async () => {
      const all = models.map((m) => ({ all: [...m.a, ...m.b, ...m.c] }));
      const { merged } = ties(all, 0.6, false);
      const got = await run(models, { zero: "majority", density: 0.6, scope: "model" });
      expect([...got.a!, ...got.b!, ...got.c!]).toEqual(merged.all!);
    });
    test(`after a random drop the survivors elect, lean ${lean}`, async () => {
      const parameters = { zero: "majority", drop_rate: 0.3, rescale: false };
      const survivors: Tensors[] = [];
      for (const m of [0, 1]) {
        // One model alone is what its drop leaves of it; the other's place keeps the streams apart.
        const alone = models.map((tensors, i) =>
          i === m ? tensors : Object.fromEntries(Object.entries(tensors).map(([t, v]) => [t, v.map(() => 0)])),
        ) as Tensors[];
        survivors.push(await run(alone, { ...parameters, zero: "drop" }, "dare_ties"));
      }
      expect(await run(models, parameters, "dare_ties")).toEqual(ties(survivors, 1, false).merged);
    });
  }
  test("as many + as −: the tied elements drop", async () => {
    const models = [{ w: [1, -1, 2, -2] }, { w: [1, -1, -2, 2] }];
    expect(await run(models, { zero: "majority" })).toEqual({ w: [2, -2, 0, 0] });
  });
});
