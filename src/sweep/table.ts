// A sweep's result as rows: the axes, the scores, what decides.

import type { SweepResult } from "./sweep.ts";

/** Names of all scores, in the order in which they came. */
export function scoreNames({ points }: SweepResult): string[] {
  return [...new Set(points.flatMap((p) => Object.keys(p.scores)))];
}

const field = (text: string) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** RFC 4180, with a header. */
export function sweepCsv(result: SweepResult): string {
  const names = scoreNames(result);
  const rows = [
    [...result.axes.map((a) => a.name), ...names, "score", "best", "merge_seconds", "eval_seconds", "plan_sha256"],
    ...result.points.map((p, i) => [
      ...result.axes.map((a) => p.values[a.name]!),
      ...names.map((n) => String(p.scores[n] ?? "")),
      String(p.score),
      i === result.best ? "1" : "0",
      p.mergeSeconds.toFixed(3),
      p.evalSeconds.toFixed(3),
      p.planSha256,
    ]),
  ];
  return rows.map((row) => `${row.map(field).join(",")}\n`).join("");
}
