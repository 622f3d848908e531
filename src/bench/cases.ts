// What is measured: the patterns that carry the methods, as recipes that are prepared like any other.

import { defaultRequest, type Host } from "../host.ts";
import { type Prepared, prepare } from "../prepare.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { noiseFiles, noisePath } from "./noise.ts";

export const benchMethods = ["linear", "task_arithmetic", "dare_linear", "dare_ties", "ties", "slerp"] as const;
export type BenchMethod = (typeof benchMethods)[number];
export const benchDtypes = ["BF16", "F16", "F32"] as const satisfies readonly FloatDtype[];

/** What goes into a merge of each, beside weights. */
const parameters: Readonly<Record<BenchMethod, string>> = {
  linear: "weight: 1",
  task_arithmetic: "weight: 1",
  dare_linear: "weight: 1, density: 0.5",
  dare_ties: "weight: 1, density: 0.5",
  ties: "weight: 1, density: 0.5",
  slerp: "t: 0.4",
};

export interface BenchCase {
  readonly method: BenchMethod;
  readonly dtype: FloatDtype;
  /** Models beside the base; SLERP always joins two. */
  readonly models: number;
  readonly elements: number;
}

function recipeOf({ method, dtype, models, elements }: BenchCase): string {
  const path = (model: number) => `"${noisePath({ dtype, model, count: elements })}"`;
  const named = Array.from({ length: models }, (_, i) => path(i + 1));
  const slerp = method === "slerp";
  return [
    `merge_method: ${method}`,
    ...(method === "linear" ? [] : [`base_model: ${path(0)}`]),
    `parameters: { ${parameters[method]} }`,
    "models:",
    ...(slerp ? [path(0), path(1)] : named).map((model) => `  - model: ${model}`),
    "",
  ].join("\n");
}

/** The plan of a case for so many workers. */
export function prepareCase(one: BenchCase, workers: number, host: Host): Promise<Prepared> {
  const request = {
    ...defaultRequest,
    recipe: { text: recipeOf(one), file: `${one.method}.yml`, folder: "" },
    workers,
    memoryBytes: 2 ** 40,
    sliceElements: Math.max(2 ** 18, Math.ceil(one.elements / (2 * workers) / 4096) * 4096),
  };
  return prepare(request, { ...host, fs: noiseFiles });
}
