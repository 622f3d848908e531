// What becomes of non-finite inputs, of values too large for the output and of tensors that are not floats.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isBraidError } from "../src/errors.ts";
import type { MergeRequest, MergeSummary } from "../src/host.ts";
import { merge } from "../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { type NewTestTensor, writeModel } from "./support/models.ts";
import { readCheckpoint } from "./support/tensors.ts";

type Models = Record<string, Record<string, NewTestTensor>>;

interface Outcome {
  values: (name?: string) => number[];
  summary: MergeSummary;
  out: string;
}

/** Merges models written to a temporary folder; `models.base` is the base_model when it is there. */
async function run(
  method: string,
  models: Models,
  parameters: object,
  request: Partial<MergeRequest>,
  use: (o: Outcome) => void | Promise<void>,
  extra: object = {},
): Promise<void> {
  await withTempFolder(async (temp) => {
    for (const [name, tensors] of Object.entries(models)) writeModel(join(temp, name), tensors);
    const others = Object.keys(models).filter((n) => n !== "base");
    const recipe = {
      merge_method: method,
      ...(models.base ? { base_model: join(temp, "base") } : {}),
      models: others.map((n) => ({ model: join(temp, n), parameters: { weight: 1 } })),
      parameters,
      dtype: "float32",
      ...extra,
    };
    const out = join(temp, "out");
    const summary = await merge(requestFor(JSON.stringify(recipe), request), out, { overwrite: false }, testHost());
    await use({ values: (name = "w") => [...readCheckpoint(out).get(name)!.values], summary, out });
  });
}

/** The error of a merge, and that nothing was left behind. */
async function refusal(
  method: string,
  models: Models,
  parameters: object,
  request: Partial<MergeRequest> = {},
  extra: object = {},
) {
  return withTempFolder(async (temp) => {
    for (const [name, tensors] of Object.entries(models)) writeModel(join(temp, name), tensors);
    const recipe = {
      merge_method: method,
      ...(models.base ? { base_model: join(temp, "base") } : {}),
      models: Object.keys(models)
        .filter((n) => n !== "base")
        .map((n) => ({ model: join(temp, n), parameters: { weight: 1 } })),
      parameters,
      dtype: "float32",
      ...extra,
    };
    const out = join(temp, "out");
    try {
      await merge(requestFor(JSON.stringify(recipe), request), out, { overwrite: false }, testHost());
    } catch (e) {
      if (!isBraidError(e)) throw e;
      expect(existsSync(out)).toBe(false);
      expect(existsSync(`${out}.part`)).toBe(false);
      return { kind: e.kind, exit: e.exitCode, message: e.message.replaceAll(temp, "…") };
    }
    throw new Error("the merge was not refused");
  });
}

const n = 5000;
const flat = (value: number, at: Record<number, number> = {}) => Array.from({ length: n }, (_, i) => at[i] ?? value);

describe("non-finite elements", () => {
  const models = (bad: number, method = ""): Models => ({
    ...(method === "linear" ? {} : { base: { w: { data: flat(1) } } }),
    a: { w: { data: flat(2, { 4500: bad, 4501: bad }) } },
    b: { w: { data: flat(3) } },
  });
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const [method, parameters] of [
      ["linear", {}],
      ["task_arithmetic", {}],
      ["ties", { density: 0.5 }],
    ] as const) {
      test(`${bad} stops ${method} and is named with tensor, model and first index`, async () => {
        const e = await refusal(method, models(bad, method), parameters);
        expect(e.kind).toBe("non-finite");
        expect(e.exit).toBe(65);
        expect(e.message).toContain('"w"');
        expect(e.message).toContain("…/a");
        expect(e.message).toContain("2 NaN or infinite elements, the first at index 4500");
        expect(e.message).toContain("--non-finite keep");
      });
      test(`kept, ${bad} spoils its own elements of ${method} and no other`, () =>
        run(method, models(bad, method), parameters, { nonFinite: "keep" }, ({ values, summary }) => {
          const got = values();
          got.forEach((x, i) => {
            expect(Number.isFinite(x)).toBe(i !== 4500 && i !== 4501);
          });
          expect(summary.nonFinite.map(({ tensor, count, first }) => ({ tensor, count, first }))).toEqual([
            { tensor: "w", count: 2, first: 4500 },
          ]);
        }));
    }
    test(`with the base's element in its place, ${bad} leaves the other models' share`, () =>
      run("task_arithmetic", models(bad), {}, { nonFinite: "base" }, ({ values }) => {
        expect(values().slice(4498, 4503)).toEqual([4, 4, 3, 3, 4]);
      }));
  }
  test("slerp keeps its weights when an element is bad", () =>
    run(
      "slerp",
      { base: { w: { data: flat(1, { 10: 5 }) } }, a: { w: { data: flat(2, { 9: Number.NaN }) } } },
      { t: 0.5 },
      { nonFinite: "keep" },
      ({ values }) => {
        const got = values();
        expect(got.filter((x) => !Number.isFinite(x)).length).toBe(1);
        expect(Number.isNaN(got[9])).toBe(true);
        expect(got[0]).toBeGreaterThan(1.4);
      },
    ));
  test("a dropped NaN is gone, because dropping selects", async () => {
    // With p = 0.9999 practically everything is dropped: a multiplication by zero would still give NaN.
    await run(
      "dare_linear",
      { base: { w: { data: flat(1) } }, a: { w: { data: flat(Number.NaN) } } },
      { drop_rate: 0.9999 },
      { nonFinite: "keep" },
      ({ values }) => {
        expect(values().filter(Number.isNaN).length).toBeLessThan(10);
        expect(values().filter((x) => x === 1).length).toBeGreaterThan(n - 10);
      },
    );
  });
  test("NaN is written as one bit pattern", () =>
    run(
      "linear",
      { a: { w: { data: flat(Number.NaN) } }, b: { w: { data: flat(1) } } },
      {},
      { nonFinite: "keep" },
      ({ out }) => {
        const bytes = readFileSync(join(out, "model.safetensors"));
        expect(bytes.subarray(bytes.length - 4).toString("hex")).toBe("0000c07f");
      },
    ));
  test("the base's element needs a base", async () => {
    const e = await refusal("linear", { a: { w: { data: [1] } }, b: { w: { data: [1] } } }, {}, { nonFinite: "base" });
    expect([e.kind, e.exit]).toEqual(["usage", 2]);
  });
});

