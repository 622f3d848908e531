// Trims that rank all tensors of a model together, against a sort of all its deltas.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { MergeRequest } from "../../src/host.ts";
import { merge } from "../../src/merge.ts";
import { random } from "../kernel/harness.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "../support/host.ts";
import { type NewTestTensor, writeModel } from "../support/models.ts";
import { readCheckpoint } from "../support/tensors.ts";

type Tensors = Record<string, number[]>;

interface Recipe {
  method: "ties" | "breadcrumbs";
  density: number;
  gamma?: number;
  ties: "include" | "exact";
}

/** The deltas that stay: all tensors in one list, by name, sorted. */
function trimmed(deltas: Tensors, { density, gamma, ties }: Recipe): Tensors {
  const all = Object.keys(deltas)
    .sort()
    .flatMap((name) => deltas[name]!.map((value, i) => ({ name, i, value, size: Math.abs(value) })));
  const n = all.length;
  // Sorting is stable: in a trim the first of equal magnitudes come first, in a window they come last.
  const down = [...all].sort((a, b) => b.size - a.size);
  const up = [...all].sort((a, b) => a.size - b.size);
  const k = Math.max(1, gamma === undefined ? Math.round(density * n) : Math.floor(density * n));
  const bottom = gamma === undefined ? 0 : Math.max(0, n - k - Math.floor(gamma * n));
  const kept = gamma === undefined ? down.slice(0, k) : up.slice(bottom, bottom + k);
  const sizes = kept.map((e) => e.size);
  const low = sizes.reduce((a, b) => Math.min(a, b));
  const high = gamma === undefined ? Number.POSITIVE_INFINITY : sizes.reduce((a, b) => Math.max(a, b));
  const chosen = ties === "exact" ? kept : all.filter((e) => e.size >= low && e.size <= high);
  const out = Object.fromEntries(Object.entries(deltas).map(([name, d]) => [name, d.map(() => 0)]));
  for (const { name, i, value } of chosen) out[name]![i] = value;
  return out;
}

/** Tensors of scales of their own, on a grid that makes many equal magnitudes or few. */
function deltasOf(sizes: Readonly<Record<string, number>>, seed: number, grid: number): Tensors {
  const draw = random(seed);
  return Object.fromEntries(
    Object.entries(sizes).map(([name, count], t) => [
      name,
      Array.from({ length: count }, () => {
        const value = ((draw() % (2 * grid + 1)) - grid) / 4096;
        return Math.fround(draw() % 7 === 0 ? value * 2 ** (t % 3) : value);
      }),
    ]),
  );
}

function model(deltas: Tensors, dtype: "F32" | "BF16"): Record<string, NewTestTensor> {
  return Object.fromEntries(Object.entries(deltas).map(([name, data]) => [name, { dtype, data }]));
}

async function check(
  sizes: Readonly<Record<string, number>>,
  grid: number,
  dtype: "F32" | "BF16",
  recipe: Recipe,
  request: Partial<MergeRequest>,
): Promise<void> {
  await withTempFolder(async (temp) => {
    const seeds = recipe.method === "ties" ? [1] : [1, 2];
    const deltas = seeds.map((seed) => deltasOf(sizes, seed, grid));
    const zero = Object.fromEntries(Object.entries(sizes).map(([name, count]) => [name, Array(count).fill(0)]));
    const text = JSON.stringify({
      merge_method: recipe.method,
      base_model: writeModel(join(temp, "base"), model(zero, dtype)),
      models: deltas.map((d, i) => ({ model: writeModel(join(temp, `m${i}`), model(d, dtype)) })),
      parameters: {
        density: recipe.density,
        ...(recipe.gamma === undefined ? {} : { gamma: recipe.gamma }),
        ties: recipe.ties,
        scope: "model",
        normalize: false,
      },
      dtype: "float32",
    });
    const summary = await merge(requestFor(text, request), join(temp, "out"), { overwrite: false }, testHost());
    const want = deltas.map((d) => trimmed(d, recipe));
    const got = readCheckpoint(join(temp, "out"));
    for (const name of Object.keys(sizes)) {
      const values = got.get(name)!.values;
      const wrong = values.findIndex((v, i) => v !== want.reduce((sum, w) => sum + w[name]![i]!, 0));
      expect({ name, wrong }).toEqual({ name, wrong: -1 });
    }
    const total = Object.values(sizes).reduce((a, b) => a + b, 0);
    const left = want.map(
      (w) =>
        Object.values(w)
          .flat()
          .filter((v) => v !== 0).length,
    );
    summary.densities.forEach((d, i) => {
      expect(d.asked).toBe(recipe.density);
      // Zeros may be among those that stay.
      expect(Math.round(d.actual * total)).toBeGreaterThanOrEqual(left[i]!);
      if (recipe.ties === "exact" && grid > 1000) expect(Math.round(d.actual * total)).toBe(keptOf(recipe, total));
    });
  });
}

