// `braid analyze` as a user starts it, under both runtimes and with several workers.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bunProgram, denoProgram, inFolder, start } from "./braid.ts";

const base = "examples/models/base";
const three = ["ft-add", "ft-rev", "ft-sort"].map((name) => `examples/models/${name}`);

describe("analyze", () => {
  test("prints models, pairs, kinds, layers, tensors and advice", async () => {
    const { exit, out, err } = await start(["analyze", base, ...three]);
    expect(err).toBe("");
    expect(exit).toBe(0);
    for (const text of [
      "3 models against examples/models/base: 39 tensors, 763 k parameters",
      "A  examples/models/ft-add",
      "interference",
      "attention q",
      "model.layers.3 ",
      "model.layers.3.mlp.down_proj.weight",
      "method     dare_ties",
      "A 1, B 1, C 1; λ 0.7",
    ])
      expect(out).toContain(text);
    // Ten tensors without --per-tensor.
    expect(out).not.toContain("model.layers.0.input_layernorm.weight");
    expect(out).not.toContain("ModelCypher");
    expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThan(140);
  });

  test("says the same under Bun and Deno, with one worker and with three", async () => {
    const documents: unknown[] = [];
    for (const [program, workers] of [
      [bunProgram, "1"],
      [denoProgram, "3"],
    ] as const) {
      const { out, exit } = await start(["analyze", base, ...three, "--json", "--per-tensor", "--workers", workers], {
        program,
      });
      expect(exit).toBe(0);
      const { seconds, workerSeconds, peakMemoryBytes, plannedPeakBytes, workers: _, ...analysis } = JSON.parse(out);
      expect([seconds, workerSeconds.compute, plannedPeakBytes].every((x: number) => x > 0)).toBe(true);
      expect(peakMemoryBytes).toBeLessThan(plannedPeakBytes + 64 * 2 ** 20);
      expect(analysis.tensors.length).toBe(39);
      documents.push(analysis);
    }
    expect(documents[1]).toEqual(documents[0]);
  });

  test("--modelcypher says what is wrong with that report, --per-tensor prints all tensors", async () => {
    const { out } = await start(["analyze", base, three[0]!, "--modelcypher", "aggressive", "--per-tensor"]);
    expect(out).toContain("effectiveSparsity");
    expect(out).toContain("Defect: ");
    expect(out).toContain("model.layers.0.input_layernorm.weight");
    const { out: json } = await start(["analyze", base, three[0]!, "--modelcypher", "aggressive", "--json"]);
    const { modelCypher, tensors } = JSON.parse(json);
    expect(modelCypher[0].configuration).toEqual({
      sparsityThreshold: 0.001,
      droppablePercentile: 0.99,
      computePerLayerMetrics: true,
    });
    expect(tensors).toEqual([]);
  });

  test("writes a recipe that merges, from wherever it lies, and does not replace a file unasked", async () => {
    await inFolder(async (folder) => {
      const recipe = join(folder, "recipe.yml");
      const args = ["analyze", base, ...three, "--write-recipe", recipe];
      const { exit, out } = await start(args);
      expect({ exit, wrote: out.trimEnd().endsWith(`Wrote ${recipe}`) }).toEqual({ exit: 0, wrote: true });
      const text = readFileSync(recipe, "utf8");
      expect(text).toContain("merge_method: dare_ties");
      expect(text).toContain('{ filter: "norm", value: 0 }');
      const merged = await start(["merge", recipe, join(folder, "out"), "--json"], { cwd: folder });
      expect({ exit: merged.exit, err: merged.err }).toEqual({ exit: 0, err: "" });
      expect(JSON.parse(merged.out).dropRates.map((d: { actual: number }) => Math.abs(d.actual - 0.3) < 0.02)).toEqual([
        true,
        true,
        true,
      ]);
      const again = await start(args);
      expect(again.exit).toBe(73);
      expect(again.err).toContain("--overwrite");
      writeFileSync(recipe, "mine");
      expect((await start([...args, "--overwrite", "-q"])).out).toBe("");
      expect(readFileSync(recipe, "utf8")).toBe(text);
      expect(existsSync(`${recipe}.part`)).toBe(false);
    });
  });

  test("mistakes: no model, a model that is not there, a share that is none", async () => {
    const none = await start(["analyze", base]);
    expect({ exit: none.exit, err: none.err }).toEqual({ exit: 2, err: "error: Missing MODEL (see --help).\n" });
    const nowhere = await start(["analyze", base, "examples/models/nowhere", "--json"]);
    expect(nowhere.exit).toBe(66);
    expect(JSON.parse(nowhere.out).errors[0].kind).toBe("model-not-found");
    expect((await start(["analyze", base, three[0]!, "--top", "2"])).exit).toBe(2);
    const typo = await start(["analyze", base, three[0]!, "--write-recpe", "x"]);
    expect(typo.err).toContain("Did you mean --write-recipe?");
  });
});
