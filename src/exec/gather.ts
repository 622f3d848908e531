// How surveys are gathered: rounds of tasks over a tensor, whose parts merge into the same bits whatever the slices were and
// in whatever order they come back.

import type { Operand, Survey, SurveyPart, SurveyRound, ThresholdOperand } from "../kernel/program.ts";
import { tileElements } from "../kernel/program.ts";
import type { SurveyResult, Threshold } from "../methods/method.ts";

/** A round to be run over elements [first, first + count). */
export interface RoundRequest {
  readonly round: SurveyRound;
  readonly first: number;
  readonly count: number;
}

/** All parts of a round, merged. */
export type RoundOutcome =
  | { readonly op: "dots"; readonly sums: readonly number[] }
  | {
      readonly op: "norms";
      readonly l1: readonly number[];
      readonly l2: readonly number[];
      readonly max: readonly number[];
      readonly nonzero: readonly number[];
    }
  | {
      readonly op: "histogram";
      readonly above: readonly number[];
      readonly nonzero: readonly number[];
      readonly bins: readonly Float64Array[];
    }
  | { readonly op: "equals"; readonly blocks: readonly Uint32Array[] }
  | { readonly op: "nth"; readonly index: readonly number[] };

/** Yields the rounds that a survey of a tensor of `count` elements needs; is sent each one's outcome; returns the result. */
export function* gather(survey: Survey, count: number): Generator<RoundRequest, SurveyResult, RoundOutcome> {
  if (survey.op === "dots") {
    const got = yield { round: { op: "dots", operands: survey.operands }, first: 0, count };
    if (got.op !== "dots") throw new TypeError("expected dots");
    return { op: "dots", dots: got.sums };
  }
  if (survey.op === "norms") {
    const got = yield { round: { op: "norms", operands: survey.operands }, first: 0, count };
    if (got.op !== "norms") throw new TypeError("expected norms");
    const norms = survey.operands.map((_, i) => ({
      l1: got.l1[i]!,
      l2: got.l2[i]!,
      max: got.max[i]!,
      nonzero: got.nonzero[i]!,
    }));
    return { op: "norms", norms };
  }
  return { op: "threshold", thresholds: yield* thresholds(survey.operands, count) };
}

const everyEqual = Number.MAX_SAFE_INTEGER;
/** Keys are 31 bits; the first round sorts them into 2¹⁶ bins of 2¹⁵ keys. */
const coarseShift = 15;
const keyEnd = 0x80000000;

interface Search {
  k: number;
  low: number;
  above: number;
  key: number;
  equal: number;
  done: boolean;
}

