// How surveys are gathered: which rounds one needs, and what comes out of them.

import { columnTaskElements } from "../kernel/lines.ts";
import type { Operand, Survey, ThresholdOperand } from "../kernel/program.ts";
import { pieceElements, rowColumns, tileElements } from "../kernel/program.ts";
import type { Norms, SurveyResult, Threshold } from "../methods/method.ts";
import { leastChance } from "./aim.ts";
import { giveBack, type RoundOutcome, type RoundRequest } from "./rounds.ts";
import { closerLength, closerPieces, Sample, samplePieces } from "./sample.ts";
import { plain } from "./search.ts";
import { type Cut, everyEqual, Selection } from "./selection.ts";

/**
 * Elements of a tensor whose keys are sorted here instead of being counted in slots there: of norms and biases. Clearing and reading
 * the slots of a bracket of all keys takes 3 ms an operand, whatever the tensor's size.
 */
const sortedUpTo = 16_384;

/** Norms of a round, operand by operand. */
export function normsOf(got: RoundOutcome): Norms {
  if (got.op !== "norms") throw new TypeError("expected norms");
  return got.l1.map((l1, i) => ({ l1, l2: got.l2[i]!, max: got.max[i]!, nonzero: got.nonzero[i]! }));
}

/**
 * Yields the rounds that a survey of a tensor of `count` elements needs; is sent each one's outcome; returns the result. `tries`: a
 * merge may be tried by what is likely.
 */
export function* gather(
  survey: Survey,
  count: number,
  tries = false,
): Generator<RoundRequest, SurveyResult, RoundOutcome> {
  if (survey.op === "dots") {
    const { operands, lines } = survey;
    if (lines) {
      const size = lines.by === "column" ? { taskElements: columnTaskElements } : {};
      const got = yield { round: { op: "dots", operands, lines }, first: 0, count, ...size };
      if (got.op !== "lines") throw new TypeError("expected dots of lines");
      return { op: "dots", dots: [], lines: got.sums };
    }
    const got = yield { round: { op: "dots", operands }, first: 0, count };
    if (got.op !== "dots") throw new TypeError("expected dots");
    return { op: "dots", dots: got.sums };
  }
  if (survey.op === "norms") {
    const { operands, select } = survey;
    const got = yield { round: { op: "norms", operands, ...(select ? { select } : {}) }, first: 0, count };
    return { op: "norms", norms: normsOf(got) };
  }
  if (survey.op === "contributors") {
    const { operands, epsilon } = survey;
    const got = yield { round: { op: "contributors", operands, epsilon }, first: 0, count };
    if (got.op !== "contributors") throw new TypeError("expected contributors");
    return {
      op: "contributors",
      contributors: operands.map((_, i) => ({ alone: got.alone[i]!, shared: got.shared[i]! })),
    };
  }
  if (survey.op === "signs") {
    const { operands, by } = survey;
    const got = yield { round: { op: "signs", operands, by }, first: 0, count };
    if (got.op !== "signs") throw new TypeError("expected signs");
    return got;
  }
  return { op: "threshold", thresholds: yield* thresholds(survey.operands, count, tries) };
}

/**
 * Exact selection: a sample, then a pass that mostly finds the keys (methods.md §1.4), and others for those it does not find. A
 * bracket of several keys a slot, as f32 has, takes one more; a sample that misled, two more; ties in index order, two more.
 */
function* thresholds(
  operands: readonly ThresholdOperand[],
  count: number,
  tries: boolean,
): Generator<RoundRequest, Threshold[], RoundOutcome> {
  if (count === 0) return operands.map(() => ({ key: 0, equalBefore: everyEqual, kept: 0 })); // no task would answer
  const all = yield* everyKey(operands, count);
  const samples = all ? null : yield* sampled(operands, count);
  const selections = operands.map((o, i) => new Selection(o, count, samples ? new Sample(samples[i]!) : null));
  all?.forEach((keys, i) => {
    for (const search of selections[i]!.open) search.takeSorted(keys);
  });
  if (tries) yield* lookCloser(selections, count);
  for (;;) {
    const open = openOf(selections);
    if (open.length === 0) break;
    const asked = open.map(askedOf);
    const guess = guessOf(selections);
    const got = yield { round: { op: "histogram", operands: asked }, first: 0, count, ...(guess ? { guess } : {}) };
    if (got.op !== "histogram") throw new TypeError("expected a histogram");
    open.forEach(({ search }, i) => {
      search.take(got.above[i]!, got.nonzero[i]!, got.slots[i]!);
      giveBack(got.slots[i]!);
    });
  }
  const cuts = selections.flatMap((s) => s.cuts.map((cut) => ({ cut, selection: s })));
  const indices = cuts.length > 0 ? yield* located(cuts.map(keyed), count) : [];
  return selections.map((s) => {
    const indexOf = (end: Cut["end"]) => indices[cuts.findIndex((c) => c.selection === s && c.cut.end === end)];
    return { ...s.threshold(indexOf), kept: s.kept };
  });
}

