// Which output tensor goes into which file, and the index that says so.

import { fail } from "../errors.ts";
import { type EncodedHeader, layoutHeader, maxWrittenHeaderBytes, type NewTensor, tensorBytes } from "./encode.ts";
import { elementCount } from "./header.ts";
import { compareNames } from "./names.ts";

/** Tensor bytes of a shard, as huggingface_hub and mergekit cut them. */
export const defaultShardBytes = 5e9;
export const indexName = "model.safetensors.index.json";
/** Five digits in `model-00001-of-00002.safetensors`. */
const maxShards = 99_999;

export interface OutputFile {
  readonly name: string;
  /** The 8 bytes of length and the JSON. */
  readonly header: Uint8Array;
  /** Of the whole file. */
  readonly byteLength: number;
  /** Absolute byte ranges, in the order of the file. */
  readonly tensors: EncodedHeader["tensors"];
  readonly parameterCount: number;
}

export interface ShardOptions {
  readonly shardBytes: number;
  readonly metadata?: ReadonlyMap<string, string>;
}

const encoder = new TextEncoder();

/** At least the bytes that a tensor takes in a header: offsets are counted with the 16 digits that they can have. */
function entryBytes({ name, dtype, shape }: NewTensor): number {
  const fixed = ':{"dtype":"","shape":[],"data_offsets":[,]},'.length + 2 * 16;
  return encoder.encode(JSON.stringify(name)).length + fixed + dtype.length + String(shape).length;
}

function metadataBytes(metadata: ReadonlyMap<string, string>): number {
  return layoutHeader([], metadata).bytes.length;
}

/**
 * Fills shards in the order given; a shard ends where the next tensor would take it above `shardBytes` or its header
 * above 5 MiB. A tensor larger than that gets a shard of its own.
 */
export function layoutShards(
  tensors: readonly NewTensor[],
  { shardBytes, metadata = new Map() }: ShardOptions,
): OutputFile[] {
  if (!(shardBytes > 0)) fail("usage", `Cannot cut shards of ${shardBytes} bytes: the least is 1`);
  const emptyHeader = metadataBytes(metadata);
  const groups: NewTensor[][] = [];
  let bytes = 0;
  let header = 0;
  for (const tensor of tensors) {
    const size = tensorBytes(tensor);
    const entry = entryBytes(tensor);
    const last = groups.at(-1);
    if (last && bytes + size <= shardBytes && header + entry <= maxWrittenHeaderBytes) {
      last.push(tensor);
      bytes += size;
      header += entry;
    } else {
      groups.push([tensor]);
      bytes = size;
      header = emptyHeader + entry;
    }
  }
  if (groups.length === 0) groups.push([]);
  if (groups.length > maxShards) {
    fail(
      "usage",
      `Cannot cut shards of ${shardBytes} bytes: there would be ${groups.length}, the limit is ${maxShards}`,
    );
  }
  const seen = new Set<string>();
  return groups.map((group, index) => {
    for (const { name } of group) {
      if (seen.has(name))
        fail("safetensors-header", `Cannot write tensor ${JSON.stringify(name)}: the name comes twice`);
      seen.add(name);
    }
    const encoded = layoutHeader(group, metadata);
    return {
      name: shardName(index, groups.length),
      header: encoded.bytes,
      byteLength: encoded.byteLength,
      tensors: encoded.tensors,
      parameterCount: group.reduce((sum, { shape }) => sum + elementCount(shape)!, 0),
    };
  });
}

export function shardName(index: number, shards: number): string {
  if (shards === 1) return "model.safetensors";
  const pad = (n: number): string => String(n).padStart(5, "0");
  return `model-${pad(index + 1)}-of-${pad(shards)}.safetensors`;
}

/** The text of `model.safetensors.index.json`, as huggingface_hub writes it. */
export function indexJson(files: readonly OutputFile[]): string {
  const map = files
    .flatMap((file) => [...file.tensors.keys()].map((name) => [name, file.name] as const))
    .sort(([a], [b]) => compareNames(a, b));
  const size = files.reduce((sum, file) => sum + file.byteLength - file.header.length, 0);
  const parameters = files.reduce((sum, file) => sum + file.parameterCount, 0);
  const lines = map.map(([name, file]) => `    ${JSON.stringify(name)}: ${JSON.stringify(file)}`);
  const weights = lines.length === 0 ? "{}" : `{\n${lines.join(",\n")}\n  }`;
  return `{\n  "metadata": {\n    "total_parameters": ${parameters},\n    "total_size": ${size}\n  },\n  "weight_map": ${weights}\n}\n`;
}
