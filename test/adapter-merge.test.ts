// Merges stored as adapters: folded again, they are the merge.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mergeAsAdapter } from "../src/adapter-merge.ts";
import { defaultExtraction } from "../src/extract.ts";
import { merge } from "../src/merge.ts";
import { start } from "./cli/braid.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { readCheckpoint } from "./support/tensors.ts";

setDefaultTimeout(60_000);

const tiny = "test/golden/inputs/tiny-base";
const sum = (weights: readonly number[], names: readonly string[], more: object = {}) => ({
  merge_method: "task_arithmetic",
  base_model: tiny,
  models: names.map((name, i) => ({ model: `${tiny}+test/peft/${name}`, parameters: { weight: weights[i] } })),
  dtype: "float32",
  ...more,
});

const stored = (recipe: object, rank: number, out: string) =>
  mergeAsAdapter(requestFor(JSON.stringify(recipe)), { ...defaultExtraction, workers: 1, rank }, out, testHost());

async function merged(recipe: object, out: string) {
  await merge(requestFor(JSON.stringify(recipe)), out, { overwrite: false }, testHost());
  return readCheckpoint(out);
}

const onBase = (adapter: string) => ({
  merge_method: "linear",
  models: [{ model: `${tiny}+${adapter}`, parameters: { weight: 1 } }],
  dtype: "float32",
});

/** The largest share of a delta that is lost, over linear layers. */
async function lostShare(adapter: string, recipe: object, temp: string): Promise<number> {
  const got = await merged(onBase(adapter), join(temp, "folded"));
  const want = await merged(recipe, join(temp, "whole"));
  const before = readCheckpoint(tiny);
  let worst = 0;
  for (const [name, t] of want) {
    let [lost, delta] = [0, 0];
    t.values.forEach((x, i) => {
      lost += (got.get(name)!.values[i]! - x) ** 2;
      delta += (x - before.get(name)!.values[i]!) ** 2;
    });
    if (/proj/.test(name) && delta > 0) worst = Math.max(worst, Math.sqrt(lost / delta));
  }
  return worst;
}

describe("sums of adapters", () => {
  const recipe = sum([0.7, -1.3], ["plain", "rslora"], { parameters: { lambda: 0.5 } });

  test("that fit the rank lie side by side and lose nothing", () =>
    withTempFolder(async (temp) => {
      const summary = await stored(recipe, 8, join(temp, "out"));
      expect(new Set(summary.modules.map((m) => m.how))).toEqual(new Set(["concatenation"]));
      // down_proj is in one of them only.
      expect(new Set(summary.modules.map((m) => m.rank))).toEqual(new Set([4, 8]));
      expect(summary.retained).toBe(1);
      expect(await lostShare(join(temp, "out"), recipe, temp)).toBeLessThan(2e-6);
      expect(readdirSync(temp).sort()).toEqual(["folded", "out", "whole"]);
    }));

  test("that do not are cut to the best of that rank, as from the merged weights", () =>
    withTempFolder(async (temp) => {
      const summary = await stored(recipe, 3, join(temp, "out"));
      expect(new Set(summary.modules.map((m) => m.how))).toEqual(new Set(["factors"]));
      // An election that trims nothing is no sum: it takes the way through the weights.
      const detour = await stored(
        { ...recipe, merge_method: "ties", parameters: { density: 1, lambda: 1 } },
        3,
        join(temp, "ties"),
      );
      expect(new Set(detour.modules.map((m) => m.how))).toEqual(new Set(["exact"]));
      const cut = await lostShare(join(temp, "out"), recipe, temp);
      const least = Math.min(...summary.modules.map((m) => m.retained));
      expect(Math.abs(cut - Math.sqrt(1 - least))).toBeLessThan(1e-4);
    }));

  test("averages of adapters too; DoRA goes by way of the weights", () =>
    withTempFolder(async (temp) => {
      const { models } = sum([1, 2], ["plain", "patterns"]);
      const own = {
        merge_method: "linear",
        base_model: tiny,
        models: [{ model: tiny, parameters: { weight: 1 } }, ...models],
        dtype: "float32",
      };
      const summary = await stored(own, 16, join(temp, "out"));
      expect(summary.retained).toBeGreaterThan(1 - 1e-9);
      expect(await lostShare(join(temp, "out"), own, temp)).toBeLessThan(1e-5);
      const dora = await stored(sum([1], ["dora"]), 16, join(temp, "dora"));
      expect(new Set(dora.modules.map((m) => m.how))).toEqual(new Set(["exact"]));
    }));
});

test("any other merge: of a rank that suffices it is the merge, and nothing is left beside it", () =>
  withTempFolder(async (temp) => {
    const recipe = sum([0.5, 0.5], ["plain", "rslora"], { merge_method: "dare_ties", parameters: { density: 0.5 } });
    const summary = await stored(recipe, 64, join(temp, "out"));
    expect(summary.retained).toBeGreaterThan(1 - 1e-9);
    expect(readdirSync(temp)).toEqual(["out"]);
    expect(await lostShare(join(temp, "out"), recipe, temp)).toBeLessThan(1e-4);
  }));

test("the command; without a base_model it is refused", () =>
  withTempFolder(async (temp) => {
    const { writeFileSync } = await import("node:fs");
    const path = join(temp, "recipe.yml");
    writeFileSync(path, JSON.stringify(sum([1, 1], ["plain", "rslora"])));
    const done = await start(["merge", path, join(temp, "out"), "--as-adapter", "8"]);
    expect(done.err).toBe("");
    expect(done.out).toMatch(/Wrote an adapter of rank 8/);
    expect(JSON.parse(readFileSync(join(temp, "out/adapter_config.json"), "utf8"))).toMatchObject({
      r: 8,
      peft_type: "LORA",
    });
    writeFileSync(path, JSON.stringify(onBase("test/peft/plain")));
    const refused = await start(["merge", path, join(temp, "b"), "--as-adapter", "8"]);
    expect([refused.exit, refused.err]).toEqual([
      2,
      expect.stringContaining("needs a base_model that is a plain model"),
    ]);
  }));
