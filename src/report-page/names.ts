// What models are called on a page, and the room there is for charts.

import type { Comparison } from "./facts.ts";

/** Of a chart across the page, in pixels: on paper it is a little smaller, on a narrow screen it is moved aside. */
export const chartWidth = 760;
/** Of one of two beside each other. */
export const halfWidth = 380;

export const outputName = "output";

/** The names of an analysis' models for legends, axes and tables. */
export function modelNames({ analysis, output }: Comparison): string[] {
  return analysis.models.map((model, i) => (i === output ? outputName : model));
}

/** The models that went in, as indices. */
export function inputIndices({ analysis, output }: Comparison): number[] {
  return analysis.models.map((_, i) => i).filter((i) => i !== output);
}
