// The tensors of a Llama-like checkpoint by their part in the forward pass, and their way into a kernel's memory: matrices in bf16
// stay as they are, everything else becomes f32.

import type { Folder } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import type { Pointer } from "../kernel/exports.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Checkpoint, TensorInfo } from "../tensor/checkpoint.ts";
import { byteWidth } from "../tensor/dtype.ts";
import type { Architecture } from "./architecture.ts";

/** [rows][depth], row-major. */
export interface Matrix {
  readonly pointer: Pointer;
  readonly narrow: boolean;
  readonly rows: number;
  readonly depth: number;
}

export interface Linear {
  readonly weight: Matrix;
  /** f32, one number a row; 0: none. */
  readonly bias: Pointer;
}

export interface Layer {
  readonly attentionNorm: Pointer;
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;
  readonly output: Linear;
  /** Over each head; 0: none. */
  readonly queryNorm: Pointer;
  readonly keyNorm: Pointer;
  readonly mlpNorm: Pointer;
  readonly gate: Linear;
  readonly up: Linear;
  readonly down: Linear;
}

export interface Weights {
  readonly embeddings: Matrix;
  readonly layers: readonly Layer[];
  readonly norm: Pointer;
  readonly head: Matrix;
}

/** A tensor and where it goes: `offset` bytes from where weights begin. */
export interface Placed {
  readonly tensor: TensorInfo;
  readonly narrow: boolean;
  readonly offset: number;
}

export interface WeightPlan {
  readonly placed: ReadonlyMap<string, Placed>;
  readonly byteLength: number;
  readonly tied: boolean;
}

const embeddingsName = "model.embed_tokens.weight";
const headName = "lm_head.weight";
const normName = "model.norm.weight";
const alignment = 64;
/** Buffers that old checkpoints hold, and that follow from the config. */
const derived = /\.rotary_emb\.inv_freq$/;
const readable = ["F32", "BF16", "F16", "F64"];

const layerName = (layer: number, part: string) => `model.layers.${layer}.${part}`;

/** Name and shape of every tensor that the pass needs, and whether it may be missing. */
function* expected(a: Architecture, tied: boolean): Generator<[string, readonly number[], boolean]> {
  const queries = a.heads * a.headSize;
  const keys = a.keyHeads * a.headSize;
  yield [embeddingsName, [a.vocabulary, a.hidden], false];
  for (let i = 0; i < a.layers; i++) {
    const name = (part: string) => layerName(i, part);
    const linears: readonly [string, number, number][] = [
      ["self_attn.q_proj", queries, a.hidden],
      ["self_attn.k_proj", keys, a.hidden],
      ["self_attn.v_proj", keys, a.hidden],
      ["self_attn.o_proj", a.hidden, queries],
      ["mlp.gate_proj", a.inner, a.hidden],
      ["mlp.up_proj", a.inner, a.hidden],
      ["mlp.down_proj", a.hidden, a.inner],
    ];
    for (const [part, rows, depth] of linears) {
      yield [name(`${part}.weight`), [rows, depth], false];
      yield [name(`${part}.bias`), [rows], true];
    }
    yield [name("input_layernorm.weight"), [a.hidden], false];
    yield [name("post_attention_layernorm.weight"), [a.hidden], false];
    // qwen3 has both, the others none.
    yield [name("self_attn.q_norm.weight"), [a.headSize], a.modelType !== "qwen3"];
    yield [name("self_attn.k_norm.weight"), [a.headSize], a.modelType !== "qwen3"];
  }
  yield [normName, [a.hidden], false];
  if (!tied) yield [headName, [a.vocabulary, a.hidden], false];
}

/**
 * Finds every tensor of the pass and its place. A tensor that the pass does not know is an error: to leave it out would give other
 * results without a word.
 */
