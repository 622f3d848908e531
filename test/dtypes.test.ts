// Merges from and to every float dtype: fp8 plain and with scales, f64, and stochastic rounding.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { type NewTestTensor, writeModel } from "./support/models.ts";
import { readCheckpoint } from "./support/tensors.ts";

type Tensors = Record<string, NewTestTensor>;

async function merged(
  models: readonly { tensors: Tensors; config?: Record<string, unknown> }[],
  recipe: Record<string, unknown>,
  options: object = {},
) {
  return withTempFolder(async (temp) => {
    const paths = models.map(({ tensors, config }, i) =>
      writeModel(join(temp, `m${i}`), tensors, config ?? { model_type: "llama" }),
    );
    const text = JSON.stringify({
      merge_method: "linear",
      models: paths.map((model) => ({ model, parameters: { weight: 1 } })),
      ...recipe,
    }).replaceAll("@0", paths[0]!);
    const out = join(temp, "out");
    await merge(requestFor(text, options), out, { overwrite: false }, testHost());
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as Record<string, unknown>;
    return { tensors: readCheckpoint(out), config };
  });
}

/** Bytes of fp8 that are no NaN, all different neighbours. */
const f8 = (count: number, step: number) =>
  Uint8Array.from({ length: count }, (_, i) => {
    const b = (i * step + 3) & 0xff;
    return (b & 0x7f) > 0x7b ? b & 0x87 : b;
  });

describe("fp8", () => {
  for (const dtype of ["F8_E4M3", "F8_E5M2"] as const) {
    test(`${dtype}: one model comes back as it was; two meet in the middle`, async () => {
      const a = f8(5000, 37);
      const b = f8(5000, 91);
      const model = (data: Uint8Array) => ({ tensors: { w: { dtype, shape: [50, 100], data } } });
      const alone = await merged([model(a)], {});
      const other = await merged([model(b)], {});
      expect(alone.tensors.get("w")!.dtype).toBe(dtype);
      const both = await merged([model(a), model(b)], { dtype: "float32" });
      const [x, y, got] = [alone, other, both].map((m) => m.tensors.get("w")!.values);
      expect(got!).toEqual(x!.map((v, i) => Math.fround(v + y![i]!) / 2));
      const back = await merged([model(a)], { dtype: dtype === "F8_E4M3" ? "float8_e4m3fn" : "float8_e5m2" });
      expect(back.tensors.get("w")!.values).toEqual(x!);
      expect(back.config.dtype).toBe(dtype === "F8_E4M3" ? "float8_e4m3fn" : "float8_e5m2");
    });
  }

  test("beyond 448 is an error, or what the policy says", async () => {
    const model = { tensors: { w: { data: [1, 448, 500, -1000] } } };
    const run = (overflow?: string) => merged([model], { dtype: "float8_e4m3fn" }, overflow ? { overflow } : {});
    await expect(run()).rejects.toThrow(/"w".*2/s);
    expect([...(await run("saturate")).tensors.get("w")!.values]).toEqual([1, 448, 448, -448]);
    expect([...(await run("inf")).tensors.get("w")!.values]).toEqual([1, 448, Number.NaN, Number.NaN]);
  });

  const rows = 300;
  const columns = 200;
  const weight = f8(rows * columns, 53);
  const plain = async () =>
    (
      await merged([{ tensors: { w: { dtype: "F8_E4M3", shape: [rows, columns], data: weight } } }], {
        dtype: "float32",
      })
    ).tensors.get("w")!.values;
  const quantization_config = { quant_method: "fp8", weight_block_size: [128, 128] };
  for (const [what, shape, scaleAt, name] of [
    [
      "blocks of 128 × 128",
      [3, 2],
      (r: number, c: number) => Math.floor(r / 128) * 2 + Math.floor(c / 128),
      "w_scale_inv",
    ],
    ["a scale for each row", [rows, 1], (r: number) => r, "w_scale"],
    ["a scale for the tensor", [1], () => 0, "w_scale"],
  ] as const) {
    test(`with ${what}: the value times its scale, and no scales in the output`, async () => {
      const count = shape.reduce((a: number, b) => a * b, 1);
      const scales = Array.from({ length: count }, (_, i) => Math.fround(0.01 + i * 0.003));
      const tensors: Tensors = {
        w: { dtype: "F8_E4M3", shape: [rows, columns], data: weight },
        [name]: { shape: [...shape], data: scales },
        "w.input_scale": { data: [3] },
        other: { dtype: "BF16", data: [1, 2] },
      };
      const got = await merged([{ tensors, config: { model_type: "llama", quantization_config } }], {
        dtype: "float32",
      });
      expect([...got.tensors.keys()].sort()).toEqual(["other", "w"]);
      expect(got.config.quantization_config).toBeUndefined();
      const unscaled = await plain();
      const values = got.tensors.get("w")!.values;
      for (let i = 0; i < values.length; i++) {
        const scale = scales[scaleAt(Math.floor(i / columns), i % columns)]!;
        const want = Math.fround(unscaled[i]! * scale);
        if (!Object.is(values[i], want)) expect(`element ${i} is ${values[i]}`).toBe(`element ${i} is ${want}`);
      }
      // Without a dtype the output is bfloat16, which holds every scaled fp8 to its last bit or nearest to it.
      const short = await merged([{ tensors, config: { quantization_config } }], {});
      expect(short.tensors.get("w")!.dtype).toBe("BF16");
    });
  }

  test("scales that fit no block are refused by name", async () => {
    const tensors: Tensors = {
      w: { dtype: "F8_E4M3", shape: [rows, columns], data: weight },
      w_scale_inv: { shape: [4, 2], data: new Array(8).fill(1) },
    };
    await expect(merged([{ tensors }], {})).rejects.toThrow(/"w".*\[300, 200\], its scales "w_scale_inv" are \[4, 2\]/);
  });
});

