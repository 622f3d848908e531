// The search for the key of one rank, the k-th largest magnitude of one operand: brackets of keys, each counted in one pass over the tensor, until
// the key is known. Where a bracket comes from (a sample, or nowhere) cannot change what is found, only how soon.

import type { HistogramOperand, Operand } from "../kernel/program.ts";
import { maxSlots, noKey, severalKeys } from "../kernel/program.ts";
import {
  type Aim,
  bracketErrors,
  chanceOf,
  errorOf,
  insideOf,
  type Likely,
  likelyErrors,
  oneKeyErrors,
} from "./aim.ts";
import type { Slots } from "./rounds.ts";

/** Keys [low, high), and the one that is expected to be frequent. */
export interface Bracket {
  readonly low: number;
  readonly high: number;
  readonly hot: number;
}

/** Every key but that of zero: more survivors asked for than there are non-zero elements keeps everything. */
const wholeRange: Bracket = { low: 1, high: 0x80000000, hot: noKey };

/**
 * Slots of a bracket where keys are few and far between, as those of deltas of bf16 are: each has a slot of its own in a sixteenth of
 * them too, and clearing them and looking through them took 1 % of a merge by windows.
 */
const grainedSlots = maxSlots / 16;

export interface Found {
  readonly key: number;
  /** Elements above the key and at it, and how many were asked for. */
  readonly above: number;
  readonly equal: number;
  readonly k: number;
}

/** The rank whose key is looked for. */
export interface Rank {
  /** From 1, largest first; given the number of non-zero elements where `nonzero` asks for it. */
  readonly of: (nonzero: number) => number;
  readonly nonzero: boolean;
  /**
   * What the key is for. From a `bottom` on everything stays, so that a rank that takes in all non-zero elements has key 0. A
   * `top` has to be the key of its rank.
   */
  readonly end: "bottom" | "top";
}

/** An operand as a round takes it, without what only the search needs to know. */
export function plain({ input, base, keep, variance, thinned, scale }: Operand): Operand {
  return {
    input,
    base,
    keep,
    ...(variance ? { variance } : {}),
    ...(thinned ? { thinned } : {}),
    ...(scale === undefined ? {} : { scale }),
  };
}

/** Above the key of every number. */
export const noKeyStays = 0x7fffffff;

export class Search {
  found: Found | null = null;
  private readonly rank: Rank;
  /** All elements. */
  private readonly count: number;
  private readonly aim: Aim | null;
  private bracket: Bracket;
  /** The key that is likely. */
  private likely: Likely | null;
  /** Non-zero elements, once known, and how many have been seen for sure. */
  private nonzero: number | null = null;
  private seen = 0;

  constructor(rank: Rank, count: number, aim: Aim | null) {
    this.rank = rank;
    this.count = count;
    this.aim = aim;
    this.bracket = aim ?? wholeRange;
    this.likely = aim?.likely ?? null;
  }

  /** The key that the next pass will probably find. */
  get guess(): number | null {
    if (this.found) return this.found.key;
    return this.likely && this.chance > 0 ? this.likely.key : null;
  }

  /** How likely that is right. */
  get chance(): number {
    return this.found ? 1 : chanceOf(this.likely?.errors ?? 0);
  }

  /** Whether a larger sample should be asked. */
  get unsure(): boolean {
    return this.chance < chanceOf(likelyErrors);
  }

  /** Whether a sample of `elements` in so many pieces would probably know the key. */
  promises(elements: number, pieces: number): boolean {
    if (!this.unsure) return true;
    const { aim } = this;
    return !!aim?.doubt && aim.mode > 2 * likelyErrors * errorOf(aim.doubt, elements, pieces);
  }

