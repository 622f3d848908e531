// The entry of the worker that hashes outputs: a file while it is being written, as far as it is final.

import { compileKernel } from "../kernel/kernel.ts";
import { Sha256 } from "../kernel/sha256.ts";
import { BlobSource } from "./blob-source.ts";
import { reason, type SyncAccessHandle } from "./platform.ts";
import { openShared, privateFile } from "./private-stage.ts";

export type ToHasher =
  /** Bytes of the file before `end` are final. */
  | { readonly type: "advance"; readonly path: string; readonly end: number }
  /**
   * All of it is, and nobody else has it open: here it is, when it is not a private file. `again`: another worker was asked before, and
   * may have it open still.
   */
  | { readonly type: "finish"; readonly path: string; readonly file: Blob | null; readonly again: boolean };

export type FromHasher =
  | { readonly type: "digest"; readonly path: string; readonly sha256: string }
  /** It is at work. */
  | { readonly type: "beat"; readonly path: string }
  | { readonly type: "failed"; readonly path: string; readonly message: string };

const scope = globalThis as unknown as {
  postMessage(message: FromHasher): void;
  addEventListener(type: "message", listener: (event: MessageEvent<ToHasher>) => void): void;
};

/** Bytes between two signs of life, some hundredths of a second. */
const beatBytes = 32 << 20;

interface Hashing {
  readonly hash: Sha256;
  access: SyncAccessHandle | null;
  done: number;
}

const module = compileKernel();
const piece = new Uint8Array(1 << 20);
const files = new Map<string, Hashing>();

async function opened(path: string, shared: boolean): Promise<Hashing> {
  const known = files.get(path) ?? { hash: new Sha256(module), access: null, done: 0 };
  files.set(path, known);
  known.access ??= await openShared(await privateFile(path), shared);
  return known;
}

function beat(path: string, done: number, more: number): void {
  if (Math.floor(done / beatBytes) !== Math.floor((done + more) / beatBytes)) scope.postMessage({ type: "beat", path });
}

function hashTo(path: string, hashing: Hashing, end: number): void {
  while (hashing.done < end) {
    const want = Math.min(piece.length, end - hashing.done);
    const part = piece.subarray(0, want);
    const got = hashing.access!.read(part, { at: hashing.done });
    if (got === 0) throw new Error(`the file ends at ${hashing.done}`);
    hashing.hash.update(part.subarray(0, got));
    beat(path, hashing.done, got);
    hashing.done += got;
  }
}

async function hashBlob(path: string, blob: Blob): Promise<string> {
  const hash = new Sha256(module);
  const source = new BlobSource(path, blob);
  for (let at = 0; at < blob.size; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, blob.size - at));
    await source.read(at, part);
    hash.update(part);
    beat(path, at, part.length);
  }
  return hash.digest();
}

async function handle(message: ToHasher): Promise<void> {
  const { path } = message;
  try {
    if (message.type === "advance") return hashTo(path, await opened(path, true), message.end);
    const file = message.file ?? (message.again ? await (await privateFile(path)).getFile() : null);
    if (file) {
      scope.postMessage({ type: "digest", path, sha256: await hashBlob(path, file) });
      return;
    }
    const hashing = await opened(path, false);
    hashTo(path, hashing, hashing.access!.getSize());
    hashing.access!.close();
    files.delete(path);
    scope.postMessage({ type: "digest", path, sha256: hashing.hash.digest() });
  } catch (cause) {
    scope.postMessage({ type: "failed", path, message: reason(cause) });
  }
}

let last: Promise<void> = Promise.resolve();
scope.addEventListener("message", ({ data }) => {
  last = last.then(() => handle(data));
});
