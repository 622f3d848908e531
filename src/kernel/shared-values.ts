// What operands of a histogram have in common, known before a survey begins: a histogram leaves values as they are.

import type { HistogramOperand, Operand, SurveyRound } from "./program.ts";

const keepsAll = ({ keep, variance }: Operand) => !variance && !keep.random && !keep.magnitude && !keep.rows;

function isWholeDelta(operand: HistogramOperand): boolean {
  return operand.base !== null && keepsAll(operand) && !operand.nonzero && (operand.scale ?? 1) === 1;
}

/** Of each operand, whether its keys are those of whole deltas, which then need no pass of their own. */
export function wholeDeltas(round: SurveyRound): boolean[] {
  if (round.op !== "histogram") return round.operands.map(() => false);
  return round.operands.map(isWholeDelta);
}

/** The other end of a window has the values of the first, and so has another rank of one importance. */
function haveSameValues(a: Operand, b: Operand): boolean {
  if (a.input !== b.input || a.base !== b.base || (a.scale ?? 1) !== (b.scale ?? 1)) return false;
  const isImportance = ({ keep }: Operand) => keep.rows?.rule.op === "importance";
  return (keepsAll(a) && keepsAll(b)) || (isImportance(a) && isImportance(b));
}

/** Of each operand, the one whose values it takes: itself, or one before it. Whole deltas take none of what others prepare. */
export function sourcesOf(round: SurveyRound): number[] {
  const sources: number[] = [];
  const whole = wholeDeltas(round);
  for (const [i, operand] of round.operands.entries()) {
    const last = round.operands[i - 1];
    const shares = round.op === "histogram" && last && whole[i] === whole[i - 1] && haveSameValues(operand, last);
    sources.push(shares ? sources[i - 1]! : i);
  }
  return sources;
}
