// Adapters made by PEFT, folded by Braid, against what PEFT's merge_and_unload made of them (test/peft/make.py).

import { describe, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isBraidError } from "../src/errors.ts";
import { merge } from "../src/merge.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "./support/host.ts";
import { readCheckpoint, readSafetensors } from "./support/tensors.ts";

const folder = join(projectRoot, "test/peft");
const tiny = "test/golden/inputs/tiny-base";
const gpt2 = "test/peft/gpt2";

async function merged(recipe: object, out: string, options: object = {}) {
  await merge(requestFor(JSON.stringify(recipe), options), out, { overwrite: false }, testHost());
  return readCheckpoint(out);
}

const asItIs = (model: string) => ({
  merge_method: "linear",
  models: [{ model, parameters: { weight: 1 } }],
  dtype: "float32",
});

/** The largest difference to PEFT's tensor, relative to its largest value. */
function distance(got: Float64Array, want: Float64Array): number {
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < want.length; i++) {
    worst = Math.max(worst, Math.abs(got[i]! - want[i]!));
    scale = Math.max(scale, Math.abs(want[i]!));
  }
  return scale === 0 ? worst : worst / scale;
}

describe("folded as PEFT folds", () => {
  for (const [name, base] of [
    ["plain", tiny],
    ["rslora", tiny],
    ["patterns", tiny],
    ["dora", tiny],
    ["embedding", tiny],
    ["saved", tiny],
    ["bias", gpt2],
    ["transposed", gpt2],
  ] as const) {
    test(name, () =>
      withTempFolder(async (temp) => {
        const got = await merged(asItIs(`${base}+test/peft/${name}`), join(temp, "out"));
        const stored = readCheckpoint(join(projectRoot, base));
        let changed = 0;
        for (const [key, want] of readSafetensors(join(folder, "merged", `${name}.safetensors`))) {
          const t = got.get(key)!;
          expect({ key, shape: t.shape }).toEqual({ key, shape: want.shape });
          expect(`${key} ${distance(t.values, want.values) <= 1e-6}`).toBe(`${key} true`);
          if (distance(t.values, stored.get(key)!.values) > 0) changed++;
        }
        expect(changed).toBeGreaterThan(2);
      }),
    );
  }

  test("an adapter's own folder is a model: folded into the recipe's base, or into the one it names", () =>
    withTempFolder(async (temp) => {
      const written = await merged(asItIs(`${tiny}+test/peft/plain`), join(temp, "a"));
      const named = await merged(asItIs("test/peft/plain"), join(temp, "b"));
      const recipe = { merge_method: "task_arithmetic", base_model: tiny, dtype: "float32" };
      const models = [{ model: "test/peft/plain", parameters: { weight: 1 } }];
      const onBase = await merged({ ...recipe, models }, join(temp, "c"));
      for (const [key, t] of written) {
        expect(named.get(key)!.values).toEqual(t.values);
        expect(distance(onBase.get(key)!.values, t.values)).toBeLessThanOrEqual(2e-7);
      }
    }));

  test("a recipe without a dtype stores folded weights in the model's own", () =>
    withTempFolder(async (temp) => {
      const models = [{ model: "examples/models/base+examples/models/lora-add", parameters: { weight: 1 } }];
      const got = await merged({ merge_method: "linear", models }, join(temp, "out"));
      expect([...new Set([...got.values()].map((t) => t.dtype))]).toEqual(["BF16"]);
    }));

  test("two adapters merge in delta space, whatever the workers' memory and slices", () =>
    withTempFolder(async (temp) => {
      const recipe = {
        merge_method: "dare_ties",
        base_model: tiny,
        parameters: { density: 0.5 },
        dtype: "float32",
        models: ["plain", "dora"].map((name) => ({ model: `${tiny}+test/peft/${name}`, parameters: { weight: 0.5 } })),
      };
      const whole = await merged(recipe, join(temp, "a"));
      const sliced = await merged(recipe, join(temp, "b"), { sliceElements: 4096, workers: 3 });
      for (const [key, t] of whole) expect(sliced.get(key)!.values).toEqual(t.values);
    }));
});

describe("refused, by name", () => {
  const cases: [what: string, name: string, changes: Record<string, unknown>, message: RegExp][] = [
    ["a rank that the config does not say", "plain", { r: 5 }, /A is \[4, 40\].*its rank is 5/],
    ["an init that changed the base", "plain", { init_lora_weights: "pissa_niter_4" }, /pissa_niter_4.*also changed/],
    ["replicated layers", "plain", { layer_replication: [[0, 2]] }, /layer_replication is set/],
    ["single parameters", "plain", { target_parameters: ["x"] }, /target_parameters is set/],
    ["trained token rows", "plain", { trainable_token_indices: [1] }, /trainable_token_indices is set/],
    ["another kind of adapter", "plain", { peft_type: "IA3" }, /peft_type is "IA3"/],
    ["DoRA that the config forgets", "dora", { use_dora: false }, /DoRA magnitude, but use_dora is off/],
    ["DoRA without magnitudes", "plain", { use_dora: true }, /no DoRA magnitude, but use_dora is on/],
    ["a pattern that could take for ever", "plain", { rank_pattern: { "(q+)+_proj": 4 } }, /"\(q\+\)\+_proj"/],
    ["no alpha", "plain", { lora_alpha: null }, /lora_alpha is null/],
  ];
  for (const [what, name, changes, message] of cases) {
    test(what, () =>
      withTempFolder(async (temp) => {
        const copy = join(temp, "adapter");
        cpSync(join(folder, name), copy, { recursive: true });
        const path = join(copy, "adapter_config.json");
        const config = JSON.parse(readFileSync(path, "utf8")) as object;
        writeFileSync(path, JSON.stringify({ ...config, ...changes }));
        const error = await merged(asItIs(`${tiny}+${copy}`), join(temp, "out")).then(
          () => null,
          (e) => e,
        );
        expect(isBraidError(error) && error.diagnostics.map((d) => d.kind)).toEqual(["adapter"]);
        expect(String(error)).toMatch(message);
      }),
    );
  }

  test("another base model: its shapes differ", async () => {
    await withTempFolder(async (temp) => {
      await expect(merged(asItIs("examples/models/base+test/peft/plain"), join(temp, "out"))).rejects.toThrow(
        /Cannot fold the adapter "test\/peft\/plain" into .*is \[128, 352\] in the model, the adapter's product is \[24, 40\]/,
      );
    });
  });
});
