// Stand-ins for the models that recipes name: Llamas of 4 layers and 39 tensors whose dimensions are tiny, with a tokenizer, and
// LoRA adapters made for them.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type NewTestTensor, safetensorsBytes, writeModel } from "./models.ts";

const hidden = 16;
const inner = 24;
const keyValue = 8;
const rank = 2;
export const standInLayers = 4;

const tokens = ["<unk>", "<s>", "</s>", "<pad>", "Ġ", "a", "b", "c", "d", "e", "f", "g"];
const special = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|pad|>"];
const vocabulary = tokens.length + special.length;

const perLayer: Readonly<Record<string, readonly number[]>> = {
  input_layernorm: [hidden],
  "mlp.down_proj": [hidden, inner],
  "mlp.gate_proj": [inner, hidden],
  "mlp.up_proj": [inner, hidden],
  post_attention_layernorm: [hidden],
  "self_attn.k_proj": [keyValue, hidden],
  "self_attn.o_proj": [hidden, hidden],
  "self_attn.q_proj": [hidden, hidden],
  "self_attn.v_proj": [keyValue, hidden],
};

function shapes(): Map<string, readonly number[]> {
  const all = new Map<string, readonly number[]>([
    ["lm_head.weight", [vocabulary, hidden]],
    ["model.embed_tokens.weight", [vocabulary, hidden]],
    ["model.norm.weight", [hidden]],
  ]);
  for (let i = 0; i < standInLayers; i++)
    for (const [part, shape] of Object.entries(perLayer)) all.set(`model.layers.${i}.${part}.weight`, shape);
  return all;
}

/** Numbers in [−1, 1) from a linear congruence. */
function noise(seed: string): () => number {
  let x = 0x811c9dc5;
  for (const char of seed) x = Math.imul(x ^ char.charCodeAt(0), 0x01000193);
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return x / 2 ** 31;
  };
}

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  hidden_size: hidden,
  intermediate_size: inner,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 8,
  num_hidden_layers: standInLayers,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
  vocab_size: vocabulary,
};

const tokenizer = {
  version: "1.0",
  added_tokens: special.map((content, i) => ({
    id: tokens.length + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: { type: "WordLevel", vocab: Object.fromEntries(tokens.map((t, i) => [t, i])), unk_token: "<unk>" },
};

/**
 * Writes a stand-in. Its numbers follow from the seed and lie near those of every other; as F32, which has no two deltas alike, no
 * trim has to choose between equals.
 */
export function writeStandIn(folder: string, seed: string, dtype: "BF16" | "F32" = "BF16"): void {
  const tensors: Record<string, NewTestTensor> = {};
  for (const [name, shape] of shapes()) {
    const common = noise(name);
    const own = noise(`${seed} ${name}`);
    const count = shape.reduce((a, b) => a * b, 1);
    const data = Array.from({ length: count }, () => common() + own() / 8);
    tensors[name] = { dtype, shape: [...shape], data };
  }
  writeModel(folder, tensors, config);
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({
      tokenizer_class: "PreTrainedTokenizerFast",
      unk_token: "<unk>",
      chat_template: "{{ bos_token }}",
    }),
  );
}

/** Writes an adapter of the queries and the down projections of every layer. */
export function writeStandInAdapter(folder: string, seed: string): void {
  const tensors: Record<string, NewTestTensor> = {};
  const next = noise(seed);
  for (let i = 0; i < standInLayers; i++) {
    for (const part of ["self_attn.q_proj", "mlp.down_proj"]) {
      const [rows, columns] = perLayer[part] as [number, number];
      for (const [letter, shape] of [
        ["A", [rank, columns]],
        ["B", [rows, rank]],
      ] as const) {
        const data = Array.from({ length: shape[0]! * shape[1]! }, () => next() / 4);
        tensors[`base_model.model.model.layers.${i}.${part}.lora_${letter}.weight`] = { shape: [...shape], data };
      }
    }
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "adapter_model.safetensors"), safetensorsBytes(tensors));
  writeFileSync(
    join(folder, "adapter_config.json"),
    JSON.stringify({ peft_type: "LORA", r: rank, lora_alpha: 4, target_modules: ["q_proj", "down_proj"] }),
  );
}
