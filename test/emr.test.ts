// The export of EMR-merging and what is made of it again, against numpy on the example models (test/oracles/emr.py) and the vectors
// of the paper's formula.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { applyRecipe } from "../src/cli/apply.ts";
import { exportMasks } from "../src/emr-export.ts";
import { isBraidError } from "../src/errors.ts";
import { merge } from "../src/merge.ts";
import { openNamed } from "../src/models.ts";
import type { EmrIndex } from "../src/tensor/emr.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "./support/host.ts";
import { type NewTestTensor, writeModel } from "./support/models.ts";
import { readSafetensors } from "./support/tensors.ts";

interface Case {
  dtype: string;
  unified: string;
  masks: string[];
  scales: number[];
  kept: number[];
  again: string[];
}

const oracle = JSON.parse(readFileSync(join(projectRoot, "test/oracles/emr.json"), "utf8")) as {
  models: string[];
  cases: Case[];
};

const exampleRecipe = (dtype: string) =>
  `merge_method: emr\nbase_model: examples/models/base\ndtype: ${dtype}\nmodels:\n${oracle.models
    .map((m) => `  - model: examples/models/${m}\n`)
    .join("")}`;

/** SHA-256 over the bytes of all tensors in the order of their names. */
function hashOf(path: string): string {
  const file = readFileSync(path);
  const size = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + size)) as Record<string, { data_offsets: [number, number] }>;
  const hash = createHash("sha256");
  for (const name of Object.keys(header)
    .filter((n) => n !== "__metadata__")
    .sort()) {
    const [start, end] = header[name]!.data_offsets;
    hash.update(file.subarray(8 + size + start, 8 + size + end));
  }
  return hash.digest("hex");
}

const indexOf = (folder: string) => JSON.parse(readFileSync(join(folder, "emr.json"), "utf8")) as EmrIndex;

/** One tensor, "w", a model; f32 unless told otherwise. */
const one = (data: readonly number[], shape?: number[]): Record<string, NewTestTensor> => ({
  w: { data, ...(shape ? { shape } : {}) },
});

async function failure(run: Promise<unknown>): Promise<string> {
  const error = await run.then(
    () => null,
    (e) => e,
  );
  expect(isBraidError(error)).toBe(true);
  const [d] = error.diagnostics;
  return `${d.kind}: ${d.message} | ${d.hint ?? ""}`;
}

