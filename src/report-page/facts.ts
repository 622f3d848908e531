// All that a report is written from, as plain data. What is not there has a reason, and the page says it.

import type { Analysis, Together } from "../analyze/analysis.ts";
import type { MergeSummary } from "../host.ts";
import type { Manifest } from "./manifest.ts";

/** Something that was looked for, or why it is not there. */
export type Maybe<T> = { readonly found: T } | { readonly missing: string };

export function found<T>(value: T): Maybe<T> {
  return { found: value };
}

/** Undefined where it is missing. */
export function take<T>(maybe: Maybe<T>): T | undefined {
  return "found" in maybe ? maybe.found : undefined;
}

/** What was seen of a model that went in. The order is the manifest's. */
export interface InputFacts {
  readonly reference: string;
  /** "base": what deltas are taken from. "reference": the recipe has no base, and this model stands for one. */
  readonly role: "base" | "reference" | "model";
  readonly license?: string;
}

/** The deltas of the models that went in and of what came out, from one base. */
export interface Comparison {
  readonly analysis: Analysis;
  /** Index of the output among the analysis' models; the others are inputs. */
  readonly output: number;
  /** How the models that went in act together, without the output; null where that was not looked at. */
  readonly inputsTogether: Together | null;
  /** The base was chosen for want of one. */
  readonly standIn: boolean;
}

/** Elements that the merge changed before they were rounded, and those of them that rounding gave back to the base. */
export interface Absorbed {
  readonly tensors: readonly {
    readonly name: string;
    readonly elements: number;
    readonly changed: number;
    readonly absorbed: number;
  }[];
  /** Tensors without a base, copied, or of programs on whole matrices: they are not counted. */
  readonly leftOut: number;
  /** Every so many-th slice of a tensor was merged again; 1: all. */
  readonly every: number;
}

export interface Timings {
  readonly seconds: number;
  readonly workers: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly workerSeconds: MergeSummary["workerSeconds"];
  readonly peakMemoryBytes: number | null;
  readonly plannedPeakBytes: number;
  readonly profile?: MergeSummary["profile"];
}

export interface ReportFacts {
  /** The folder's name. */
  readonly title: string;
  readonly manifest: Manifest;
  readonly inputs: readonly InputFacts[];
  readonly outputDtypes: readonly { readonly dtype: string; readonly tensors: number; readonly elements: number }[];
  readonly comparison: Maybe<Comparison>;
  readonly absorbed: Maybe<Absorbed>;
  readonly timings: Maybe<Timings>;
  /** Remarks of the reading itself: inputs that are not what was merged. */
  readonly warnings: readonly string[];
}
