import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isBraidError } from "../../src/errors.ts";
import type { MergeRequest } from "../../src/host.ts";
import { merge } from "../../src/merge.ts";
import { prepare } from "../../src/prepare.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "../support/host.ts";
import { safetensorsBytes, writeModel } from "../support/models.ts";

const demo =
  "merge_method: dare_ties\nbase_model: examples/models/base\nmodels: [{model: examples/models/ft-add}, {model: examples/models/ft-rev}]\nparameters: {drop_rate: 0.9}\ndtype: bfloat16\n";
const plan = async (recipe: string, request: Partial<MergeRequest> = {}) =>
  (await prepare(requestFor(recipe, request), testHost())).plan;

describe("a plan", () => {
  test("is JSON: it comes back equal", async () => {
    const p = await plan(demo);
    expect(JSON.parse(JSON.stringify(p))).toEqual(p as never);
  });
  test("says every byte that is read and written", async () => {
    const p = await plan(demo);
    expect(p.parameters).toBe(763_008);
    expect(p.bytesRead).toBe(763_008 * 3 * 2);
    expect(p.bytesWritten).toBe(763_008 * 2);
    for (const t of p.tensors) {
      expect(t.inputs.length).toBe(3);
      for (const i of t.inputs) expect(i.start + t.count * 2).toBeLessThanOrEqual(p.inputFiles[i.file]!.byteLength);
      expect(t.output.start + t.count * 2).toBeLessThanOrEqual(p.outputs[t.output.file]!.byteLength);
    }
  });
  test("fills its output file without holes, in the order of its tensors", async () => {
    const p = await plan(demo, { outShardBytes: 300_000 });
    expect(p.outputs.length).toBeGreaterThan(4);
    for (const [file, output] of p.outputs.entries()) {
      let at = atob(output.header).length;
      for (const t of p.tensors.filter((t) => t.output.file === file)) {
        expect(t.output.start).toBe(at);
        at += t.count * 2;
      }
      expect(at).toBe(output.byteLength);
    }
  });
  test("reads shards where they are", async () => {
    const whole = await plan(
      "merge_method: linear\nmodels: [{model: examples/models/base}, {model: examples/models/ft-add}]",
    );
    const shards = await plan(
      "merge_method: linear\nmodels: [{model: examples/models/base-sharded}, {model: examples/models/ft-add}]",
    );
    expect(shards.inputFiles.length).toBe(3);
    expect(shards.tensors.map((t) => t.name)).toEqual(whole.tensors.map((t) => t.name));
    expect(new Set(shards.tensors.map((t) => t.inputs[0]!.file))).toEqual(new Set([0, 1]));
  });
  test("has one identity for any memory, workers and slice size, another for another seed", async () => {
    const identity = async (request: Partial<MergeRequest>) =>
      (await prepare(requestFor(demo, request), testHost())).planSha256;
    const want = await identity({});
    expect(await identity({ workers: 7, sliceElements: 4096, memoryBytes: 2 ** 31 })).toBe(want);
    expect(await identity({ seed: "43" })).not.toBe(want);
    expect(await identity({ seed: "0" })).not.toBe(want);
    expect(await identity({ nonFinite: "keep" })).not.toBe(want);
  });
  test("takes the seed from the request, then the recipe, then 42", async () => {
    expect((await plan(demo)).seed).toBe("42");
    expect((await plan(`${demo}random_seed: 0\n`)).seed).toBe("0");
    expect((await plan(`${demo}random_seed: 18446744073709551615\n`, { seed: "7" })).seed).toBe("7");
    expect((await plan(`${demo}random_seed: 18446744073709551615\n`)).seed).toBe("18446744073709551615");
  });
  test("counts models for the masks without the base, wherever it is listed", async () => {
    const keys = (p: Awaited<ReturnType<typeof plan>>) => {
      const program = p.tensors.find((t) => t.name === "model.norm.weight")!.program;
      return program.op === "merge" ? program.terms.map((t) => t.keep.random?.key) : [];
    };
    const listed = demo.replace("models: [", "models: [{model: examples/models/base}, ");
    expect(keys(await plan(listed))).toEqual(keys(await plan(demo)));
  });
  test("leaves no stride that the worker's memory does not hold", async () => {
    const tight = await plan(demo, { workers: 2, memoryBytes: 207 * 2 ** 20 });
    const ample = await plan(demo, { workers: 2, memoryBytes: 2 ** 30 });
    expect(tight.memory.peakBytes).toBeLessThanOrEqual(207 * 2 ** 20);
    expect(ample.memory.strideElements).toBeGreaterThanOrEqual(tight.memory.strideElements);
  });
  test("warns when nothing would be dropped", async () => {
    const p = await prepare(requestFor(demo.replace("drop_rate: 0.9", "drop_rate: 0")), testHost());
    expect(p.warnings.map((w) => w.message).join("\n")).toContain("nothing is dropped");
    expect(p.plan.tensors.every((t) => t.program.op === "merge" && t.program.terms.every((x) => !x.keep.random))).toBe(
      true,
    );
    const some = "drop_rate: [{ filter: norm, value: 0 }, { value: 0.9 }]";
    const filtered = await prepare(requestFor(demo.replace("drop_rate: 0.9", some)), testHost());
    expect(filtered.warnings).toEqual([]);
  });
});

