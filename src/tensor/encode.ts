// Writing safetensors headers, byte for byte as the reference's serializer lays them out: widest dtype first (in the
// order of its table, from the end), then by name, so that every tensor is aligned to its own width.

import { fail, quote } from "../errors.ts";
import { type Dtype, dtypeBits } from "./dtype.ts";
import { elementCount, maxRank } from "./header.ts";
import { compareNames, nameFault } from "./names.ts";

/** llama.cpp's remote reader fetches one range of 5 MiB and looks no further. */
export const maxWrittenHeaderBytes = 5 * 1024 * 1024;

export interface NewTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** A header and what it says: absolute byte offsets, in the order of the file. */
export interface EncodedHeader {
  /** The 8 bytes of length and the JSON. */
  readonly bytes: Uint8Array;
  /** Of the whole file. */
  readonly byteLength: number;
  readonly tensors: Map<string, { readonly start: number; readonly end: number }>;
}

const dtypeRank = new Map(Object.keys(dtypeBits).map((name, index) => [name, index]));
const encoder = new TextEncoder();

/** Bytes of a tensor that is about to be written. */
export function tensorBytes({ name, dtype, shape }: NewTensor): number {
  const bits = (elementCount(shape) ?? Number.NaN) * dtypeBits[dtype];
  if (Number.isSafeInteger(bits) && bits % 8 === 0) return bits / 8;
  return fail(
    "safetensors-header",
    `Cannot write tensor ${quote(name)}: the shape [${shape}] of ${dtype} does not fill whole bytes`,
  );
}

function check(tensors: readonly NewTensor[]): void {
  const seen = new Set<string>();
  for (const { name, shape } of tensors) {
    const wrong =
      nameFault(name) ??
      (name === "__metadata__" ? "the name is taken by the format" : null) ??
      (seen.has(name) ? "the name comes twice" : null) ??
      (name.isWellFormed() ? null : "the name holds half a surrogate pair") ??
      (shape.length > maxRank ? `the shape has ${shape.length} numbers, the limit is ${maxRank}` : null) ??
      (shape.every((d) => Number.isSafeInteger(d) && d >= 0) ? null : `the shape is [${shape}]`);
    if (wrong !== null) fail("safetensors-header", `Cannot write tensor ${quote(name)}: ${wrong}`);
    seen.add(name);
  }
}

/** Lays out one file. `metadata` gets `format: pt` in front, which transformers 4.x insists on. */
export function layoutHeader(
  tensors: readonly NewTensor[],
  metadata: ReadonlyMap<string, string> = new Map(),
): EncodedHeader {
  check(tensors);
  const ordered = [...tensors].sort(
    (a, b) => dtypeRank.get(b.dtype)! - dtypeRank.get(a.dtype)! || compareNames(a.name, b.name),
  );
  const extra = [...metadata].filter(([key]) => key !== "format").sort(([a], [b]) => compareNames(a, b));
  const pairs = [["format", "pt"] as const, ...extra];
  const members = [`"__metadata__":{${pairs.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(",")}}`];
  const ranges: { name: string; start: number; end: number }[] = [];
  let position = 0;
  for (const tensor of ordered) {
    const end = position + tensorBytes(tensor);
    // Written by hand: a plain object would lose __proto__ and reorder names that look like numbers.
    members.push(
      `${JSON.stringify(tensor.name)}:{"dtype":"${tensor.dtype}","shape":[${tensor.shape}],"data_offsets":[${position},${end}]}`,
    );
    ranges.push({ name: tensor.name, start: position, end });
    position = end;
  }
  const json = encoder.encode(`{${members.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > maxWrittenHeaderBytes) {
    fail("safetensors-header", `Cannot write header: length is ${padded}, the limit is ${maxWrittenHeaderBytes}`, {
      hint: "Use more shards.",
    });
  }
  const bytes = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, 8);
  const dataStart = bytes.length;
  return {
    bytes,
    byteLength: dataStart + position,
    tensors: new Map(ranges.map(({ name, start, end }) => [name, { start: start + dataStart, end: end + dataStart }])),
  };
}

/** The first bytes of a file with these tensors: length, JSON, padding. */
export function encodeHeader(tensors: readonly NewTensor[], metadata?: ReadonlyMap<string, string>): Uint8Array {
  return layoutHeader(tensors, metadata).bytes;
}
