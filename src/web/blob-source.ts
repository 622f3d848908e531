// A blob (a dropped or picked file) as a source. Read at once, in pieces longer than a stride: every read asks the browser's own
// process, which costs about a millisecond whatever its length.

import type { ByteSource } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { readBlob, reason } from "./platform.ts";

/** Read together. Each source of each worker keeps one such piece. */
export const pieceBytes = 1 << 20;

export class BlobSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  private readonly blob: Blob;
  private piece: Uint8Array = new Uint8Array(0);
  private pieceStart = 0;

  constructor(name: string, blob: Blob) {
    this.name = name;
    this.byteLength = blob.size;
    this.blob = blob;
  }

  read(start: number, target: Uint8Array): void {
    const end = start + target.byteLength;
    if (!(start >= 0) || end > this.byteLength) {
      fail("io", `Cannot read bytes ${start} to ${end} of ${quote(this.name)}: it has ${this.byteLength}`);
    }
    for (let at = start; at < end; ) {
      const inPiece = at - this.pieceStart;
      if (inPiece < 0 || inPiece >= this.piece.length) {
        this.load(at, Math.max(pieceBytes, end - at));
        continue;
      }
      const part = this.piece.subarray(inPiece, inPiece + end - at);
      target.set(part, at - start);
      at += part.length;
    }
  }

  close(): void {
    this.piece = new Uint8Array(0);
  }

  private load(start: number, length: number): void {
    const end = Math.min(this.byteLength, start + Math.min(length, 8 * pieceBytes));
    try {
      this.piece = readBlob(this.blob.slice(start, end));
    } catch (cause) {
      // The browser looks at the file's length and time before it reads.
      const changed = (cause as Error).name === "NotReadableError" || (cause as Error).name === "NotFoundError";
      fail(
        changed ? "input-changed" : "io",
        `Cannot read bytes ${start} to ${end} of ${quote(this.name)}: ${reason(cause)}`,
        {
          cause,
          ...(changed ? { hint: "The file changed, moved, or its drive is gone. Add the model again." } : {}),
        },
      );
    }
    if (this.piece.length !== end - start) {
      fail(
        "input-changed",
        `Cannot read bytes ${start} to ${end} of ${quote(this.name)}: it gave ${this.piece.length}`,
      );
    }
    this.pieceStart = start;
  }
}
