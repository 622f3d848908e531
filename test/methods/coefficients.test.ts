// Methods whose coefficients come from dot products, against the hand-sized vectors of test/vectors/methods.json and what
// their formulas say of special cases.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "../support/host.ts";
import { type NewTestTensor, writeModel } from "../support/models.ts";
import { expectNear, mergeOne } from "../support/one-tensor.ts";

interface VectorCase {
  method: string;
  params: Record<string, unknown>;
  expected: number[];
}

const file = JSON.parse(readFileSync(join(projectRoot, "test/vectors/methods.json"), "utf8")) as {
  fixture: Record<"base" | "dA" | "dB" | "dC" | "keepA" | "keepB", number[]>;
  cases: VectorCase[];
};
const vector = (method: string, index = 0) => file.cases.filter((c) => c.method === method)[index]!;
const plus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x + b[i]!);
const weighted = (...weights: number[]) => weights.map((weight) => ({ weight }));

/** Vectors whose angles are as good as any: a fixed linear congruence, values in [−1, 1). */
function vectors(count: number, length: number, seed: number): number[][] {
  let x = seed;
  const next = () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return Math.fround(x / 2 ** 31);
  };
  return Array.from({ length: count }, () => Array.from({ length }, next));
}
const norm = (v: readonly number[]) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));

describe("multislerp", () => {
  test("the vector: directions are averaged, and lengths", async () => {
    const { params, expected } = vector("nlerp_multislerp");
    const models = params.vectors as number[][];
    const perModel = weighted(...(params.weights as number[]));
    expectNear((await mergeOne({ method: "multislerp", models, perModel })).values, expected);
    // Weights are divided by their sum.
    expectNear((await mergeOne({ method: "multislerp", models, perModel: weighted(3, 1) })).values, expected);
  });
  test("three axes meet in the middle", async () => {
    const models = [
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ];
    const { values } = await mergeOne({ method: "multislerp", models, perModel: weighted(1, 1, 1) });
    expectNear(values, [0.5773503, 0.5773503, 0.5773503]);
  });
  test("with a base it is the deltas that turn", async () => {
    const { expected } = vector("nlerp_multislerp");
    const { values } = await mergeOne({
      method: "multislerp",
      base: [10, -5],
      models: [
        [12, -5],
        [10, -4],
      ],
      perModel: weighted(3, 1),
    });
    expectNear(values, plus([10, -5], expected), 2e-6);
  });
  test("not normalised, the length is Σ w‖v‖", async () => {
    const { values } = await mergeOne({
      method: "multislerp",
      models: [
        [2, 0],
        [4, 0],
      ],
      perModel: weighted(1, 1),
      parameters: { normalize_weights: false },
    });
    expectNear(values, [6, 0]);
  });
  test("what no model changed stays, bit for bit", async () => {
    const base = [1 / 3, -7, 1e-30].map(Math.fround);
    const { values } = await mergeOne({
      method: "multislerp",
      base,
      models: [base, base, base],
      perModel: weighted(1, 1, 1),
    });
    expect(values).toEqual(base);
  });
  test("two opposite vectors meet on their line, three that cancel are refused", async () => {
    const opposite = { method: "multislerp", perModel: weighted(3, 1) };
    const models = [
      [1, 2],
      [-1, -2],
    ];
    // Unequal weights leave a direction; equal ones do not.
    expectNear((await mergeOne({ ...opposite, models })).values, [1, 2]);
    expectNear((await mergeOne({ ...opposite, models, perModel: weighted(1, 1) })).values, [0, 0]);
    const triangle = [
      [1, 0, 0],
      [0, 2, 0],
      [-3, 0, 0],
      [0, -4, 0],
    ];
    const cancelled = mergeOne({ method: "multislerp", models: triangle, perModel: weighted(1, 1, 1, 1) });
    await expect(cancelled).rejects.toThrow(/Cannot merge "w": the weighted directions of the models cancel/);
  });
});

