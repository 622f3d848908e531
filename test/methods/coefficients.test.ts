// Methods whose coefficients come from dot products, against the hand-sized vectors of test/vectors/methods.json and what
// their formulas say of special cases.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { file, fixture, norm, onBase, plus, vector, vectors, weighted } from "../support/fixture.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { type NewTestTensor, writeModel } from "../support/models.ts";
import { expectNear, mergeOne } from "../support/one-tensor.ts";

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
    scales: { dtype: "F8_E8M0" as "F8_E4M3", shape: [12], data: odd },
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
      await expect(run(temp, { parameters: { scale: 2 } }, ["scales"])).rejects.toThrow(/its dtype is F8_E8M0/);
      await expect(run(temp, { dtype: "bfloat16" }, ["scales"])).rejects.toThrow(/its dtype is F8_E8M0/);
    }));
});

describe("model_stock", () => {
  for (const { params, expected } of file.cases.filter((c) => c.method === "model_stock")) {
    test(`the vector ${JSON.stringify(params)}`, async () => {
      const models = onBase(params.models as string);
      const clamp = params.clamp as boolean | undefined;
      const parameters = clamp === undefined ? {} : { clamp };
      expectNear((await mergeOne({ method: "model_stock", base: fixture.base, models, parameters })).values, expected);
    });
  }
  test("deltas that point apart give the base, and the merge tells it", async () => {
    const models = onBase("ABC");
    const clamped = await mergeOne({ method: "model_stock", base: fixture.base, models });
    expect(clamped.values).toEqual(fixture.base);
    expect(clamped.warnings).toEqual([
      'model_stock: the ratio t was beyond [0, 1] and clamped in 1 of 1 tensors, such as "w"',
    ]);
    const together = await mergeOne({ method: "model_stock", base: fixture.base, models: onBase("AC") });
    expect(together.warnings).toEqual([]);
  });
  test("equal deltas give the model, no deltas the base, bit for bit", async () => {
    const base = [1 / 3, -7, 1e-3].map(Math.fround);
    const model = base.map((x) => Math.fround(x * 1.25));
    const both = { method: "model_stock", base };
    expectNear((await mergeOne({ ...both, models: [model, model, model] })).values, model);
    expect((await mergeOne({ ...both, models: [base, base] })).values).toEqual(base);
  });
  test("small deltas have a cosine, where mergekit takes the product of their norms for 1e-6", async () => {
    const base = [0, 0, 0];
    const models = [
      [1e-6, 0, 1e-6],
      [1e-6, 1e-6, 0],
    ];
    // c = 1/2, t = 2/3.
    const { values } = await mergeOne({ method: "model_stock", base, models });
    expectNear(values, [2e-6 / 3, 1e-6 / 3, 1e-6 / 3], 1e-12);
    const theirs = await mergeOne({ method: "model_stock", base, models, request: { compat: "mergekit" } });
    expect(theirs.values[0]!).toBeLessThan(1e-10);
  });
});

describe("nuslerp", () => {
  test("of deltas: the vector of SLERP", async () => {
    const { params, expected } = vector("delta_slerp");
    expect(params).toEqual({ v0: "A", v1: "B", t: 0.5, add: "base" });
    const models = onBase("AB");
    expectNear(
      (await mergeOne({ method: "nuslerp", base: fixture.base, models, perModel: weighted(2, 2) })).values,
      expected,
    );
  });
  for (const { params, expected } of file.cases.filter((c) => c.method === "slerp" && Array.isArray(c.params.v0))) {
    test(`of models: the vector ${JSON.stringify(params)}, t from the weights`, async () => {
      const { v0, v1, t } = params as { v0: number[]; v1: number[]; t: number };
      expectNear(
        (await mergeOne({ method: "nuslerp", models: [v0, v1], perModel: weighted(3 - 3 * t, 3 * t) })).values,
        expected,
      );
    });
  }
  test("a vector without a direction is met on a straight line, a delta of zero too", async () => {
    const zero = { method: "nuslerp", perModel: weighted(3, 1) };
    const models = [
      [0, 0],
      [2, 4],
    ];
    expectNear((await mergeOne({ ...zero, models })).values, [0.5, 1]);
    expectNear((await mergeOne({ ...zero, models, base: [0, 0] })).values, [0.5, 1]);
  });
  test("weights that cancel or differ in sign are refused; mergekit takes t = 1/2 or leaves the arc", async () => {
    const models = vectors(2, 5, 9);
    const run = (first: number, second: number, compat: "none" | "mergekit") =>
      mergeOne({ method: "nuslerp", models, perModel: weighted(first, second), request: { compat } });
    await expect(run(1, -1, "none")).rejects.toThrow(/weights sum to 0/);
    await expect(run(3, -1, "none")).rejects.toThrow(/weights 3 and -1 give t -0.5/);
    expect((await run(1, -1, "mergekit")).values).toEqual((await run(1, 1, "none")).values);
    await run(3, -1, "mergekit");
  });
});

