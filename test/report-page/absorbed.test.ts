// Changes that rounding takes back, counted by merging again; compared with counts by hand and by the merge's own tally.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileOpener } from "../../src/exec/local.ts";
import type { MergeRequest } from "../../src/host.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import { merge } from "../../src/merge.ts";
import type { Absorbed } from "../../src/report-page/facts.ts";
import { readFacts } from "../../src/report-page/read.ts";
import { requestFor, testHost } from "../support/host.ts";
import { type NewTestTensor, writeModel } from "../support/models.ts";

const folder = mkdtempSync(join(tmpdir(), "braid-absorbed-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const host = testHost({ cwd: folder });

let made = 0;
async function absorbedOf(
  base: Record<string, NewTestTensor>,
  model: Record<string, NewTestTensor>,
  rest: string,
  overrides: Partial<MergeRequest> = {},
): Promise<{ absorbed: Absorbed; manifest: { dropRates: { actual: number }[] } }> {
  const name = `case-${made++}`;
  writeModel(join(folder, name, "base"), base);
  writeModel(join(folder, name, "model"), model);
  const recipe = `base_model: ${name}/base\nmodels: [{model: ${name}/model, parameters: {weight: 1}}]\n${rest}`;
  const request = { ...requestFor(recipe, overrides), recipe: { text: recipe, file: "r.yml", folder } };
  const out = `${name}/out`;
  await merge(request, out, { overwrite: false }, host);
  const facts = await readFacts(
    {
      out,
      inputs: folder,
      merged: null,
      summary: null,
      deltas: true,
      rounding: true,
      workers: 1,
      memoryBytes: 1 << 28,
    },
    { module: compileKernel(), opener: fileOpener },
    host,
  );
  if (!("found" in facts.absorbed)) throw new Error(facts.absorbed.missing);
  expect(facts.warnings).toEqual([]);
  return {
    absorbed: facts.absorbed.found,
    manifest: JSON.parse(readFileSync(join(folder, out, "braid.json"), "utf8")),
  };
}

/** Round to nearest even of an f32 to bf16, by the bits (oracle of its own). */
function bf16(x: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  const bits = view.getUint32(0);
  view.setUint32(0, ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) * 65536);
  return view.getFloat32(0);
}

const ramp = (n: number, of: (i: number) => number) => Array.from({ length: n }, (_, i) => Math.fround(of(i)));

describe("changes lost to rounding", () => {
  test("by hand: below half a step of bf16 they are lost, above it not, and no change is no loss", async () => {
    // One step of bf16 at 1 is 2⁻⁷. A tie goes to the even neighbour, which is 1.
    const data = [1 + 2 ** -10, 1 + 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -7, 1, 2, 1 - 2 ** -10, -1];
    const base = [1, 1, 1, 1, 1, 1, 1, -1];
    const { absorbed } = await absorbedOf(
      { w: { data: base } },
      { w: { data } },
      "merge_method: task_arithmetic\ndtype: bfloat16\n",
    );
    expect(absorbed).toEqual({ tensors: [{ name: "w", elements: 8, changed: 6, absorbed: 3 }], leftOut: 0, every: 1 });
  });

  test("of several slices, dtypes of base and output apart, as an oracle of its own counts them", async () => {
    const n = 600_000;
    const base = ramp(n, (i) => Math.sin(i) + 1.5);
    const model = ramp(n, (i) => base[i]! + Math.sin(i * 7) * 2 ** -8);
    let [changed, lost] = [0, 0];
    for (let i = 0; i < n; i++) {
      const merged = Math.fround(base[i]! + Math.fround(model[i]! - base[i]!));
      if (merged === base[i]) continue;
      changed++;
      if (bf16(merged) === bf16(base[i]!)) lost++;
    }
    expect(lost).toBeGreaterThan(n / 10);
    expect(lost).toBeLessThan(changed - n / 10);
    const { absorbed } = await absorbedOf(
      { "a.weight": { data: base }, "b.weight": { data: base.slice(0, 5) } },
      { "a.weight": { data: model }, "b.weight": { data: base.slice(0, 5) } },
      "merge_method: task_arithmetic\ndtype: bfloat16\n",
    );
    expect(absorbed.tensors).toEqual([
      { name: "a.weight", elements: n, changed, absorbed: lost },
      { name: "b.weight", elements: 5, changed: 0, absorbed: 0 },
    ]);
  });

  test("after a random drop: what was kept was changed, by the tally of the merge itself", async () => {
    const n = 300_000;
    const { absorbed, manifest } = await absorbedOf(
      { w: { data: ramp(n, () => 1) } },
      { w: { data: ramp(n, () => 1.25) } },
      "merge_method: dare_linear\nparameters: {drop_rate: 0.9}\ndtype: bfloat16\n",
    );
    const kept = Math.round((1 - manifest.dropRates[0]!.actual) * n);
    expect(kept).toBeGreaterThan(n / 20);
    expect(absorbed.tensors).toEqual([{ name: "w", elements: n, changed: kept, absorbed: 0 }]);
  });

  test("with thresholds of a survey and stochastic rounding the merge is repeated as it was", async () => {
    const n = 50_000;
    const base = ramp(n, () => 1);
    const model = ramp(n, (i) => 1 + ((i % 100) + 1) * 2 ** -16);
    const { absorbed } = await absorbedOf(
      { w: { data: base } },
      { w: { data: model } },
      "merge_method: ties\nparameters: {density: 0.2}\ndtype: bfloat16\n",
      { rounding: "stochastic" },
    );
    const [w] = absorbed.tensors;
    // The 20 of each 100 largest deltas stay: 81 to 100 times 2⁻¹⁶ of steps of 2⁻⁷. By chance each goes up one step with its share of it.
    expect(w!.changed).toBe(n / 5);
    const up = ((81 + 100) / 2 / 512) * (n / 5);
    expect(Math.abs(w!.changed - w!.absorbed - up)).toBeLessThan(5 * Math.sqrt(up));
  });

  test("what has no base or is copied is left out", async () => {
    const whole: NewTestTensor = { dtype: "I64", data: [1, 2] };
    const { absorbed } = await absorbedOf(
      { w: { data: [1, 2] }, ids: whole },
      { w: { data: [2, 2] }, ids: whole },
      "merge_method: task_arithmetic\n",
    );
    expect(absorbed).toEqual({ tensors: [{ name: "w", elements: 2, changed: 1, absorbed: 0 }], leftOut: 1, every: 1 });
  });
});
