// The DARE step before other methods, dare_slerp, and the weights of MetaGPT.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { fixture, onBase, plus, vector, weighted } from "../support/fixture.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { expectNear, mergeOne } from "../support/one-tensor.ts";
import { readCheckpoint } from "../support/tensors.ts";

describe("DARE before a method", () => {
  // With this seed braid-mask-v1 draws keepA for model 0 and keepB for model 1 of the tensor "w" at p = 0.5.
  const request = { seed: "8958" };
  const masked = (delta: readonly number[], keep: readonly number[], scale: number) =>
    delta.map((d, i) => d * keep[i]! * scale);
  const thin = (scale: number) => [
    plus(fixture.base, masked(fixture.dA, fixture.keepA, scale)),
    plus(fixture.base, masked(fixture.dB, fixture.keepB, scale)),
  ];
  const dare = [
    { weight: 1, dare: 0.5 },
    { weight: 3, dare: 0.5 },
  ];

  test("dare_slerp: the vector", async () => {
    const { params, expected } = vector("dare_slerp");
    const parameters = { drop_rate: params.p, t: params.t };
    const shared = { method: "dare_slerp", base: fixture.base, models: onBase("AB"), request };
    expectNear((await mergeOne({ ...shared, parameters })).values, expected, 1.5e-6);
    // Away from the middle, and unscaled: SLERP of the thinned models.
    for (const [rescale, scale] of [
      [true, 2],
      [false, 1],
    ] as const) {
      const got = await mergeOne({ ...shared, parameters: { drop_rate: 0.5, t: 0.2, rescale } });
      const [a, b] = thin(scale) as [number[], number[]];
      expectNear(
        got.values,
        (await mergeOne({ method: "slerp", base: a, models: [b], parameters: { t: 0.2 } })).values,
      );
    }
  });
  test("dare_slerp must be told its drop rate", async () => {
    const run = mergeOne({ method: "dare_slerp", base: fixture.base, models: onBase("AB") });
    await expect(run).rejects.toThrow(/has neither density nor drop_rate/);
  });
  test("slerp runs from the base to the thinned model", async () => {
    const [thinned] = thin(2) as [number[]];
    const shared = { method: "slerp", base: fixture.base, parameters: { t: 0.3 } };
    const got = await mergeOne({ ...shared, models: onBase("A"), perModel: [{ dare: 0.5 }], request });
    expectNear(got.values, (await mergeOne({ ...shared, models: [thinned] })).values);
  });
  for (const [method, perModel, parameters] of [
    ["nuslerp", dare, {}],
    ["multislerp", dare, {}],
    ["model_stock", [{ dare: 0.5 }, { dare: 0.5 }], { clamp: false }],
  ] as const) {
    for (const [dare_rescale, scale] of [
      [true, 2],
      [false, 1],
    ] as const) {
      test(`${method} of thinned models, rescale ${dare_rescale}`, async () => {
        const shared = { method, base: fixture.base };
        const got = await mergeOne({
          ...shared,
          models: onBase("AB"),
          perModel,
          parameters: { ...parameters, dare_rescale },
          request,
        });
        const plain = perModel.map(({ dare: _, ...rest }: Record<string, unknown>) => rest);
        const want = await mergeOne({ ...shared, models: thin(scale), perModel: plain, parameters });
        expectNear(got.values, want.values);
      });
    }
  }
  test("by rows the mask is the same", async () => {
    const shape = [2, 4];
    const parameters = { nuslerp_flatten: false };
    const shared = { method: "nuslerp", base: fixture.base, shape, parameters };
    const got = await mergeOne({ ...shared, models: onBase("AB"), perModel: dare, request });
    expectNear(got.values, (await mergeOne({ ...shared, models: thin(2), perModel: weighted(1, 3) })).values);
  });
  test("without a base there is nothing to drop from", async () => {
    const run = mergeOne({ method: "nuslerp", models: onBase("AB"), perModel: dare });
    await expect(run).rejects.toThrow(/Cannot drop from the delta .*there is no base/);
  });
});

describe("metagpt", () => {
  const alone = (letters: string, parameters: Record<string, unknown> = {}) =>
    mergeOne({ method: "metagpt", base: fixture.base, models: onBase(letters), parameters });
  test("the vector, of one tensor", async () => {
    const { params, expected } = vector("metagpt_delta");
    const want = plus(fixture.base, expected);
    expectNear((await alone(params.models as string)).values, want);
    expectNear((await alone(params.models as string, { scope: "tensor" })).values, want);
    const half = (await alone(params.models as string, { lambda: 0.5 })).values;
    expectNear(
      half,
      plus(
        fixture.base,
        expected.map((x) => x / 2),
      ),
    );
  });
  test("norms are those of the whole model, also of models that lack a tensor; by tensor they are not", () =>
    withTempFolder(async (temp) => {
      // ‖δ‖² over both tensors: 4 + 5 = 9 and 1 (the bias is the first model's alone).
      const model = (name: string, w: number[], bias?: number[]) =>
        writeModel(join(temp, name), { w: { data: w }, ...(bias ? { "w.bias": { data: bias } } : {}) });
      const recipe = {
        merge_method: "metagpt",
        base_model: model("base", [0, 0], [0, 0]),
        models: [{ model: model("a", [2, 0], [1, 2]) }, { model: model("b", [0, 1]) }],
        dtype: "float32",
      };
      const run = async (parameters: Record<string, unknown>) => {
        const text = JSON.stringify({ ...recipe, parameters });
        await merge(requestFor(text), join(temp, "out"), { overwrite: true }, testHost());
        const got = readCheckpoint(join(temp, "out"));
        return [...got.get("w")!.values, ...got.get("w.bias")!.values];
      };
      expectNear(await run({}), [1.8, 0.1, 0.9, 1.8]);
      expectNear(await run({ scope: "tensor" }), [1.6, 0.2, 1, 2]);
    }));
  test("models that changed nothing give the base", async () => {
    const { values } = await mergeOne({ method: "metagpt", base: fixture.base, models: [fixture.base, fixture.base] });
    expect(values).toEqual(fixture.base);
  });
  test("a drop leaves the weights alone", async () => {
    // One model has λ = 1: what is left is its thinned delta.
    const got = await mergeOne({
      method: "metagpt",
      base: fixture.base,
      models: onBase("A"),
      perModel: [{ dare: 0.5 }],
      request: { seed: "8958" },
    });
    expectNear(
      got.values,
      plus(
        fixture.base,
        fixture.dA.map((d, i) => 2 * d * fixture.keepA[i]!),
      ),
    );
  });
});
