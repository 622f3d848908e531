// A weight stored in fp8 with scales: element (i, j) is its fp8 value times the scale of its block. The scales of DeepSeek's
// checkpoints go by blocks of 128 × 128, those of others by row or by tensor.

import type { Kernel } from "./kernel.ts";
import { kernelsFor } from "./lanes.ts";
import type { Scratch } from "./operand.ts";
import { tileElements } from "./program.ts";
import type { Reader, ViewSource } from "./view.ts";

export interface ScaledView {
  readonly op: "scaled";
  readonly columns: number;
  readonly weight: ViewSource;
  /** [⌈rows/blockRows⌉, scaleColumns], row by row. */
  readonly scales: ViewSource;
  readonly scaleCount: number;
  readonly blockRows: number;
  readonly blockColumns: number;
}

/** Bytes of a worker's memory: all scales as f32, and a tile. */
export function scaledBytes({ scaleCount }: ScaledView): number {
  return scaleCount * 4 + 16 + tileElements * 8 + 16;
}

export class ScaledReader implements Reader {
  private readonly kernel: Kernel;
  private readonly view: ScaledView;
  private readonly weight: Reader;
  private readonly source: Reader;
  private readonly scales: number;
  private readonly raw: number;
  private ready = false;

  constructor(kernel: Kernel, view: ScaledView, scratch: Scratch, open: (source: ViewSource) => Reader) {
    this.kernel = kernel;
    this.view = view;
    this.scales = scratch.take(view.scaleCount * 4);
    this.raw = scratch.take(tileElements * 8);
    this.weight = open(view.weight);
    this.source = open(view.scales);
  }

  async read(first: number, count: number, to: number): Promise<void> {
    if (!this.ready) await this.loadScales();
    this.ready = true;
    const lanes = kernelsFor(this.kernel, this.view.weight.dtype);
    for (let t = 0; t < count; t += tileElements) {
      const n = Math.min(tileElements, count - t);
      const pending = this.weight.read(first + t, n, this.raw);
      if (pending) await pending;
      lanes.decode(to + t * 4, this.raw, n);
      this.scale(first + t, n, to + t * 4);
    }
  }

  /** Multiplies elements [first, first + count), which lie at `at` as f32, by the scales of their blocks. */
  private scale(first: number, count: number, at: number): void {
    const { columns, blockRows, blockColumns } = this.view;
    const e = this.kernel.exports;
    const scaleColumns = Math.ceil(columns / blockColumns);
    const scales = new Float32Array(this.kernel.memory.buffer, this.scales, this.view.scaleCount);
    for (let done = 0; done < count; ) {
      const element = first + done;
      const row = Math.floor(element / columns);
      const column = element - row * columns;
      const block = Math.floor(column / blockColumns);
      const n = Math.min(count - done, Math.min(columns, (block + 1) * blockColumns) - column);
      const x = at + done * 4;
      e.scale(x, x, scales[Math.floor(row / blockRows) * scaleColumns + block]!, n);
      done += n;
    }
  }

  private async loadScales(): Promise<void> {
    const { scales, scaleCount } = this.view;
    const lanes = kernelsFor(this.kernel, scales.dtype);
    for (let t = 0; t < scaleCount; t += tileElements) {
      const n = Math.min(tileElements, scaleCount - t);
      const pending = this.source.read(t, n, this.raw);
      if (pending) await pending;
      lanes.decode(this.scales + t * 4, this.raw, n);
    }
  }
}
