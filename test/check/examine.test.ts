// What `examine` finds before a merge: on small checkpoints with one thing wrong each.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { compareConfigs } from "../../src/check/config.ts";
import { type Examination, examine, farFromBase } from "../../src/check/examine.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { safetensorsBytes, writeModel } from "../support/models.ts";
import { writeStandIn, writeStandInAdapter } from "../support/stand-ins.ts";

const linear = (...models: string[]) =>
  JSON.stringify({ merge_method: "linear", models: models.map((model) => ({ model, parameters: { weight: 1 } })) });
const onBase = (base: string, ...models: string[]) =>
  JSON.stringify({
    merge_method: "task_arithmetic",
    base_model: base,
    models: models.map((model) => ({ model, parameters: { weight: 1 } })),
  });

const look = (cwd: string, recipe: string, deep = false): Promise<Examination> =>
  examine(requestFor(recipe), testHost({ cwd }), { deep });
const texts = (list: Examination["warnings"]) => list.map((d) => d.message);

describe("one look tells everything", () => {
  test("two models that are missing and one of another shape", () =>
    withTempFolder(async (cwd) => {
      writeModel(join(cwd, "a"), { w: { data: [1, 2] } });
      writeModel(join(cwd, "b"), { w: { data: [1, 2, 3] } });
      const both = await look(cwd, linear("a", "none", "b", "nowhere"));
      expect(texts(both.errors).map((m) => m.split("\n")[0])).toEqual([
        'Cannot find the model "none"',
        'Cannot find the model "nowhere"',
      ]);
      expect(both.recipes[0]!.models.map((m) => m.reference)).toEqual(["a", "b"]);
      expect(both.recipes[0]!.shares).toEqual([{ a: 0, b: 1, tensors: 1, equalShape: 0, equalShapeAndDtype: 0 }]);
      expect((await look(cwd, linear("a", "b"))).errors.map((d) => d.kind)).toEqual(["shape-mismatch"]);
    }));

  test("tensors that do not fit, and a tokenizer and a template that cannot be", () =>
    withTempFolder(async (cwd) => {
      writeModel(join(cwd, "a"), { w: { data: [1, 2] } });
      writeModel(join(cwd, "b"), { w: { data: [1, 2, 3] } });
      const recipe = { ...JSON.parse(linear("a", "b")), tokenizer_source: "none", chat_template: "nonsense" };
      const { errors } = await look(cwd, JSON.stringify(recipe));
      expect(errors.map((d) => d.kind)).toEqual(["shape-mismatch", "model-not-found", "recipe-schema"]);
    }));

  test("a recipe with mistakes has them all, and no models", () =>
    withTempFolder(async (cwd) => {
      const { recipes, errors } = await look(cwd, "merge_method: linear\nmodel: []\ndtipe: bfloat16\n");
      expect(recipes).toEqual([]);
      expect(errors.length).toBeGreaterThanOrEqual(2);
    }));
});

