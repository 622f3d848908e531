// Methods on whole matrices through whole merges: the vectors of test/vectors/methods.json, and what must hold of any result.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isBraidError } from "../../src/errors.ts";
import type { MergeEvent } from "../../src/host.ts";
import { matrixBytes, maxMatrixBytes } from "../../src/kernel/matrix-cost.ts";
import { merge } from "../../src/merge.ts";
import { prepare } from "../../src/prepare.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { expectNear, mergeOne } from "../support/one-tensor.ts";
import { readCheckpoint } from "../support/tensors.ts";

type Rows = number[][];
const vectors = JSON.parse(readFileSync(join(projectRoot, "test/vectors/methods.json"), "utf8")) as {
  cases: { method: string; params: Record<string, unknown>; expected: Rows }[];
};
const ofMethod = (name: string) => vectors.cases.filter((c) => c.method === name);
const zeros = (m: Rows) => m.flat().map(() => 0);

async function mergeDeltas(method: string, deltas: Rows[], parameters: Record<string, unknown> = {}) {
  const shape = [deltas[0]!.length, deltas[0]![0]!.length];
  const models = deltas.map((d) => d.flat());
  return (await mergeOne({ method, base: zeros(deltas[0]!), models, parameters, shape })).values;
}

let seed = 3;
const random = () => {
  seed = (seed * 1103515245 + 12345) % 2 ** 31;
  // The upper bits; multiples of 2⁻⁸, so that sums of a few are exact.
  return ((seed >> 15) - 2 ** 15) / 2 ** 8;
};
const matrix = (rows: number, columns: number): Rows =>
  Array.from({ length: rows }, () => Array.from({ length: columns }, random));
const transpose = (m: Rows): Rows => m[0]!.map((_, j) => m.map((row) => row[j]!));

describe("vectors", () => {
  for (const c of ofMethod("star")) {
    test(`star ${JSON.stringify(c.params)}`, async () => {
      const { matrix: m, eta } = c.params as { matrix: Rows; eta: number };
      expectNear(await mergeDeltas("star", [m], { eta }), c.expected.flat());
    });
  }
  for (const c of ofMethod("tsv_m")) {
    test(`tsv ${JSON.stringify(c.params)}`, async () => {
      const { deltas, sti } = c.params as { deltas: Rows[]; sti: number };
      await withTempFolder(async (temp) => {
        const model = (name: string, data: number[]) =>
          writeModel(join(temp, name), { "layers.0.w": { data, shape: [2, 2] } });
        const text = JSON.stringify({
          merge_method: "tsv",
          base_model: model("base", [0, 0, 0, 0]),
          models: deltas.map((d, i) => ({ model: model(`m${i}`, d.flat()) })),
        });
        const { methodFacts } = await merge(requestFor(text), join(temp, "out"), { overwrite: false }, testHost());
        expectNear([...readCheckpoint(join(temp, "out")).get("layers.0.w")!.values], c.expected.flat());
        const interference = methodFacts.find((f) => f.fact === "interference")!;
        expect(Math.abs(interference.mean - sti)).toBeLessThan(1e-6);
        expect(interference.tensors).toBe(1);
        expect(readFileSync(join(temp, "out", "braid.json"), "utf8")).toContain('"interference"');
        expect(readFileSync(join(temp, "out", "README.md"), "utf8")).toContain("- interference: ");
      });
    });
  }
  for (const c of ofMethod("iso_c")) {
    test(`iso_c ${JSON.stringify(c.params)}`, async () => {
      const { deltas, alpha } = c.params as { deltas: Rows[]; alpha: number };
      expectNear(await mergeDeltas("iso_c", deltas, { alpha }), c.expected.flat());
    });
  }
  for (const c of ofMethod("fourier_highpass")) {
    test(`free ${JSON.stringify(c.params)}`, async () => {
      const { matrix: m, D0 } = c.params as { matrix: Rows; D0: number };
      expectNear(await mergeDeltas("free", [m], { cutoff: (2 * D0) / m.length }), c.expected.flat());
    });
  }
});

const all: [string, Record<string, unknown>][] = [
  ["star", { eta: 40 }],
  ["tsv", {}],
  ["iso_c", {}],
  ["iso_cts", {}],
  ["free", { cutoff: 0.4 }],
];

