// A blob (a dropped or picked file) as a source. It is read as a stream into a buffer that comes back and is used again: reads that
// make an array each left 400 MiB to the collector where this holds 160, and took three times as long.

import type { ByteSource } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { reason } from "./platform.ts";

/** Taken from a stream at a time. Each source of each worker holds one such buffer. */
const bufferBytes = 256 * 1024;
/** A stream that is read on is opened for so much; the browser reads ahead in it. */
const windowBytes = 8 << 20;

/** A blob that is not longer is read whole, once: a model of a few tensors is read in many small pieces. */
const wholeBytes = 2 << 20;
/**
 * A stream that has given nothing for so long is given up, and its bytes are asked for by themselves. Under load Chromium 156 was seen
 * to leave a read of a stream without an answer.
 */
const patienceMs = 5_000;

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
  /** Milliseconds. */
  private readonly patience: number;
  private stream: Stream | null = null;
  private buffer = new ArrayBuffer(bufferBytes);
  /** Bytes that were taken from the stream and not read yet, and where they begin. */
  private rest: Uint8Array = new Uint8Array(0);
  private position = 0;
  private last: Promise<void> = Promise.resolve();
  private whole: Uint8Array<ArrayBuffer> | null = null;

  constructor(name: string, blob: Blob, patience = patienceMs) {
    this.patience = patience;
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
    this.whole = null;
  }

  private async take(start: number, target: Uint8Array): Promise<void> {
    let at = 0;
    if (this.byteLength <= wholeBytes) {
      try {
        this.whole ??= new Uint8Array(await this.blob.arrayBuffer());
      } catch (cause) {
        this.refuse(start, target.length, cause);
      }
      if (this.whole.length !== this.byteLength) this.short(this.whole.length);
      return target.set(this.whole.subarray(start, start + target.length));
    }
    if (start !== this.position) this.drop();
    // What is read out of order may be one of many single pieces: no more than it is asked for.
    const onward = start === this.position && start > 0;
    this.position = start;
    try {
      while (at < target.length) {
        if (this.rest.length === 0) {
          this.stream ??= this.open(onward ? windowBytes : target.length - at);
          const { done, value } = await this.patiently(this.stream, target.length - at);
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
      this.refuse(start, target.length, cause);
    }
    if (at < target.length) this.short(start + at);
  }

  private refuse(start: number, length: number, cause: unknown): never {
    // The browser looks at a file's length and time before it reads.
    const { name } = cause as Error;
    const changed = name === "NotReadableError" || name === "NotFoundError";
    const message = `Cannot read bytes ${start} to ${start + length} of ${quote(this.name)}: ${reason(cause)}`;
    const hint = { hint: "The file changed, moved, or its drive is gone. Add the model again." };
    return fail(changed ? "input-changed" : "io", message, { cause, ...(changed ? hint : {}) });
  }

  private short(end: number): never {
    return fail("input-changed", `${quote(this.name)} ended at ${end}, it had ${this.byteLength}`);
  }

  /** What the stream gives next, or the same bytes without it when it gives nothing. */
  private async patiently(stream: Stream, length: number): Promise<Taken> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), this.patience);
    });
    const taken = await Promise.race([stream.next(), late]).finally(() => clearTimeout(timer));
    if (taken) return taken;
    stream.end();
    this.buffer = new ArrayBuffer(bufferBytes);
    const end = Math.min(this.position + Math.min(length, bufferBytes), this.byteLength);
    return { done: true, value: new Uint8Array(await this.blob.slice(this.position, end).arrayBuffer()) };
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
    let ended = false;
    return {
      next: async () => {
        const taken = await byob.read(new Uint8Array(this.buffer));
        // Always the same memory: it was handed to the stream, and is handed back with what was read. Not to one that was given up.
        if (taken.value && !ended) this.buffer = taken.value.buffer;
        return taken;
      },
      end() {
        ended = true;
        void byob.cancel().catch(() => {});
      },
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
