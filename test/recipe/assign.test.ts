// Parameters of tensors: gradients, filters, levels, types and ranges; layers, slices and the order of outputs.

import { describe, expect, test } from "bun:test";
import type { Diagnostic } from "../../src/errors.ts";
import { assignTensors, outLayers } from "../../src/recipe/assign.ts";
import type { ParameterSpec } from "../../src/recipe/catalogue.ts";
import { isBeforeLayers, layerCount, layerCounts, layerOf, withLayer } from "../../src/recipe/layers.ts";
import { atPoint, coerce, rangeText } from "../../src/recipe/select.ts";
import type { Plain } from "../../src/recipe/settings.ts";
import { catalogue } from "./catalogue.ts";
import { assign, close, llama, problems, recipe, told } from "./helpers.ts";

const at = { file: "f", line: 1, column: 1 };

describe("gradients", () => {
  const rows: [values: Plain[], t: number, value: Plain][] = [
    [[0, 1], 0, 0],
    [[0, 1], 1, 1],
    [[0, 1], 0.25, 0.25],
    [[0, 0.6, 0.2], 0.75, 0.4],
    [[0, 0.6, 0.2, 0.8, 1], 1 / 3, 0.6 - 0.4 / 3],
    [[5], 0.7, 5],
    [["1e-1", 0.3], 0.5, 0.2],
    [[true, false], 0.99, true],
    [[true, false], 1, false],
    [[true, false, true], 0.5, false],
    [["sum", "mean"], 0.5, "sum"],
    [[1, "x"], 0.5, 1],
    [[0, Number.POSITIVE_INFINITY], 0, 0],
  ];
  for (const [values, t, value] of rows) {
    test(`${JSON.stringify(values)} at ${t.toFixed(3)} is ${value}`, () => {
      expect(close(atPoint({ filter: null, values, gradient: true, at }, t), value)).toBe(true);
    });
  }
});

describe("types and ranges", () => {
  const number: ParameterSpec = {
    name: "density",
    kind: "number",
    per: "model",
    describe: "",
    min: 0,
    exclusiveMin: true,
    max: 1,
  };
  const drop = { name: "drop_rate", as: "complement" } as const;
  const value = (spec: ParameterSpec, given: Plain, alias: typeof drop | null = null): unknown => {
    const result = coerce(spec, given, alias);
    return result.ok ? result.value : result.problem;
  };

  test("numbers come from numbers and from text, and must be finite and in range", () => {
    expect(value(number, 0.5)).toBe(0.5);
    expect(value(number, " 5e-1")).toBe(0.5);
    expect(value(number, 0)).toBe("must be in (0, 1], found 0");
    expect(value(number, 1.5)).toBe("must be in (0, 1], found 1.5");
    expect(value(number, Number.NaN)).toBe("must be a finite number, found NaN");
    expect(value(number, "inf")).toBe('must be a finite number, found "inf"');
    expect(value(number, "heavy")).toBe('must be a number, found "heavy"');
    expect(value(number, true)).toBe("must be a number, found true");
    expect(value({ ...number, integer: true }, 0.5)).toBe("must be a whole number, found 0.5");
    expect(rangeText({ ...number, min: -1, exclusiveMin: false, exclusiveMax: true })).toBe("[-1, 1)");
  });

  test("drop_rate is 1 − density, in [0, 1)", () => {
    expect(value(number, 0.75, drop)).toBe(0.25);
    expect(value(number, 0, drop)).toBe(1);
    expect(value(number, 1, drop)).toBe("must be in [0, 1), found 1");
    expect(value(number, -0.1, drop)).toBe("must be in [0, 1), found -0.1");
  });

  test("truth comes from true, 0, 1 and the words for it; choices may have both", () => {
    const truth: ParameterSpec = { name: "normalize", kind: "boolean", per: "tensor", describe: "" };
    for (const yes of [true, 1, "yes", "On", "TRUE", "1"]) expect(value(truth, yes)).toBe(true);
    for (const no of [false, 0, "no", "off"]) expect(value(truth, no)).toBe(false);
    expect(value(truth, 0.5)).toBe("must be true or false, found 0.5");
    const rescale: ParameterSpec = { ...truth, kind: "choice", choices: [true, false, "l1", "none"] };
    expect([value(rescale, 1), value(rescale, "l1"), value(rescale, "false")]).toEqual([true, "l1", false]);
    expect(value(rescale, "l3")).toBe('must be one of true, false, l1, none, found "l3"');
    expect(value({ ...truth, kind: "string" }, 3)).toBe("must be text, found 3");
  });
});