describe("models of the local Hugging Face cache", () => {
  test("are found by id and revision", () =>
    withTempFolder(async (temp) => {
      const repo = join(temp, "hub/models--org--tiny");
      mkdirSync(join(repo, "refs"), { recursive: true });
      const commit = "0123456789abcdef0123456789abcdef01234567";
      writeFileSync(join(repo, "refs/main"), commit);
      writeModel(join(repo, "snapshots", commit), { w: { data: [1, 2] } });
      const other = writeModel(join(temp, "other"), { w: { data: [3, 4] } });
      const recipe = `merge_method: linear\nmodels: [{model: org/tiny}, {model: ${other}}]`;
      const p = await prepare(requestFor(recipe), testHost({ env: { HF_HOME: temp } }));
      expect(p.locations[0]!.revision).toBe(commit);
      expect(p.plan.tensors.length).toBe(1);
    }));
});

describe("one raw tensor file", () => {
  test("is a model without a config", () =>
    withTempFolder(async (temp) => {
      writeFileSync(join(temp, "a.safetensors"), safetensorsBytes({ w: { data: [1, 2] } }));
      writeFileSync(join(temp, "b.safetensors"), safetensorsBytes({ w: { data: [3, 4] } }));
      const recipe = `merge_method: linear\nmodels: [{model: ${temp}/a.safetensors}, {model: ${temp}/b.safetensors}]`;
      expect((await plan(recipe)).tensors.map((t) => t.name)).toEqual(["w"]);
    }));
});

describe("rows that a worker must hold whole", () => {
  const columns = 700_001;
  const values = (seed: number) => Array.from({ length: columns }, (_, i) => (((i * seed) % 8191) - 4095) / 4096);
  const recipeIn = (temp: string) => {
    for (const [seed, name] of ["base", "a", "b"].entries())
      writeModel(join(temp, name), { w: { dtype: "BF16", data: values(seed + 1) }, v: { data: [1, 2, 3] } });
    const models = ["a", "b"].map((name) => ({ model: join(temp, name) }));
    return JSON.stringify({
      merge_method: "della",
      base_model: join(temp, "base"),
      models,
      parameters: { density: 0.5, epsilon: 0.1, rescale: "l1" },
    });
  };

  test("are part of the memory plan, and what it asks for is enough and no more than needed", () =>
    withTempFolder(async (temp) => {
      const recipe = recipeIn(temp);
      const small: unknown = await plan(recipe, { memoryBytes: 190 << 20, workers: 1 }).catch((e: unknown) => e);
      expect(isBraidError(small) && small.kind).toBe("memory-budget");
      const needed = Number(/needs (\d+) MiB/.exec(String(small))![1]);
      const request = { memoryBytes: needed << 20, workers: 1 };
      expect((await plan(recipe, request)).memory.peakBytes).toBeLessThanOrEqual(needed << 20);
      expect(await plan(recipe, { ...request, memoryBytes: (needed - 1) << 20 }).catch(() => "refused")).toBe(
        "refused",
      );
      await merge(requestFor(recipe, request), join(temp, "tight"), { overwrite: false }, testHost());
      await merge(requestFor(recipe, { workers: 2 }), join(temp, "wide"), { overwrite: false }, testHost());
      const [tight, wide] = ["tight", "wide"].map((name) => readFileSync(join(temp, name, "model.safetensors")));
      expect(tight!.equals(wide!)).toBe(true);
    }));
});

test("the examples plan", async () => {
  for (const name of [
    "dare-ties",
    "dare-linear",
    "linear",
    "slerp",
    "task-arithmetic",
    "ties",
    "breadcrumbs",
    "della",
  ]) {
    const folder = join(projectRoot, "examples");
    const text = readFileSync(join(folder, `${name}.yml`), "utf8");
    const request = { ...requestFor(text), recipe: { text, file: `${name}.yml`, folder } };
    expect((await prepare(request, testHost())).plan.tensors.length).toBeGreaterThan(25);
  }
});
