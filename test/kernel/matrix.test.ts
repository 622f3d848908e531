// Methods on whole matrices: against numpy (test/oracles/spectral.py), and what must hold of every result.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { MatrixRule } from "../../src/kernel/program.ts";
import { projectRoot } from "../support/host.ts";
import { runMatrix } from "./matrix-task.ts";

interface Sample {
  step: number;
  norm: number;
  values: number[];
  rank?: number[];
  interference?: number;
  removed?: number[];
  common?: number;
  specific?: number;
}
interface OracleCase {
  rows: number;
  columns: number;
  models: number;
  ranks: number;
  seed: number;
  singularValues: number[];
  /** σ_min/σ₁ of the sum of the deltas. */
  smallest: number;
}
const oracle = JSON.parse(readFileSync(join(projectRoot, "test/oracles/spectral.json"), "utf8")) as {
  cases: (OracleCase & Record<string, Sample>)[];
};

/** The generator of the oracle. */
export function numbers(seed: number): () => number {
  let x = BigInt(seed);
  return () => {
    x = (x * 1103515245n + 12345n) % 2147483648n;
    return Number(x >> 23n) - 128;
  };
}

export function delta(seed: number, rows: number, columns: number, ranks: number, floor: number): Float32Array {
  const next = numbers(seed);
  const total = new Float64Array(rows * columns);
  for (let p = 0; p < ranks; p++) {
    const a = Array.from({ length: rows }, next);
    const b = Array.from({ length: columns }, next);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) total[i * columns + j]! += a[i]! * b[j]! * 2 ** (-2 * p - 20);
  }
  if (floor > 0) for (let i = 0; i < total.length; i++) total[i]! += next() * floor;
  return Float32Array.from(total, (x) => Math.floor(x * 2 ** 26) / 2 ** 26);
}

/** The rule and the weights that a recipe's method compiles to. */
function ruleOf(name: string, c: OracleCase, sample: Sample): { rule: MatrixRule; weights?: number[] } {
  const [method, number] = name.split(" ");
  const k = Math.min(c.rows, c.columns);
  switch (method) {
    case "star":
      return { rule: { op: "star", share: Number(number) }, weights: Array(c.models).fill(1 / c.models) };
    case "tsv":
      return { rule: { op: "tsv", rank: Math.max(1, Math.floor(k / c.models)) } };
    case "iso_c":
      return { rule: { op: "isotropic", common: k, specific: 0 } };
    case "iso_cts":
      return { rule: { op: "isotropic", common: sample.common!, specific: sample.specific! } };
    default:
      return { rule: { op: "high-pass", cutoff: Number(number), energy: true } };
  }
}

function norm(values: Iterable<number>): number {
  let sum = 0;
  for (const x of values) sum += x * x;
  return Math.sqrt(sum);
}

describe("numpy's results", () => {
  for (const c of oracle.cases) {
    const deltas = Array.from({ length: c.models }, (_, m) => delta(c.seed + m, c.rows, c.columns, c.ranks, 2 ** -20));
    for (const [name, sample] of Object.entries(c).filter(([, v]) => typeof v === "object" && "norm" in v)) {
      test(`${c.rows} × ${c.columns}, ${c.models} models, ${name}`, async () => {
        const { rule, weights } = ruleOf(name, c, sample);
        const { values, receipt } = await runMatrix({
          rows: c.rows,
          columns: c.columns,
          deltas,
          rule,
          ...(weights ? { weights } : {}),
        });
        // Results are stored in f32; the smallest components of these matrices are 10⁻⁴ of the largest.
        expect(Math.abs(norm(values) / sample.norm - 1)).toBeLessThan(2e-7);
        const wrong = sample.values.map((x, i) => values[i * sample.step]! - x);
        const size = sample.norm / Math.sqrt(values.length);
        expect(Math.max(...wrong.map(Math.abs)) / size).toBeLessThan(1e-6);
        if (sample.rank) expect(receipt.facts!.rank).toEqual(sample.rank);
        if (sample.interference !== undefined) {
          expect(Math.abs(receipt.facts!.interference![0]! - sample.interference)).toBeLessThan(
            1e-5 * sample.norm * c.models,
          );
        }
        sample.removed?.forEach((x, i) => {
          expect(Math.abs(receipt.facts!["energy removed"]![i]! - x)).toBeLessThan(1e-6);
        });
      });
    }
  }
});