describe("values where they are used", () => {
  const dare = (parameters: string, more = ""): string =>
    `merge_method: dare_linear\nbase_model: z\nmodels:\n  - model: a\n    parameters: ${parameters}\n${more}`;

  test("drop rate 1 and density 0 are refused at their place, with tensor and model, once", () => {
    expect(told(problems(() => assign(dare("{drop_rate: 1}"))))).toEqual([
      '5:29 drop_rate must be in [0, 1), found 1 for "a" at "model.embed_tokens.weight" and 38 more tensors',
    ]);
    expect(told(problems(() => assign(dare("{density: 0}")))).join()).toMatch(
      /^5:27 density must be in \(0, 1\], found 0/,
    );
    expect(problems(() => assign(dare("{density: .nan}")))[0]!.kind).toBe("recipe-parameter");
    expect(told(problems(() => assign(dare("{density: .nan}")))).join()).toMatch(/density must be a finite number/);
    expect(told(problems(() => assign(dare("{density: -.inf}")))).join()).toMatch(/density must be a finite number/);
  });

  test("a bad value that no tensor gets is no error", () => {
    expect(assign(dare("{density: [{filter: nowhere, value: 0}, {value: 0.5}]}")).length).toBe(39);
    expect(told(problems(() => assign(dare("{density: [{filter: o_proj, value: 0}, {value: 0.5}]}")))).join()).toMatch(
      /"model\.layers\.0\.self_attn\.o_proj\.weight" and 3 more tensors/,
    );
  });

  test("a gradient that leaves the range is refused where it does", () => {
    expect(told(problems(() => assign(dare("{density: [1, 0]}")))).join()).toMatch(
      /found 0 for "a" at "model\.layers\.3\..*and 8 more/,
    );
  });

  test("drop_rate on a model counts before density at the top", () => {
    const [first] = assign(dare("{drop_rate: 0.75}", "parameters: {density: 0.9}\n"));
    expect(first!.inputs[0]!.parameters.density).toBe(0.25);
  });

  test("weights of DARE are given to all models or to none", () => {
    const both = (weight: string): string =>
      `merge_method: dare_linear\nbase_model: z\nparameters: {density: 0.5}\nmodels:\n  - model: a${weight}\n  - model: b\n`;
    expect(assign(both(""))[0]!.inputs.map((i) => i.parameters)).toEqual([{ density: 0.5 }, { density: 0.5 }, {}]);
    expect(told(problems(() => assign(both("\n    parameters: {weight: 1}"))))).toEqual([
      '7:5 dare_linear needs weight, which is not given for "b" at "model.embed_tokens.weight" and 38 more tensors',
    ]);
    expect(
      told(problems(() => assign("merge_method: dare_linear\nbase_model: z\nmodels: [{model: a}]\n"))).join(),
    ).toMatch(/needs density or drop_rate/);
  });

  test("filters of a model match its own tensor, shared ones the output's", () => {
    const text =
      "merge_method: linear\nparameters: {normalize: [{filter: layers.0., value: false}, {value: true}], weight: 1}\nslices:\n  - sources: [{model: a, layer_range: [2, 3], parameters: {weight: [{filter: layers.2., value: 7}]}}]\n";
    const tensor = assign(text).find((a) => a.name === "model.layers.0.mlp.up_proj.weight")!;
    expect([tensor.shared.normalize, tensor.inputs[0]]).toEqual([
      false,
      { model: 0, tensor: "model.layers.2.mlp.up_proj.weight", parameters: { weight: 7 } },
    ]);
  });

  test("module parameters stand between the slice's and the top's", () => {
    const text = (own: string): string =>
      `merge_method: linear\nparameters: {weight: 1, normalize: true}\nmodules:\n  default:\n    parameters: {weight: 2, normalize: false}\n    slices:\n      - sources: [{model: a, layer_range: [0, 4]}]\n${own}`;
    const values = (own: string): unknown[] => {
      const [first] = assign(text(own));
      return [first!.inputs[0]!.parameters.weight, first!.shared.normalize];
    };
    expect(values("")).toEqual([2, false]);
    expect(values("        parameters: {weight: 3}\n")).toEqual([3, false]);
  });

  test("filters that match nothing are told once, those of unused levels are not", () => {
    const warnings: Diagnostic[] = [];
    assign(
      "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: [{filter: mlpp, value: 1}, {filter: mlp, value: 1}, {value: 2}]}}\n",
      llama(2),
      warnings,
    );
    expect(told(warnings)).toEqual(['3:60 The filter "mlpp" of "weight" matches no tensor']);
  });
});

