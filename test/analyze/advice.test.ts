// Each rule of the advice, by findings that call for it and findings just beside them that do not. Every answer must be a recipe
// that parses.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { advise, classOf, type Findings, type Rule, rules } from "../../src/analyze/advice.ts";
import type { Advice, Analysis, DeltaStats, Group, PairStats, TensorKind } from "../../src/analyze/analysis.ts";
import { groupOf } from "../../src/analyze/group.ts";
import { kindOf } from "../../src/analyze/kinds.ts";
import { recipeOf } from "../../src/analyze/recipe.ts";
import { catalogue } from "../../src/methods/index.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { projectRoot } from "../support/host.ts";
import { countsOf } from "./counts.ts";

const names = [
  "model.embed_tokens.weight",
  "model.layers.0.self_attn.q_proj.weight",
  "model.layers.0.mlp.gate_proj.weight",
  "model.layers.0.input_layernorm.weight",
  "model.norm.weight",
  "lm_head.weight",
];

interface Case {
  readonly models?: number;
  readonly parameters?: number;
  readonly mean?: number | readonly number[];
  readonly base?: number;
  readonly nearZero?: number;
  readonly cosine?: number | readonly number[];
  readonly excess?: number;
  readonly imbalance?: number;
  readonly nonFinite?: number;
  readonly baseNonFinite?: number;
  readonly distance?: number;
  readonly identical?: readonly number[];
  readonly adapters?: boolean;
  readonly tensors?: readonly string[];
  readonly kindMeans?: Partial<Record<TensorKind, number>>;
}

/** Findings of plausible fine-tunes of a 7B model, but for what the case says. */
function findings(c: Case): Findings {
  const n = c.models ?? 3;
  const each = (x: number | readonly number[] | undefined, otherwise: number, i: number) =>
    x === undefined ? otherwise : typeof x === "number" ? x : x[i]!;
  const [some] = groupOf(countsOf([1, 2], [[0.5, 0]]), false).models;
  const statsOf = (m: number): DeltaStats => {
    const mean = c.identical?.includes(m) ? 0 : each(c.mean, 4e-4, m);
    const near = c.nearZero ?? 0.1;
    const norm = m === 0 && c.imbalance ? c.imbalance : 1;
    return {
      ...some!,
      mean,
      norm,
      nonFinite: m === 0 ? (c.nonFinite ?? 0) : 0,
      nearZero: { value: near, low: near, high: near },
    };
  };
  const stats = Array.from({ length: n }, (_, m) => statsOf(m));
  const pairs = stats
    .flatMap((_, a) => stats.slice(a + 1).map((__, i) => [a, a + 1 + i] as const))
    .map(
      ([a, b], i) => ({ a, b, cosine: each(c.cosine, 0.02, i), conflictExcess: c.excess ?? 0 }) as unknown as PairStats,
    );
  const whole: Group = {
    tensors: 6,
    parameters: c.parameters ?? 7e9,
    base: { norm: 1, mean: c.base ?? 0.02, nonFinite: c.baseNonFinite ?? 0 },
    models: stats,
    pairs,
    together: n > 1 ? ({ imbalance: c.imbalance ?? 1 } as unknown as Group["together"]) : null,
  };
  const tensors = (c.tensors ?? names).map((name) => ({ name, kind: kindOf(name) }));
  const kinds = [...new Set(tensors.map((t) => t.kind))].map((kind) => ({
    ...whole,
    kind,
    models: stats.map((s) => ({ ...s, mean: c.kindMeans?.[kind] ?? s.mean })),
  }));
  const verdict = (m: number) =>
    c.identical?.includes(m) ? "identical" : (c.distance ?? 0.03) >= 0.5 ? "doubtful" : "descendant";
  return {
    models: stats.map((_, m) => `model-${m}`),
    parameters: whole.parameters,
    lineage: {
      models: stats.map((_, model) => ({
        model,
        stored: c.adapters ? "adapter" : "checkpoint",
        tensors: 6,
        identical: 0,
        missing: [],
        distance: c.distance ?? 0.03,
        verdict: verdict(model),
      })),
      duplicates: pairs.flatMap(({ a, b, cosine }) => (cosine! > 0.98 ? [{ a, b, cosine: cosine! }] : [])),
      leftOut: [],
    },
    whole,
    kinds,
    tensors,
  };
}

