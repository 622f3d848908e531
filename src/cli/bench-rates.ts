// Rates of the machine beside the kernels: copying memory, SHA-256, and a folder's disk.

import { createHash, randomFillSync } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { median } from "../bench/run.ts";
import { outputFailed, show } from "../bytes/output.ts";

const MiB = 1024 * 1024;
/** What is written and read at a time. */
const pieceBytes = 4 * MiB;
/** Copies leave the caches behind. */
const copyBytes = 32 * MiB;
const hashBytes = 8 * MiB;
/** O_DIRECT wants memory, places and lengths in multiples of the drive's blocks. */
const alignment = 4096;

const seconds = (run: () => void): number => {
  const started = performance.now();
  run();
  return Math.max((performance.now() - started) / 1000, 1e-9);
};

/** Bytes per second of copying, in one thread. */
export function copyRate(rounds: number): number {
  const from = new Uint8Array(copyBytes).fill(1);
  const to = new Uint8Array(copyBytes).fill(2);
  return copyBytes / median(Array.from({ length: rounds }, () => seconds(() => to.set(from))));
}

/** Bytes per second of SHA-256, in one thread. */
export function sha256Rate(rounds: number): number {
  const bytes = new Uint8Array(hashBytes).fill(3);
  return (
    hashBytes / median(Array.from({ length: rounds }, () => seconds(() => createHash("sha256").update(bytes).digest())))
  );
}

export interface DiskRates {
  readonly folder: string;
  readonly bytes: number;
  /** Bytes per second, the sync included. */
  readonly write: number;
  readonly read: number;
  /** The reads came from memory: the system has no way past its cache here, so the drive is slower. */
  readonly cached: boolean;
}

/** Writes a file of `bytes` bytes, or less when it takes more than `maxMs`, syncs it, reads it past the cache and removes it. */
export async function diskRates(folder: string, bytes: number, maxMs: number, signal: AbortSignal): Promise<DiskRates> {
  const action = `Cannot measure the disk of ${show(folder)}`;
  let inside: string;
  try {
    inside = fs.mkdtempSync(join(folder, "braid-bench-"));
  } catch (e) {
    outputFailed(action, e);
  }
  try {
    const path = join(inside, "data");
    // Of WebAssembly, whose memory begins with a page.
    const piece = new Uint8Array(new WebAssembly.Memory({ initial: pieceBytes / 65_536 }).buffer);
    for (let at = 0; at < piece.length; at += 65_536) randomFillSync(piece, at, 65_536);
    const written = await writeFile(path, piece, bytes, maxMs, signal);
    const read = await readFile(path, piece, written.bytes, signal);
    return { folder, bytes: written.bytes, write: written.rate, ...read };
  } catch (e) {
    if (signal.aborted) throw signal.reason;
    outputFailed(action, e);
  } finally {
    fs.rmSync(inside, { recursive: true, force: true });
  }
}

async function writeFile(path: string, piece: Uint8Array, bytes: number, maxMs: number, signal: AbortSignal) {
  const fd = fs.openSync(path, "wx");
  try {
    let spent = 0;
    let done = 0;
    while (done < bytes && spent * 1000 < maxMs) {
      signal.throwIfAborted();
      spent += seconds(() => {
        for (let put = 0; put < piece.length; ) put += fs.writeSync(fd, piece, put, piece.length - put, done + put);
      });
      done += piece.length;
      await nextTurn();
    }
    spent += seconds(() => fs.fdatasyncSync(fd));
    return { bytes: done, rate: done / spent };
  } finally {
    fs.closeSync(fd);
  }
}

async function readFile(path: string, piece: Uint8Array, bytes: number, signal: AbortSignal) {
  let fd = openDirect(path, piece);
  const cached = fd === null;
  fd ??= fs.openSync(path, "r");
  try {
    let spent = 0;
    for (let at = 0; at < bytes; at += piece.length) {
      signal.throwIfAborted();
      spent += seconds(() => {
        for (let got = 0; got < piece.length; ) {
          const n = fs.readSync(fd, piece, got, piece.length - got, at + got);
          if (n === 0) throw new Error("the file that was just written is too short");
          got += n;
        }
      });
      await nextTurn();
    }
    return { read: bytes / spent, cached };
  } finally {
    fs.closeSync(fd);
  }
}

/** The file past the system's cache, if it can be opened and read so. */
function openDirect(path: string, piece: Uint8Array): number | null {
  const { O_RDONLY, O_DIRECT } = fs.constants;
  if (!O_DIRECT) return null;
  let fd: number | null = null;
  try {
    fd = fs.openSync(path, O_RDONLY | O_DIRECT);
    if (fs.readSync(fd, piece, 0, alignment, 0) === alignment) return fd;
  } catch {
    // Not every file system, and not every runtime, can.
  }
  if (fd !== null) fs.closeSync(fd);
  return null;
}