export function planWeights(a: Architecture, checkpoint: Checkpoint): WeightPlan {
  const subject = quote(checkpoint.reference, 4096);
  // A config that ties them wins over a head that is stored all the same, as in transformers.
  const tied = a.tied === true || !checkpoint.tensors.has(headName);
  const placed = new Map<string, Placed>();
  let offset = 0;
  for (const [name, shape, optional] of expected(a, tied)) {
    const tensor = checkpoint.tensors.get(name);
    if (!tensor) {
      if (optional) continue;
      fail("tensor-missing", `Cannot run ${subject}: it has no tensor ${quote(name)}`);
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i])) {
      fail(
        "shape-mismatch",
        `Cannot run ${subject}: ${quote(name)} is ${tensor.shape.join(" × ")}, by config.json it would be ${shape.join(" × ")}`,
      );
    }
    if (!readable.includes(tensor.dtype)) {
      fail(
        "dtype-unsupported",
        `Cannot run ${subject}: ${quote(name)} is ${tensor.dtype}, expected one of ${readable.join(", ")}`,
      );
    }
    const narrow = tensor.dtype === "BF16" && shape.length === 2;
    placed.set(name, { tensor, narrow, offset });
    offset += Math.ceil((tensor.count * (narrow ? 2 : 4)) / alignment) * alignment;
  }
  for (const name of checkpoint.tensors.keys()) {
    if (placed.has(name) || derived.test(name) || (tied && name === headName)) continue;
    fail(
      "model-unsupported",
      `Cannot run ${subject}: its tensor ${quote(name)} has no part in the forward pass of ${a.modelType}`,
    );
  }
  return { placed, byteLength: offset, tied };
}

/** Bytes of a file that are decoded at a time. */
const pieceBytes = 1 << 20;
/** Room that `loadWeights` needs beside the weights. */
export const loadScratchBytes = pieceBytes;

/** Reads all weights to `start` on. `scratch` is room for `loadScratchBytes`, which is free again afterwards. */
export async function loadWeights(
  plan: WeightPlan,
  checkpoint: Checkpoint,
  folder: Folder,
  kernel: Kernel,
  start: Pointer,
  scratch: Pointer,
  signal?: AbortSignal,
): Promise<void> {
  for (const [index, file] of checkpoint.files.entries()) {
    const source = await folder.open(file.name);
    try {
      for (const { tensor, narrow, offset } of plan.placed.values()) {
        if (tensor.file !== index) continue;
        signal?.throwIfAborted();
        const to = start + offset;
        if (narrow || tensor.dtype === "F32") {
          await source.read(tensor.start, kernel.u8(to, tensor.end - tensor.start));
          continue;
        }
        const width = byteWidth(tensor.dtype);
        const step = pieceBytes / width;
        const decode = decoder(kernel, tensor.dtype);
        for (let first = 0; first < tensor.count; first += step) {
          const count = Math.min(step, tensor.count - first);
          await source.read(tensor.start + first * width, kernel.u8(scratch, count * width));
          decode(to + first * 4, scratch, count);
        }
      }
    } finally {
      await source.close();
    }
  }
}

function decoder({ exports }: Kernel, dtype: string): (out: Pointer, input: Pointer, count: number) => void {
  return dtype === "BF16" ? exports.decode_bf16 : dtype === "F16" ? exports.decode_f16 : exports.decode_f64;
}

/** The placed tensors as the pass takes them. */
export function arrangeWeights(plan: WeightPlan, a: Architecture, start: Pointer): Weights {
  const at = (name: string): Pointer => {
    const found = plan.placed.get(name);
    return found ? start + found.offset : 0;
  };
  const matrix = (name: string): Matrix => {
    const { tensor, narrow, offset } = plan.placed.get(name)!;
    return { pointer: start + offset, narrow, rows: tensor.shape[0]!, depth: tensor.shape[1]! };
  };
  const embeddings = matrix(embeddingsName);
  return {
    embeddings,
    layers: Array.from({ length: a.layers }, (_, i) => {
      const name = (part: string) => layerName(i, part);
      const linear = (part: string): Linear => ({
        weight: matrix(name(`${part}.weight`)),
        bias: at(name(`${part}.bias`)),
      });
      return {
        attentionNorm: at(name("input_layernorm.weight")),
        query: linear("self_attn.q_proj"),
        key: linear("self_attn.k_proj"),
        value: linear("self_attn.v_proj"),
        output: linear("self_attn.o_proj"),
        queryNorm: at(name("self_attn.q_norm.weight")),
        keyNorm: at(name("self_attn.k_norm.weight")),
        mlpNorm: at(name("post_attention_layernorm.weight")),
        gate: linear("mlp.gate_proj"),
        up: linear("mlp.up_proj"),
        down: linear("mlp.down_proj"),
      };
    }),
    norm: at(normName),
    head: plan.tied ? embeddings : matrix(headName),
  };
}
