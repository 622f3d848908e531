// One input of a tile as the arithmetic sees it: decoded, its delta to the base taken, and its survivors selected.

import { drawMask, lineMaskBytesOf, maskBytes } from "./draw.ts";
import type { Kernel } from "./kernel.ts";
import type { LaneKernels } from "./lanes.ts";
import { maskBlockElements } from "./mask.ts";
import type { Keep, Scalar } from "./program.ts";
import type { RowKeeper } from "./rows.ts";

/** A region of the kernel's memory that is handed out in 16-byte aligned pieces. */
export class Scratch {
  private at: number;
  private readonly end: number;

  constructor(region: { start: number; end: number }) {
    this.at = region.start;
    this.end = region.end;
  }

  take(bytes: number): number {
    const here = (this.at + 15) & ~15;
    this.at = here + bytes;
    if (this.at > this.end) throw new RangeError(`scratch of the worker is ${this.at - this.end} bytes too small`);
    return here;
  }
}

/** Where masks of a tile are drawn. */
export interface Masks {
  readonly elements: number;
  readonly lines: number;
}

/** Room for the masks of tiles of `size` elements of these terms or operands. */
export function takeMasks(scratch: Scratch, users: readonly { readonly keep: Keep }[], size: number): Masks {
  return { elements: scratch.take(maskBytes(size)), lines: scratch.take(lineMaskBytesOf(users, size)) };
}

/** How many elements of the tile that starts at `first` lie before an index of the tensor: 0 to `count`. */
export function before(index: Scalar, first: number, count: number): number {
  return Math.max(0, Math.min(count, (index as number) - first));
}

/**
 * Applies a keep rule to a tile of f32 in place: what is dropped becomes +0 by selection, so a dropped NaN is gone. Returns
 * the number kept. `first` is the tile's first element in the tensor. Where `keep` works by rows, `rows` does that part.
 */
export function applyKeep(
  kernel: Kernel,
  keep: Keep,
  tile: number,
  masks: Masks,
  first: number,
  count: number,
  rows: RowKeeper | null = null,
): number {
  const e = kernel.exports;
  let kept = count;
  if (keep.random && keep.random.threshold > 0) {
    kept = drawMask(kernel, keep.random, masks.elements, masks.lines, first, count);
    e.select(tile, masks.elements + (first % maskBlockElements), count);
  }
  if (keep.magnitude) {
    const { above, equalBefore, equalFrom, top } = keep.magnitude;
    const within = (index: Scalar) => before(index, first, count);
    const from = equalFrom === undefined ? 0 : within(equalFrom);
    if (top) kept = e.window(tile, above as number, from, top.key as number, within(top.equalBefore), count);
    else kept = e.trim(tile, above as number, within(equalBefore), count);
  }
  if (keep.rows) kept = rows!.apply(keep.rows, tile, first, count);
  return kept;
}

/** Decodes one input's tile and subtracts the base's, which is already decoded at `base` (0: no base). */
export function decodeDelta(
  kernel: Kernel,
  lane: LaneKernels,
  from: number,
  out: number,
  base: number,
  count: number,
): void {
  lane.decode(out, from, count);
  if (base !== 0) kernel.exports.delta(out, out, base, count);
}
