// A model of EMR-merging read back: base + r·τ where the model's mask is set, the base as it is elsewhere (arXiv 2405.17461).

import type { Kernel } from "./kernel.ts";
import { kernelsFor } from "./lanes.ts";
import type { Scratch } from "./operand.ts";
import type { TaskInput } from "./program.ts";
import { tileElements } from "./program.ts";
import type { Reader, ReadIo, ViewSource } from "./view.ts";

export interface MaskedView {
  readonly op: "masked";
  readonly base: ViewSource;
  /** τ, the delta that all models share. */
  readonly unified: ViewSource;
  /** One bit an element, the least significant of a byte first. */
  readonly mask: TaskInput;
  /** r. */
  readonly scale: number;
}

/** Bytes of a worker's memory: tiles of τ as stored and as f32, and of the mask. */
export function maskedBytes(): number {
  return tileElements * (8 + 4 + 1 / 8) + 4 * 16;
}

export class MaskedReader implements Reader {
  private readonly kernel: Kernel;
  private readonly view: MaskedView;
  private readonly io: ReadIo;
  private readonly base: Reader;
  private readonly unified: Reader;
  private readonly raw: number;
  private readonly tau: number;
  private readonly bits: number;

  constructor(kernel: Kernel, view: MaskedView, io: ReadIo, scratch: Scratch, open: (source: ViewSource) => Reader) {
    this.kernel = kernel;
    this.view = view;
    this.io = io;
    this.raw = scratch.take(tileElements * 8);
    this.tau = scratch.take(tileElements * 4);
    this.bits = scratch.take(tileElements / 8 + 1);
    this.base = open(view.base);
    this.unified = open(view.unified);
  }

  async read(first: number, count: number, to: number): Promise<void> {
    const { base, unified, mask, scale } = this.view;
    const e = this.kernel.exports;
    for (let t = 0; t < count; t += tileElements) {
      const n = Math.min(tileElements, count - t);
      const at = first + t;
      const out = to + t * 4;
      await this.base.read(at, n, this.raw);
      kernelsFor(this.kernel, base.dtype).decode(out, this.raw, n);
      await this.unified.read(at, n, this.raw);
      kernelsFor(this.kernel, unified.dtype).decode(this.tau, this.raw, n);
      const from = Math.floor(at / 8);
      await this.io.read(mask, from, this.kernel.u8(this.bits, Math.ceil((at + n) / 8) - from));
      e.axpy_bits(out, this.tau, this.bits, at - from * 8, scale, n);
    }
  }
}