describe("an EMR export", () => {
  for (const want of oracle.cases) {
    test(`is numpy's of the example models, and so are the models made of it: ${want.dtype}`, () =>
      withTempFolder(async (temp) => {
        const out = join(temp, "emr");
        const summary = await exportMasks(requestFor(exampleRecipe(want.dtype)), out, false, testHost());
        expect(hashOf(join(out, "unified.safetensors"))).toBe(want.unified);
        expect(oracle.models.map((m) => hashOf(join(out, `${m}.safetensors`)))).toEqual(want.masks);
        const { base_model, models } = indexOf(out);
        expect(base_model).toBe("examples/models/base");
        expect(models.map((m) => [m.name, m.file, m.kept])).toEqual(
          oracle.models.map((m, i) => [m, `${m}.safetensors`, want.kept[i]!]),
        );
        for (const [i, m] of models.entries()) expect(Math.abs(m.scale / want.scales[i]! - 1)).toBeLessThan(1e-12);
        expect(summary.parameters).toBe(763008);
        for (const [i, name] of oracle.models.entries()) {
          const again = join(temp, name);
          await merge(
            requestFor(applyRecipe(join(out, `${name}.safetensors`), undefined)),
            again,
            { overwrite: false },
            testHost(),
          );
          expect(hashOf(join(again, "model.safetensors"))).toBe(want.again[i]!);
        }
        expect(readdirSync(join(temp, "ft-add"))).toContain("tokenizer.json");
      }));
  }

  test("does not depend on slices", () =>
    withTempFolder(async (temp) => {
      const [a, b] = [join(temp, "a"), join(temp, "b")];
      const text = exampleRecipe("bfloat16");
      await exportMasks(requestFor(text), a, false, testHost());
      await exportMasks(requestFor(text, { sliceElements: 4096, workers: 3 }), b, false, testHost());
      for (const file of readdirSync(a))
        expect([file, readFileSync(join(b, file))]).toEqual([file, readFileSync(join(a, file))]);
    }));

  test("has the vectors of the formula, and its models can be merged like others", () =>
    withTempFolder(async (temp) => {
      const vectors = JSON.parse(readFileSync(join(projectRoot, "test/vectors/methods.json"), "utf8"));
      const { base, dA, dB, dC } = vectors.fixture;
      writeModel(join(temp, "base"), one(base));
      for (const [name, delta] of Object.entries({ A: dA, B: dB, C: dC }))
        writeModel(join(temp, name), one((delta as number[]).map((d, i) => base[i] + d)));
      const host = testHost({ cwd: temp });
      const recipe = "merge_method: emr\nbase_model: base\nmodels: [{model: A}, {model: B}, {model: C}]\n";
      await exportMasks(requestFor(recipe), join(temp, "emr"), false, host);
      const unified = [0.5, -0.5, 0.375, 0.25, 0.5, 0.25, 0.75, 0.5];
      expect([...readSafetensors(join(temp, "emr/unified.safetensors")).get("w")!.values]).toEqual(unified);
      const models = indexOf(join(temp, "emr")).models;
      const scales = [0.9210526, 1.3823529, 1];
      for (const [i, m] of models.entries()) expect(m.scale).toBeCloseTo(scales[i]!, 6);
      const masks = [
        [1, 1, 1, 0, 0, 1, 1, 0],
        [0, 1, 1, 1, 1, 0, 0, 1],
        [1, 0, 0, 1, 1, 1, 1, 0],
      ];
      masks.forEach((mask, i) => {
        const file = readFileSync(join(temp, `emr/${models[i]!.file}`));
        expect(file.at(-1)).toBe(mask.reduce((sum, bit, at) => sum | (bit << at), 0));
      });
      // Half of A and half of C as they come out of the export, onto the base.
      const again =
        "merge_method: task_arithmetic\nbase_model: base\nmodels:\n  - {model: emr/A.safetensors, parameters: {weight: 0.5}}\n  - {model: base+emr/C.safetensors, parameters: {weight: 0.5}}\n";
      await merge(requestFor(again), join(temp, "out"), { overwrite: false }, host);
      const got = readSafetensors(join(temp, "out/model.safetensors")).get("w")!.values;
      unified.forEach((tau, i) => {
        const delta = (models[0]!.scale * masks[0]![i]! * tau + models[2]!.scale * masks[2]![i]! * tau) / 2;
        expect(got[i]!).toBeCloseTo(base[i] + delta, 6);
      });
    }));

  test("leaves the base where a model has no tensor, and scales a model that is the base by nothing", () =>
    withTempFolder(async (temp) => {
      const host = testHost({ cwd: temp });
      writeModel(join(temp, "base"), { "a.weight": { data: [1, 2, 3] }, "a.bias": { data: [4, 5] } });
      writeModel(join(temp, "one"), { "a.weight": { data: [2, 2, 1] } });
      writeModel(join(temp, "two"), { "a.weight": { data: [1, 2, 3] }, "a.bias": { data: [4, 5] } });
      const recipe = "merge_method: emr\nbase_model: base\nmodels: [{model: one}, {model: two}]\n";
      await exportMasks(requestFor(recipe), join(temp, "emr"), false, host);
      expect(indexOf(join(temp, "emr")).models.map((m) => [m.scale, m.kept])).toEqual([
        [1, 2],
        [0, 0],
      ]);
      for (const name of ["one", "two"]) {
        const out = join(temp, `again-${name}`);
        await merge(requestFor(applyRecipe(`emr/${name}.safetensors`, undefined)), out, { overwrite: false }, host);
        const tensors = readSafetensors(join(out, "model.safetensors"));
        expect([...tensors.get("a.weight")!.values]).toEqual(name === "one" ? [2, 2, 1] : [1, 2, 3]);
        expect([...tensors.get("a.bias")!.values]).toEqual([4, 5]);
      }
    }));

  test("names models of one name apart", () =>
    withTempFolder(async (temp) => {
      for (const folder of ["base", "x/ft", "y/ft", "unified"]) writeModel(join(temp, folder), one([folder.length, 1]));
      const recipe = "merge_method: emr\nbase_model: base\nmodels: [{model: x/ft}, {model: y/ft}, {model: unified}]\n";
      await exportMasks(requestFor(recipe), join(temp, "emr"), false, testHost({ cwd: temp }));
      const files = indexOf(join(temp, "emr")).models.map((m) => m.file);
      expect(files).toEqual(["ft.safetensors", "ft-2.safetensors", "unified-2.safetensors"]);
    }));
});