const keptOf = ({ density, gamma }: Recipe, n: number) =>
  Math.max(1, gamma === undefined ? Math.round(density * n) : Math.floor(density * n));

const small = { z: 1, "b.weight": 4097, "a.weight": 9000, norm: 33 };
const large = { "l.1": 150_001, "l.0": 100_003, tiny: 5, norm: 300, "l.2": 50_000 };

describe("a trim of all tensors together is that of a sort of them all", () => {
  for (const dtype of ["F32", "BF16"] as const) {
    for (const ties of ["include", "exact"] as const) {
      for (const [density, gamma] of [
        [0.2, undefined],
        [0.001, undefined],
        [0.6, 0.05],
        [0.95, 0.3],
      ] as const) {
        const recipe: Recipe = {
          method: gamma === undefined ? "ties" : "breadcrumbs",
          density,
          ties,
          ...(gamma === undefined ? {} : { gamma }),
        };
        for (const grid of dtype === "BF16" ? [5, 120] : [5, 200_000]) {
          test(`${dtype} ${JSON.stringify(recipe)}, ${2 * grid + 1} values`, async () => {
            await check(small, grid, dtype, recipe, { sliceElements: 4096 });
            await check(small, grid, dtype, recipe, {});
          });
        }
      }
    }
  }
  for (const ties of ["include", "exact"] as const) {
    test(`with a sample, ${ties}`, async () => {
      await check(large, 120, "BF16", { method: "ties", density: 0.2, ties }, { sliceElements: 65_536 });
      await check(large, 100_000, "F32", { method: "breadcrumbs", density: 0.7, gamma: 0.1, ties }, {});
    });
  }
});

test("the paper's scope differs from the tensors' where their scales do", () =>
  withTempFolder(async (temp) => {
    const base = writeModel(join(temp, "base"), { a: { data: [0, 0] }, b: { data: [0, 0] } });
    const tuned = writeModel(join(temp, "m"), { a: { data: [4, 3] }, b: { data: [2, 1] } });
    const mergedBy = async (scope: string) => {
      const out = join(temp, scope);
      const text = JSON.stringify({
        merge_method: "ties",
        base_model: base,
        models: [{ model: tuned }],
        parameters: { density: 0.5, scope },
        dtype: "float32",
      });
      await merge(requestFor(text, {}), out, { overwrite: false }, testHost());
      const got = readCheckpoint(out);
      return [...got.get("a")!.values, ...got.get("b")!.values];
    };
    expect(await mergedBy("tensor")).toEqual([4, 0, 2, 0]);
    expect(await mergedBy("model")).toEqual([4, 3, 0, 0]);
  }));

test("trims of what a random drop has left are ranked together too", () =>
  withTempFolder(async (temp) => {
    const names = ["a", "b", "c"];
    const data = (scale: number) => Array.from({ length: 5000 }, (_, i) => ((i % 997) + 1) * scale);
    const base = Object.fromEntries(names.map((n) => [n, { data: data(0) }]));
    const tuned = Object.fromEntries(names.map((n, i) => [n, { data: data(2 ** -i) }]));
    const run = async (trim: number) => {
      const text = JSON.stringify({
        merge_method: "dare_ties",
        base_model: writeModel(join(temp, `base${trim}`), base),
        models: [{ model: writeModel(join(temp, `m${trim}`), tuned) }],
        parameters: { drop_rate: 0.5, rescale: false, trim, scope: "model" },
        dtype: "float32",
      });
      const out = join(temp, `out${trim}`);
      await merge(requestFor(text, {}), out, { overwrite: false }, testHost());
      return readCheckpoint(out);
    };
    const [whole, half] = [await run(1), await run(0.5)];
    const survivors = names.flatMap((n) => [...whole.get(n)!.values]).filter((v) => v !== 0);
    const key = survivors.sort((a, b) => b - a)[Math.round(0.5 * survivors.length) - 1]!;
    for (const n of names) {
      expect([...half.get(n)!.values]).toEqual([...whole.get(n)!.values].map((v) => (v >= key ? v : 0)));
    }
  }));

test("the plan counts one pass over the data for the survey and one for the merge", async () => {
  const { prepare } = await import("../../src/prepare.ts");
  const recipe = (scope: string) =>
    `merge_method: ties\nbase_model: examples/models/base\nmodels: [{model: examples/models/ft-add}]\nparameters: {density: 0.5, scope: ${scope}}\ndtype: bfloat16\n`;
  const { plan } = await prepare(requestFor(recipe("model")), testHost({ cwd: projectRoot }));
  expect(plan.bytesRead).toBe(763_008 * 2 * 2 * 2);
});
