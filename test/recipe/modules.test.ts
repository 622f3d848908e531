// Recipes of several modules: which tensors belong to which, what is refused, and a merge of a small model with a vision tower.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { type NewTestTensor, writeModel } from "../support/models.ts";
import { readSafetensors } from "../support/tensors.ts";
import { assign, llama, problems, recipe, told } from "./helpers.ts";

/** The module of every tensor, by the weight that its parameters give: 1 for the first module, 2 for the second … */
function owners(modules: readonly string[], tensors: readonly string[]): Record<string, string> {
  const text = `merge_method: linear\nmodules:\n${modules
    .map((m, i) => `  ${m}: {models: [{model: a}], parameters: {weight: ${i + 1}}}\n`)
    .join("")}`;
  const found = assign(text, new Set(tensors));
  return Object.fromEntries(found.map((t) => [t.name, modules[(t.inputs[0]!.parameters.weight as number) - 1]!]));
}

describe("a module takes the tensors that mergekit's tables give it", () => {
  // Names of tensors as mergekit 0.1.5's architectures spell them.
  const rows: [architecture: string, modules: Record<string, readonly string[]>][] = [
    [
      "Gemma 3",
      {
        text_decoder: [
          "language_model.model.embed_tokens.weight",
          "language_model.model.layers.3.mlp.up_proj.weight",
          "language_model.lm_head.weight",
        ],
        multi_modal_projector: [
          "multi_modal_projector.mm_input_projection_weight",
          "multi_modal_projector.mm_soft_emb_norm.weight",
        ],
        vision_tower: [
          "vision_tower.vision_model.embeddings.patch_embedding.bias",
          "vision_tower.vision_model.encoder.layers.0.layer_norm1.bias",
        ],
      },
    ],
    [
      "Llama 4",
      {
        text_decoder: ["language_model.model.norm.weight", "language_model.model.layers.0.self_attn.q_proj.weight"],
        multi_modal_projector: ["multi_modal_projector.linear_1.weight"],
        vision_model: [
          "vision_model.class_embedding",
          "vision_model.model.layers.0.input_layernorm.weight",
          "vision_model.vision_adapter.mlp.fc1.weight",
        ],
      },
    ],
    [
      "Qwen2-VL",
      {
        text_decoder: ["model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight", "lm_head.weight"],
        multi_modal_projector: ["visual.merger.ln_q.weight", "visual.merger.mlp.0.weight"],
        vision_tower: ["visual.patch_embed.proj.weight", "visual.blocks.0.attn.proj.bias"],
      },
    ],
    [
      "Qwen3-VL",
      {
        vision_tower: ["model.visual.blocks.0.norm1.weight", "model.visual.pos_embed.weight"],
        text_decoder: ["model.language_model.layers.0.mlp.experts.down_proj", "lm_head.weight"],
        multi_modal_projector: [
          "model.visual.merger.linear_fc1.weight",
          "model.visual.deepstack_merger_list.0.norm.weight",
        ],
      },
    ],
    [
      "T5",
      {
        decoder: ["decoder.block.0.layer.0.SelfAttention.q.weight", "decoder.final_layer_norm.weight"],
        encoder: ["encoder.block.0.layer.0.SelfAttention.q.weight"],
        shared: ["shared.weight", "lm_head.weight"],
      },
    ],
    [
      "Whisper",
      {
        decoder: ["model.decoder.layers.0.fc1.weight", "model.decoder.embed_tokens.weight"],
        encoder: ["model.encoder.conv1.bias"],
      },
    ],
    // Where it has no table, it names modules after what comes before the number of a layer.
    [
      "none that is known",
      {
        "tower.blocks": ["tower.blocks.0.w", "tower.blocks.1.w"],
        default: ["tower.norm.weight", "head.weight", "model.layers.0.w"],
      },
    ],
    [
      "prefixes in prefixes",
      { model: ["model.norm.weight"], "model.layers": ["model.layers.0.w"], default: ["models.w"] },
    ],
  ];
  for (const [architecture, modules] of rows) {
    test(architecture, () => {
      const wanted = Object.entries(modules).flatMap(([m, tensors]) => tensors.map((t) => [t, m] as const));
      expect(
        owners(
          Object.keys(modules),
          wanted.map(([t]) => t),
        ),
      ).toEqual(Object.fromEntries(wanted));
    });
  }
});

