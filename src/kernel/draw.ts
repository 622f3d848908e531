// The mask of a tile: drawn for its elements, or for the rows or columns that they lie in.

import type { Pointer } from "./exports.ts";
import type { Kernel } from "./kernel.ts";
import type { Lines } from "./lines.ts";
import { maskBlockElements } from "./mask.ts";
import type { RandomKeep } from "./program.ts";

const two32 = 2 ** 32;

/** Bytes that a mask of `elements` takes: it begins where its first Philox block does. */
export function maskBytes(elements: number): number {
  return elements + maskBlockElements;
}

/** Bytes that `drawMask` needs beside the mask to draw lines of tiles of `elements`. */
export function lineMaskBytes(elements: number): number {
  return elements + 2 * maskBlockElements;
}

/** Bytes of line masks that these terms or operands need. */
export function lineMaskBytesOf(
  users: readonly { readonly keep: { readonly random?: RandomKeep } }[],
  elements: number,
) {
  return users.some((u) => u.keep.random?.lines) ? lineMaskBytes(elements) : 0;
}

/**
 * Draws the mask of elements [first, first + count) of a tensor, count > 0: 0xff keeps, 0 drops. The first one's byte is that at
 * `mask` + first mod 16. Returns the number kept.
 */
export function drawMask(
  kernel: Kernel,
  random: RandomKeep,
  mask: Pointer,
  lineMask: Pointer,
  first: number,
  count: number,
): number {
  if (!random.lines) return draw(kernel, random, mask, first, count);
  const bytes = kernel.u8(mask + (first % maskBlockElements), count);
  const { by } = random.lines;
  if (by === "row") return spreadRows(kernel, random, random.lines, bytes, lineMask, first);
  return spreadColumns(kernel, random, random.lines, bytes, lineMask, first);
}

function draw(kernel: Kernel, random: RandomKeep, mask: Pointer, first: number, count: number): number {
  const e = kernel.exports;
  // What begins inside a Philox block is drawn from the block's first element on.
  const ahead = first % maskBlockElements;
  const block = (first - ahead) / maskBlockElements;
  const high = Math.floor(block / two32);
  const low = block - high * two32;
  const { key, threshold, start } = random;
  let kept =
    start === undefined
      ? e.keep_mask(mask, key[0], key[1], low, high, threshold, ahead + count)
      : e.keep_mask_within(mask, key[0], key[1], low, high, start, two32 - threshold, ahead + count);
  if (ahead > 0) for (const bits of kernel.u8(mask, ahead)) if (bits !== 0) kept--;
  return kept;
}

function spreadRows(
  kernel: Kernel,
  random: RandomKeep,
  { length }: Lines,
  bytes: Uint8Array,
  lineMask: Pointer,
  first: number,
): number {
  const row = Math.floor(first / length);
  const rows = Math.floor((first + bytes.length - 1) / length) - row + 1;
  draw(kernel, random, lineMask, row, rows);
  const drawn = kernel.u8(lineMask + (row % maskBlockElements), rows);
  let kept = 0;
  for (let r = 0; r < rows; r++) {
    const from = Math.max(0, (row + r) * length - first);
    const end = Math.min(bytes.length, (row + r + 1) * length - first);
    bytes.fill(drawn[r]!, from, end);
    if (drawn[r] !== 0) kept += end - from;
  }
  return kept;
}

function spreadColumns(
  kernel: Kernel,
  random: RandomKeep,
  { length }: Lines,
  bytes: Uint8Array,
  lineMask: Pointer,
  first: number,
): number {
  // A part of a row, which may end and go on in the next one; after a whole row it repeats.
  const once = Math.min(length, bytes.length);
  for (let done = 0; done < once; ) {
    const column = (first + done) % length;
    const columns = Math.min(once - done, length - column);
    draw(kernel, random, lineMask, column, columns);
    bytes.set(kernel.u8(lineMask + (column % maskBlockElements), columns), done);
    done += columns;
  }
  for (let done = once; done < bytes.length; done *= 2) bytes.copyWithin(done, 0, Math.min(done, bytes.length - done));
  let kept = 0;
  for (const bits of bytes) kept += bits & 1;
  return kept;
}