describe("f64", () => {
  test("is read to f32 and written exactly", async () => {
    const data = [1 / 3, -2e-40, 1e30, 0];
    const got = await merged([{ tensors: { w: { dtype: "F64", data } } }], {});
    expect(got.tensors.get("w")!.dtype).toBe("F64");
    expect([...got.tensors.get("w")!.values]).toEqual(data.map(Math.fround));
  });
  test("beyond f32 is a non-finite input", async () => {
    await expect(merged([{ tensors: { w: { dtype: "F64", data: [1, 1e300] } } }], {})).rejects.toThrow(/"w"/);
  });
});

describe("stochastic rounding", () => {
  const count = 3 * 4096 + 77;
  const value = 1 + 0.25 * 2 ** -7;
  const model = { tensors: { w: { data: new Array<number>(count).fill(value) } } };
  const run = (options: object = {}) => merged([model], { dtype: "bfloat16" }, { rounding: "stochastic", ...options });

  test("keeps the mean that nearest-even loses", async () => {
    const near = (await merged([model], { dtype: "bfloat16" })).tensors.get("w")!.values;
    expect(new Set(near)).toEqual(new Set([1]));
    const got = (await run()).tensors.get("w")!.values;
    expect(new Set(got)).toEqual(new Set([1, 1 + 2 ** -7]));
    const mean = got.reduce((a, b) => a + b, 0) / count;
    expect(Math.abs(mean - value)).toBeLessThanOrEqual((5 * 2 ** -7 * Math.sqrt(0.25 * 0.75)) / Math.sqrt(count));
  });
  test("is the same whatever slices and workers, and another with another seed", async () => {
    const whole = await run();
    for (const options of [{ sliceElements: 4096 }, { sliceElements: 8192, workers: 3 }])
      expect((await run(options)).tensors.get("w")!.values).toEqual(whole.tensors.get("w")!.values);
    expect((await run({ seed: "7" })).tensors.get("w")!.values).not.toEqual(whole.tensors.get("w")!.values);
  });
  test("changes nothing that the output holds", async () => {
    const exact = { tensors: { w: { dtype: "BF16" as const, data: [1, -3.5, 0.0078125, 2 ** -130] } } };
    const got = await merged([exact], { dtype: "bfloat16" }, { rounding: "stochastic" });
    expect([...got.tensors.get("w")!.values]).toEqual([1, -3.5, 0.0078125, 2 ** -130]);
  });
});
