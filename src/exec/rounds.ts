// Rounds of a survey: what is asked of the workers, and how the parts they send back merge into the same bits whatever the
// slices were and in whatever order they come.

import { type Lines, lineCount, rowParts } from "../kernel/lines.ts";
import type { HistogramOperand, SurveyPart, SurveyRound } from "../kernel/program.ts";
import { maxSlots, severalKeys, tileElements } from "../kernel/program.ts";
import type { SurveyResult } from "../methods/method.ts";

/** A round to be run over elements [first, first + count), or in one task over `pieces` that have `count` elements together. */
export interface RoundRequest {
  readonly round: SurveyRound;
  readonly first: number;
  readonly count: number;
  readonly pieces?: readonly number[];
  /** Elements of a piece, where they are not `pieceElements`. */
  readonly pieceLength?: number;
  /** The size of its tasks, where the plan's slices are not to decide it. */
  readonly taskElements?: number;
  /** What the survey will say if the sample is right, which this round finds out. */
  readonly guess?: SurveyResult;
}

/** The slots of a bracket: the only key in each (from `severalKeys` on: there are several), and how many elements. */
export interface Slots {
  readonly keys: Uint32Array;
  readonly counts: Float64Array;
}

/** All parts of a round, merged. */
export type RoundOutcome =
  | { readonly op: "dots"; readonly sums: readonly number[] }
  /** [pair][line] */
  | { readonly op: "lines"; readonly sums: readonly Float64Array[] }
  | {
      readonly op: "norms";
      readonly l1: readonly number[];
      readonly l2: readonly number[];
      readonly max: readonly number[];
      readonly nonzero: readonly number[];
    }
  | { readonly op: "contributors"; readonly alone: readonly number[]; readonly shared: readonly number[] }
  | { readonly op: "signs"; readonly positive: number; readonly negative: number }
  | { readonly op: "sample"; readonly keys: readonly Uint32Array[] }
  | {
      readonly op: "histogram";
      readonly above: readonly number[];
      readonly nonzero: readonly number[];
      readonly slots: readonly Slots[];
    }
  | { readonly op: "equals"; readonly blocks: readonly Uint32Array[] }
  | { readonly op: "nth"; readonly index: readonly number[] };

/** Merges the parts of one round. Sums of blocks are added strictly in element order; what comes early waits. */
export class RoundMerger {
  private readonly waiting = new Map<number, { part: SurveyPart; count: number }>();
  private readonly request: RoundRequest;
  private next: number;
  private outcome: RoundOutcome | null = null;

  constructor(request: RoundRequest) {
    this.request = request;
    this.next = request.first;
  }

  /** Takes the part of elements [first, first + count). Returns the outcome once every part is in. */
  add(part: SurveyPart, first: number, count: number): RoundOutcome | null {
    this.waiting.set(first, { part, count });
    for (let got = this.waiting.get(this.next); got; got = this.waiting.get(this.next)) {
      this.waiting.delete(this.next);
      this.fold(got.part, this.next, got.count);
      this.next += got.count;
    }
    return this.next >= this.request.first + this.request.count ? this.outcome : null;
  }