describe("every method", () => {
  for (const [method, parameters] of all) {
    test(`${method} of models that equal the base gives the base, bit for bit`, async () => {
      const base = [1.5, -0, 0, -2.25, 5e-324, 3, -1e30, 2 ** -149, 7, 8, 9, 10].map(Math.fround);
      for (const shape of [
        [3, 4],
        [4, 3],
        [1, 12],
        [12, 1],
      ]) {
        const { values } = await mergeOne({ method, base, models: [base, base], parameters, shape });
        expect(values.map((v, i) => Object.is(v, base[i]))).toEqual(base.map(() => true));
      }
    });

    test(`${method} does not tell apart the order of models that are weighted alike`, async () => {
      const [a, b, c] = [matrix(8, 11), matrix(8, 11), matrix(8, 11)];
      const one = await mergeDeltas(method, [a, b, c], parameters);
      const other = await mergeDeltas(method, [c, a, b], parameters);
      expectNear(one, other, 2e-3 * Math.max(...one.map(Math.abs)) * 1e-2);
    });

    test(`${method} of a vector as a row and as a column is the same`, async () => {
      const [a, b] = [matrix(1, 13), matrix(1, 13)];
      const row = await mergeDeltas(method, [a, b], parameters);
      // Iso-CTS projects on the space of the rows' side, so a column's one direction leaves nothing of its own to a model.
      expectNear(await mergeDeltas(method, [transpose(a), transpose(b)], parameters), row, 1e-4);
    });

    test(`${method} scales with λ, and biases take the mean`, async () => {
      const d = matrix(6, 5);
      const one = await mergeDeltas(method, [d], parameters);
      const twice = await mergeDeltas(method, [d], { ...parameters, lambda: 2 });
      expect(twice).toEqual(one.map((x) => 2 * x));
      const { values } = await mergeOne({
        method,
        base: [1, 1],
        models: [
          [3, 2],
          [1, 4],
        ],
        parameters,
      });
      expectNear(values, [2, 3]);
    });
  }

  for (const method of ["star", "tsv", "iso_c", "free"]) {
    test(`${method} of a transposed matrix is the transposed result`, async () => {
      const parameters = all.find(([m]) => m === method)![1];
      for (const [rows, columns] of [
        [7, 13],
        [2, 3],
        [19, 18],
      ] as const) {
        const [a, b] = [matrix(rows, columns), matrix(rows, columns)];
        const upright = await mergeDeltas(method, [a, b], parameters);
        const turned = await mergeDeltas(method, [transpose(a), transpose(b)], parameters);
        const back = Array.from(
          { length: rows * columns },
          (_, i) => turned[(i % columns) * rows + Math.floor(i / columns)]!,
        );
        // Rows are summed in another order than columns only where a square matrix is its own smaller side.
        expectNear(back, upright, 1e-5 * Math.max(...upright.map(Math.abs)));
      }
    });
  }
});

