// The facts of real merges: two ways of counting must agree, and what is missing has its reason.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileOpener } from "../../src/exec/local.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import { merge } from "../../src/merge.ts";
import type { ReportFacts } from "../../src/report-page/facts.ts";
import { reportPage } from "../../src/report-page/page.ts";
import { readFacts } from "../../src/report-page/read.ts";
import { projectRoot, requestFor, testHost } from "../support/host.ts";

const folder = mkdtempSync(join(tmpdir(), "braid-read-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const models = join(projectRoot, "examples");
const host = testHost({ cwd: models });

let made = 0;
async function factsOf(recipe: string, compat: "none" | "mergekit" = "none"): Promise<ReportFacts> {
  const out = join(folder, `out-${made++}`);
  await merge(requestFor(recipe, { compat }), out, { overwrite: false }, host);
  const rest = {
    inputs: null,
    merged: null,
    summary: null,
    deltas: true,
    rounding: true,
    workers: 1,
    memoryBytes: 1 << 28,
  };
  return readFacts({ out, ...rest }, { module: compileKernel(), opener: fileOpener }, host);
}

const three =
  "base_model: models/base\nmodels: [{model: models/ft-add}, {model: models/ft-rev}, {model: models/ft-sort}]\n";

describe("a merge that changes little", () => {
  const recipes: [string, string][] = [
    ["task arithmetic", "merge_method: task_arithmetic\nparameters: {weight: 0.02}\n"],
    ["TIES", "merge_method: ties\nparameters: {density: 0.3, lambda: 0.05}\n"],
    ["DARE", "merge_method: dare_linear\nparameters: {drop_rate: 0.5, lambda: 0.05}\n"],
  ];
  test.each(recipes)(
    "by %s: what is the base's in the output was never changed, or lost to rounding",
    async (_, method) => {
      const facts = await factsOf(`${method}${three}dtype: bfloat16\n`);
      if (!("found" in facts.absorbed) || !("found" in facts.comparison)) throw new Error("not read");
      const { analysis, output } = facts.comparison.found;
      const unchanged = new Map(analysis.tensors.map((t) => [t.name, t.models[output]!.zeros]));
      const absorbed = facts.absorbed.found.tensors;
      expect(absorbed).toHaveLength(39);
      // One side is counted by the analysis in the files, the other by merging again.
      for (const t of absorbed)
        expect([t.name, t.elements - t.changed + t.absorbed]).toEqual([t.name, unchanged.get(t.name)!]);
      expect(absorbed.reduce((sum, t) => sum + t.absorbed, 0)).toBeGreaterThan(10_000);
      expect(facts.warnings).toEqual([]);
    },
  );
});

describe("facts", () => {
  test("of a recipe without a base take the first model for one, and say so", async () => {
    const facts = await factsOf("merge_method: linear\nmodels: [{model: models/ft-add}, {model: models/ft-rev}]\n");
    expect(facts.inputs.map((i) => i.role)).toEqual(["reference", "model"]);
    expect(facts.absorbed).toEqual({ missing: "The recipe has no base that rounding could give elements back to." });
    if (!("found" in facts.comparison)) throw new Error(facts.comparison.missing);
    const { analysis, standIn, inputsTogether } = facts.comparison.found;
    expect([standIn, analysis.base, analysis.models.length, inputsTogether]).toEqual([true, "models/ft-add", 2, null]);
    expect(reportPage(facts)).toContain("the first model, models/ft-add, for want of a base");
  });

  test("of several models tell what they do together without the output", async () => {
    const facts = await factsOf(`merge_method: task_arithmetic\n${three}`);
    if (!("found" in facts.comparison)) throw new Error(facts.comparison.missing);
    const { analysis, inputsTogether } = facts.comparison.found;
    expect(inputsTogether!.changedBy).toHaveLength(4);
    expect(analysis.whole.together!.changedBy).toHaveLength(5);
    expect(inputsTogether!.changedBy.reduce((a, b) => a + b)).toBe(763_008);
  });

  test("of layers from other places have no deltas", async () => {
    const facts = await factsOf(
      "merge_method: passthrough\nslices:\n  - sources: [{model: models/ft-add, layer_range: [0, 2]}]\n  - sources: [{model: models/ft-rev, layer_range: [1, 4]}]\ndtype: bfloat16\n",
    );
    expect(facts.comparison).toEqual({
      missing: "The recipe takes layers from other places: their names do not say what to compare them with.",
    });
  });

  test("of a merge that followed mergekit are planned as it was", async () => {
    const facts = await factsOf(`merge_method: ties\nparameters: {density: 0.5, weight: 0.3}\n${three}`, "mergekit");
    expect(facts.manifest.compat).toBe("mergekit");
    expect(facts.warnings).toEqual([]);
    expect("found" in facts.absorbed).toBe(true);
  });

  test("of a recipe in several parts have no deltas, and a page all the same", async () => {
    const facts = await factsOf(
      `merge_method: linear\nname: half\nmodels: [{model: models/ft-add}, {model: models/ft-rev}]\n---\nmerge_method: linear\nmodels: [{model: half}, {model: models/ft-sort}]\n`,
    );
    expect(facts.comparison).toEqual({
      missing: "The recipe's inputs are outputs of its earlier parts, which are not kept.",
    });
    expect(reportPage(facts)).toContain("which are not kept");
  });
});
