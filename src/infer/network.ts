// The forward pass of a Llama in f32 over many texts at once: the new tokens of all of them go through the layers as rows of one
// matrix, each at its own position, with keys and values of earlier positions in a cache. Nothing is padded. What a text gets does not
// depend on which others are beside it: every product is one sum in a fixed order.

import type { Folder } from "../bytes/source.ts";
import { fail } from "../errors.ts";
import type { Pointer } from "../kernel/exports.ts";
import { createKernel, type Kernel } from "../kernel/kernel.ts";
import type { Checkpoint } from "../tensor/checkpoint.ts";
import { type Architecture, readArchitecture } from "./architecture.ts";
import { assertFits, batchRows, decodedElements, mostMemoryBytes, planRoom, type Room } from "./memory.ts";
import { ropeFrequencies, ropeTables } from "./rope.ts";
import {
  arrangeWeights,
  type Layer,
  type Linear,
  loadScratchBytes,
  loadWeights,
  type Matrix,
  planWeights,
  type Weights,
} from "./weights.ts";

/** New tokens of one text. Positions before `start` must have gone through already. */
export interface Run {
  /** Which text, from 0 to the `texts` that there is room for. */
  readonly text: number;
  readonly start: number;
  readonly tokens: readonly number[];
}

/** `logits` is a view that the next call overwrites. */
export type TakeLogits = (run: number, position: number, logits: Float32Array) => void;

interface Row {
  readonly run: number;
  readonly text: number;
  readonly position: number;
  readonly token: number;
  /** Its logits are wanted. */
  readonly wanted: boolean;
}

export class Network {
  readonly architecture: Architecture;
  readonly name: string;
  readonly #kernel: Kernel;
  readonly #weights: Weights;
  readonly #weightBytes: number;
  readonly #limit: number;
  readonly #frequencies: Float32Array<ArrayBuffer>;
  #texts = 0;
  #context = 0;
  #mostRows = 0;
  #room: Room | null = null;

  /** `openNetwork` makes one. */
  constructor(name: string, a: Architecture, kernel: Kernel, weights: Weights, weightBytes: number, limit: number) {
    this.name = name;
    this.architecture = a;
    this.#kernel = kernel;
    this.#weights = weights;
    this.#weightBytes = weightBytes;
    this.#limit = limit;
    this.#frequencies = ropeFrequencies(a, kernel.exports);
  }

  /** e^x as the kernels have it. */
  get exp(): (x: number) => number {
    return this.#kernel.exports.exp_f64;
  }

  /** Bytes of the kernel's memory that are in use. */
  get byteLength(): number {
    return this.#weightBytes + (this.#room?.byteLength ?? 0);
  }