describe("what cannot be exported is refused, and leaves nothing", () => {
  const head = "merge_method: emr\nbase_model: base\n";
  const cases: [title: string, recipe: string, wanted: RegExp, options?: Parameters<typeof requestFor>[1]][] = [
    [
      "another method",
      "merge_method: ties\nbase_model: base\nmodels: [{model: one, parameters: {weight: 1}}]\n",
      /^recipe-unsupported: .*"ties".*merge_method: emr/,
    ],
    ["lambda", `${head}models: [{model: one}]\nparameters: {lambda: 0.5}\n`, /lambda is not 1 \| Leave lambda out/],
    [
      "a drop",
      `${head}models: [{model: one}]\nparameters: {dare: 0.5}\n`,
      /a random drop comes first \| Leave dare out/,
    ],
    ["--non-finite keep", `${head}models: [{model: one}]\n`, /--non-finite is not error/, { nonFinite: "keep" }],
    [
      "stochastic rounding",
      `${head}models: [{model: one}]\n`,
      /^usage: .*--rounding stochastic/,
      { rounding: "stochastic" },
    ],
    [
      "NaN",
      `${head}models: [{model: nan}]\n`,
      /^non-finite: .*"w".*"nan" has 1 NaN or infinite elements, the first at index 1/,
    ],
    [
      "what float16 cannot hold",
      `${head}models: [{model: far}]\nout_dtype: float16\n`,
      /^overflow: .*F16: 1 values are too large.*\| Give the recipe out_dtype/,
    ],
    [
      "several recipes",
      `name: first\n${head}models: [{model: one}]\n---\n${head}models: [{model: first}]\n`,
      /several recipes/,
    ],
  ];
  for (const [title, recipe, wanted, options] of cases) {
    test(title, () =>
      withTempFolder(async (temp) => {
        writeModel(join(temp, "base"), one([1, 2]));
        writeModel(join(temp, "one"), one([1, 3]));
        writeModel(join(temp, "nan"), one([1, Number.NaN]));
        writeModel(join(temp, "far"), one([1e6, 2]));
        const before = readdirSync(temp).sort();
        const run = exportMasks(requestFor(recipe, options), join(temp, "emr"), false, testHost({ cwd: temp }));
        expect(await failure(run)).toMatch(wanted);
        expect(readdirSync(temp).sort()).toEqual(before);
      }),
    );
  }

  test("layers that have moved", () =>
    withTempFolder(async (temp) => {
      const layers = { "model.layers.0.w": { data: [1] }, "model.layers.1.w": { data: [2] } };
      for (const folder of ["base", "one"])
        writeModel(join(temp, folder), layers, { model_type: "llama", num_hidden_layers: 2 });
      const recipe = `${head}slices:\n  - sources: [{model: base, layer_range: [1, 2]}, {model: one, layer_range: [1, 2]}]\n`;
      const run = exportMasks(requestFor(recipe), join(temp, "emr"), false, testHost({ cwd: temp }));
      expect(await failure(run)).toMatch(
        /"model.layers.0.w": it is "model.layers.1.w" in the base \| Write the recipe with models:/,
      );
    }));
});