describe("modules are refused, with their place", () => {
  const names = new Set([...llama(2), "visual.blocks.0.w", "visual.blocks.1.w", "visual.merger.w"]);
  const head = "merge_method: linear\nmodules:\n";
  const text = "  text_decoder: {models: [{model: a, parameters: {weight: 1}}]}\n";
  const rows: [title: string, recipe: string, wanted: RegExp[]][] = [
    [
      "tensors that none takes",
      head + text,
      [/^3:3 No module of the recipe takes "visual\.blocks\.0\.w" and 2 more \| Add a module for them, or default/],
    ],
    [
      "a module that takes none",
      `${head + text}  default: {models: [{model: a, parameters: {weight: 1}}]}\n  visoin: {models: [{model: a, parameters: {weight: 1}}]}\n`,
      [
        /^5:3 modules\.visoin takes no tensor.*\| A module is the start of tensor names \("model\.layers", "visual\.blocks"\), one of multi_modal_projector, vision_tower,/,
      ],
    ],
    [
      "layers of a tower in another order",
      `${head + text}  vision_tower:\n    slices:\n      - sources: [{model: a, layer_range: [1, 2], parameters: {weight: 1}}]\n      - sources: [{model: a, layer_range: [0, 1], parameters: {weight: 1}}]\n  default: {models: [{model: a, parameters: {weight: 1}}]}\n`,
      [
        /^6:9 Cannot stack the layers of modules\.vision_tower in another order.*\| Its slices must be all of its 2 layers/,
      ],
    ],
    [
      "layers that a tower does not have",
      `${head + text}  vision_tower:\n    slices:\n      - sources: [{model: a, layer_range: [0, 3], parameters: {weight: 1}}]\n  default: {models: [{model: a, parameters: {weight: 1}}]}\n`,
      [/^6:\d+ layer_range \[0, 3\] goes beyond "a", which has 2 layers/],
    ],
  ];
  for (const [title, recipeText, wanted] of rows) {
    test(title, () => {
      const found = told(problems(() => assign(recipeText, names)));
      expect(found.length).toBe(wanted.length);
      for (const [i, words] of wanted.entries()) expect(found[i]).toMatch(words);
    });
  }

  test("slices of a recipe without modules name them as the way out", () => {
    const found = told(
      problems(() =>
        assign(
          "merge_method: linear\nslices:\n  - sources: [{model: a, layer_range: [0, 1], parameters: {weight: 1}}]\n",
          names,
        ),
      ),
    );
    expect(found[0]).toMatch(
      /2 stacks of layers.*\| Use models: to merge them whole, or modules: with one for each stack/,
    );
  });

  test("rules about models name the module", () => {
    const found = told(
      problems(() =>
        recipe(
          `merge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\nmodules:\n  x: {models: [{model: a}, {model: b}]}\n  y: {models: [{model: a}, {model: b}, {model: c}]}\n`,
        ),
      ),
    );
    expect(found).toEqual([expect.stringMatching(/slerp needs exactly 2 models.*in modules\.y\.models, found 3/)]);
  });
});

test("each module is merged by itself: other models, other parameters, text layers stacked anew", () =>
  withTempFolder(async (temp) => {
    const model = (name: string, value: number) => {
      const tensors: Record<string, NewTestTensor> = {
        "model.embed_tokens.weight": { data: [value, value] },
        "lm_head.weight": { data: [value] },
        "visual.merger.mlp.0.weight": { data: [value] },
        "visual.patch_embed.proj.weight": { data: [value] },
      };
      for (let i = 0; i < 3; i++) {
        tensors[`model.layers.${i}.mlp.weight`] = { data: [value + i / 4] };
        if (i < 2) tensors[`visual.blocks.${i}.attn.weight`] = { data: [value + i / 4] };
      }
      writeModel(join(temp, name), tensors, {
        model_type: "x_vl",
        text_config: { num_hidden_layers: 3 },
        vision_config: { depth: 2 },
      });
    };
    model("a", 1);
    model("b", 3);
    const text = `merge_method: linear
modules:
  text_decoder:
    slices:
      - sources: [{model: a, layer_range: [0, 2]}]
      - sources: [{model: b, layer_range: [1, 3]}]
    parameters: {weight: 1}
  vision_tower:
    models:
      - {model: a, parameters: {weight: [1, 0.5]}}
      - {model: b, parameters: {weight: [3, 0.5]}}
  multi_modal_projector:
    models: [{model: b, parameters: {weight: 1}}]
dtype: float32
`;
    const summary = await merge(requestFor(text), "out", { overwrite: false }, testHost({ cwd: temp }));
    expect(summary.tensors).toBe(10);
    const out = Object.fromEntries(
      [...readSafetensors(join(temp, "out/model.safetensors"))].map(([n, t]) => [n, t.values[0]!]),
    );
    expect(out).toEqual({
      "model.embed_tokens.weight": 1,
      "model.layers.0.mlp.weight": 1,
      "model.layers.1.mlp.weight": 1.25,
      "model.layers.2.mlp.weight": 3.25,
      "model.layers.3.mlp.weight": 3.5,
      "lm_head.weight": 3,
      // Embeddings of the tower and its first layer at t = 0, its last at t = 1.
      "visual.patch_embed.proj.weight": 2.5,
      "visual.blocks.0.attn.weight": 2.5,
      "visual.blocks.1.attn.weight": 2.25,
      "visual.merger.mlp.0.weight": 3,
    });
    const config = JSON.parse(readFileSync(join(temp, "out/config.json"), "utf8"));
    expect([config.text_config.num_hidden_layers, config.vision_config.depth]).toEqual([4, 2]);
  }));