describe("karcher", () => {
  test("the vector", async () => {
    const { params, expected } = vector("karcher");
    const models = params.vectors as number[][];
    const perModel = weighted(...(params.weights as number[]));
    expectNear((await mergeOne({ method: "karcher", models, perModel })).values, expected);
  });
  test("of two it is the point of the arc at their weights", async () => {
    const [a, b] = vectors(2, 37, 5) as [number[], number[]];
    const t = 0.3;
    // The arc between the directions, from the formula of slerp with the engine's own functions.
    const [na, nb] = [norm(a), norm(b)];
    const angle = Math.acos(a.reduce((sum, x, i) => sum + x * b[i]!, 0) / na / nb);
    const length = (1 - t) * na + t * nb;
    const want = a.map(
      (x, i) =>
        ((Math.sin((1 - t) * angle) * x) / na + (Math.sin(t * angle) * b[i]!) / nb) * (length / Math.sin(angle)),
    );
    const parameters = { max_iter: 50, tol: 1e-12 };
    const { values } = await mergeOne({
      method: "karcher",
      models: [a, b],
      perModel: weighted(1 - t, t),
      parameters,
    });
    expectNear(values, want);
  });
  test("the angles to the models balance there: the logarithms add up to nothing", async () => {
    const models = vectors(5, 64, 11);
    const { values } = await mergeOne({ method: "karcher", models, parameters: { max_iter: 100, tol: 1e-12 } });
    const x = values.map((v) => v / norm(values));
    const sum = x.map(() => 0);
    for (const m of models) {
      const cosine = m.reduce((s, v, i) => s + v * x[i]!, 0) / norm(m);
      const angle = Math.acos(cosine);
      for (const i of x.keys()) sum[i]! += (angle / Math.sin(angle)) * (m[i]! / norm(m) - cosine * x[i]!);
    }
    expect(norm(sum)).toBeLessThan(1e-5);
    expect(Math.abs(norm(values) - models.reduce((s, m) => s + norm(m) / 5, 0))).toBeLessThan(1e-5);
  });
  test("no weights are equal weights; models of one direction keep it; zero stays zero", async () => {
    const models = vectors(3, 16, 3);
    const equal = await mergeOne({ method: "karcher", models, perModel: weighted(2, 2, 2) });
    expect((await mergeOne({ method: "karcher", models })).values).toEqual(equal.values);
    const along = [1, 2, 6].map((c) => [0.5 * c, -0.25 * c, 0]);
    expectNear((await mergeOne({ method: "karcher", models: along })).values, [1.5, -0.75, 0]);
    const zeros = [
      [0, 0],
      [0, 0],
    ];
    expect((await mergeOne({ method: "karcher", models: zeros })).values).toEqual([0, 0]);
  });
});

describe("passthrough", () => {
  /** Bytes that no decoding and encoding would leave alone: NaNs with payloads, −0, subnormals. */
  const odd = Uint8Array.from([0x01, 0xff, 0x81, 0x7f, 0, 0x80, 1, 0, 0x34, 0x12, 0x80, 0xff]);
  const data = (dtype: NewTestTensor["dtype"], shape: number[]) => ({ dtype: dtype!, shape, data: odd });
  const tensors: Record<string, NewTestTensor> = {
    bf16: data("BF16", [6]),
    f16: data("F16", [2, 3]),
    f32: data("F32", [3]),
    bool: data("BOOL", [12]),
    f64: { dtype: "F64", shape: [1], data: odd.slice(0, 8) },
    i64: { dtype: "I64", shape: [1], data: odd.slice(4) },
  };
  const run = (temp: string, recipe: Record<string, unknown>, only?: string[]) => {
    const some = Object.fromEntries(Object.entries(tensors).filter(([name]) => !only || only.includes(name)));
    const model = writeModel(join(temp, "m"), some);
    const text = JSON.stringify({ merge_method: "passthrough", models: [{ model }], ...recipe });
    return merge(requestFor(text), join(temp, "out"), { overwrite: false }, testHost()).then(() => some);
  };
  for (const parameters of [{}, { scale: 1 }]) {
    test(`bytes of every dtype are copied with ${JSON.stringify(parameters)}`, () =>
      withTempFolder(async (temp) => {
        await run(temp, { parameters });
        const bytes = readFileSync(join(temp, "out/model.safetensors"));
        const got = (name: string) => {
          const length = Number(bytes.readBigUInt64LE(0));
          const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<
            string,
            { dtype: string; data_offsets: [number, number] }
          >;
          const [start, end] = header[name]!.data_offsets;
          return { dtype: header[name]!.dtype, bytes: [...bytes.subarray(8 + length + start, 8 + length + end)] };
        };
        for (const [name, t] of Object.entries(tensors))
          expect({ name, ...got(name) }).toEqual({ name, dtype: t.dtype!, bytes: [...(t.data as Uint8Array)] });
      }));
  }
  test("a scale multiplies, and leaves integers alone", () =>
    withTempFolder(async (temp) => {
      const { values } = await mergeOne({
        method: "passthrough",
        models: [[1.5, -2, 0]],
        perModel: [{ scale: -0.5 }],
      });
      expect(values.map((v) => (v === 0 ? 0 : v))).toEqual([-0.75, 1, 0]);
      await run(temp, { parameters: { scale: 0.5 } }, ["i64", "bool"]);
    }));
  test("a dtype that cannot be computed with is refused where it would change", () =>
    withTempFolder(async (temp) => {
      await expect(run(temp, { parameters: { scale: 2 } }, ["f64"])).rejects.toThrow(/its dtype is F64/);
      await expect(run(temp, { dtype: "bfloat16" }, ["f64"])).rejects.toThrow(/its dtype is F64/);
    }));
});
