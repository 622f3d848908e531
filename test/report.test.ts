import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { merge } from "../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { writeModel } from "./support/models.ts";

async function card(
  licenses: (string | null)[],
  recipeExtra = "",
): Promise<{ front: Record<string, unknown>; text: string; out: string; temp: string }> {
  let result: Awaited<ReturnType<typeof card>> | undefined;
  await withTempFolder(async (temp) => {
    const models = licenses.map((license, i) => {
      const folder = writeModel(
        join(temp, `m${i}`),
        { w: { data: [i, 1] } },
        { model_type: "llama", torch_dtype: "float16", dtype: "float16" },
      );
      if (license !== null)
        writeFileSync(join(folder, "README.md"), `---\nlicense: ${license}\ntags: [x]\n---\n# m${i}\n`);
      return `{model: ${folder}, parameters: {weight: 1}}`;
    });
    const out = join(temp, "merged");
    await merge(
      requestFor(`merge_method: linear\nmodels: [${models.join(", ")}]\ndtype: bfloat16\n${recipeExtra}`),
      out,
      { overwrite: false },
      testHost(),
    );
    const text = readFileSync(join(out, "README.md"), "utf8");
    const front = parse(/^---\n([\s\S]*?)\n---\n/.exec(text)![1]!) as Record<string, unknown>;
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as Record<string, unknown>;
    expect([config.dtype, config.torch_dtype]).toEqual(["bfloat16", "bfloat16"]);
    const manifest = JSON.parse(readFileSync(join(out, "braid.json"), "utf8")) as {
      files: { sha256: string }[];
      recipe: string;
    };
    expect(manifest.files[0]!.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(manifest.recipe).toContain("merge_method");
    result = { front, text, out, temp };
  });
  return result!;
}

describe("the model card", () => {
  test("carries the licence that all inputs declare", async () => {
    expect((await card(["apache-2.0", "apache-2.0"])).front.license).toBe("apache-2.0");
  });
  test("says nothing where they differ or one is silent", async () => {
    expect((await card(["apache-2.0", "mit"])).front.license).toBeUndefined();
    expect((await card(["apache-2.0", null])).front.license).toBeUndefined();
  });
  test("names tool, method and recipe; a recipe with fences stays inside its own", async () => {
    const { front, text } = await card([null, null], "# ```` a fence\n");
    expect(front.tags).toEqual(["merge", "braid", "linear"]);
    expect(front.library_name).toBe("transformers");
    expect(text).toContain("`````yaml\nmerge_method: linear");
  });
});

describe("the config of a recipe in slices", () => {
  test("has as many layers as the output, and lists that follow them", () =>
    withTempFolder(async (temp) => {
      const tensors = Object.fromEntries([0, 1, 2].map((i) => [`model.layers.${i}.w`, { data: [i, 1] }]));
      const config = { model_type: "x", num_hidden_layers: 3, layer_types: ["full", "sliding", "linear"] };
      const a = writeModel(join(temp, "a"), tensors, config);
      const b = writeModel(join(temp, "b"), tensors, config);
      const slice = (first: number, end: number) =>
        `{sources: [{model: ${a}, layer_range: [${first}, ${end}]}, {model: ${b}, layer_range: [${first}, ${end}]}]}`;
      const recipe = `merge_method: linear\nslices: [${slice(0, 2)}, ${slice(1, 3)}]\nparameters: {weight: 0.5}\n`;
      await merge(requestFor(recipe), join(temp, "out"), { overwrite: false }, testHost());
      const out = JSON.parse(readFileSync(join(temp, "out/config.json"), "utf8")) as Record<string, unknown>;
      expect(out.num_hidden_layers).toBe(4);
      expect(out.layer_types).toEqual(["full", "sliding", "sliding", "linear"]);
    }));
});
