// Merges of a single tensor, for vectors worked out by hand.

import { expect } from "bun:test";
import { join } from "node:path";
import type { MergeRequest } from "../../src/host.ts";
import { merge } from "../../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "./host.ts";
import { writeModel } from "./models.ts";
import { readCheckpoint } from "./tensors.ts";

export interface OneTensor {
  readonly method: string;
  /** Left out: no base_model. */
  readonly base?: readonly number[];
  readonly models: readonly (readonly number[])[];
  readonly parameters?: Record<string, unknown>;
  readonly perModel?: readonly Record<string, unknown>[];
  /** Default: one dimension. */
  readonly shape?: readonly number[];
  readonly request?: Partial<MergeRequest>;
  /** Output dtype, default float32. Inputs are f32. */
  readonly dtype?: string;
}

/** Merges one tensor "w" of f32 models and gives its values and what the merge told. */
export async function mergeOne(c: OneTensor): Promise<{ values: number[]; warnings: string[] }> {
  return withTempFolder(async (temp) => {
    const tensor = (data: readonly number[]) => ({ w: { data, ...(c.shape ? { shape: [...c.shape] } : {}) } });
    const folders = c.models.map((data, i) => writeModel(join(temp, `m${i}`), tensor(data)));
    const text = JSON.stringify({
      merge_method: c.method,
      ...(c.base ? { base_model: writeModel(join(temp, "base"), tensor(c.base)) } : {}),
      models: folders.map((model, i) => ({ model, parameters: c.perModel?.[i] ?? {} })),
      parameters: c.parameters ?? {},
      dtype: c.dtype ?? "float32",
    });
    const summary = await merge(requestFor(text, c.request ?? {}), join(temp, "out"), { overwrite: false }, testHost());
    const values = [...readCheckpoint(join(temp, "out")).get("w")!.values];
    return { values, warnings: summary.warnings.map((w) => w.message) };
  });
}

export function expectNear(got: readonly number[], want: readonly number[], limit = 1e-6): void {
  expect(got.length).toBe(want.length);
  got.forEach((x, i) => {
    expect(Math.abs(x - want[i]!)).toBeLessThanOrEqual(limit);
  });
}