describe("layers", () => {
  const rows: [name: string, prefix: string | null, layer?: number, suffix?: string][] = [
    ["model.layers.12.mlp.up_proj.weight", "model.layers.", 12, ".mlp.up_proj.weight"],
    ["transformer.h.0.attn.c_attn.bias", "transformer.h.", 0, ".attn.c_attn.bias"],
    ["h.3.ln_1.weight", "h.", 3, ".ln_1.weight"],
    ["gpt_neox.layers.5.attention.dense.weight", "gpt_neox.layers.", 5, ".attention.dense.weight"],
    ["transformer.blocks.7.ffn.up_proj.weight", "transformer.blocks.", 7, ".ffn.up_proj.weight"],
    ["encoder.block.2.layer.1.DenseReluDense.wo.weight", "encoder.block.", 2, ".layer.1.DenseReluDense.wo.weight"],
    ["bert.encoder.layer.11.output.dense.weight", "bert.encoder.layer.", 11, ".output.dense.weight"],
    ["visual.transformer.resblocks.4.ln_1.weight", "visual.transformer.resblocks.", 4, ".ln_1.weight"],
    [
      "model.layers.3.block_sparse_moe.experts.6.w1.weight",
      "model.layers.",
      3,
      ".block_sparse_moe.experts.6.w1.weight",
    ],
    ["model.embed_tokens.weight", null],
    ["lm_head.weight", null],
    ["model.layers.x.weight", null],
    ["model.mylayers.3.weight", null],
  ];
  for (const [name, prefix, layer, suffix] of rows) {
    test(`${name} ${prefix === null ? "is in no layer" : `is in layer ${layer}`}`, () => {
      expect(layerOf(name)).toEqual(prefix === null ? null : { prefix, layer: layer!, suffix: suffix! });
      expect(withLayer(name, 99)).toBe(prefix === null ? name : `${prefix}99${suffix}`);
    });
  }

  test("stacks are counted one by one", () => {
    expect([...layerCounts(["encoder.block.0.a", "encoder.block.3.a", "decoder.block.1.a", "shared.weight"])]).toEqual([
      ["encoder.block.", 4],
      ["decoder.block.", 2],
    ]);
    expect([layerCount([]), layerCount(llama(7))]).toEqual([0, 7]);
  });

  test("embeddings come before the layers, everything else outside of them after", () => {
    const before = [
      "model.embed_tokens.weight",
      "transformer.wte.weight",
      "transformer.wpe.weight",
      "gpt_neox.embed_in.weight",
      "transformer.word_embeddings.weight",
      "transformer.word_embeddings_layernorm.bias",
      "bert.embeddings.LayerNorm.weight",
      "shared.weight",
      "model.decoder.embed_positions.weight",
      "model.decoder.project_in.weight",
      "model.tok_embeddings.weight",
    ];
    const after = [
      "lm_head.weight",
      "model.norm.weight",
      "transformer.ln_f.bias",
      "embed_out.weight",
      "gpt_neox.final_layer_norm.weight",
      "output.weight",
      "score.weight",
      "model.decoder.final_layer_norm.bias",
    ];
    for (const name of before) expect(`${name} ${isBeforeLayers(name)}`).toBe(`${name} true`);
    for (const name of after) expect(`${name} ${isBeforeLayers(name)}`).toBe(`${name} false`);
  });
});

