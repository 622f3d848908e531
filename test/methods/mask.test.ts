// Disjoint masks and drops of whole rows and columns, as recipes ask for them.

import { describe, expect, test } from "bun:test";
import { maskKey, maskThreshold } from "../../src/kernel/mask.ts";
import * as reference from "../../src/kernel/reference.ts";
import { vectors, weighted } from "../support/fixture.ts";
import { mergeOne } from "../support/one-tensor.ts";

const two32 = 2 ** 32;
const rows = 37;
const columns = 23;
const count = rows * columns;
const shape = [rows, columns];
const zeros = new Array<number>(count).fill(0);
/** Bits of which models a merge has kept: their deltas are 1, 2, 4 … */
const powers = (models: number) => Array.from({ length: models }, (_, m) => zeros.map(() => 2 ** m));
const given = (densities: readonly number[]) => densities.map((density) => ({ weight: 1, density }));

/** What of `lines` or elements each model keeps, by the definition. */
function disjoint(name: string, densities: readonly number[], n: number): boolean[][] {
  let start = 0;
  return densities.map((d) => {
    const length = two32 - maskThreshold(1 - d);
    const mask = reference.keep_mask_within(maskKey(42, -1, name), 0, 0, start, length, n);
    start = (start + length) % two32;
    return [...mask].map((b) => b !== 0);
  });
}
const bitsOf = (masks: readonly boolean[][], at: (i: number) => number = (i) => i) =>
  zeros.map((_, i) => masks.reduce((sum, mask, m) => sum + (mask[at(i)] ? 2 ** m : 0), 0));

describe("mask: disjoint", () => {
  for (const densities of [
    [0.25, 0.5, 0.25],
    [0.1, 0.1, 0.1],
    [0.5, 1, 0.5], // a model that drops nothing is in nobody's way
  ]) {
    test(`dare_linear keeps intervals of one stream: densities ${densities.join(", ")}`, async () => {
      const { values, warnings } = await mergeOne({
        method: "dare_linear",
        base: zeros,
        models: powers(3),
        perModel: given(densities),
        parameters: { mask: "disjoint", rescale: false },
        shape,
      });
      expect(values).toEqual(bitsOf(disjoint("w", densities, count)));
      expect(warnings.filter((w) => w.includes("disjoint")).length).toBe(densities[1] === 1 ? 1 : 0);
      if (densities[1] !== 1) for (const v of values) expect([0, 1, 2, 4]).toContain(v);
    });
  }
  test("an election meets no other model, so it changes nothing", async () => {
    const models = vectors(2, count, 5);
    const shared = { base: zeros, models, perModel: given([0.5, 0.5]), parameters: { mask: "disjoint" }, shape };
    const linear = await mergeOne({ ...shared, method: "dare_linear" });
    const ties = await mergeOne({ ...shared, method: "dare_ties" });
    expect(ties.values).toEqual(linear.values);
    // Each element is one model's, twice its delta.
    linear.values.forEach((v, i) => {
      expect([Math.fround(2 * models[0]![i]!), Math.fround(2 * models[1]![i]!)]).toContain(v);
    });
    const independent = await mergeOne({ ...shared, parameters: {}, method: "dare_linear" });
    expect(independent.values).not.toEqual(linear.values);
  });
  test("in bf16 the fused kernels keep the same", async () => {
    const densities = [0.2, 0.3, 0.4];
    const models = powers(3);
    const shared = { base: zeros, models, perModel: given(densities), shape, dtype: "bfloat16" };
    for (const method of ["dare_linear", "dare_ties"]) {
      const { values } = await mergeOne({ ...shared, method, parameters: { mask: "disjoint", rescale: false } });
      expect(values).toEqual(bitsOf(disjoint("w", densities, count)));
    }
  });
  test("the DARE step before a method shares the stream too", async () => {
    const deltas = vectors(2, count, 9);
    const masks = disjoint("w", [0.5, 0.5], count);
    const thinned = deltas.map((d, m) => d.map((x, i) => (masks[m]![i] ? 2 * x : 0)));
    const shared = { method: "multislerp", base: zeros };
    const dare = [0.5, 0.5].map((p) => ({ weight: 1, dare: p }));
    const got = await mergeOne({ ...shared, models: deltas, perModel: dare, parameters: { mask: "disjoint" } });
    const want = await mergeOne({ ...shared, models: thinned, perModel: weighted(1, 1) });
    got.values.forEach((v, i) => {
      expect(Math.abs(v - want.values[i]!)).toBeLessThan(1e-6);
    });
  });
});

