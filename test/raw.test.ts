// Files of tensors that are no model: any names, no layers, no config beside them.

import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../src/merge.ts";
import { methods } from "../src/methods/index.ts";
import { prepare } from "../src/prepare.ts";
import { vectors } from "./support/fixture.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { type NewTestTensor, safetensorsBytes, writeModel } from "./support/models.ts";
import { readCheckpoint } from "./support/tensors.ts";

/** Names as other programs give them: without dots, with slashes and blanks, of three letters beyond ASCII. */
const names = ["emb", "block/0/kernel:0", "a weight", "größe", "x.layers"];
const shapes = [[6, 8], [8, 12], [5, 7], [9], [4, 3, 2]];

function tensors(seed: number): Record<string, NewTestTensor> {
  return Object.fromEntries(
    names.map((name, i) => {
      const shape = shapes[i]!;
      const count = shape.reduce((a, b) => a * b, 1);
      const [common, own] = [vectors(1, count, i)[0]!, vectors(1, count, 1000 * seed + i)[0]!];
      return [name, { shape, data: common.map((x, k) => x + own[k]! / 8) }];
    }),
  );
}

/** What a recipe needs of each; unused parameters are warned of, and that is all. */
const parameters = { weight: 0.5, density: 0.5, gamma: 0.1, epsilon: 0.1, t: 0.4, select_topk: 0.5, cutoff: 0.5 };

function recipeOf(method: string, path: (name: string) => string): string {
  const { base, baseIsInput, maxModels } = methods.get(method)!;
  const models = ["a", "b", "c"].slice(0, base === "required" && baseIsInput ? maxModels - 1 : maxModels);
  return JSON.stringify({
    merge_method: method,
    ...(base === "required" ? { base_model: path("base") } : {}),
    models: models.map((name) => ({ model: path(name) })),
    parameters,
    dtype: "float32",
  });
}

function write(cwd: string): void {
  mkdirSync(join(cwd, "raw"));
  for (const [seed, name] of ["base", "a", "b", "c"].entries()) {
    writeFileSync(join(cwd, `raw/${name}.safetensors`), safetensorsBytes(tensors(seed + 1)));
    writeModel(join(cwd, name), tensors(seed + 1));
  }
}

describe("single files of tensors", () => {
  for (const method of methods.keys()) {
    test(`merge by ${method} to the numbers of folders with a config, and to no config`, () =>
      withTempFolder(async (cwd) => {
        write(cwd);
        const host = testHost({ cwd });
        const raw = recipeOf(method, (name) => `raw/${name}.safetensors`);
        const summary = await merge(requestFor(raw), "out", { overwrite: false }, host);
        expect(summary.warnings.filter((w) => w.kind === "model-config")).toEqual([]);
        await merge(requestFor(recipeOf(method, (name) => name)), "folders", { overwrite: false }, host);
        const out = readCheckpoint(join(cwd, "out"));
        expect([...out.keys()].sort()).toEqual([...names].sort());
        // Their names are the seeds of what is dropped, and the models are the same: so are the numbers.
        for (const [name, t] of readCheckpoint(join(cwd, "folders"))) expect(out.get(name)).toEqual(t);
        expect(readdirSync(join(cwd, "out")).sort()).toEqual([
          "README.md",
          "braid.json",
          "mergekit_config.yml",
          "model.safetensors",
        ]);
        expect(readdirSync(join(cwd, "folders"))).toContain("config.json");
      }));
  }

  test("a mean is a mean", () =>
    withTempFolder(async (cwd) => {
      for (const [name, data] of Object.entries({ a: [1, 2, 3], b: [3, 6, -5] }))
        writeFileSync(
          join(cwd, `${name}.safetensors`),
          safetensorsBytes({ "": { data }, scalar: { data: [data[0]!], shape: [] } }),
        );
      const host = testHost({ cwd });
      const models = ["a", "b"].map((name) => ({ model: `${name}.safetensors` }));
      await merge(requestFor(JSON.stringify({ merge_method: "linear", models })), "out", { overwrite: false }, host);
      // The folder that they lie in is no model: only an output that would hold them is refused.
      const whole = merge(
        requestFor(JSON.stringify({ merge_method: "linear", models })),
        ".",
        { overwrite: true },
        host,
      );
      await expect(whole).rejects.toThrow(/it holds the input ".*a\.safetensors"/);
      const out = readCheckpoint(join(cwd, "out"));
      expect([...out.get("")!.values]).toEqual([2, 4, -1]);
      expect(out.get("scalar")).toMatchObject({ shape: [] });
      expect([...out.get("scalar")!.values]).toEqual([2]);
    }));

  test("a gradient takes its first value where there are no layers, and slices are refused", () =>
    withTempFolder(async (cwd) => {
      write(cwd);
      const model = (name: string) => `raw/${name}.safetensors`;
      const slerp = { merge_method: "slerp", base_model: model("base"), parameters: { t: [0.25, 1] } };
      const host = testHost({ cwd });
      const { plan } = await prepare(requestFor(JSON.stringify({ ...slerp, models: [{ model: model("a") }] })), host);
      expect(plan.tensors.map((t) => t.solve.t)).toEqual(names.map(() => 0.25));
      const sources = ["base", "a"].map((name) => ({ model: model(name), layer_range: [0, 2] }));
      await expect(prepare(requestFor(JSON.stringify({ ...slerp, slices: [{ sources }] })), host)).rejects.toThrow(
        /layer/,
      );
    }));

  test("a folder of several without an index is refused: nothing says whether it is whole", () =>
    withTempFolder(async (cwd) => {
      write(cwd);
      const recipe = JSON.stringify({ merge_method: "linear", models: [{ model: "raw" }, { model: "a" }] });
      await expect(prepare(requestFor(recipe), testHost({ cwd }))).rejects.toThrow(
        /Cannot open ".*raw": it has "a\.safetensors", "b\.safetensors", "base\.safetensors" and 1 more and no model\.safetensors\.index\.json/,
      );
      const shards = readFileSync(join(cwd, "raw/a.safetensors"));
      mkdirSync(join(cwd, "one"));
      writeFileSync(join(cwd, "one/tensors.safetensors"), shards);
      const one = JSON.stringify({ merge_method: "linear", models: [{ model: "one" }, { model: "a" }] });
      const { plan, warnings } = await prepare(requestFor(one), testHost({ cwd }));
      expect(plan.tensors.length).toBe(names.length);
      expect(warnings.map((w) => w.message)).toEqual([expect.stringMatching(/one" has no config\.json/)]);
    }));
});