function ask(c: Case): Advice {
  const found = findings(c);
  const advice = advise(found);
  if (advice.method !== "none") {
    const text = recipeOf({ base: "base", models: found.models, advice } as unknown as Analysis);
    const [recipe] = parseRecipe(text, "recipe.yml", catalogue(false));
    expect(recipe!.method).toBe(advice.method);
    expect(recipe!.warnings).toEqual([]);
  }
  return advice;
}

const said = (advice: Advice, rule: Rule) => advice.reasons.filter((r) => r.rule === rule);
const texts = (advice: Advice, rule: Rule) =>
  said(advice, rule)
    .map((r) => r.text)
    .join("\n");

/** Rules that the tests below have seen at work. */
const seen = new Set<string>();
function expectRule(c: Case, rule: Rule, found: RegExp, expected: Partial<Advice> = {}): Advice {
  const advice = ask(c);
  seen.add(rule);
  expect(texts(advice, rule)).toMatch(found);
  expect(said(advice, rule).every((r) => r.source.length > 4)).toBe(true);
  expect(advice).toMatchObject(expected);
  return advice;
}
function expectSilence(c: Case, rule: Rule): Advice {
  const advice = ask(c);
  expect(said(advice, rule)).toEqual([]);
  return advice;
}

describe("rules", () => {
  test("base: far from it, no method on deltas is advised", () => {
    expectRule({ distance: 0.5 }, "base", /is 0\.5 of ‖base‖ away/, {
      method: "linear",
      dropRate: null,
      weights: [1 / 3, 1 / 3, 1 / 3],
    });
    expect(expectSilence({ distance: 0.49 }, "base").method).toBe("dare_ties");
  });

  test("identical: a model that changes nothing is left out, and the others are what is merged", () => {
    expectRule({ identical: [1] }, "identical", /"model-1" is the base/, {
      leaveOut: [1],
      method: "dare_linear",
      weights: [1, 0, 1],
    });
    expectRule({ models: 1, identical: [0] }, "identical", /changes nothing/, { method: "none", leaveOut: [0] });
    expectSilence({}, "identical");
  });

  test("non-finite: a merge will stop", () => {
    expectRule({ nonFinite: 3 }, "non-finite", /"model-0" has 3 NaN or infinite/);
    expectRule({ baseNonFinite: 2 }, "non-finite", /base has 2 NaN/);
    expectSilence({}, "non-finite");
  });

  test("duplicate: of two that are nearly one, one is left out", () => {
    expectRule({ cosine: [0.99, 0.02, 0.02] }, "duplicate", /cosine of 0\.99/, { leaveOut: [1] });
    expect(expectSilence({ cosine: [0.98, 0.02, 0.02] }, "duplicate").leaveOut).toEqual([]);
  });

  test("delta-class: small, caution from 0.001, large from 0.01", () => {
    expect([0, 9.9e-4, 1e-3, 9.9e-3, 1e-2].map(classOf)).toEqual(["none", "small", "caution", "caution", "large"]);
    expectRule({ mean: 4e-4 }, "delta-class", /DARE may drop most/, {
      classes: ["small", "small", "small"],
      method: "dare_ties",
      dropRate: 0.9,
    });
    expectRule({ mean: [4e-4, 2e-3, 4e-4] }, "delta-class", /low drop rates only/, {
      method: "dare_ties",
      dropRate: 0.3,
      sweep: [0.1, 0.3, 0.5],
    });
    const large = expectRule({ mean: 0.016 }, "delta-class", /DARE fails/, {
      method: "ties",
      dropRate: null,
      filters: [],
    });
    expect(said(large, "delta-class").every((r) => r.level === "warning")).toBe(true);
    expectRule({ mean: 0.016, models: 2 }, "delta-class", /DARE fails/, { method: "linear", dropRate: null });
  });

  test("scale: where weights are larger than those of large models the classes are put into proportion", () => {
    const advice = expectRule({ mean: 4e-3, base: 0.08 }, "scale", /5 % of it/, { dropRate: 0.3 });
    expect(advice.sweep).toContain(0.9);
    expectSilence({ mean: 4e-3, base: 0.02 }, "scale");
    expectSilence({ mean: 4e-4, base: 0.08 }, "scale");
  });

  test("imbalance: above ten times", () => {
    expectRule({ imbalance: 10.5 }, "imbalance", /"model-0" is 10\.5 times the smallest/);
    expectSilence({ imbalance: 10 }, "imbalance");
  });

  test("method: by number, likeness and what is stored", () => {
    const method = (c: Case, found: RegExp, expected: string) => expectRule(c, "method", found, { method: expected });
    method({ models: 1 }, /One model/, "task_arithmetic");
    method({ models: 2 }, /two models that learned different/, "dare_linear");
    method({ models: 2, cosine: 0.6 }, /learned much the same/, "linear");
    method({ models: 2, cosine: -0.3 }, /opposed models/, "dare_ties");
    method({ models: 2, excess: 0.06 }, /disagree 0\.06 more often/, "dare_ties");
    method({ models: 2, excess: 0.05 }, /two models that learned different/, "dare_linear");
    method({ models: 3 }, /among 3 models/, "dare_ties");
    method({ models: 6 }, /among 6 models/, "dare_ties");
    method({ models: 3, cosine: 0.6 }, /learned much the same/, "linear");
    method({ models: 3, cosine: [0.6, 0.6, 0.1] }, /among 3 models/, "dare_ties");
    method({ models: 3, adapters: true }, /adapters/, "dare_linear");
    const opposed = method({ models: 2, cosine: -0.6 }, /undo each other/, "dare_ties");
    expect(said(opposed, "method")[0]!.level).toBe("warning");
  });

  test("drop-rate: by size, and lower for adapters", () => {
    const rate = (c: Case, found: RegExp, p: number) => expectRule(c, "drop-rate", found, { dropRate: p });
    rate({}, /0\.9 to begin with/, 0.9);
    rate({ parameters: 999e6 }, /less than 1 B/, 0.8);
    rate({ parameters: 70e9 }, /larger models bear more/, 0.9);
    rate({ adapters: true }, /0\.7 to 0\.85/, 0.8);
    rate({ mean: 2e-3, adapters: true }, /because of the size of the deltas/, 0.3);
    expectSilence({ models: 2, cosine: 0.9 }, "drop-rate");
  });

  test("sparse: above 70 % near zero the drop rate is lowered", () => {
    expectRule({ nearZero: 0.71 }, "sparse", /71 % of the deltas/, { dropRate: 0.7, sweep: [0.5, 0.6, 0.7, 0.8] });
    expectRule({ nearZero: 0.9, mean: 2e-3 }, "sparse", /sparse already/, { dropRate: 0.3 });
    expectSilence({ nearZero: 0.7 }, "sparse");
  });

  test("weights: an average, or the scale that the authors searched", () => {
    expectRule({ models: 2, cosine: 0.9 }, "weights", /average/, { weights: [0.5, 0.5], lambda: 1 });
    expectRule({ models: 3 }, "weights", /λ = 0\.7/, { weights: [1, 1, 1], lambda: 0.7 });
    expectRule({ models: 5 }, "weights", /λ = 0\.5/, { lambda: 0.5 });
    expectRule({ mean: 0.02 }, "weights", /number of those that agree/, { lambda: 1 });
  });

  test("embeddings: a lower drop rate, where there are any and they are not kept whole", () => {
    const { filters } = expectRule({}, "embeddings", /p = 0\.7 for embeddings and head/);
    expect(filters).toContainEqual({ filter: "embed_tokens", dropRate: 0.7 });
    expect(filters).toContainEqual({ filter: "lm_head", dropRate: 0.7 });
    const bare = names.filter((n) => !/embed|head/.test(n));
    expectSilence({ tensors: bare }, "embeddings");
  });

  test("undropped: norms, biases, routers, and kinds whose deltas are large", () => {
    const tensors = [...names, "model.layers.0.self_attn.q_proj.bias", "model.layers.0.mlp.gate.weight"];
    const { filters } = expectRule({ tensors }, "undropped", /norms, biases and routers/);
    const kept = filters.filter((f) => f.dropRate === 0).map((f) => f.filter);
    // `gate` alone would be part of `gate_proj`.
    expect(kept).toEqual([".bias", ".gate.weight", "norm"]);
    const large = expectRule({ kindMeans: { head: 0.014 } }, "undropped", /and head, whose mean/);
    expect(large.filters).toContainEqual({ filter: "lm_head", dropRate: 0 });
    expectSilence({ tensors: names.filter((n) => !/norm/.test(n)) }, "undropped");
  });

  test("all of them were seen, and docs/analyze.md has them in this order", () => {
    expect([...seen].sort()).toEqual([...rules].sort());
    const page = readFileSync(join(projectRoot, "docs/analyze.md"), "utf8");
    const table = page.slice(page.indexOf("## Advice"));
    expect([...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, rule]) => rule!)).toEqual([...rules]);
  });
});

