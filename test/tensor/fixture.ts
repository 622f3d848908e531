// Small checkpoints for tests, in memory and on disk, and the errors they end in.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type BraidError, isBraidError } from "../../src/errors.ts";
import { encodeHeader, layoutHeader, type NewTensor } from "../../src/tensor/encode.ts";

export const utf8 = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** A file with this header text, its length in front, and so many zero bytes behind. */
export function rawFile(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array<ArrayBuffer> {
  const json = typeof header === "string" ? utf8(header) : header;
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

/** A whole, good file. Its data bytes count up, so that no two neighbours are alike. */
export function goodFile(
  tensors: readonly NewTensor[],
  metadata?: ReadonlyMap<string, string>,
): Uint8Array<ArrayBuffer> {
  const header = encodeHeader(tensors, metadata);
  const file = new Uint8Array(layoutHeader(tensors, metadata).byteLength);
  file.set(header);
  for (let i = header.length; i < file.length; i++) file[i] = i % 251;
  return file;
}

export const tiny: readonly NewTensor[] = [
  { name: "model.embed_tokens.weight", dtype: "BF16", shape: [4, 2] },
  { name: "model.layers.0.mlp.weight", dtype: "BF16", shape: [2, 2] },
  { name: "lm_head.weight", dtype: "BF16", shape: [4, 2] },
];

export function indexText(weightMap: Record<string, string>, metadata: unknown = { total_size: 0 }): string {
  return JSON.stringify({ metadata, weight_map: weightMap });
}

/** Runs `use` with a new folder that holds these files (a name may have folders in it), and removes it. */
export async function withFolder<T>(
  files: Readonly<Record<string, string | Uint8Array>>,
  use: (path: string) => T | Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "braid-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The BraidError that `run` ends in. Anything else it does is an error of the test. */
export async function failure(run: () => unknown): Promise<BraidError> {
  try {
    await run();
  } catch (e) {
    if (isBraidError(e)) return e;
    throw e;
  }
  throw new Error("it did not fail");
}