describe("an export that does not fit is refused", () => {
  async function exported(temp: string): Promise<void> {
    writeModel(join(temp, "base"), one([1, 2, 3]));
    writeModel(join(temp, "one"), one([1, 3, 3]));
    const recipe = "merge_method: emr\nbase_model: base\nmodels: [{model: one}]\n";
    await exportMasks(requestFor(recipe), join(temp, "emr"), false, testHost({ cwd: temp }));
  }
  const cases: [title: string, spoil: (temp: string) => void, model: string, wanted: RegExp][] = [
    [
      "the folder for one of its models",
      () => {},
      "emr",
      /it is an EMR export of several \| Name one of them: "emr\/one.safetensors"/,
    ],
    [
      "the folder as an adapter",
      () => {},
      "base+emr/",
      /EMR export of several \| Name one of them: "emr\/one.safetensors"/,
    ],
    [
      "a file that is none of its models",
      (t) => writeModel(join(t, "emr"), one([1])),
      "emr/model.safetensors",
      /"model.safetensors" is no model of it; it has "one.safetensors"/,
    ],
    [
      "a base of another shape",
      (t) => writeModel(join(t, "other"), one([1, 2])),
      "other+emr/one.safetensors",
      /"w" is \[2\] there and \[3\] in the export \| It belongs to.*"base"/,
    ],
    [
      "a base without the tensor",
      (t) => writeModel(join(t, "other"), { v: { data: [1, 2, 3] } }),
      "other+emr/one.safetensors",
      /it has no tensor "w"/,
    ],
    [
      "a base that is gone",
      (t) => writeFileSync(join(t, "emr/emr.json"), JSON.stringify({ ...indexOf(join(t, "emr")), base_model: "gone" })),
      "emr/one.safetensors",
      /^model-not-found: Cannot open the base of "emr\/one.safetensors".*\| Write it as base\+emr\/one.safetensors/s,
    ],
    [
      "an index of another format",
      (t) => writeFileSync(join(t, "emr/emr.json"), `{"format": "braid-emr-2"}`),
      "emr/one.safetensors",
      /format of emr.json is "braid-emr-2", this version reads "braid-emr-1"/,
    ],
    [
      "an index that is no object",
      (t) => writeFileSync(join(t, "emr/emr.json"), "[]"),
      "emr/one.safetensors",
      /emr.json is not an object/,
    ],
    [
      "a file outside of the folder",
      (t) =>
        writeFileSync(
          join(t, "emr/emr.json"),
          readFileSync(join(t, "emr/emr.json"), "utf8").replace("one.safetensors", "../one.safetensors"),
        ),
      "emr/one.safetensors",
      /names the file "\.\.\/one.safetensors"/,
    ],
    [
      "a scale that is no number",
      (t) =>
        writeFileSync(
          join(t, "emr/emr.json"),
          readFileSync(join(t, "emr/emr.json"), "utf8").replace(/"scale": [\d.]+/, `"scale": "1"`),
        ),
      "emr/one.safetensors",
      /the scale of "one" in emr.json is "1"/,
    ],
    [
      "a mask of another length",
      (t) => writeFileSync(join(t, "emr/one.safetensors"), readFileSync(join(t, "emr/unified.safetensors"))),
      "emr/one.safetensors",
      /the mask of "w".*has 3 elements of F32, expected 1 of U8/,
    ],
  ];
  for (const [title, spoil, model, wanted] of cases) {
    test(title, () =>
      withTempFolder(async (temp) => {
        await exported(temp);
        spoil(temp);
        expect(await failure(openNamed(model, testHost({ cwd: temp })))).toMatch(wanted);
      }),
    );
  }
});