const openOf = (selections: readonly Selection[]) =>
  selections.flatMap((s) => s.open.map((search) => ({ search, operand: s.operand })));

const askedOf = ({ search, operand }: ReturnType<typeof openOf>[number]) => ({
  ...plain(operand),
  ...search.request(),
});

/**
 * Counts the brackets in a larger sample where all keys are then likely to be known, so that a merge can be tried by them: that spares
 * as much reading as the tensor is long, for an eighth of it at most.
 */
function* lookCloser(selections: readonly Selection[], count: number): Generator<RoundRequest, void, RoundOutcome> {
  const pieces = closerPieces(count);
  const open = openOf(selections);
  if (!pieces || open.every(({ search }) => !search.unsure) || !selections.every((s) => s.ofKeys)) return;
  const elements = pieces.length * closerLength;
  if (!open.every(({ search }) => search.promises(elements, pieces.length))) return;
  const round = { op: "histogram", operands: open.map(askedOf) } as const;
  const got = yield { round, first: 0, count: elements, pieces, pieceLength: closerLength };
  if (got.op !== "histogram") throw new TypeError("expected a histogram");
  open.forEach(({ search }, i) => {
    if (search.unsure) search.narrow(got.above[i]!, got.slots[i]!, elements, pieces.length);
    giveBack(got.slots[i]!);
  });
}

/** What the thresholds are if the likely keys are right; null where one has none. */
function guessOf(selections: readonly Selection[]): SurveyResult | null {
  if (selections.reduce((all, { chance }) => all * chance, 1) < leastChance) return null;
  const rules = selections.flatMap(({ guess }) => (guess ? [{ ...guess, kept: null }] : []));
  return rules.length < selections.length ? null : { op: "threshold", thresholds: rules };
}

function keyed({ cut, selection }: { cut: Cut; selection: Selection }) {
  return { ...plain(selection.operand), key: cut.key, nth: cut.nth };
}

/** The index of the nth element (from 0) that has the key, for each operand. */
export function* located(
  operands: readonly (Operand & { key: number; nth: number })[],
  count: number,
): Generator<RoundRequest, number[], RoundOutcome> {
  const equals = yield { round: { op: "equals", operands }, first: 0, count };
  if (equals.op !== "equals") throw new TypeError("expected equal counts");
  const indices: number[] = [];
  for (const [j, operand] of operands.entries()) {
    // It lies inside one block; one task on that block finds it.
    let { nth } = operand;
    let block = 0;
    while (nth >= equals.blocks[j]![block]!) nth -= equals.blocks[j]![block++]!;
    const first = block * tileElements;
    const end = yield {
      round: { op: "nth", operands: [{ ...operand, nth }] },
      first,
      count: Math.min(tileElements, count - first),
    };
    if (end.op !== "nth") throw new TypeError("expected an index");
    indices.push(end.index[0]!);
  }
  return indices;
}

/** All keys in ascending order, operand by operand, or null where the tensor is not small. */
function* everyKey(
  operands: readonly ThresholdOperand[],
  count: number,
): Generator<RoundRequest, readonly Int32Array[] | null, RoundOutcome> {
  if (count > sortedUpTo || rowColumns(operands) > 0) return null;
  const round = { op: "sample", operands: operands.map(plain) } as const;
  const got = yield { round, first: 0, count, taskElements: sortedUpTo };
  if (got.op !== "sample") throw new TypeError("expected all keys");
  // Keys have 31 bits.
  return got.keys.map((keys) => new Int32Array(keys.buffer, keys.byteOffset, keys.length).sort());
}

/** The keys of a few pieces of the tensor, operand by operand, or null where it is small. */
function* sampled(
  operands: readonly ThresholdOperand[],
  count: number,
): Generator<RoundRequest, readonly Uint32Array[] | null, RoundOutcome> {
  // Rows must be whole, which pieces are not.
  const pieces =
    rowColumns(operands) > 0
      ? null
      : samplePieces(
          count,
          operands.some((o) => o.gamma !== undefined),
        );
  if (!pieces) return null;
  const round = { op: "sample", operands: operands.map(plain) } as const;
  const got = yield { round, first: 0, count: pieces.length * pieceElements, pieces };
  if (got.op !== "sample") throw new TypeError("expected a sample");
  return got.keys;
}