describe("models", () => {
  test("have their vocabulary, tokenizer, licence and adapter told", () =>
    withTempFolder(async (cwd) => {
      writeStandIn(join(cwd, "a"), "a");
      writeStandIn(join(cwd, "b"), "b");
      writeStandInAdapter(join(cwd, "lora"), "lora");
      writeFileSync(join(cwd, "a/README.md"), "---\nlicense: mit\n---\n");
      writeFileSync(join(cwd, "b/README.md"), "---\nlicense: apache-2.0\n---\n");
      const { recipes, warnings, errors } = await look(cwd, onBase("a", "b", "a+lora"));
      expect(errors).toEqual([]);
      const [b, adapted, a] = recipes[0]!.models;
      expect(a).toMatchObject({ tensors: 39, embeddingRows: 16, headRows: 16, vocabSize: 16, license: "mit" });
      expect(a!.tokenizer).toMatchObject({ file: "tokenizer.json", size: 16 });
      expect([a!.adapter, b!.adapter]).toEqual([null, null]);
      expect(adapted!.adapter).toMatchObject({
        changed: 8,
        replaced: 0,
        ranks: [2],
        scales: [2],
        modules: { q_proj: 4, down_proj: 4 },
      });
      // 4 · (16·16 + 16·24) of 2 · 16·16 + 16 + 4 · (3 · 16·24 + 2 · 16·16 + 2 · 8·16 + 2 · 16).
      expect(adapted!.adapter!.share).toBeCloseTo(2560 / 8336, 12);
      expect(texts(warnings)).toEqual([
        'The models have different licences: apache-2.0 ("b"), mit ("a+lora"), mit ("a")',
      ]);
    }));

  test("whose tokenizers differ, or have more ids than rows, are warned of", () =>
    withTempFolder(async (cwd) => {
      writeStandIn(join(cwd, "a"), "a");
      writeStandIn(join(cwd, "b"), "b");
      const vocab = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`t${i}`, i]));
      writeFileSync(join(cwd, "b/tokenizer.json"), JSON.stringify({ model: { vocab } }));
      expect(texts((await look(cwd, linear("a", "b"))).warnings)).toEqual([
        'The tokenizer of "b" has ids up to 19, its embeddings only 16 rows',
        'The tokenizers of "a" and "b" differ (tokenizer.json)',
      ]);
    }));

  test("of different dtypes are warned of where the recipe names none", () =>
    withTempFolder(async (cwd) => {
      writeModel(join(cwd, "a"), { w: { data: [1] }, n: { data: [7], dtype: "I64" } });
      writeModel(join(cwd, "b"), { w: { data: [1], dtype: "BF16" }, n: { data: [7], dtype: "I64" } });
      const { warnings, recipes } = await look(cwd, linear("a", "b"));
      expect(texts(warnings)).toEqual([
        'The models are stored in different dtypes, and the recipe gives none: F32 in "a", BF16 in "b"',
      ]);
      expect(recipes[0]!.models.map((m) => m.dtypes)).toEqual([
        { I64: 1, F32: 1 },
        { I64: 1, BF16: 1 },
      ]);
      const told = JSON.stringify({ ...JSON.parse(linear("a", "b")), dtype: "float32" });
      expect((await look(cwd, told)).warnings).toEqual([]);
    }));

  test("an earlier recipe's output counts as a model that cannot be read yet", () =>
    withTempFolder(async (cwd) => {
      for (const name of ["a", "b"]) writeStandIn(join(cwd, name), name);
      const file = `${JSON.stringify({ ...JSON.parse(linear("a", "b")), name: "soup" })}\n---\n${onBase("a", "soup", "b")}`;
      const { recipes, errors, warnings } = await look(cwd, file, true);
      expect([errors, warnings]).toEqual([[], []]);
      expect(recipes.map((r) => r.models.map((m) => m.reference))).toEqual([
        ["a", "b"],
        ["soup", "b", "a"],
      ]);
      expect(recipes[1]!.distances!.map((d) => d.model)).toEqual([1]);
      expect(recipes.map((r) => r.plan?.method)).toEqual(["linear", "task_arithmetic"]);
    }));
});

describe("configs", () => {
  const keysThatDiffer = (a: object, b: object, sliced = false) =>
    compareConfigs([a as Record<string, unknown>, b as Record<string, unknown>], sliced)
      .filter((k) => k.differs)
      .map((k) => k.key);

  test("old and new spellings of RoPE say the same", () => {
    const old = { rope_theta: 10000, rope_scaling: null, num_attention_heads: 4, hidden_size: 32 };
    const parameters = { rope_theta: 10000, rope_type: "default" };
    expect(keysThatDiffer(old, { rope_parameters: parameters, head_dim: 8, num_key_value_heads: 4 })).toEqual([]);
    expect(keysThatDiffer(old, { rope_parameters: { ...parameters, rope_theta: 5e5 } })).toEqual(["rope theta"]);
    const scaled = { rope_scaling: { type: "linear", factor: 2 } };
    expect(keysThatDiffer(scaled, { rope_parameters: { factor: 2, rope_type: "linear" } })).toEqual([]);
    expect(keysThatDiffer(scaled, { rope_scaling: { factor: 4, rope_type: "linear" } })).toEqual(["rope scaling"]);
  });

  test("what one of them does not say is no difference; a window that is off is none", () => {
    expect(keysThatDiffer({ sliding_window: 4096, use_sliding_window: false }, { hidden_act: "silu" })).toEqual([]);
    expect(keysThatDiffer({ sliding_window: 4096 }, { sliding_window: 1024 })).toEqual(["sliding_window"]);
  });

  test("depths may differ in slices only, and multimodal configs are looked into", () => {
    expect(keysThatDiffer({ num_hidden_layers: 4 }, { n_layer: 5 })).toEqual(["num_hidden_layers"]);
    expect(keysThatDiffer({ num_hidden_layers: 4 }, { n_layer: 5 }, true)).toEqual([]);
    expect(keysThatDiffer({ text_config: { rms_norm_eps: 1e-5 } }, { rms_norm_eps: 1e-6 })).toEqual(["norm epsilon"]);
  });

  test("differences are warnings that name the config which counts, but for harmless ones", () =>
    withTempFolder(async (cwd) => {
      const config = { model_type: "llama", rope_theta: 10000, eos_token_id: 2 };
      writeModel(join(cwd, "a"), { w: { data: [1] } }, config);
      writeModel(join(cwd, "b"), { w: { data: [1] } }, { ...config, rope_theta: 500000, eos_token_id: 3 });
      const { warnings } = await look(cwd, onBase("a", "b"));
      expect(warnings.map((d) => [d.message, d.hint])).toEqual([
        ['The configs differ in rope theta: 10000 in "a", 500000 in "b"', 'The output takes the config of "a".'],
      ]);
    }));
});

