// One tile of the rules that look at the deltas of all terms at an element (`Choice` in program.ts).

import type { Pointer } from "./exports.ts";
import type { Kernel } from "./kernel.ts";
import { before } from "./operand.ts";
import type { Choice } from "./program.ts";

export interface ChoiceTiles {
  /** Where the result goes. */
  readonly acc: Pointer;
  /** A tile for each term, one after the other: its delta after `keep`, rescaled; with `near`, its value. */
  readonly deltas: Pointer;
  readonly terms: number;
  /** Elements from one tile to the next. */
  readonly stride: number;
  /** f32, one a term: w_i, and 1. */
  readonly weights: Pointer;
  readonly ones: Pointer;
  readonly base: Pointer;
  readonly spare: Pointer;
}

/**
 * `first` is the tile's first element in the tensor. `refill` puts the deltas before a trim, but after a random drop, in the place of those after it. Returns
 * how many elements the rule selects.
 */
export function choose(
  kernel: Kernel,
  choice: Choice,
  tiles: ChoiceTiles,
  first: number,
  count: number,
  refill: () => void,
): number {
  const e = kernel.exports;
  const { acc, deltas, terms, stride, weights, ones, base, spare } = tiles;
  let selected = count;
  switch (choice.op) {
    case "contribute":
      e.contribute(acc, deltas, weights, terms, stride, choice.epsilon, count);
      break;
    case "largest":
      e.largest(acc, deltas, terms, stride, count);
      break;
    case "unify":
      e.unify(acc, deltas, terms, stride, count);
      break;
    case "consent":
      if (choice.elect) e.elect(acc, deltas, ones, ones, terms, stride, count, 0, 0, 0);
      else sum(kernel, tiles, count);
      // The total of what a trim has left is compared with whole deltas.
      if (choice.elect) refill();
      e.consent(acc, acc, deltas, weights, terms, stride, choice.least, count);
      break;
    case "erase":
      if (choice.select) {
        const { above, equalBefore } = choice.select;
        e.variance(spare, deltas, terms, stride, count);
        for (let i = 0; i < terms; i++) {
          const at = deltas + i * stride * 4;
          selected = e.trim_by(at, spare, above as number, before(equalBefore, first, count), count);
        }
      }
      e.erase(acc, deltas, weights, terms, stride, choice.floor, count);
      break;
    case "near":
      e.nearswap(acc, base, deltas, choice.t, count);
      break;
  }
  return selected;
}

function sum(kernel: Kernel, { acc, deltas, terms, stride }: ChoiceTiles, count: number): void {
  const e = kernel.exports;
  e.scale(acc, deltas, 1, count);
  for (let i = 1; i < terms; i++) e.axpy(acc, deltas + i * stride * 4, 1, count);
}
