// SHA-256 of a message that comes in pieces, by the kernel: for places without a digest that takes pieces.

import type { Pointer } from "./exports.ts";
import { createKernel, type Kernel } from "./kernel.ts";

const blockBytes = 64;
/** Bytes that are hashed at a time; they stay in L2. */
const roomBytes = 256 * 1024;

/** FIPS 180-4, 5.3.3: the first 32 bits of the fractional parts of the square roots of the first eight primes. */
const initial = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
] as const;

export class Sha256 {
  readonly #kernel: Kernel;
  readonly #state: Pointer;
  readonly #room: Pointer;
  /** Bytes at `#room` that wait for the rest of their block. */
  #held = 0;
  #length = 0;

  constructor(module: WebAssembly.Module) {
    this.#kernel = createKernel(module, roomBytes + blockBytes);
    this.#state = this.#kernel.heapStart;
    this.#room = this.#state + blockBytes;
    this.#words().set(initial);
  }

  update(piece: Uint8Array): void {
    this.#length += piece.length;
    this.#take(piece);
  }

  /** The digest in hex; nothing may follow. */
  digest(): string {
    const bits = this.#length * 8;
    const end = new Uint8Array((this.#held < 56 ? 1 : 2) * blockBytes - this.#held);
    end[0] = 0x80;
    const view = new DataView(end.buffer);
    view.setUint32(end.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(end.length - 4, bits % 2 ** 32);
    this.#take(end);
    return [...this.#words()].map((word) => word.toString(16).padStart(8, "0")).join("");
  }

  #take(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) {
      const part = piece.subarray(at, at + roomBytes - this.#held);
      this.#kernel.u8(this.#room + this.#held, part.length).set(part);
      at += part.length;
      const have = this.#held + part.length;
      const blocks = Math.floor(have / blockBytes);
      this.#kernel.exports.sha256_blocks(this.#state, this.#room, blocks);
      const rest = this.#kernel.u8(this.#room + blocks * blockBytes, have - blocks * blockBytes);
      this.#kernel.u8(this.#room, rest.length).set(rest);
      this.#held = rest.length;
    }
  }

  #words(): Uint32Array {
    return new Uint32Array(this.#kernel.u8(this.#state, 32).buffer, this.#state, 8);
  }
}