describe("lines", () => {
  const [rows, columns] = [5, 7];
  const models = vectors(2, rows * columns, 21) as [number[], number[]];
  const base = vectors(1, rows * columns, 22)[0]!;
  const row = (v: readonly number[], r: number) => v.slice(r * columns, (r + 1) * columns);
  const transposed = (v: readonly number[]) =>
    Array.from({ length: rows * columns }, (_, i) => v[(i % rows) * columns + Math.floor(i / rows)]!);
  const cases = [
    { method: "nuslerp", perModel: weighted(1, 3), flag: { nuslerp_flatten: false } },
    { method: "model_stock", perModel: [], flag: { filter_wise: true } },
  ];
  for (const { method, perModel, flag } of cases) {
    test(`${method} row by row is each row merged alone`, async () => {
      const whole = await mergeOne({ method, base, models, perModel, parameters: flag, shape: [rows, columns] });
      for (let r = 0; r < rows; r++) {
        const alone = { method, base: row(base, r), models: models.map((m) => row(m, r)), perModel };
        expectNear(row(whole.values, r), (await mergeOne(alone)).values, 2.5e-7);
      }
    });
    test(`${method} takes the last dimension of a tensor of three for rows, and one row for the whole`, async () => {
      const flat = { method, base, models, perModel, parameters: flag };
      const want = await mergeOne({ ...flat, shape: [rows, columns] });
      expect((await mergeOne({ ...flat, shape: [rows, 1, columns] })).values).toEqual(want.values);
      const one = await mergeOne({ method, base, models, perModel });
      for (const shape of [[rows * columns], [1, rows * columns]])
        expect((await mergeOne({ ...flat, shape })).values).toEqual(one.values);
    });
  }
  test("nuslerp along the first dimension is nuslerp of the rows of the transposed", async () => {
    const shared = { method: "nuslerp", perModel: weighted(1, 3) };
    const along = { nuslerp_flatten: false, nuslerp_row_wise: true };
    const got = await mergeOne({ ...shared, base, models, parameters: along, shape: [rows, columns] });
    const want = await mergeOne({
      ...shared,
      base: transposed(base),
      models: models.map(transposed),
      parameters: { nuslerp_flatten: false },
      shape: [columns, rows],
    });
    expectNear(transposed(got.values), want.values, 2.5e-7);
  });
  for (const by of ["row", "column"]) {
    test(`vectors longer than tiles and tasks, by ${by}, against f64`, async () => {
      // Rows of 9,001 elements meet three tiles; columns of 16,400 elements fill more than a task.
      const [r, c] = by === "row" ? [5, 9001] : [16_400, 67];
      const [a, b] = vectors(2, r * c, 33) as [number[], number[]];
      const parameters = { nuslerp_flatten: false, nuslerp_row_wise: by === "column" };
      const { values } = await mergeOne({
        method: "nuslerp",
        models: [a, b],
        perModel: weighted(1, 3),
        parameters,
        shape: [r, c],
        request: { sliceElements: 8192 },
      });
      const [lines, length] = by === "row" ? [r, c] : [c, r];
      const at = (line: number, k: number) => (by === "row" ? line * c + k : k * c + line);
      let worst = 0;
      for (let line = 0; line < lines; line++) {
        let [aa, ab, bb] = [0, 0, 0];
        for (let k = 0; k < length; k++) {
          const [x, y] = [a[at(line, k)]!, b[at(line, k)]!];
          aa += x * x;
          ab += x * y;
          bb += y * y;
        }
        const angle = Math.acos(ab / Math.sqrt(aa * bb));
        const [f, g] = [0.25, 0.75].map((part) => Math.sin(part * angle) / Math.sin(angle)) as [number, number];
        for (let k = 0; k < length; k++) {
          const i = at(line, k);
          worst = Math.max(worst, Math.abs(values[i]! - (f * a[i]! + g * b[i]!)));
        }
      }
      expect(worst).toBeLessThan(2.5e-7);
    });
  }
  test("more columns than have room are refused", async () => {
    const wide = vectors(2, 2 * 65_537, 1);
    const parameters = { nuslerp_flatten: false, nuslerp_row_wise: true };
    const run = mergeOne({ method: "nuslerp", models: wide, perModel: weighted(1, 1), parameters, shape: [2, 65_537] });
    await expect(run).rejects.toThrow(/has 65537 such vectors, the limit is 65536/);
  });
});