describe("kinds of tensors", () => {
  test("by the names that the architectures have", () => {
    const expected: Record<string, TensorKind> = {
      "model.layers.3.self_attn.q_proj.weight": "attention q",
      "model.layers.3.self_attn.k_proj.weight": "attention k",
      "model.layers.3.self_attn.v_proj.weight": "attention v",
      "model.layers.3.self_attn.o_proj.weight": "attention o",
      "model.layers.3.self_attn.q_proj.bias": "bias",
      "model.layers.3.self_attn.q_norm.weight": "norm",
      "model.layers.3.mlp.gate_proj.weight": "mlp gate",
      "model.layers.3.mlp.up_proj.weight": "mlp up",
      "model.layers.3.mlp.down_proj.weight": "mlp down",
      "model.layers.3.input_layernorm.weight": "norm",
      "model.layers.3.mlp.gate.weight": "router",
      "model.layers.3.block_sparse_moe.gate.weight": "router",
      "model.layers.3.block_sparse_moe.experts.1.w1.weight": "mlp gate",
      "model.layers.3.mlp.experts.7.down_proj.weight": "mlp down",
      "transformer.h.0.attn.c_attn.weight": "attention",
      "transformer.h.0.attn.c_proj.weight": "attention o",
      "transformer.h.0.mlp.c_fc.weight": "mlp up",
      "transformer.h.0.mlp.c_proj.weight": "mlp down",
      "transformer.h.0.ln_1.weight": "norm",
      "transformer.wte.weight": "embedding",
      "gpt_neox.layers.0.attention.query_key_value.weight": "attention",
      "model.layers.0.self_attn.qkv_proj.weight": "attention",
      "gpt_neox.layers.0.attention.dense.weight": "attention o",
      "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": "mlp up",
      "bert.encoder.layer.0.attention.self.query.weight": "attention q",
      "bert.encoder.layer.0.intermediate.dense.weight": "mlp up",
      "bert.encoder.layer.0.output.dense.weight": "mlp down",
      "bert.encoder.layer.0.output.LayerNorm.weight": "norm",
      "encoder.block.0.layer.0.SelfAttention.q.weight": "attention q",
      "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": "mlp gate",
      "model.norm.weight": "norm",
      "lm_head.weight": "head",
      "model.embed_tokens.weight": "embedding",
      "model.vision_tower.patch_embed.proj.weight": "other",
    };
    const got = Object.keys(expected).map((name) => [name, kindOf(name)]);
    expect(Object.fromEntries(got)).toEqual(expected);
  });
});

describe("recipes", () => {
  test("names that are no plain words are quoted, and none ends a comment", () => {
    const found = findings({ models: 2 });
    const odd = ["a: b # c", "x\nmerge_method: linear"];
    const analysis = { base: "ba\\se", models: odd, advice: advise({ ...found, models: odd }) } as unknown as Analysis;
    const [recipe] = parseRecipe(recipeOf(analysis), "recipe.yml", catalogue(false));
    expect(recipe!.models.map((m) => m.display)).toEqual([...odd, "ba\\se"]);
    expect(recipe!.method).toBe("dare_linear");
  });

  test("nothing to merge is no recipe", () => {
    const found = findings({ models: 1, identical: [0] });
    expect(() => recipeOf({ base: "b", models: found.models, advice: advise(found) } as unknown as Analysis)).toThrow(
      "nothing to merge",
    );
  });
});