  /** Bytes that a room may have: what the limit leaves beside the weights. */
  get spareBytes(): number {
    return Math.min(this.#limit, mostMemoryBytes) - this.#weightBytes;
  }

  /**
   * Makes room for so many texts of at most `context` positions; earlier texts are forgotten.
   *
   * @throws BraidError `memory-budget` when that is more than the limit, `usage` when the context is more than the model's.
   */
  reserve(texts: number, context: number, mostRows = batchRows): void {
    const { architecture: a } = this;
    if (context > a.context) {
      fail("usage", `Cannot run ${this.name} with ${context} tokens: the model was made for ${a.context}`, {
        hint: "Shorten the prompt, or lower --max-tokens.",
      });
    }
    if (this.#room && texts <= this.#texts && context <= this.#context && mostRows <= this.#mostRows) return;
    const room = planRoom(a, texts, context, mostRows);
    assertFits(this.name, this.#weightBytes, room.byteLength, this.#limit);
    this.#kernel.reserve(this.#weightBytes + room.byteLength);
    this.#room = room;
    this.#texts = texts;
    this.#context = context;
    this.#mostRows = mostRows;
    const { cosines, sines } = ropeTables(this.#frequencies, context);
    this.#floats(this.#at(room.cosines), cosines.length).set(cosines);
    this.#floats(this.#at(room.sines), sines.length).set(sines);
  }

  /**
   * Takes the new tokens of several texts and gives the logits after the last of each run, or after every token with `all`. Runs of
   * one call are of different texts.
   */
  forward(runs: readonly Run[], take: TakeLogits, all = false): void {
    const room = this.#room;
    if (!room) throw new Error("reserve() comes before forward()");
    const rows: Row[] = [];
    for (const [run, { text, start, tokens }] of runs.entries()) {
      if (text >= this.#texts || start + tokens.length > this.#context) {
        throw new Error(
          `text ${text} to position ${start + tokens.length}: there is room for ${this.#texts} of ${this.#context}`,
        );
      }
      for (const [i, token] of tokens.entries()) {
        if (!(token >= 0 && token < this.architecture.vocabulary)) {
          fail(
            "tokenizer",
            `Cannot run ${this.name}: the tokenizer gave token ${token}, the vocabulary ends at ${this.architecture.vocabulary}`,
          );
        }
        rows.push({ run, text, position: start + i, token, wanted: all || i === tokens.length - 1 });
      }
    }
    for (let first = 0; first < rows.length; first += room.rows) {
      this.#chunk(rows.slice(first, first + room.rows), room, take);
    }
  }

  #at(offset: number): Pointer {
    return this.#kernel.heapStart + this.#weightBytes + offset;
  }

  #floats(pointer: Pointer, count: number): Float32Array<ArrayBuffer> {
    const { buffer } = this.#kernel.u8(pointer, 0);
    return new Float32Array(buffer, pointer, count);
  }

  /** Rows whose earlier positions are in the cache or before them in the same chunk. */
  #chunk(rows: readonly Row[], room: Room, take: TakeLogits): void {
    const { exports: k } = this.#kernel;
    const { hidden: width, inner, epsilon } = this.architecture;
    const { embeddings, layers, norm } = this.#weights;
    const n = rows.length;
    const [x, h] = [this.#at(room.hidden), this.#at(room.normed)];
    const [attention, gate, up] = [this.#at(room.attention), this.#at(room.gate), this.#at(room.up)];
    for (const [i, { token }] of rows.entries()) {
      const from = embeddings.pointer + token * width * (embeddings.narrow ? 2 : 4);
      if (embeddings.narrow) k.decode_bf16(x + i * width * 4, from, width);
      else k.decode_f32(x + i * width * 4, from, width);
    }
    const normalize = (weight: Pointer) => {
      for (let i = 0; i < n; i++) k.rms_norm(h + i * width * 4, x + i * width * 4, weight, epsilon, width);
    };
    for (const [index, layer] of layers.entries()) {
      normalize(layer.attentionNorm);
      this.#attend(index, layer, rows, h, attention, room);
      this.#project(layer.output, attention, h, n);
      k.axpy(x, h, 1, n * width);
      normalize(layer.mlpNorm);
      this.#project(layer.gate, h, gate, n);
      this.#project(layer.up, h, up, n);
      k.swiglu(gate, up, n * inner);
      this.#project(layer.down, gate, h, n);
      k.axpy(x, h, 1, n * width);
    }
    this.#logits(rows, x, norm, room, take);
  }

  /** out[row] ← weight · x[row] + bias. */
  #project({ weight, bias }: Linear, x: Pointer, out: Pointer, n: number): void {
    this.#multiply(weight, x, out, n);
    if (bias === 0) return;
    const { exports: k } = this.#kernel;
    for (let i = 0; i < n; i++) k.axpy(out + i * weight.rows * 4, bias, 1, weight.rows);
  }

  #multiply({ pointer, narrow, rows, depth }: Matrix, x: Pointer, out: Pointer, n: number): void {
    const { exports: k } = this.#kernel;
    if (!narrow) k.project_f32(out, rows, x, pointer, n, depth, rows);
    else if (n === 1) k.project_bf16(out, x, pointer, depth, rows);
    else {
      // Several rows of x share what is decoded.
      const decoded = this.#at(this.#room!.decoded);
      const step = Math.max(1, Math.floor(decodedElements / depth));
      for (let first = 0; first < rows; first += step) {
        const count = Math.min(step, rows - first);
        k.decode_bf16(decoded, pointer + first * depth * 2, count * depth);
        k.project_f32(out + first * 4, rows, x, decoded, n, depth, count);
      }
    }
  }

  /** Attention of every row over the positions of its text up to its own, after its own keys and values went to the cache. */
  #attend(index: number, layer: Layer, rows: readonly Row[], x: Pointer, out: Pointer, room: Room): void {
    const { exports: k } = this.#kernel;
    const { heads, keyHeads, headSize, epsilon } = this.architecture;
    const [query, key, value] = [this.#at(room.query), this.#at(room.key), this.#at(room.value)];
    const [scores, cosines, sines] = [this.#at(room.scores), this.#at(room.cosines), this.#at(room.sines)];
    this.#project(layer.query, x, query, rows.length);
    this.#project(layer.key, x, key, rows.length);
    this.#project(layer.value, x, value, rows.length);
    const [headBytes, half, group] = [headSize * 4, headSize / 2, heads / keyHeads];
    const scale = 1 / Math.sqrt(headSize);
    for (const [i, { text, position }] of rows.entries()) {
      const [q, kk, v] = [
        query + i * heads * headBytes,
        key + i * keyHeads * headBytes,
        value + i * keyHeads * headBytes,
      ];
      const angles = position * half * 4;
      const turn = (head: Pointer, norm: Pointer) => {
        if (norm !== 0) k.rms_norm(head, head, norm, epsilon, headSize);
        k.rotate_half(head, cosines + angles, sines + angles, half);
      };
      for (let head = 0; head < heads; head++) turn(q + head * headBytes, layer.queryNorm);
      for (let head = 0; head < keyHeads; head++) {
        const cached = this.#cached(index, text, head);
        const [keys, values] = [this.#at(room.keys) + cached, this.#at(room.values) + cached];
        turn(kk + head * headBytes, layer.keyNorm);
        k.decode_f32(keys + position * headBytes, kk + head * headBytes, headSize);
        k.decode_f32(values + position * headBytes, v + head * headBytes, headSize);
        const seen = position + 1;
        const first = head * group;
        k.project_f32(scores, seen, q + first * headBytes, keys, group, headSize, seen);
        for (let each = 0; each < group; each++) {
          const weights = scores + each * seen * 4;
          k.softmax(weights, scale, seen);
          k.fold_row(out + (i * heads + first + each) * headBytes, weights, values, seen, headSize, headSize);
        }
      }
    }
  }

  /** Bytes to position 0 of a head in the cache. */
  #cached(layer: number, text: number, head: number): number {
    const { keyHeads, headSize } = this.architecture;
    return ((layer * this.#texts + text) * keyHeads + head) * this.#context * headSize * 4;
  }

  #logits(rows: readonly Row[], x: Pointer, norm: Pointer, room: Room, take: TakeLogits): void {
    const { exports: k } = this.#kernel;
    const { hidden: width, epsilon, vocabulary } = this.architecture;
    const [h, logits] = [this.#at(room.normed), this.#at(room.logits)];
    const wanted = [...rows.entries()].filter(([, row]) => row.wanted);
    for (let first = 0; first < wanted.length; first += room.logitRows) {
      const some = wanted.slice(first, first + room.logitRows);
      for (const [j, [i]] of some.entries()) k.rms_norm(h + j * width * 4, x + i * width * 4, norm, epsilon, width);
      this.#multiply(this.#weights.head, h, logits, some.length);
      for (const [j, [, { run, position }]] of some.entries()) {
        take(run, position, this.#floats(logits + j * vocabulary * 4, vocabulary));
      }
    }
  }
}

export interface NetworkOptions {
  /** Ceiling for weights, cache and rows in bytes. */
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * Reads the weights of a checkpoint into a kernel's memory.
 *
 * @throws BraidError `model-unsupported`, `model-config`, `tensor-missing`, `shape-mismatch`, `dtype-unsupported` or `memory-budget`,
 *   before a weight is read.
 */
export async function openNetwork(
  checkpoint: Checkpoint,
  folder: Folder,
  module: WebAssembly.Module,
  options: NetworkOptions = {},
): Promise<Network> {
  const { memoryBytes = mostMemoryBytes, signal } = options;
  const a = readArchitecture(checkpoint.config, checkpoint.reference);
  const plan = planWeights(a, checkpoint);
  assertFits(checkpoint.reference, plan.byteLength, planRoom(a, 1, 1, 1).byteLength + loadScratchBytes, memoryBytes);
  const kernel = createKernel(module, plan.byteLength + loadScratchBytes);
  const start = kernel.heapStart;
  await loadWeights(plan, checkpoint, folder, kernel, start, start + plan.byteLength, signal);
  const weights = arrangeWeights(plan, a, start);
  return new Network(checkpoint.reference, a, kernel, weights, plan.byteLength, memoryBytes);
}