describe("drop: row or column", () => {
  for (const by of ["row", "column"] as const) {
    for (const dtype of ["float32", "bfloat16"]) {
      test(`whole ${by}s stay or drop, survivors rescaled, in ${dtype}`, async () => {
        const lines = [0, 1].map((m) =>
          reference.braidMask(42, m, `w\0${by}s`, m === 0 ? 0.5 : 0.75, 0, by === "row" ? rows : columns),
        );
        const at = (i: number) => (by === "row" ? Math.floor(i / columns) : i % columns);
        const shared = { base: zeros, models: powers(2), perModel: given([0.5, 0.25]), shape, dtype };
        const want = zeros.map((_, i) => (lines[0]![at(i)] ? 2 : 0) + (lines[1]![at(i)] ? 8 : 0));
        for (const method of ["dare_linear", "dare_ties"]) {
          const got = await mergeOne({ ...shared, method, parameters: { drop: by } });
          expect(got.values).toEqual(want);
        }
        expect(new Set(want).size).toBe(4);
      });
    }
    test(`disjoint ${by}s`, async () => {
      const n = by === "row" ? rows : columns;
      const parameters = { drop: by, mask: "disjoint", rescale: false };
      const shared = { base: zeros, models: powers(2), perModel: given([0.5, 0.5]), shape, parameters };
      const at = (i: number) => (by === "row" ? Math.floor(i / columns) : i % columns);
      const { values } = await mergeOne({ ...shared, method: "dare_linear" });
      expect(values).toEqual(bitsOf(disjoint(`w\0${by}s`, [0.5, 0.5], n), at));
      for (const v of values) expect([1, 2]).toContain(v);
    });
    test(`vectors have no ${by}s: their elements drop`, async () => {
      const shared = { method: "dare_linear", base: zeros, models: powers(1), perModel: given([0.5]) };
      const elements = await mergeOne(shared);
      expect((await mergeOne({ ...shared, parameters: { drop: by } })).values).toEqual(elements.values);
    });
  }
  test("norm-matching rescales see what the rows left, and so does a trim", async () => {
    const [delta] = vectors(1, count, 3) as [number[]];
    const lines = reference.braidMask(42, 0, "w\0rows", 0.5, 0, rows);
    const left = delta.map((x, i) => (lines[Math.floor(i / columns)] ? x : 0));
    const shared = { base: zeros, models: [delta], perModel: given([0.5]), shape };
    const l1 = (v: readonly number[]) => v.reduce((sum, x) => sum + Math.abs(x), 0);
    const matched = await mergeOne({ ...shared, method: "dare_linear", parameters: { drop: "row", rescale: "l1" } });
    const scale = l1(delta) / l1(left);
    matched.values.forEach((v, i) => {
      expect(Math.abs(v - scale * left[i]!)).toBeLessThan(1e-6);
    });
    const trimmed = await mergeOne({
      ...shared,
      method: "dare_ties",
      parameters: { drop: "row", rescale: false, trim: 0.2 },
    });
    const survivors = left.map(Math.abs).filter((x) => x > 0);
    const limit = survivors.sort((a, b) => b - a)[Math.floor(0.2 * survivors.length + 0.5) - 1]!;
    expect(trimmed.values).toEqual(left.map((x) => (Math.abs(x) >= limit ? x : 0)));
  });
});
