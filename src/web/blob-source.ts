// A blob (a dropped or picked file) as a source. It is read as a stream into a buffer that comes back and is used again: reads that
// make an array each left 400 MiB to the collector where this holds 160, and took three times as long.

import type { ByteSource } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { reason } from "./platform.ts";

/** Taken from a stream at a time. Each source of each worker holds one such buffer. */
const bufferBytes = 256 * 1024;
/** A stream that is read on is opened for so much; the browser reads ahead in it. */
const windowBytes = 8 << 20;

type Taken = { readonly done: boolean; readonly value?: Uint8Array<ArrayBuffer> | undefined };

/** Where a stream cannot fill a given buffer it makes its own. */
interface Stream {
  next(): Promise<Taken>;
  end(): void;
}

export class BlobSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  private readonly blob: Blob;
  private stream: Stream | null = null;
  private buffer = new ArrayBuffer(bufferBytes);
  /** Bytes that were taken from the stream and not read yet, and where they begin. */
  private rest: Uint8Array = new Uint8Array(0);
  private position = 0;
  private last: Promise<void> = Promise.resolve();

  constructor(name: string, blob: Blob) {
    this.name = name;
    this.byteLength = blob.size;
    this.blob = blob;
  }

  read(start: number, target: Uint8Array): Promise<void> {
    const end = start + target.byteLength;
    if (!(start >= 0) || end > this.byteLength) {
      fail("io", `Cannot read bytes ${start} to ${end} of ${quote(this.name)}: it has ${this.byteLength}`);
    }
    const reading = this.last.then(() => this.take(start, target));
    this.last = reading.catch(() => {});
    return reading;
  }

  close(): void {
    this.drop();
  }

  private async take(start: number, target: Uint8Array): Promise<void> {
    let at = 0;
    if (start !== this.position) this.drop();
    // What is read out of order may be one of many single pieces: no more than it is asked for.
    const onward = start === this.position && start > 0;
    this.position = start;
    try {
      while (at < target.length) {
        if (this.rest.length === 0) {
          this.stream ??= this.open(onward ? windowBytes : target.length - at);
          const { done, value } = await this.stream.next();
          if (value) this.rest = value;
          if (done) this.stream = null;
          if (done && !value?.length && this.position >= this.byteLength) break;
          continue;
        }
        const part = this.rest.subarray(0, target.length - at);
        target.set(part, at);
        at += part.length;
        this.position += part.length;
        this.rest = this.rest.subarray(part.length);
      }
    } catch (cause) {
      this.drop();
      // The browser looks at a file's length and time before it reads.
      const { name } = cause as Error;
      const changed = name === "NotReadableError" || name === "NotFoundError";
      const message = `Cannot read bytes ${start} to ${start + target.length} of ${quote(this.name)}: ${reason(cause)}`;
      const hint = { hint: "The file changed, moved, or its drive is gone. Add the model again." };
      fail(changed ? "input-changed" : "io", message, { cause, ...(changed ? hint : {}) });
    }
    if (at < target.length)
      fail("input-changed", `${quote(this.name)} ended at ${start + at}, it had ${this.byteLength}`);
  }

  private open(length: number): Stream {
    const stream = this.blob.slice(this.position, this.position + length).stream();
    let byob: ReadableStreamBYOBReader;
    try {
      byob = stream.getReader({ mode: "byob" });
    } catch {
      const reader = stream.getReader();
      return { next: () => reader.read(), end: () => void reader.cancel().catch(() => {}) };
    }
    return {
      next: async () => {
        const taken = await byob.read(new Uint8Array(this.buffer));
        // Always the same memory: it was handed to the stream, and is handed back with what was read.
        if (taken.value) this.buffer = taken.value.buffer;
        return taken;
      },
      end: () => void byob.cancel().catch(() => {}),
    };
  }

  private drop(): void {
    this.stream?.end();
    this.stream = null;
    this.rest = new Uint8Array(0);
    // A buffer that a cancelled stream holds does not come back.
    if (this.buffer.byteLength === 0) this.buffer = new ArrayBuffer(bufferBytes);
  }
}
