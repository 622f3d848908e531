// Makes the synthetic checkpoints of the bench: Llama shapes, bf16, a base and three fine-tunes whose deltas look like real ones
// (about 1 % of the weights' scale, on the bf16 grid, a tenth of them exactly zero). Its own generator: nothing to download.

import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FileSink } from "../src/bytes/file.ts";
import { layoutShards } from "../src/tensor/shards.ts";

export interface BenchShape {
  readonly name: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly keyValue: number;
  readonly layers: number;
  readonly vocabulary: number;
}

/** `base` has 537 M parameters, 1.07 GB in bf16; `double` twice as many layers; `small` is for a quick look. */
export const benchShapes = {
  small: { name: "small", hidden: 1024, intermediate: 2816, keyValue: 256, layers: 4, vocabulary: 8000 },
  base: { name: "base", hidden: 2048, intermediate: 5632, keyValue: 512, layers: 9, vocabulary: 32_000 },
  double: { name: "double", hidden: 2048, intermediate: 5632, keyValue: 512, layers: 21, vocabulary: 32_000 },
} as const satisfies Record<string, BenchShape>;

const models = ["base", "ft-1", "ft-2", "ft-3"] as const;

function tensorsOf(s: BenchShape): { name: string; dtype: "BF16"; shape: number[] }[] {
  const list: { name: string; dtype: "BF16"; shape: number[] }[] = [];
  const add = (name: string, ...shape: number[]) => list.push({ name, dtype: "BF16", shape });
  add("model.embed_tokens.weight", s.vocabulary, s.hidden);
  for (let i = 0; i < s.layers; i++) {
    const p = `model.layers.${i}`;
    add(`${p}.input_layernorm.weight`, s.hidden);
    add(`${p}.mlp.down_proj.weight`, s.hidden, s.intermediate);
    add(`${p}.mlp.gate_proj.weight`, s.intermediate, s.hidden);
    add(`${p}.mlp.up_proj.weight`, s.intermediate, s.hidden);
    add(`${p}.post_attention_layernorm.weight`, s.hidden);
    add(`${p}.self_attn.k_proj.weight`, s.keyValue, s.hidden);
    add(`${p}.self_attn.o_proj.weight`, s.hidden, s.hidden);
    add(`${p}.self_attn.q_proj.weight`, s.hidden, s.hidden);
    add(`${p}.self_attn.v_proj.weight`, s.keyValue, s.hidden);
  }
  add("lm_head.weight", s.vocabulary, s.hidden);
  add("model.norm.weight", s.hidden);
  return list;
}

/** A roughly normal number from 32 random bits: the sum of their four bytes, centred, with variance 1. */
function normal(bits: number): number {
  const sum = (bits & 255) + ((bits >>> 8) & 255) + ((bits >>> 16) & 255) + (bits >>> 24);
  return (sum - 510) / 147.8;
}

/** xorshift32: a stream a tensor and model, so that files can be made in any order. */
function xorshift(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

const chunkElements = 1 << 20;
const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

function toBf16(value: number): number {
  f32[0] = value;
  const bits = u32[0]!;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Writes the four checkpoints into `folder/<shape>-<model>` unless they are there. Returns their folders, base first. */
export function makeCheckpoints(folder: string, shape: BenchShape, log: (line: string) => void): string[] {
  const tensors = tensorsOf(shape);
  const [file] = layoutShards(tensors, { shardBytes: Number.MAX_SAFE_INTEGER });
  const folders = models.map((m) => join(folder, `${shape.name}-${m}`));
  const whole = (f: string) =>
    existsSync(join(f, "model.safetensors")) && statSync(join(f, "model.safetensors")).size === file!.byteLength;
  if (folders.every(whole)) return folders;
  log(`making ${shape.name} checkpoints: ${models.length} × ${(file!.byteLength / 1e9).toFixed(2)} GB`);
  const sinks = folders.map((f) => {
    mkdirSync(f, { recursive: true });
    const config = {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      hidden_size: shape.hidden,
      intermediate_size: shape.intermediate,
      num_attention_heads: shape.hidden / 128,
      num_key_value_heads: shape.keyValue / 128,
      num_hidden_layers: shape.layers,
      vocab_size: shape.vocabulary,
      tie_word_embeddings: false,
      dtype: "bfloat16",
    };
    writeFileSync(join(f, "config.json"), JSON.stringify(config, null, 2));
    rmSync(join(f, "model.safetensors.making"), { force: true });
    const sink = new FileSink(join(f, "model.safetensors.making"));
    sink.write(0, file!.header);
    return sink;
  });
  let seed = 1;
  for (const [, range] of file!.tensors) {
    const draws = models.map((_, m) => xorshift((seed * 2654435761 + m * 40503) >>> 0));
    seed++;
    for (let start = range.start; start < range.end; start += chunkElements * 2) {
      const count = Math.min(chunkElements, (range.end - start) / 2);
      const out = models.map(() => new Uint16Array(count));
      for (let i = 0; i < count; i++) {
        const base = 0.02 * normal(draws[0]!());
        out[0]![i] = toBf16(base);
        for (let m = 1; m < models.length; m++) out[m]![i] = toBf16(base + 0.0004 * normal(draws[m]!()));
      }
      for (const [m, values] of out.entries()) sinks[m]!.write(start, new Uint8Array(values.buffer));
    }
  }
  sinks.forEach((sink, m) => {
    sink.close();
    renameSync(join(folders[m]!, "model.safetensors.making"), join(folders[m]!, "model.safetensors"));
  });
  return folders;
}