describe("outputs", () => {
  test("embeddings first, then layer by layer, then the rest, whatever the order of the checkpoint", () => {
    const text = "merge_method: passthrough\nmodels: [{model: a}]\n";
    const names = [...llama(12)];
    const forward = assign(text, new Set(names)).map((a) => a.name);
    expect(assign(text, new Set(names.reverse())).map((a) => a.name)).toEqual(forward);
    expect([forward[0], forward.at(-2), forward.at(-1)]).toEqual([
      "model.embed_tokens.weight",
      "lm_head.weight",
      "model.norm.weight",
    ]);
    const layers = assign(text, new Set(names))
      .map((a) => a.layer)
      .filter((n) => n !== null);
    expect(layers).toEqual([...layers].sort((a, b) => a - b));
  });

  test("an output is what any model of the slice has; inputs name it also where a model lacks it", () => {
    const r = recipe("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n");
    const names = [
      new Set(["model.norm.weight", "model.layers.0.q.weight"]),
      new Set(["model.norm.weight", "model.layers.0.q.bias"]),
    ];
    const assigned = assignTensors(r, catalogue, (i) => names[i]!);
    expect(assigned.map((a) => [a.name, a.inputs.length, a.t])).toEqual([
      ["model.layers.0.q.bias", 2, 1],
      ["model.layers.0.q.weight", 2, 1],
      ["model.norm.weight", 2, 0],
    ]);
  });

  test("no head is made up for models that tie theirs to the embeddings", () => {
    const names = new Set([...llama(2)].filter((n) => n !== "lm_head.weight"));
    expect(
      assign("merge_method: passthrough\nmodels: [{model: a}]\n", names).some((a) => a.name === "lm_head.weight"),
    ).toBe(false);
  });

  test("slices renumber layers; t starts anew in each, and is 1 in a slice of one layer", () => {
    const text =
      "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [2, 3]}]\n  - sources: [{model: b, layer_range: [0, 3]}]\n";
    const r = recipe(text);
    expect(outLayers(r, () => llama(3))).toBe(4);
    const up = assign(text, llama(3)).filter((a) => a.name.endsWith("up_proj.weight"));
    expect(up.map((a) => [a.layer, a.slice, a.t, a.inputs[0]!.model, a.inputs[0]!.tensor])).toEqual([
      [0, 0, 1, 0, "model.layers.2.mlp.up_proj.weight"],
      [1, 1, 0, 1, "model.layers.0.mlp.up_proj.weight"],
      [2, 1, 0.5, 1, "model.layers.1.mlp.up_proj.weight"],
      [3, 1, 1, 1, "model.layers.2.mlp.up_proj.weight"],
    ]);
  });

  test("two stacks keep their own t, and cannot be cut into slices", () => {
    const names = new Set([
      "encoder.block.0.a",
      "encoder.block.1.a",
      "encoder.block.2.a",
      "decoder.block.0.a",
      "decoder.block.1.a",
    ]);
    expect(assign("merge_method: passthrough\nmodels: [{model: a}]\n", names).map((a) => [a.name, a.t])).toEqual([
      ["decoder.block.0.a", 0],
      ["decoder.block.1.a", 1],
      ["encoder.block.0.a", 0],
      ["encoder.block.1.a", 0.5],
      ["encoder.block.2.a", 1],
    ]);
    const found = problems(() =>
      assign("merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}]\n", names),
    );
    expect([found[0]!.kind, found[0]!.message]).toEqual([
      "recipe-unsupported",
      'Cannot cut layers into slices: the models have 2 stacks of layers, "decoder.block.N", "encoder.block.N"',
    ]);
  });

  test("parameters named like properties of objects are only names", () => {
    const text =
      "merge_method: linear\nparameters: {weight: 1, constructor: 2, __proto__: {value: 3}, toString: 1}\nmodels: [{model: a}]\n";
    expect(assign(text)[0]!.inputs[0]!.parameters).toEqual({ weight: 1 });
  });
});
