// What of one operand stays, by rank: the searches for the keys at its ends, and where among equal keys it begins or ends.

import type { ThresholdOperand } from "../kernel/program.ts";
import type { Threshold } from "../methods/method.ts";
import { aim } from "./aim.ts";
import type { Sample } from "./sample.ts";
import { noKeyStays, type Rank, Search } from "./search.ts";

/** An index that no element has: of equal keys, all lie before it. */
export const everyEqual = Number.MAX_SAFE_INTEGER;
/** The equal key, counted from 0 in index order, at which what stays begins or ends. */
export interface Cut {
  readonly end: "bottom" | "top";
  readonly key: number;
  readonly nth: number;
}

/** k, or K of a window, of `n` elements. */
function keptOf({ density, rounding, gamma, rank }: ThresholdOperand, n: number): number {
  if (rank !== undefined) return rank;
  if (rounding === "truncate") return Math.floor(Math.fround(Math.fround(density) * Math.fround(n)));
  return Math.max(1, Math.floor(density * n + (rounding === "nearest" && gamma === undefined ? 0.5 : 0)));
}

/** How many drop above a window that leaves K of `n` elements. */
function droppedAbove(operand: ThresholdOperand, n: number): number {
  if (operand.gamma === undefined) return 0;
  return Math.min(Math.floor(operand.gamma * n), n - keptOf(operand, n));
}

export class Selection {
  readonly operand: ThresholdOperand;
  private readonly count: number;
  private readonly bottom: Search;
  /** Null where nothing drops above. */
  private readonly top: Search | null;

  /** `count` elements, of which `sample` was taken. */
  constructor(operand: ThresholdOperand, count: number, sample: Sample | null) {
    this.operand = operand;
    this.count = count;
    const nonzero = operand.of === "nonzero";
    const { density, gamma } = operand;
    const search = (end: Rank["end"], of: Rank["of"], share: number) =>
      new Search({ of, nonzero, end }, count, sample ? aim(sample, Math.min(1, share), nonzero) : null);
    const last = (n: number) => droppedAbove(operand, n) + keptOf(operand, n);
    const ranked = operand.rank !== undefined;
    this.bottom = search(ranked ? "top" : "bottom", (found) => last(nonzero ? found : count), density + (gamma ?? 0));
    // No element below: nothing to look for.
    if (!ranked && !nonzero && last(count) >= count) this.bottom.found = { key: 0, above: 0, equal: count, k: count };
    this.top = gamma === undefined || droppedAbove(operand, count) === 0 ? null : this.topSearch(search, gamma);
  }

  private topSearch(search: (end: Rank["end"], of: Rank["of"], share: number) => Search, gamma: number): Search {
    const { operand, count } = this;
    return search("top", () => droppedAbove(operand, count) + 1, Math.min(gamma, 1 - operand.density));
  }

  /** What is not found yet. */
  get open(): Search[] {
    return [this.bottom, ...(this.top ? [this.top] : [])].filter((s) => !s.found);
  }

  /** Where `exact` has to tell equal keys apart. */
  get cuts(): Cut[] {
    const { operand } = this;
    if (operand.ties !== "exact") return [];
    const bottom = this.bottom.found!;
    const cuts: Cut[] = [];
    const spare = bottom.above + bottom.equal - bottom.k;
    // A trim takes equal keys from the first index on. In a window they are ranked upwards: the last index is the largest.
    const nth = operand.gamma === undefined ? bottom.k - bottom.above : spare;
    if (bottom.key > 0 && spare > 0) cuts.push({ end: "bottom", key: bottom.key, nth });
    const top = this.top?.found;
    const over = top ? top.k - 1 - top.above : 0;
    if (top && top.key > 0 && over > 0) cuts.push({ end: "top", key: top.key, nth: top.equal - over });
    return cuts;
  }

  /** Elements that stay. */
  get kept(): number {
    const { operand } = this;
    const bottom = this.bottom.found!;
    const exact = operand.ties === "exact" && bottom.key > 0;
    const top = this.top?.found;
    const reached = exact ? bottom.k : bottom.above + bottom.equal;
    return reached - (top ? (operand.ties === "exact" ? top.k - 1 : top.above) : 0);
  }

  /** Whether the rule is its keys alone: equal ones need not be told apart. */
  get ofKeys(): boolean {
    return this.operand.ties !== "exact";
  }

  /** How likely all its keys are right. */
  get chance(): number {
    return this.open.reduce((all, search) => all * search.chance, 1);
  }

  /** The rule if the likely keys are right, or null where there are none. */
  get guess(): Omit<Threshold, "kept"> | null {
    const bottom = this.bottom.guess;
    const top = this.top ? this.top.guess : noKeyStays;
    if (bottom === null || top === null || !this.ofKeys) return null;
    return this.ruleOf(bottom, top, () => undefined);
  }

  /** The rule, given the indices of its cuts. */
  threshold(indexOf: (end: Cut["end"]) => number | undefined): Omit<Threshold, "kept"> {
    return this.ruleOf(this.bottom.found!.key, this.top?.found?.key ?? noKeyStays, indexOf);
  }

  private ruleOf(key: number, top: number, indexOf: (end: Cut["end"]) => number | undefined): Omit<Threshold, "kept"> {
    if (this.operand.gamma === undefined) return { key, equalBefore: indexOf("bottom") ?? everyEqual };
    return {
      key,
      equalFrom: indexOf("bottom") ?? 0,
      equalBefore: everyEqual,
      top: { key: top, equalBefore: indexOf("top") ?? everyEqual },
    };
  }
}
