// Whole analyses of real files: against numpy, whatever the slices, of adapters, shards and scaled weights, and what is refused.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Analysis, Group, QuantileName } from "../../src/analyze/analysis.ts";
import { analyze } from "../../src/analyze/analyze.ts";
import { groupOf } from "../../src/analyze/group.ts";
import { type AnalyzeRequest, defaultAnalysis, planAnalysis } from "../../src/analyze/plan.ts";
import { isBraidError } from "../../src/errors.ts";
import { random } from "../kernel/harness.ts";
import { projectRoot, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { countsOf } from "./counts.ts";

const examples = (name: string) => join(projectRoot, "examples/models", name);
const three = ["ft-add", "ft-rev", "ft-sort"].map(examples);

async function run(base: string, models: readonly string[], request: Partial<AnalyzeRequest> = {}): Promise<Analysis> {
  const { analysis } = await analyze(base, models, { ...defaultAnalysis, workers: 1, ...request }, testHost());
  return analysis;
}

/** Everything that is a number in `want` is close to the same in `got`; whole numbers are equal. */
function differences(got: unknown, want: unknown, path = ""): string[] {
  if (typeof want === "number") {
    // numpy adds in another order.
    const near = Number.isInteger(want) ? got === want : Math.abs((got as number) - want) <= 1e-9 * Math.abs(want);
    return near ? [] : [`${path}: ${got} instead of ${want}`];
  }
  return Object.entries(want as object).flatMap(([key, value]) => {
    const own = (got as Record<string, unknown>)?.[key];
    return differences(own, value, `${path}.${key}`);
  });
}

interface OracleModel {
  readonly nearZero: number;
  readonly quantiles: Readonly<Record<QuantileName, number>>;
}
interface Oracle {
  readonly tensors: Readonly<Record<string, { readonly models: readonly OracleModel[] }>>;
  readonly whole: { readonly models: readonly OracleModel[] };
  readonly modelCypher: readonly Record<
    "effectiveSparsity" | "standardDeviation" | "median" | "minNonZero" | "nonZeroParameters",
    number
  >[];
}

describe("beside numpy", () => {
  const oracle: Oracle = JSON.parse(readFileSync(join(projectRoot, "test/oracles/analysis.json"), "utf8"));

  /** What is known within bounds lies in them; everything else is the same. */
  function compare(got: Group, want: Oracle["whole"]): void {
    const plain = want.models.map(({ nearZero, quantiles, ...others }, m) => {
      const own = got.models[m]!;
      expect(own.nearZero.low <= nearZero && nearZero <= own.nearZero.high).toBe(true);
      expect(Math.abs(own.nearZero.value - nearZero)).toBeLessThan(0.01);
      expect(own.quantileError).toBeLessThanOrEqual(2 ** -7);
      for (const [q, x] of Object.entries(quantiles))
        expect(Math.abs(own.quantiles[q as QuantileName] - x)).toBeLessThanOrEqual(own.quantileError * x);
      return others;
    });
    expect(differences(got, { ...want, models: plain })).toEqual([]);
  }

  test("every measure of two tensors", async () => {
    const { tensors } = await run(examples("base"), three);
    for (const [name, want] of Object.entries(oracle.tensors)) compare(tensors.find((t) => t.name === name)!, want);
  });

  test("all tensors together, and ModelCypher's report of them", async () => {
    const { whole, modelCypher, parameters } = await run(examples("base"), three);
    expect(parameters).toBe(763_008);
    compare(whole, oracle.whole);
    oracle.modelCypher.forEach((want, m) => {
      const got = modelCypher[m]!;
      expect(Math.abs(got.effectiveSparsity - want.effectiveSparsity)).toBeLessThanOrEqual(got.sparsityError);
      expect(got.nonZeroParameters).toBe(want.nonZeroParameters);
      const { standardDeviation, median, minNonZero } = got.magnitudeStats;
      expect(Math.abs(standardDeviation / want.standardDeviation - 1)).toBeLessThan(1e-9);
      expect(Math.abs(median / want.median - 1)).toBeLessThanOrEqual(2 ** -7);
      expect(Math.abs(minNonZero / want.minNonZero - 1)).toBeLessThanOrEqual(2 ** -7);
    });
  });
});

describe("the same bytes", () => {
  test("whatever the slices and the memory", async () => {
    const one = JSON.stringify(await run(examples("base"), three));
    for (const request of [{ sliceElements: 4096, memoryBytes: 2 ** 30 }, { sliceElements: 12_288 }])
      expect(JSON.stringify(await run(examples("base"), three, request))).toBe(one);
  });

  test("of shards as of one file", async () => {
    const whole = await run(examples("base"), [examples("ft-add")]);
    const sharded = await run(examples("base-sharded"), [examples("ft-add")]);
    expect({ ...sharded, base: whole.base, tensors: [] }).toEqual({ ...whole, tensors: [] });
  });
});

describe("inputs", () => {
  test("an adapter is a model: what it changes is changed, and the advice knows", async () => {
    const { lineage, advice, tensors, whole } = await run(examples("base"), [examples("lora-add"), examples("ft-rev")]);
    expect(lineage.models.map((m) => m.stored)).toEqual(["adapter", "checkpoint"]);
    expect(lineage.models[0]!.identical).toBeGreaterThan(0);
    expect(lineage.models[0]!.identical).toBe(tensors.filter((t) => t.models[0]!.max === 0).length);
    expect(whole.models[0]!.max).toBeGreaterThan(0);
    expect(advice.method).not.toBe("none");
  });

  test("scaled fp8 is what its scales make of it, and other dtypes are what they hold", async () => {
    await withTempFolder(async (folder) => {
      const save = (name: string, tensors: Parameters<typeof writeModel>[1]) => writeModel(join(folder, name), tensors);
      const shape = [2, 4];
      const plain = (dtype: "F32" | "BF16" | "F16" | "F64", data: number[]) => ({ "a.weight": { dtype, data, shape } });
      const base = save("base", plain("BF16", [1, 2, 0.5, 1, 2, -1, 0.5, 4]));
      const values = [1, 2, 1, 1, 3, -2, 0.5, 4];
      // E4M3: 1 is 0x38, 2 0x40, 3 0x44, −2 0xc0, 0.5 0x30, 4 0x48; a scale of 2 for each row halves what is stored.
      const stored = Uint8Array.from([0x30, 0x38, 0x30, 0x30, 0x3c, 0xb8, 0x28, 0x40]);
      const scaled = save("scaled", {
        "a.weight": { dtype: "F8_E4M3", data: stored, shape },
        "a.weight_scale": { data: [2, 2], shape: [2, 1] },
      });
      const others = (["F32", "BF16", "F16", "F64"] as const).map((dtype) => save(dtype, plain(dtype, values)));
      const wanted = (await run(base, [others[0]!])).whole;
      expect(wanted.models[0]).toMatchObject({ mean: 2.5 / 8, max: 1, zeros: 5 });
      for (const model of [scaled, ...others]) expect((await run(base, [model])).whole).toEqual(wanted);
    });
  });

  test("a base that is none of theirs is noticed", async () => {
    await withTempFolder(async (folder) => {
      const save = (name: string, seed: number) => {
        const draw = random(seed);
        const data = Array.from({ length: 4000 }, () => draw() / 2 ** 31 - 1);
        return writeModel(join(folder, name), { "model.layers.0.mlp.up_proj.weight": { data, shape: [40, 100] } });
      };
      const { lineage, advice, whole } = await run(save("base", 1), [save("one", 2), save("two", 3)]);
      expect(lineage.models.map((m) => m.verdict)).toEqual(["doubtful", "doubtful"]);
      // Unrelated weights of one scale are √2 apart, and have the base in common.
      expect(lineage.models[0]!.distance!).toBeGreaterThan(1.35);
      expect(whole.pairs[0]!.cosine!).toBeGreaterThan(0.45);
      expect(advice.reasons.filter((r) => r.rule === "base").map((r) => r.level)).toEqual(["warning", "warning"]);
      expect(advice).toMatchObject({ method: "linear", dropRate: null });
    });
  });

  test("six models are counted as the slow twin counts them, to the bit", async () => {
    await withTempFolder(async (folder) => {
      const shape = [30, 20];
      const draw = random(9);
      const coarse = () => (draw() % 5 === 0 ? 0 : ((draw() % 65) - 32) / 64);
      const base = Array.from({ length: 600 }, coarse);
      const save = (name: string, data: number[]) => writeModel(join(folder, name), { "a.weight": { data, shape } });
      const deltas = Array.from({ length: 6 }, () => base.map(() => coarse() / 4));
      const models = deltas.map((d, m) =>
        save(
          `m${m}`,
          d.map((x, i) => base[i]! + x),
        ),
      );
      const { tensors, whole } = await run(save("base", base), models);
      const want = groupOf(countsOf(base, deltas), false);
      expect(want.pairs.length).toBe(15);
      expect(tensors[0]).toMatchObject({ ...want });
      const { models: signed, ...rest } = whole;
      expect(rest).toEqual((({ models: _, ...others }) => others)(want));
      expect(signed.every((m) => m!.signed!.negative + m!.signed!.positive + m!.zeros === 600)).toBe(true);
    });
  });

  test("three models of 80 layers fit the usual 256 MiB", async () => {
    await withTempFolder(async (folder) => {
      const one = { data: [1, 2], shape: [1, 2] };
      const parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"];
      const more = ["mlp.gate_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"];
      const names = Array.from({ length: 80 }, (_, l) =>
        [...parts, ...more].map((p) => `model.layers.${l}.${p}.weight`),
      );
      const tensors = Object.fromEntries(names.flat().map((name) => [name, one]));
      const [base, ...models] = ["base", "a", "b", "c"].map((name) => writeModel(join(folder, name), tensors));
      const plan = await planAnalysis(base!, models, { ...defaultAnalysis, workers: 2 }, testHost());
      expect(plan.tensors.length).toBe(720);
      expect(plan.peakBytes).toBeLessThan(2 ** 28);
    });
  });

  test("a large tensor's largest elements come from a sample, and the real shares are near what was asked", async () => {
    await withTempFolder(async (folder) => {
      const count = 300_000;
      const draw = random(5);
      const normal = () => (draw() / 2 ** 32 + draw() / 2 ** 32 + draw() / 2 ** 32 - 1.5) / 64;
      const base = Array.from({ length: count }, normal);
      const save = (name: string, data: number[]) => {
        writeModel(join(folder, name), { "model.layers.0.mlp.up_proj.weight": { data, shape: [300, 1000] } });
        return join(folder, name);
      };
      const models = ["a", "b"].map((name) =>
        save(
          name,
          base.map((x) => x + normal() / 10),
        ),
      );
      const analysis = await run(save("base", base), models);
      const [pair] = analysis.whole.pairs;
      for (const share of pair!.topShares) expect(Math.abs(share - 0.2)).toBeLessThan(0.02);
      expect(Math.abs(pair!.overlapExcess!)).toBeLessThan(0.01);
      expect(Math.abs(pair!.conflictExcess!)).toBeLessThan(0.01);
      expect(analysis.tensors[0]).toMatchObject({ kind: "mlp up", stack: "model.layers", layer: 0 });
      const sliced = await run(join(folder, "base"), models, { sliceElements: 8192 });
      expect(JSON.stringify(sliced)).toBe(JSON.stringify(analysis));
    });
  });

  test("a tensor that a model lacks is taken from the others; integers and what is excluded are left out", async () => {
    await withTempFolder(async (folder) => {
      const save = (name: string, tensors: Parameters<typeof writeModel>[1]) => {
        writeModel(join(folder, name), tensors);
        return join(folder, name);
      };
      const weight = (data: number[]) => ({ "a.weight": { data, shape: [2, 2] } });
      const ids = { ids: { dtype: "I64" as const, data: [1, 2] } };
      const base = save("base", {
        ...weight([1, 2, 3, 4]),
        "a.bias": { data: [1, 1] },
        "b.weight": { data: [1] },
        ...ids,
      });
      const one = save("one", {
        ...weight([1, 2, 3, 5]),
        "a.bias": { data: [1, 3] },
        "b.weight": { data: [2] },
        ...ids,
      });
      const two = save("two", { ...weight([0, 2, 3, 3]), "b.weight": { data: [1] }, ...ids });
      const { tensors, lineage, whole, kinds } = await run(base, [one, two], { exclude: ["b.w*t"] });
      expect(tensors.map((t) => t.name).sort()).toEqual(["a.bias", "a.weight"]);
      expect(lineage.leftOut).toEqual(["b.weight", "ids"]);
      expect(lineage.models[1]!.missing).toEqual(["a.bias"]);
      const bias = tensors.find((t) => t.name === "a.bias")!;
      expect([bias.models[0]!.mean, bias.models[1], bias.pairs, bias.together!.changedBy]).toEqual([
        1,
        null,
        [],
        [1, 1, 0],
      ]);
      expect([whole.models[0]!.count, whole.models[1]!.count]).toEqual([6, 4]);
      // ‖base‖ is that of what the model has.
      expect(whole.models[1]!.ratio).toBe(Math.sqrt(2) / Math.sqrt(30));
      expect(whole.pairs[0]).toMatchObject({ dot: -1, bothChange: 1, conflict: 1 });
      expect(kinds.map((k) => k.kind)).toEqual(["bias", "other"]);
    });
  });

  test("what is not finite is told, and counts as unchanged", async () => {
    await withTempFolder(async (folder) => {
      const save = (name: string, data: number[]) => {
        writeModel(join(folder, name), { "a.weight": { dtype: "BF16", data, shape: [2, 2] } });
        return join(folder, name);
      };
      const base = save("base", [1, 2, Number.NaN, 4]);
      const { whole, advice } = await run(base, [save("one", [Number.POSITIVE_INFINITY, 3, 3, 4])]);
      expect(whole.models[0]).toMatchObject({ nonFinite: 1, mean: 0.25, max: 1, zeros: 3 });
      expect(whole.base).toMatchObject({ nonFinite: 1, mean: 7 / 4 });
      expect(advice.reasons.filter((r) => r.rule === "non-finite").map((r) => r.about)).toEqual(["models", "base"]);
    });
  });
});

describe("refusals", () => {
  async function refusal(base: string, models: string[], request: Partial<AnalyzeRequest> = {}) {
    try {
      await run(base, models, request);
    } catch (e) {
      if (isBraidError(e)) return e.diagnostics.map(({ kind, message }) => `${kind}: ${message}`).join("\n");
      throw e;
    }
    return "nothing was refused";
  }

  test("models that do not fit together, as a merge of them is", async () => {
    await withTempFolder(async (folder) => {
      const save = (name: string, tensors: Parameters<typeof writeModel>[1]) => {
        writeModel(join(folder, name), tensors);
        return join(folder, name);
      };
      const base = save("base", { "a.weight": { data: [1, 2, 3, 4], shape: [2, 2] }, "b.weight": { data: [1] } });
      const wide = save("wide", { "a.weight": { data: [1, 2], shape: [1, 2] }, "b.weight": { data: [1] } });
      const lacks = save("lacks", { "a.weight": { data: [1, 2, 3, 4], shape: [2, 2] } });
      expect(await refusal(base, [wide])).toContain('shape-mismatch: Cannot merge "a.weight"');
      expect(await refusal(base, [lacks])).toContain("tensor-missing");
      expect(await refusal(base, [lacks], { allowMissing: true })).toBe("nothing was refused");
      // Leaving it out is a way to go on.
      expect(await refusal(base, [wide], { exclude: ["a.weight"] })).toBe("nothing was refused");
    });
  });

  test("models that are not there, named twice, or the base; patterns that nothing holds; too little memory", async () => {
    const [base, add] = [examples("base"), examples("ft-add")];
    expect(await refusal(base, [examples("nowhere")])).toContain("model-not-found");
    expect(await refusal(base, [base])).toContain("usage: Cannot analyse");
    expect(await refusal(base, [add, add])).toContain("is named twice");
    expect(await refusal(base, [add], { exclude: ["nothing-like-it"] })).toBe(
      'usage: Cannot analyse: no tensor\'s name holds "nothing-like-it"',
    );
    expect(await refusal(base, [add], { include: ["lm_head"], exclude: ["lm_head"] })).toContain("tensor-missing");
    expect(await refusal(base, [add], { memoryBytes: 2 ** 20 })).toContain("memory-budget");
  });
});
