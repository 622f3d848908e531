// The vectors of test/vectors/methods.json and what tests of methods make of their fixture.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "./host.ts";

export interface VectorCase {
  method: string;
  params: Record<string, unknown>;
  expected: number[];
}

export const file = JSON.parse(readFileSync(join(projectRoot, "test/vectors/methods.json"), "utf8")) as {
  fixture: Record<"base" | "dA" | "dB" | "dC" | "keepA" | "keepB", number[]>;
  cases: VectorCase[];
};
export const vector = (method: string, index = 0) => file.cases.filter((c) => c.method === method)[index]!;
export const plus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x + b[i]!);
export const { fixture } = file;
export const onBase = (letters: string) => [...letters].map((l) => plus(fixture.base, fixture[`d${l}` as "dA"]));
export const weighted = (...weights: number[]) => weights.map((weight) => ({ weight }));

/** Vectors whose angles are as good as any: a fixed linear congruence, values in [−1, 1). */
export function vectors(count: number, length: number, seed: number): number[][] {
  let x = seed;
  const next = () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return Math.fround(x / 2 ** 31);
  };
  return Array.from({ length: count }, () => Array.from({ length }, next));
}
export const norm = (v: readonly number[]) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
