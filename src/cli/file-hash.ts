// SHA-256 of a file while it is still being written: what lies before a mark is final and can be hashed already, so that the
// digest is nearly there when the last byte is.

import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { FileSource } from "../bytes/file.ts";
import type { FileHash } from "../host.ts";

/** Bytes read and hashed in one go: they stay in L2 between the two. */
const pieceBytes = 256 * 1024;
/** How long the event loop may wait for a piece of hashing; workers have a task waiting meanwhile. */
const turnMs = 4;

/** Hashes by the runtime's own OpenSSL or BoringSSL, which uses the processor's SHA instructions. */
export class ProgressiveHash implements FileHash {
  private readonly source: FileSource;
  private readonly hash = createHash("sha256");
  private readonly buffer: Uint8Array;
  private mark = 0;
  private done = 0;
  private running: Promise<void> | null = null;
  private signal: AbortSignal | null = null;
  private readonly worked: ((start: number) => void) | undefined;

  constructor(path: string, worked?: (start: number) => void) {
    this.worked = worked;
    this.source = new FileSource(path);
    this.buffer = new Uint8Array(Math.min(pieceBytes, this.source.byteLength));
  }

  advance(end: number): void {
    this.mark = Math.max(this.mark, end);
    if (!this.running && this.mark - this.done >= pieceBytes) this.start();
  }

  async finish(signal: AbortSignal): Promise<string> {
    try {
      this.signal = signal;
      this.mark = this.source.byteLength;
      while (this.done < this.mark) {
        signal.throwIfAborted();
        if (!this.running) this.start();
        await this.running;
      }
      return this.hash.digest("hex");
    } finally {
      this.close();
    }
  }

  close(): void {
    this.mark = this.done;
    this.source.close();
  }

  private start(): void {
    this.running = this.run().finally(() => {
      this.running = null;
    });
    // A failed read is met again by finish(), which reports it.
    this.running.catch(() => {});
  }

  private async run(): Promise<void> {
    let turn = performance.now();
    while (this.done < this.mark) {
      const piece = this.buffer.subarray(0, Math.min(this.buffer.length, this.mark - this.done));
      this.source.read(this.done, piece);
      this.hash.update(piece);
      this.done += piece.length;
      if (performance.now() - turn < turnMs) continue;
      this.worked?.(turn);
      await nextTurn();
      this.signal?.throwIfAborted();
      turn = performance.now();
    }
    this.worked?.(turn);
  }
}

/** A hash that begins anew when bytes behind its mark were put right. */
export class RestartingHash implements FileHash {
  private readonly make: () => FileHash;
  private hash: FileHash;
  private mark = 0;

  constructor(make: () => FileHash) {
    this.make = make;
    this.hash = make();
  }

  advance(end: number): void {
    this.mark = Math.max(this.mark, end);
    this.hash.advance(end);
  }

  restart(): void {
    this.hash.close();
    this.hash = this.make();
    this.hash.advance(this.mark);
  }

  finish(signal: AbortSignal): Promise<string> {
    return this.hash.finish(signal);
  }

  close(): void {
    this.hash.close();
  }
}