describe("samples", () => {
  /** A matrix of 64 × 64 around a level: 4,096 elements, so that pieces are read and not the whole. */
  const matrix = (level: (i: number) => number) => ({
    data: Array.from({ length: 4096 }, (_, i) => level(i)),
    shape: [64, 64],
  });

  test("tell how far a model is from its base, and which tensors are the same", () =>
    withTempFolder(async (cwd) => {
      const sign = (i: number) => (i % 2 === 0 ? 1 : -1);
      const same = { data: [1, 2, 3] };
      writeModel(join(cwd, "base"), { u: matrix(sign), w: matrix(sign), n: same });
      writeModel(join(cwd, "near"), { u: matrix(sign), w: matrix((i) => sign(i) * 1.25), n: same });
      writeModel(join(cwd, "far"), { u: matrix((i) => -sign(i)), w: matrix(sign), n: { data: [9, 9, 9] } });
      const { recipes, warnings } = await look(cwd, onBase("base", "near", "far"), true);
      expect(recipes[0]!.distances).toEqual([
        {
          model: 0,
          sampled: 3,
          identical: 2,
          meanDelta: 0.125,
          relative: 0.125,
          farthest: { tensor: "w", relative: 0.25 },
          bytesRead: 2 * (2 * 2048 + 3) * 4,
        },
        {
          model: 1,
          sampled: 3,
          identical: 1,
          meanDelta: 1,
          relative: 1,
          farthest: { tensor: "u", relative: 2 },
          bytesRead: 2 * (2 * 2048 + 3) * 4,
        },
      ]);
      expect(farFromBase).toBe(0.5);
      expect(texts(warnings)).toEqual(['"far" is far from "base": mean |δ| is 1.0 of mean |base|, and 2.0 in "u"']);
      expect(warnings[0]!.hint).toMatch(/is "base" the model that it was trained from\?$/);
      expect((await look(cwd, onBase("base", "near", "far"))).recipes[0]!.distances).toBeNull();
    }));

  test("are the same elements in every dtype, and leave out what adapters change", () =>
    withTempFolder(async (cwd) => {
      writeStandIn(join(cwd, "wide"), "a", "F32");
      writeStandIn(join(cwd, "narrow"), "a", "BF16");
      writeStandInAdapter(join(cwd, "lora"), "lora");
      const [narrow, adapted] = (await look(cwd, onBase("wide", "narrow", "wide+lora"), true)).recipes[0]!.distances!;
      expect(narrow).toMatchObject({ sampled: 39, identical: 0 });
      // bf16, cut off: at most 2⁻⁷ of each weight, and half of that where it is spread evenly.
      expect(narrow!.relative!).toBeGreaterThan(2 ** -10);
      expect(narrow!.relative!).toBeLessThan(2 ** -7);
      expect(adapted).toMatchObject({ sampled: 31, identical: 31, relative: 0 });
    }));

  test("non-finite elements and single files are no hindrance", () =>
    withTempFolder(async (cwd) => {
      writeFileSync(
        join(cwd, "a.safetensors"),
        safetensorsBytes({ x: { data: [1, Number.NaN, 4, 1], shape: [2, 2] } }),
      );
      writeFileSync(join(cwd, "b.safetensors"), safetensorsBytes({ x: { data: [1, 2, 5, 1], shape: [2, 2] } }));
      const { recipes, errors } = await look(cwd, onBase("a.safetensors", "b.safetensors"), true);
      expect(errors).toEqual([]);
      expect(recipes[0]!.config).toEqual([]);
      expect(recipes[0]!.distances![0]).toMatchObject({ meanDelta: 1 / 3, relative: 1 / 6 });
    }));
});