describe("overflow on store", () => {
  const big = (dtype: "F32" | "F16", value: number): Models => ({
    base: { w: { dtype, data: flat(0) } },
    a: { w: { dtype, data: flat(1, { 7: value, 4999: -value }) } },
    b: { w: { dtype, data: flat(1, { 7: value, 4999: -value }) } },
  });
  for (const [dtype, out, value, limit] of [
    ["F32", "float16", 60000, 65504],
    ["F16", "float16", 60000, 65504],
    ["F32", "bfloat16", 3e38, 3.3895313892515355e38],
    ["F32", "float32", 3e38, 3.4028234663852886e38],
  ] as const) {
    test(`${dtype} to ${out}: stops and names tensor and index`, async () => {
      const e = await refusal("task_arithmetic", big(dtype, value), {}, {}, { out_dtype: out });
      expect([e.kind, e.exit]).toEqual(["overflow", 65]);
      expect(e.message).toContain('"w"');
      expect(e.message).toContain("2 merged values");
      expect(e.message).toContain("index 7");
    });
    test(`${dtype} to ${out}: saturates`, () =>
      run(
        "task_arithmetic",
        big(dtype, value),
        {},
        { overflow: "saturate" },
        ({ values, summary }) => {
          expect([values()[7], values()[4999], values()[8]]).toEqual([limit, -limit, 2]);
          expect(summary.overflow).toBe(2);
        },
        { out_dtype: out },
      ));
    test(`${dtype} to ${out}: keeps infinity`, () =>
      run(
        "task_arithmetic",
        big(dtype, value),
        {},
        { overflow: "inf" },
        ({ values }) => {
          expect([values()[7], values()[4999], values()[8]]).toEqual([
            Number.POSITIVE_INFINITY,
            Number.NEGATIVE_INFINITY,
            2,
          ]);
        },
        { out_dtype: out },
      ));
  }
});

describe("tensors that are not floats", () => {
  const ids = (last: number): NewTestTensor => ({ dtype: "I64", data: [1, 2, last] });
  test("equal integers are copied", () =>
    run("linear", { a: { w: { data: [1] }, ids: ids(9) }, b: { w: { data: [1] }, ids: ids(9) } }, {}, {}, ({ out }) => {
      const bytes = readFileSync(join(out, "model.safetensors"));
      expect(
        bytes.includes(Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0])),
      ).toBe(true);
    }));
  test("different integers are refused", async () => {
    const e = await refusal(
      "linear",
      { a: { w: { data: [1] }, ids: ids(9) }, b: { w: { data: [1] }, ids: ids(8) } },
      {},
    );
    expect([e.kind, e.exit]).toEqual(["integer-mismatch", 65]);
    expect(e.message).toContain('"ids"');
  });
  test("a dtype that cannot be merged is refused with its name", async () => {
    const e = await refusal("linear", { a: { w: { dtype: "I64", data: [1] } }, b: { w: { data: [1] } } }, {});
    expect([e.kind, e.exit]).toEqual(["dtype-unsupported", 65]);
    expect(e.message).toContain("I64");
  });
});

describe("dtypes mix", () => {
  test("inputs of any float dtype meet in f32 and round once", () =>
    run(
      "linear",
      {
        a: { w: { dtype: "F16", data: [0.5, -2] } },
        b: { w: { dtype: "BF16", data: [1, 4] } },
        c: { w: { data: [3, 1] } },
      },
      { normalize: false },
      {},
      ({ values }) => expect(values()).toEqual([4.5, 3]),
    ));
  for (const [method, parameters] of [
    ["slerp", { t: 0.5 }],
    ["ties", { density: 0.5 }],
    ["dare_linear", { drop_rate: 0.5, rescale: "l1" }],
  ] as const) {
    test(`${method} has nothing to survey in an empty tensor`, () =>
      run(
        method,
        {
          base: { w: { data: [1, 2] }, e: { data: [], shape: [0, 4] } },
          a: { w: { data: [3, 4] }, e: { data: [], shape: [0, 4] } },
        },
        parameters,
        {},
        ({ values }) => expect(values("e")).toEqual([]),
      ));
  }
  test("an empty tensor stays empty, a scalar stays a scalar", () =>
    run(
      "task_arithmetic",
      {
        base: { w: { data: [1], shape: [] }, e: { data: [], shape: [0, 4] } },
        a: { w: { data: [3], shape: [] }, e: { data: [], shape: [0, 4] } },
      },
      {},
      {},
      ({ values }) => {
        expect(values()).toEqual([3]);
        expect(values("e")).toEqual([]);
      },
    ));
});