  /**
   * Takes what such a sample holds of the bracket, `above` of it beyond: sets the next bracket, and the key that is likely. The bracket
   * never gets wider.
   */
  narrow(above: number, { keys, counts }: Slots, elements: number, pieces: number): void {
    const { doubt } = this.aim!;
    const { low, high } = this.bracket;
    const { shift } = this.request();
    const rank = doubt!.share * elements;
    const error = Math.max(errorOf(doubt!, elements, pieces) * elements, 1);
    const edge = (slot: number) => low + slot * 2 ** shift;
    let [first, last, best] = [0, counts.length - 1, -1];
    let mode = { key: noKey, above: 0, count: 0 };
    let over = above;
    for (let slot = counts.length - 1; slot >= 0; slot--) {
      const count = counts[slot]!;
      if (over + count < rank - bracketErrors * error) last = slot - 1;
      else if (count > mode.count) {
        mode = { key: keys[slot]!, above: over, count };
        best = slot;
      }
      over += count;
      if (over > rank + bracketErrors * error) {
        first = slot;
        break;
      }
    }
    // What this sample says of a key stands in place of what the first one said.
    this.likely = null;
    // The rank is outside of the bracket, says this sample: the first one has misled, or it has.
    if (last < first || best < 0) return;
    this.bracket = { low: edge(first), high: Math.min(high, edge(last + 1)), hot: noKey };
    if (mode.key >= severalKeys) return;
    const inside = insideOf(mode, rank, error);
    this.likely = { key: mode.key, errors: inside };
    this.bracket =
      inside >= oneKeyErrors
        ? { low: mode.key, high: mode.key + 1, hot: mode.key }
        : { ...this.bracket, hot: mode.key };
  }

  /** What the next pass has to count. */
  request(): Omit<HistogramOperand, keyof Operand> {
    const { bracket } = this;
    let shift = 0;
    const most = this.aim?.grained ? grainedSlots : maxSlots;
    while ((bracket.high - 1 - bracket.low) >>> shift >= most) shift++;
    return { ...bracket, shift, nonzero: this.needsNonzero() };
  }

  /** From low = 1 on, the bracket and what is above it are all non-zero elements. */
  private needsNonzero(): boolean {
    return this.rank.nonzero && this.nonzero === null && this.bracket.low > 1;
  }

  /** Takes what a pass has counted: either the key is found, or the next bracket is set. */
  take(above: number, nonzero: number, { keys, counts }: Slots): void {
    const { low } = this.bracket;
    // Not by reduce, which calls a function for each of 65,536 slots: of all that this thread did for windows, it took a third.
    let inside = 0;
    for (let i = 0; i < counts.length; i++) inside += counts[i]!;
    this.seen = Math.max(this.seen, above + inside);
    if (low === 1) this.nonzero = above + inside;
    else if (this.needsNonzero()) this.nonzero = nonzero;
    const k = this.wanted();
    if (k < 1) {
      this.found = { key: noKeyStays, above: 0, equal: 0, k: 0 };
      return;
    }
    const reached = this.rank.end === "bottom" ? k : k - 1;
    if (this.nonzero !== null && reached >= this.nonzero) {
      this.found = { key: 0, above: this.nonzero, equal: this.count - this.nonzero, k };
      return;
    }
    // The sample has misled: all keys, then.
    if (k <= above || k > above + inside) {
      this.restart();
      return;
    }
    let slot = counts.length - 1;
    let over = above;
    while (over + counts[slot]! < k) over += counts[slot--]!;
    if (keys[slot]! >= severalKeys) {
      const { shift } = this.request();
      const first = low + slot * 2 ** shift;
      this.likely = null;
      this.bracket = { low: first, high: Math.min(this.bracket.high, first + 2 ** shift), hot: noKey };
      return;
    }
    // If these are k, they may be all that is not zero, and k of k non-zero elements keep everything (key 0). Unless a smaller
    // key was seen, which it mostly was, that has to be found out.
    const mayBeAll = this.rank.end === "bottom" && this.nonzero === null;
    if (mayBeAll && over + counts[slot]! === k && this.seen === k) this.restart();
    else this.found = { key: keys[slot]!, above: over, equal: counts[slot]!, k };
  }

  /** Finds the key among all of them, in ascending order. */
  takeSorted(keys: Int32Array): void {
    const n = keys.length;
    const nonzero = n - firstFrom(keys, 1);
    this.nonzero = nonzero;
    const k = this.wanted();
    const reached = this.rank.end === "bottom" ? k : k - 1;
    if (k < 1) this.found = { key: noKeyStays, above: 0, equal: 0, k: 0 };
    else if (reached >= nonzero) this.found = { key: 0, above: nonzero, equal: n - nonzero, k };
    else {
      const key = keys[n - k]!;
      const above = n - firstFrom(keys, key + 1);
      this.found = { key, above, equal: n - above - firstFrom(keys, key), k };
    }
  }

  private wanted(): number {
    return this.rank.of(this.nonzero ?? 0);
  }

  private restart(): void {
    if (this.bracket === wholeRange) throw new RangeError(`${this.seen} keys have no ${this.wanted()}-th`);
    this.bracket = wholeRange;
    this.likely = null;
  }
}

/** The index of the first key that is at least `key`, of keys in ascending order. */
function firstFrom(keys: Int32Array, key: number): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