/** Exact selection by radix histogram (methods.md §1.4): two rounds, and two more where ties are filled up in index order. */
function* thresholds(
  operands: readonly ThresholdOperand[],
  count: number,
): Generator<RoundRequest, Threshold[], RoundOutcome> {
  const plain = (o: ThresholdOperand): Operand => ({ input: o.input, base: o.base, keep: o.keep });
  // Key 0 (exact zeros) is left out: more survivors asked for than there are non-zero elements keeps everything.
  const coarse = yield {
    round: {
      op: "histogram",
      operands: operands.map((o) => ({ ...plain(o), low: 0, high: keyEnd, shift: coarseShift })),
    },
    first: 0,
    count,
  };
  if (coarse.op !== "histogram") throw new TypeError("expected a histogram");
  const searches = operands.map((o, i): Search => {
    const nonzero = coarse.nonzero[i]!;
    const population = o.of === "nonzero" ? nonzero : count;
    const share = o.density * population;
    const k = Math.max(1, o.rounding === "floor" ? Math.floor(share) : Math.floor(share + 0.5));
    if (k >= nonzero) return { k, low: 0, above: nonzero, key: 0, equal: count - nonzero, done: true };
    const { bin, above } = binOf(coarse.bins[i]!, k);
    return { k, low: bin * 2 ** coarseShift, above, key: 0, equal: 0, done: false };
  });

  const open = searches.flatMap((s, i) => (s.done ? [] : [{ s, o: operands[i]! }]));
  if (open.length > 0) {
    const fine = yield {
      round: {
        op: "histogram",
        operands: open.map(({ s, o }) => ({ ...plain(o), low: s.low, high: s.low + 2 ** coarseShift, shift: 0 })),
      },
      first: 0,
      count,
    };
    if (fine.op !== "histogram") throw new TypeError("expected a histogram");
    open.forEach(({ s }, j) => {
      const { bin, above } = binOf(fine.bins[j]!, s.k - s.above);
      s.key = s.low + bin;
      s.equal = fine.bins[j]![bin]!;
      s.above += above;
    });
  }

  const result = searches.map((s): Threshold => ({ key: s.key, equalBefore: everyEqual, kept: s.above + s.equal }));
  const tied = operands.flatMap((o, i) =>
    o.ties === "exact" && searches[i]!.key > 0 && searches[i]!.above + searches[i]!.equal > searches[i]!.k ? [i] : [],
  );
  if (tied.length === 0) return result;
  const equals = yield {
    round: { op: "equals", operands: tied.map((i) => ({ ...plain(operands[i]!), key: searches[i]!.key })) },
    first: 0,
    count,
  };
  if (equals.op !== "equals") throw new TypeError("expected equal counts");
  for (const [j, i] of tied.entries()) {
    // The quota ends inside one block; one task on that block finds the index of the first equal element that is dropped.
    let nth = searches[i]!.k - searches[i]!.above;
    let block = 0;
    while (nth >= equals.blocks[j]![block]!) nth -= equals.blocks[j]![block++]!;
    const first = block * tileElements;
    const operand = { ...plain(operands[i]!), key: searches[i]!.key, nth };
    const found = yield {
      round: { op: "nth", operands: [operand] },
      first,
      count: Math.min(tileElements, count - first),
    };
    if (found.op !== "nth") throw new TypeError("expected an index");
    result[i] = { key: searches[i]!.key, equalBefore: found.index[0]!, kept: searches[i]!.k };
  }
  return result;
}

/** The bin that holds the k-th largest, and how many keys lie in bins above it. */
function binOf(bins: Float64Array, k: number): { bin: number; above: number } {
  let above = 0;
  for (let bin = bins.length - 1; bin >= 0; bin--) {
    if (above + bins[bin]! >= k) return { bin, above };
    above += bins[bin]!;
  }
  throw new RangeError(`a histogram of ${above} keys has no ${k}-th`);
}

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
      this.fold(got.part, this.next);
      this.next += got.count;
    }
    return this.next >= this.request.first + this.request.count ? this.outcome : null;
  }

  private fold(part: SurveyPart, first: number): void {
    const now = this.outcome;
    const plus = (a: readonly number[] | undefined, b: readonly number[]) => b.map((x, i) => (a?.[i] ?? 0) + x);
    const chain = (a: readonly number[] | undefined, blocks: readonly Float64Array[]) =>
      blocks.map((sums, i) => {
        let total = a?.[i] ?? 0;
        for (const s of sums) total += s;
        return total;
      });
    if (part.op === "dots") {
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
    } else if (part.op === "histogram") {
      const was = now?.op === "histogram" ? now : undefined;
      const bins = part.bins.map((b, i) => {
        const total = was?.bins[i] ?? new Float64Array(b.length);
        for (let k = 0; k < b.length; k++) total[k]! += b[k]!;
        return total;
      });
      this.outcome = {
        op: "histogram",
        above: plus(was?.above, part.above),
        nonzero: plus(was?.nonzero, part.nonzero),
        bins,
      };
    } else if (part.op === "equals") {
      const blocks = Math.ceil(this.request.count / tileElements);
      const all = now?.op === "equals" ? now.blocks : part.blocks.map(() => new Uint32Array(blocks));
      part.blocks.forEach((b, i) => {
        all[i]!.set(b, (first - this.request.first) / tileElements);
      });
      this.outcome = { op: "equals", blocks: all };
    } else {
      this.outcome = { op: "nth", index: part.index };
    }
  }
}
