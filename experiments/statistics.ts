// Rows to figures: means and ranges over seeds, in percent.

import type { Row } from "./groups.ts";
import { type Task, tasks } from "./models.ts";

export interface Spread {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  readonly runs: number;
}

export function spread(values: readonly number[]): Spread {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, low: Math.min(...values), high: Math.max(...values), runs: values.length };
}

/** The mean accuracy of a row over the tasks that it has. */
export function meanOf(row: Row): number {
  const values = Object.values(row.scores);
  return values.reduce((a, b) => a + b, 0) / values.length;
}

export function taskSpread(rows: readonly Row[], task: Task): Spread {
  return spread(rows.map((r) => r.scores[task]!));
}

export function meanSpread(rows: readonly Row[]): Spread {
  return spread(rows.map(meanOf));
}

/** Rows by label, in the order in which labels first come. */
export function byLabel(rows: readonly Row[]): [string, Row[]][] {
  return [...new Set(rows.map((r) => r.label))].map((label) => [label, rows.filter((r) => r.label === label)]);
}

export const percent = (x: number): string => (100 * x).toFixed(1);
export const range = ({ low, high, runs }: Spread): string => (runs < 2 ? "" : `${percent(low)} – ${percent(high)}`);
export const cells = (rows: readonly Row[]): string[] => tasks.map((t) => percent(taskSpread(rows, t).mean));

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (row: readonly string[]) => `| ${row.join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + rows.map(line).join("");
}
