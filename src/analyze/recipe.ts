// A recipe to start from, with the reasons beside what they are for.

import { fail } from "../errors.ts";
import type { Analysis } from "./analysis.ts";

const width = 116;

export function recipeOf({ base, models, advice }: Analysis): string {
  const { method, weights, lambda, dropRate, filters, leaveOut, reasons, sweep } = advice;
  if (method === "none") fail("usage", "Cannot write a recipe: there is nothing to merge");
  const used = models.flatMap((name, m) => (leaveOut.includes(m) ? [] : [{ name, weight: weights[m]! }]));
  const because = reasons.flatMap(({ level, text }) => wrap(`${level === "warning" ? "Warning: " : ""}${text}`));
  const onDeltas = method !== "linear";
  const rates =
    filters.length === 0
      ? [`  drop_rate: ${dropRate}`]
      : [
          "  drop_rate:",
          ...filters.map((f) => `    - { filter: ${JSON.stringify(f.filter)}, value: ${f.dropRate} }`),
          `    - value: ${dropRate}`,
        ];
  const parameters = [
    ...(dropRate === null ? [] : rates),
    ...(method === "ties" ? ["  density: 0.2             # what TIES' authors keep"] : []),
    ...(onDeltas ? [`  lambda: ${lambda}`] : []),
  ];
  return [
    "# Written by braid analyze: something to begin with and to evaluate, not an answer.",
    ...because,
    ...(sweep.length > 0 ? [`# Drop rates to try: ${sweep.join(", ")}.`] : []),
    `merge_method: ${method}`,
    ...(onDeltas ? [`base_model: ${JSON.stringify(base)}`] : []),
    "models:",
    ...used.flatMap(({ name, weight }) => [
      `  - model: ${JSON.stringify(name)}`,
      `    parameters: { weight: ${Number(weight.toPrecision(6))} }`,
    ]),
    ...(parameters.length > 0 ? ["parameters:", ...parameters] : []),
    ...(dropRate === null ? [] : ["random_seed: 42"]),
    "",
  ].join("\n");
}

/** As comments, broken between words. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = "#";
  // Names come from the command line: a line break in one must not end the comment.
  for (const word of text.split(/\s+/)) {
    if (line.length + 1 + word.length > width && line !== "#") {
      lines.push(line);
      line = "#  ";
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
