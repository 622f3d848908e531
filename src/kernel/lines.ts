// Tensors as many vectors instead of one: their rows, or the columns of those rows.

import { tileElements } from "./program.ts";

/** Vectors of a tensor that is cut into rows of `length` elements: each row, or each of the `length` columns. */
export interface Lines {
  readonly by: "row" | "column";
  readonly length: number;
}

/** How many vectors a tensor of `count` elements has. */
export function lineCount({ by, length }: Lines, count: number): number {
  return by === "row" ? Math.ceil(count / length) : length;
}

/**
 * Elements of a task that surveys columns. A column's sums are kept per task, so the size must not depend on slices; 2 MiB of
 * bf16 are two columns' worth of sums to a row of 64 Ki.
 */
export const columnTaskElements = 2 ** 20;

/**
 * Cuts elements [first, first + count) where a row or a tile ends. A part that lies in one row and one tile is the same
 * whatever the slices are: sums of parts, added in their order, are the row's. `each` is given the part's offset from `first`,
 * its row and its number of elements.
 */
export function rowParts(
  first: number,
  count: number,
  length: number,
  each: (offset: number, row: number, elements: number) => void,
): void {
  for (let at = first; at < first + count; ) {
    const row = Math.floor(at / length);
    const tileEnd = (Math.floor(at / tileElements) + 1) * tileElements;
    const end = Math.min((row + 1) * length, tileEnd, first + count);
    each(at - first, row, end - at);
    at = end;
  }
}

/** How many parts `rowParts` gives. */
export function rowPartCount(first: number, count: number, length: number): number {
  let parts = 0;
  rowParts(first, count, length, () => {
    parts++;
  });
  return parts;
}