  private fold(part: SurveyPart, first: number, count: number): void {
    const now = this.outcome;
    const plus = (a: readonly number[] | undefined, b: readonly number[]) => b.map((x, i) => (a?.[i] ?? 0) + x);
    const chain = (a: readonly number[] | undefined, blocks: readonly Float64Array[]) =>
      blocks.map((sums, i) => {
        let total = a?.[i] ?? 0;
        for (const s of sums) total += s;
        return total;
      });
    const { round } = this.request;
    if (part.op === "dots" && round.op === "dots" && round.lines) {
      const was = now?.op === "lines" ? now.sums : undefined;
      const size = lineCount(round.lines, this.request.count);
      const sums = was ?? part.blocks.map(() => new Float64Array(size));
      part.blocks.forEach((dots, pair) => {
        addLines(sums[pair]!, dots, round.lines!, first, count);
      });
      this.outcome = { op: "lines", sums };
    } else if (part.op === "dots") {
      this.outcome = { op: "dots", sums: chain(now?.op === "dots" ? now.sums : undefined, part.blocks) };
    } else if (part.op === "norms") {
      const was = now?.op === "norms" ? now : undefined;
      const max = part.max.map((m, i) => Math.max(was?.max[i] ?? 0, m));
      this.outcome = {
        op: "norms",
        l1: chain(was?.l1, part.l1),
        l2: chain(was?.l2, part.l2),
        max,
        nonzero: plus(was?.nonzero, part.nonzero),
      };
    } else if (part.op === "contributors") {
      const was = now?.op === "contributors" ? now : undefined;
      this.outcome = {
        op: "contributors",
        alone: plus(was?.alone, part.alone),
        shared: plus(was?.shared, part.shared),
      };
    } else if (part.op === "signs") {
      const was = now?.op === "signs" ? now : { positive: 0, negative: 0 };
      this.outcome = {
        op: "signs",
        positive: was.positive + part.positive,
        negative: was.negative + part.negative,
      };
    } else if (part.op === "histogram") {
      const { round } = this.request;
      if (round.op !== "histogram") throw new TypeError("a histogram was not asked for");
      const was = now?.op === "histogram" ? now : undefined;
      const slots = was?.slots ?? round.operands.map(emptySlots);
      part.bins.forEach((pairs, i) => {
        addPairs(slots[i]!, pairs, round.operands[i]!);
      });
      const above = plus(was?.above, part.above);
      this.outcome = { op: "histogram", above, nonzero: plus(was?.nonzero, part.nonzero), slots };
    } else if (part.op === "equals") {
      const blocks = Math.ceil(this.request.count / tileElements);
      const all = now?.op === "equals" ? now.blocks : part.blocks.map(() => new Uint32Array(blocks));
      part.blocks.forEach((b, i) => {
        all[i]!.set(b, (first - this.request.first) / tileElements);
      });
      this.outcome = { op: "equals", blocks: all };
    } else if (part.op === "census") {
      throw new TypeError("a census merges by itself");
    } else {
      this.outcome = part; // of the only task
    }
  }
}

function addLines(to: Float64Array, dots: Float64Array, lines: Lines, first: number, count: number): void {
  let at = 0;
  if (lines.by === "row") {
    rowParts(first, count, lines.length, (_, row) => {
      to[row]! += dots[at++]!;
    });
    return;
  }
  for (; at < dots.length; at++) to[at]! += dots[at]!;
}

type Bins = Pick<HistogramOperand, "low" | "high" | "shift">;

/** Slots that are read and done with. New ones for every tensor would lie about until a collector comes by. */
const spare: Slots[] = [];
/** Of as many tensors as are open at a time, with both ends of a window for a few models each. */
const mostSpare = 32;

export function emptySlots({ low, high, shift }: Bins): Slots {
  const used = ((high - 1 - low) >>> shift) + 1;
  const { keys, counts } = spare.pop() ?? { keys: new Uint32Array(maxSlots), counts: new Float64Array(maxSlots) };
  counts.fill(0, 0, used);
  return { keys: keys.subarray(0, used), counts: counts.subarray(0, used) };
}

/** Takes slots back that nobody looks at any more. */
export function giveBack({ keys, counts }: Slots): void {
  if (spare.length >= mostSpare || keys.buffer.byteLength !== maxSlots * 4) return;
  spare.push({ keys: new Uint32Array(keys.buffer), counts: new Float64Array(counts.buffer) });
}

/** Adds what a slice has counted; in any order. */
export function addPairs({ keys, counts }: Slots, pairs: Uint32Array, { low, shift }: Bins): void {
  for (let i = 0; i < pairs.length; i += 2) {
    const key = pairs[i]!;
    const slot = ((key & (severalKeys - 1)) - low) >>> shift;
    if (counts[slot] === 0) keys[slot] = key;
    else if (keys[slot] !== key) keys[slot] = severalKeys + low + slot * 2 ** shift;
    counts[slot]! += pairs[i + 1]!;
  }
}
