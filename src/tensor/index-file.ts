// model.safetensors.index.json: which shard holds which tensor.

import { type ByteSource, readWhole } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { createScanner, peek, readEnd, readObject, readString, skipValue } from "./tokens.ts";

export const maxIndexBytes = 10_000_000;
/** A bare file name. Anything else in `weight_map` could lead out of the folder. */
const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/;

export interface ShardIndex {
  /** Shard by tensor. */
  readonly weightMap: Map<string, string>;
  /** Shards, sorted. */
  readonly shards: readonly string[];
}

export async function readIndex(source: ByteSource): Promise<ShardIndex> {
  const subject = quote(source.name, 4096);
  const refuse = (what: string, hint?: string): never =>
    fail("shard-index", `Cannot read ${subject}: ${what}`, hint === undefined ? {} : { hint });
  const bytes = await readWhole(source, maxIndexBytes, (n) =>
    refuse(`it has ${n} bytes, the limit is ${maxIndexBytes}`),
  );
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse("it is not UTF-8");
  }
  const s = createScanner(text, (what, at) => refuse(`${what} (character ${at + 1})`), true);
  const weightMap = new Map<string, string>();
  const shards = new Set<string>();
  let hasMetadata = false;
  let hasMap = false;
  readObject(s, (name) => {
    if (name === "metadata") {
      hasMetadata = true;
      if (peek(s) !== 0x7b) s.fault("metadata is not an object");
      skipValue(s);
    } else if (name === "weight_map") {
      hasMap = true;
      readObject(
        s,
        (tensor) => {
          const shard = readString(s, `a file name for ${quote(tensor)}`);
          if (!plainName.test(shard)) {
            fail(
              "unsafe-path",
              `Cannot read ${subject}: ${quote(tensor)} is in ${quote(shard)}, which is not a plain file name`,
              {
                hint: "An index names files of its own folder only. Do not trust this checkpoint.",
              },
            );
          }
          if (!shard.endsWith(".safetensors")) {
            refuse(`${quote(tensor)} is in ${quote(shard)}, which does not end in .safetensors`);
          }
          weightMap.set(tensor, shard);
          shards.add(shard);
        },
        "weight_map to be an object",
      );
    } else {
      skipValue(s);
    }
  });
  readEnd(s);
  if (!hasMap) refuse("weight_map is missing");
  if (!hasMetadata) {
    refuse(
      "metadata is missing, without which transformers does not load it",
      'Add "metadata": {"total_size": <bytes of all tensors>}.',
    );
  }
  if (weightMap.size === 0) refuse("weight_map is empty");
  return { weightMap, shards: [...shards].sort() };
}
