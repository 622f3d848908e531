// How surveys are gathered: which rounds one needs, and what comes out of them.

import type { Survey, ThresholdOperand } from "../kernel/program.ts";
import { pieceElements, tileElements } from "../kernel/program.ts";
import type { SurveyResult, Threshold } from "../methods/method.ts";
import type { RoundOutcome, RoundRequest } from "./rounds.ts";
import { aim, samplePieces } from "./sample.ts";
import { plain, Search } from "./search.ts";

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

/**
 * Exact selection: a sample, then a pass that mostly finds the key (methods.md §1.4), and others for those it does not find. A
 * bracket of several keys a slot, as f32 has, takes one more; a sample that misled, two more; ties in index order, two more.
 */
function* thresholds(
  operands: readonly ThresholdOperand[],
  count: number,
): Generator<RoundRequest, Threshold[], RoundOutcome> {
  if (count === 0) return operands.map(() => ({ key: 0, equalBefore: everyEqual, kept: 0 })); // no task would answer
  const samples = yield* sampled(operands, count);
  const searches = operands.map((o, i) => new Search(o, count, samples ? aim(samples[i]!, o) : null));
  for (let open = searches; open.length > 0; open = open.filter((s) => !s.found)) {
    const got = yield { round: { op: "histogram", operands: open.map((s) => s.request()) }, first: 0, count };
    if (got.op !== "histogram") throw new TypeError("expected a histogram");
    open.forEach((s, i) => {
      s.take(got.above[i]!, got.nonzero[i]!, got.slots[i]!);
    });
  }

  const found = searches.map((s) => s.found!);
  const result = found.map(
    ({ key, above, equal }): Threshold => ({ key, equalBefore: everyEqual, kept: above + equal }),
  );
  const tied = operands.flatMap((o, i) => {
    const { key, above, equal, k } = found[i]!;
    return o.ties === "exact" && key > 0 && above + equal > k ? [i] : [];
  });
  if (tied.length === 0) return result;
  const keyed = (i: number) => ({ ...plain(operands[i]!), key: found[i]!.key });
  const equals = yield { round: { op: "equals", operands: tied.map(keyed) }, first: 0, count };
  if (equals.op !== "equals") throw new TypeError("expected equal counts");
  for (const [j, i] of tied.entries()) {
    // The quota ends inside one block; one task on that block finds the index of the first equal element that is dropped.
    const { key, above, k } = found[i]!;
    let nth = k - above;
    let block = 0;
    while (nth >= equals.blocks[j]![block]!) nth -= equals.blocks[j]![block++]!;
    const first = block * tileElements;
    const end = yield {
      round: { op: "nth", operands: [{ ...keyed(i), nth }] },
      first,
      count: Math.min(tileElements, count - first),
    };
    if (end.op !== "nth") throw new TypeError("expected an index");
    result[i] = { key, equalBefore: end.index[0]!, kept: k };
  }
  return result;
}

/** The keys of a few pieces of the tensor, operand by operand, or null where it is small. */
function* sampled(
  operands: readonly ThresholdOperand[],
  count: number,
): Generator<RoundRequest, readonly Uint32Array[] | null, RoundOutcome> {
  const pieces = samplePieces(count);
  if (!pieces) return null;
  const round = { op: "sample", operands: operands.map(plain) } as const;
  const got = yield { round, first: 0, count: pieces.length * pieceElements, pieces };
  if (got.op !== "sample") throw new TypeError("expected a sample");
  return got.keys;
}