describe("identities", () => {
  test("star with η = 100 is the average", async () => {
    const [a, b] = [matrix(5, 8), matrix(5, 8)];
    const want = a.flat().map((x, i) => (x + b.flat()[i]!) / 2);
    expect(await mergeDeltas("star", [a, b], { eta: 100 })).toEqual(want);
  });
  test("free with cutoff 0 keeps a single delta as it is", async () => {
    const a = matrix(7, 6);
    expect(await mergeDeltas("free", [a], { cutoff: 0 })).toEqual(a.flat());
  });
  test("free with a cutoff of a bin takes the mean off", async () => {
    const a = matrix(6, 10);
    const mean = a.flat().reduce((s, x) => s + x, 0) / 60;
    expectNear(
      await mergeDeltas("free", [a], { cutoff: 1 / 3 }),
      a.flat().map((x) => x - mean),
      1e-4,
    );
  });
  test("tsv of one model is the model", async () => {
    const a = matrix(9, 6);
    expectNear(await mergeDeltas("tsv", [a]), a.flat(), 1e-4);
  });
  test("tsv of the same model twice is the model's first half of components", async () => {
    const a = [
      [8, 0, 0, 0],
      [0, 4, 0, 0],
      [0, 0, 2, 0],
      [0, 0, 0, 1],
    ];
    expectNear(await mergeDeltas("tsv", [a, a]), [8, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });
  test("iso_c gives equal singular values: Δ·Δᵀ is σ̄² times the identity", async () => {
    const a = matrix(5, 9);
    const got = await mergeDeltas("iso_c", [a]);
    const gram = (i: number, j: number) => {
      let sum = 0;
      for (let k = 0; k < 9; k++) sum += got[i * 9 + k]! * got[j * 9 + k]!;
      return sum;
    };
    for (let i = 0; i < 5; i++)
      for (let j = 0; j < 5; j++) expect(Math.abs(gram(i, j) / gram(0, 0) - (i === j ? 1 : 0))).toBeLessThan(1e-5);
  });
  test("iso_c of a matrix of rank 1 stays of rank 1: no direction is made up", async () => {
    const a = [1, 2, 3].map((x) => [4, 5, 6, 7].map((y) => x * y));
    const sigma = Math.sqrt(14 * 126);
    expectNear(
      await mergeDeltas("iso_c", [a]),
      a.flat().map((x) => x / 3),
      1e-5 * sigma,
    );
  });
  test("iso_cts gives a model's own direction the strength of the common ones", async () => {
    // Common: the first axis. Beside it the models have an axis each.
    const a = [
      [9, 0, 0],
      [0, 3, 0],
      [0, 0, 0],
    ];
    const b = [
      [9, 0, 0],
      [0, 0, 0],
      [0, 0, 6],
    ];
    // σ = 18, 3 and 6 of 1 + 1 + 1 components, so 9 for each.
    expectNear(await mergeDeltas("iso_cts", [a, b], { common_fraction: 0.4 }), [9, 0, 0, 0, 9, 0, 0, 0, 9]);
  });
  test("weights multiply deltas: tsv of 2·a is tsv of a with weight 2", async () => {
    const [a, b] = [matrix(6, 6), matrix(6, 6)];
    const base = zeros(a);
    const shape = [6, 6];
    const weighted = await mergeOne({
      method: "tsv",
      base,
      models: [a.flat(), b.flat()],
      perModel: [{ weight: 2 }, { weight: 1 }],
      shape,
    });
    const twice = a.map((row) => row.map((x) => 2 * x));
    expect(weighted.values).toEqual(await mergeDeltas("tsv", [twice, b]));
  });
});

describe("tensors that are no inner matrices", () => {
  async function mergeNamed(name: string, shape: number[], parameters: Record<string, unknown>): Promise<number[]> {
    return withTempFolder(async (temp) => {
      const data = [4, 0, 0, 0, 0, 2, 0, 0];
      const model = (folder: string, values: number[]) =>
        writeModel(join(temp, folder), { [name]: { data: values, shape } });
      const text = JSON.stringify({
        merge_method: "iso_c",
        base_model: model(
          "base",
          data.map(() => 0),
        ),
        models: [{ model: model("a", data) }],
        parameters,
      });
      await merge(requestFor(text), join(temp, "out"), { overwrite: false }, testHost());
      return [...readCheckpoint(join(temp, "out")).get(name)!.values];
    });
  }
  const flat = [3, 0, 0, 0, 0, 3, 0, 0];
  const mean = [4, 0, 0, 0, 0, 2, 0, 0];
  for (const [name, shape, parameters, want] of [
    ["model.layers.0.self_attn.q_proj.weight", [2, 4], {}, flat],
    ["model.embed_tokens.weight", [2, 4], {}, mean],
    ["lm_head.weight", [2, 4], {}, mean],
    ["lm_head.weight", [2, 4], { matrices: "all" }, flat],
    ["model.layers.0.mlp.up_proj.weight", [2, 4], { matrices: "none" }, mean],
    ["model.layers.0.mlp.experts.weight", [2, 2, 2], {}, mean],
    ["model.norm.weight", [8], {}, mean],
  ] as const) {
    test(`${name} ${JSON.stringify(shape)} ${JSON.stringify(parameters)}`, async () => {
      expectNear(await mergeNamed(name, [...shape], parameters), [...want]);
    });
  }
});

describe("what is not finite", () => {
  const base = [0, 0, 0, 0, 1, 0];
  const a = [1, 2, Number.NaN, 4, 5, 6];
  const shape = [2, 3];
  test("stops the merge", async () => {
    const error = await mergeOne({ method: "star", base, models: [a], shape }).catch((e) => e);
    expect(isBraidError(error) && error.message).toMatch(/1 NaN or infinite elements, the first at index 2/);
  });
  test("kept: spoils its element and counts as no change in the others", async () => {
    const request = { nonFinite: "keep" } as const;
    const clean = a.map((x) => (Number.isNaN(x) ? 0 : x));
    const want = (await mergeOne({ method: "star", base, models: [clean], shape })).values;
    const got = (await mergeOne({ method: "star", base, models: [a], shape, request })).values;
    expect(got).toEqual(want.map((x, i) => (i === 2 ? Number.NaN : x)));
    const likeBase = (await mergeOne({ method: "star", base, models: [a], shape, request: { nonFinite: "base" } }))
      .values;
    expect(likeBase).toEqual(want);
  });
  test("too large for the output: told, or cut", async () => {
    const large = [6e4, 0, 0, 6e4];
    const c = {
      method: "iso_c",
      base: [0, 0, 0, 0],
      models: [large],
      shape: [2, 2],
      parameters: { alpha: 2 },
      dtype: "float16",
    };
    const error = await mergeOne(c).catch((e) => e);
    expect(isBraidError(error) && error.message).toMatch(/2 merged values are too large/);
    const cut = await mergeOne({ ...c, request: { overflow: "saturate" } });
    expect(cut.values).toEqual([65504, 0, 0, 65504]);
  });
});

describe("memory and time are planned", () => {
  const recipe = (method: string, parameters = "") =>
    `merge_method: ${method}\nbase_model: examples/models/base\nmodels: [{model: examples/models/ft-add}, {model: examples/models/ft-rev}]\n${parameters}`;
  test("a plan tells the operations, and what a worker grows to", async () => {
    const { plan } = await prepare(requestFor(recipe("tsv")), testHost());
    expect(plan.flops).toBeGreaterThan(1e8);
    expect(plan.memory.matrixBytes).toBeGreaterThan(4 << 20);
    expect(plan.memory.peakBytes).toBeGreaterThan(plan.memory.matrixBytes);
    const plain = await prepare(requestFor(recipe("linear", "parameters: {weight: 1}")), testHost());
    expect([plain.plan.flops, plain.plan.memory.matrixBytes]).toEqual([0, 0]);
  });
  test("little memory leaves fewer workers, and too little is refused with what would do", async () => {
    const request = requestFor(recipe("tsv"), { workers: 64, memoryBytes: 320 << 20 });
    const { plan } = await prepare(request, testHost());
    expect(plan.memory.workers).toBeLessThan(64);
    expect(plan.memory.workers).toBeGreaterThan(1);
    expect(plan.memory.peakBytes).toBeLessThanOrEqual(320 << 20);
    const error = await prepare(requestFor(recipe("tsv"), { memoryBytes: 130 << 20 }), testHost()).catch((e) => e);
    const least = Number(/--memory (\d+)MiB/.exec(error.message + (error.diagnostics?.[0]?.hint ?? ""))![1]);
    expect(
      (await prepare(requestFor(recipe("tsv"), { memoryBytes: least << 20 }), testHost())).plan.memory.workers,
    ).toBe(1);
  });
  test("a matrix beyond a worker's addresses is refused before anything is read", () => {
    const shape = { op: "matrix", inputs: [], out: "BF16", base: 0, lambda: 1 } as const;
    const terms = [0, 1, 2].map((input) => ({ input, weight: 1 }));
    const bytes = (rows: number, columns: number) =>
      matrixBytes({
        ...shape,
        rows,
        columns,
        terms,
        rule: { op: "tsv", rank: Math.floor(Math.min(rows, columns) / 3) },
      });
    expect(bytes(4096, 11008)).toBeLessThan(maxMatrixBytes);
    expect(bytes(8192, 28672)).toBeGreaterThan(maxMatrixBytes);
  });
  test("a merge under way tells how much of a matrix is done", async () => {
    await withTempFolder(async (temp) => {
      const side = 260;
      const model = (name: string, value: () => number) =>
        writeModel(join(temp, name), {
          "layers.0.w": { data: Array.from({ length: side * side }, value), shape: [side, side] },
        });
      const text = JSON.stringify({
        merge_method: "tsv",
        base_model: model("base", () => 0),
        models: [{ model: model("a", random) }, { model: model("b", random) }],
      });
      const events: MergeEvent[] = [];
      let clock = 0;
      // A clock that runs: progress is told every 100 ms at most.
      const host = { ...testHost({ events }), now: () => (clock += 60) };
      await merge(requestFor(text), join(temp, "out"), { overwrite: false }, host);
      const shares = events.flatMap((e) => (e.type === "progress" ? [e.doneBytes / e.totalBytes] : []));
      expect(shares.filter((s) => s > 0 && s < 1).length).toBeGreaterThan(3);
      expect(shares).toEqual([...shares].sort((x, y) => x - y));
      expect(shares.at(-1)).toBe(1);
    });
  });
  test("and stops between its blocks", async () => {
    await withTempFolder(async (temp) => {
      const side = 300;
      const model = (name: string, value: () => number) =>
        writeModel(join(temp, name), {
          "layers.0.w": { data: Array.from({ length: side * side }, value), shape: [side, side] },
        });
      const text = JSON.stringify({
        merge_method: "iso_c",
        base_model: model("base", () => 0),
        models: [{ model: model("a", random) }],
      });
      const stop = new AbortController();
      const host = testHost({ signal: stop.signal });
      const running = merge(
        requestFor(text),
        join(temp, "out"),
        { overwrite: false },
        {
          ...host,
          report: (e) => {
            if (e.type === "progress" && e.doneBytes > 0) stop.abort(new Error("enough"));
          },
        },
      );
      expect(await running.catch((e: Error) => e.message)).toBe("enough");
    });
  });
});
