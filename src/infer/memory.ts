// The memory of a forward pass, known before anything is read: weights, a cache of keys and values for each text, and room for the
// rows that go through together.

import { fail, quote } from "../errors.ts";
import type { Architecture } from "./architecture.ts";

/** WebAssembly addresses 4 GiB; the last page stays free, and so do the kernels' own first ones. */
export const mostMemoryBytes = 2 ** 32 - 4 * 65536;

/** Rows of a batch that go through the layers together: enough to use every weight often, few enough to stay in the cache. */
export const batchRows = 128;
/** f32 weights that are decoded from bf16 at a time when several rows share them: 256 KiB stay in L2. */
export const decodedElements = 65536;
/** Logits are made for a few rows at a time: large vocabularies take 0.5 MB a row. */
const logitElements = 1 << 20;

const floatBytes = 4;
const align = (bytes: number) => Math.ceil(bytes / 64) * 64;

/** Offsets in bytes from where the room begins. */
export interface Room {
  readonly rows: number;
  readonly logitRows: number;
  readonly hidden: number;
  readonly normed: number;
  readonly query: number;
  readonly key: number;
  readonly value: number;
  readonly attention: number;
  readonly gate: number;
  readonly up: number;
  readonly scores: number;
  readonly decoded: number;
  readonly logits: number;
  readonly cosines: number;
  readonly sines: number;
  /** Keys, then values, of all layers, texts, heads, positions. */
  readonly keys: number;
  readonly values: number;
  readonly byteLength: number;
}

/** Bytes of keys and values for one position of one text. */
export function positionBytes(a: Architecture): number {
  return 2 * a.layers * a.keyHeads * a.headSize * floatBytes;
}

export function planRoom(a: Architecture, texts: number, context: number, mostRows: number): Room {
  const rows = Math.min(batchRows, mostRows);
  const logitRows = Math.max(1, Math.min(rows, Math.floor(logitElements / a.vocabulary)));
  let at = 0;
  const take = (elements: number): number => {
    const offset = at;
    at += align(elements * floatBytes);
    return offset;
  };
  const cache = a.layers * texts * a.keyHeads * context * a.headSize;
  const deepest = Math.max(a.hidden, a.inner, a.heads * a.headSize);
  return {
    rows,
    logitRows,
    hidden: take(rows * a.hidden),
    normed: take(rows * a.hidden),
    query: take(rows * a.heads * a.headSize),
    key: take(rows * a.keyHeads * a.headSize),
    value: take(rows * a.keyHeads * a.headSize),
    attention: take(rows * a.heads * a.headSize),
    gate: take(rows * a.inner),
    up: take(rows * a.inner),
    scores: take((a.heads / a.keyHeads) * context),
    decoded: take(Math.max(decodedElements, deepest)),
    logits: take(logitRows * a.vocabulary),
    cosines: take((context * a.headSize) / 2),
    sines: take((context * a.headSize) / 2),
    keys: take(cache),
    values: take(cache),
    byteLength: at,
  };
}

const mebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** Throws `memory-budget` when weights and room are more than `limit`. */
export function assertFits(name: string, weightBytes: number, room: number, limit: number): void {
  const most = Math.min(limit, mostMemoryBytes);
  if (weightBytes + room <= most) return;
  const why = limit < mostMemoryBytes ? "" : ", all that WebAssembly addresses";
  fail(
    "memory-budget",
    `Cannot run ${quote(name, 4096)}: it needs ${mebibytes(weightBytes + room)} (${mebibytes(weightBytes)} of weights), the limit is ${mebibytes(most)}${why}`,
    {
      hint:
        limit < mostMemoryBytes
          ? "Allow more with --memory, or fewer tokens."
          : "This is meant for small models. For larger ones use transformers, vLLM or llama.cpp.",
    },
  );
}
