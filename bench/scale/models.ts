// Checkpoints that are nowhere: the headers of a large model whose every tensor has a 128th of its rows, and weights from a
// generator. A slice of 8 Ki of their elements stands for one of 1 Mi.

import type { ByteSource, FileSystem, Folder } from "../../src/bytes/source.ts";
import { type EncodedHeader, layoutHeader } from "../../src/tensor/encode.ts";

/** Rows of the model that one row here stands for. */
export const scale = 128;
/** Elements of a slice here: tasks are as many, and as large beside each other, as with `nodeSliceElements`. */
export const sliceElements = 8192;

export interface Llama {
  readonly hidden: number;
  readonly intermediate: number;
  readonly keyValue: number;
  readonly layers: number;
  readonly vocabulary: number;
}

export const llamas = {
  "70B": { hidden: 8192, intermediate: 28_672, keyValue: 1024, layers: 80, vocabulary: 128_256 },
  "8B": { hidden: 4096, intermediate: 14_336, keyValue: 1024, layers: 32, vocabulary: 128_256 },
  /** For tests. */
  tiny: { hidden: 2048, intermediate: 8192, keyValue: 512, layers: 4, vocabulary: 4096 },
} as const satisfies Record<string, Llama>;

function tensorsOf(m: Llama) {
  const list: { name: string; dtype: "BF16"; shape: number[] }[] = [];
  const add = (name: string, rows: number, columns?: number) => {
    const shape = columns === undefined ? [rows / scale] : [rows / scale, columns];
    list.push({ name, dtype: "BF16", shape });
  };
  add("model.embed_tokens.weight", m.vocabulary, m.hidden);
  for (let i = 0; i < m.layers; i++) {
    const layer = `model.layers.${i}`;
    add(`${layer}.input_layernorm.weight`, m.hidden);
    add(`${layer}.mlp.down_proj.weight`, m.hidden, m.intermediate);
    add(`${layer}.mlp.gate_proj.weight`, m.intermediate, m.hidden);
    add(`${layer}.mlp.up_proj.weight`, m.intermediate, m.hidden);
    add(`${layer}.post_attention_layernorm.weight`, m.hidden);
    add(`${layer}.self_attn.k_proj.weight`, m.keyValue, m.hidden);
    add(`${layer}.self_attn.o_proj.weight`, m.hidden, m.hidden);
    add(`${layer}.self_attn.q_proj.weight`, m.hidden, m.hidden);
    add(`${layer}.self_attn.v_proj.weight`, m.keyValue, m.hidden);
  }
  add("lm_head.weight", m.vocabulary, m.hidden);
  add("model.norm.weight", m.hidden);
  return list;
}

/** Below the folder that nodes read too. */
export const root = "/models";
const fileName = "model.safetensors";
const period = 1 << 18;

/** bf16 weights, finite and below 2, that repeat after 512 KiB; another start for every model. */
function weights(seed: number): Uint8Array {
  const values = new Uint16Array(period);
  let state = Math.imul(seed + 1, 2654435761) >>> 0;
  for (let i = 0; i < period; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = (state >>> 16) & 0xbfff;
  }
  return new Uint8Array(values.buffer);
}

export interface Checkpoints {
  readonly fs: FileSystem;
  /** Fills `target` from a file's byte `start` on. */
  read(path: string, start: number, target: Uint8Array): void;
  source(path: string): ByteSource;
  readonly recipe: string;
}

/** A base and three fine-tunes, to be merged by DARE-TIES. */
export function checkpoints(llama: Llama): Checkpoints {
  const header: EncodedHeader = layoutHeader(tensorsOf(llama));
  const models = ["base", "ft-1", "ft-2", "ft-3"];
  const blocks = new Map(models.map((name, i) => [`${root}/${name}/${fileName}`, weights(i)]));
  const read = (path: string, start: number, target: Uint8Array) => {
    const block = blocks.get(path);
    if (!block) throw new RangeError(`there is no file ${path}`);
    let done = 0;
    if (start < header.bytes.length) {
      const part = header.bytes.subarray(start, start + target.length);
      target.set(part);
      done = part.length;
    }
    while (done < target.length) {
      const from = (start + done - header.bytes.length) % block.length;
      const part = block.subarray(from, from + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  };
  const source = (path: string): ByteSource => ({
    name: path,
    byteLength: header.byteLength,
    read: (start, target) => read(path, start, target),
    close() {},
  });
  const folder = (path: string): Folder => ({
    name: path,
    list: async () => [fileName],
    open: async () => source(`${path}/${fileName}`),
    locate: (file) => `${path}/${file}`,
  });
  const fs: FileSystem = {
    kind: (path) => (blocks.has(`${path}/${fileName}`) ? "folder" : null),
    readText: (path) => {
      throw new RangeError(`there is no text at ${path}`);
    },
    resolve: (_, path) => path,
    split: (path) => ({ folder: path, file: fileName }),
    folder,
  };
  const recipe = [
    "merge_method: dare_ties",
    `base_model: ${root}/base`,
    "models:",
    ...models.slice(1).map((name) => `  - model: ${root}/${name}`),
    "parameters: { weight: 0.7, density: 0.1 }",
    "dtype: bfloat16",
    "",
  ].join("\n");
  return { fs, read, source, recipe };
}
