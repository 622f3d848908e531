// Several recipes in one file: later ones use earlier ones by name.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../src/merge.ts";
import { prepare } from "../src/prepare.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";

const soup = `
merge_method: linear
models:
- {model: examples/models/ft-add, parameters: {weight: 1}}
- {model: examples/models/ft-rev, parameters: {weight: 1}}
dtype: bfloat16
`;
const final = (model: string) => `
merge_method: slerp
base_model: ${model}
models: [{model: examples/models/ft-sort}]
parameters: {t: 0.5}
dtype: bfloat16
`;
const chain = `name: the soup\n${soup}---\n${final("the soup")}`;

const weights = (folder: string) => readFileSync(join(folder, "model.safetensors"));
const run = (recipe: string, out: string, options: object = {}) =>
  merge(requestFor(recipe), out, { overwrite: false, ...options }, testHost());

describe("several recipes in a file", () => {
  test("give what they give one after the other", () =>
    withTempFolder(async (temp) => {
      const summary = await run(chain, join(temp, "out"));
      expect(summary.earlier?.map((s) => [s.method, s.tensors])).toEqual([["linear", 39]]);
      await run(soup, join(temp, "soup"));
      await run(final(join(temp, "soup")), join(temp, "by-hand"));
      const data = (folder: string) => {
        const bytes = weights(folder);
        return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
      };
      expect(data(join(temp, "out")).equals(data(join(temp, "by-hand")))).toBe(true);
      // Of the step nothing is left beside the output.
      expect(readdirSync(temp).sort()).toEqual(["by-hand", "out", "soup"]);
    }));

  test("the steps stay where they are asked to", () =>
    withTempFolder(async (temp) => {
      await run(chain, join(temp, "out"), { intermediate: join(temp, "steps") });
      const [step] = readdirSync(join(temp, "steps"));
      expect(step).toMatch(/^the-soup-[0-9a-f]{8}$/);
      expect(existsSync(join(temp, "steps", step!, "model.safetensors"))).toBe(true);
    }));

  test("are planned together from headers: nothing is written, and the last plan is the one that is merged", () =>
    withTempFolder(async (temp) => {
      const prepared = await prepare(requestFor(chain), testHost());
      expect(prepared.earlier.map((p) => p.plan.method)).toEqual(["linear"]);
      expect(prepared.plan.inputs.map((i) => i.reference)).toEqual(["examples/models/ft-sort", "the soup"]);
      expect(readdirSync(temp)).toEqual([]);
    }));

  test("chat_template: auto looks into what the first will write", () =>
    withTempFolder(async (temp) => {
      const recipe = chain.replace("parameters: {t: 0.5}", "parameters: {t: 0.5}\nchat_template: auto");
      const prepared = await prepare(
        requestFor(recipe.replace("name: the soup", "name: the soup\nchat_template: chatml")),
        testHost(),
      );
      expect(prepared.template).toBeNull(); // the example models have no tokenizer beside which a template would stand
      await run(recipe, join(temp, "out"));
    }));

  test("a later one that cannot be stops all of them, before the first has begun", () =>
    withTempFolder(async (temp) => {
      const broken = `name: the soup\n${soup}---\n${final("the soup").replace("ft-sort", "tied-add")}`;
      await expect(run(broken, join(temp, "out"))).rejects.toThrow(/shape|no tensor/);
      expect(readdirSync(temp)).toEqual([]);
    }));
});
