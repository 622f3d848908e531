// DAREx-q: the divisors of survivors, tensor by tensor, and what is said of doubtful numbers.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { fixture, onBase } from "../support/fixture.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { mergeOne } from "../support/one-tensor.ts";
import { readCheckpoint } from "../support/tensors.ts";

const names = [
  "model.layers.0.mlp.up.weight",
  "model.layers.0.self_attn.q.weight",
  "model.layers.1.mlp.up.weight",
  "lm_head.weight",
];
const n = 64;

/** What survivors of a delta of 1 become, tensor by tensor; and the warnings. */
async function survivors(
  parameters: Record<string, unknown>,
  file: unknown = null,
): Promise<{ factors: Record<string, number>; warnings: string[] }> {
  return withTempFolder(async (temp) => {
    const model = (name: string, value: number) =>
      writeModel(join(temp, name), Object.fromEntries(names.map((t) => [t, { data: new Array(n).fill(value) }])));
    if (file !== null) writeFileSync(join(temp, "q.json"), typeof file === "string" ? file : JSON.stringify(file));
    const text = JSON.stringify({
      merge_method: "dare_linear",
      base_model: model("base", 0),
      models: [{ model: model("tuned", 1), parameters: { weight: 1, drop_rate: 0.5 } }],
      parameters,
      dtype: "float32",
    });
    const recipe = { text, file: "recipe.yml", folder: temp };
    const summary = await merge(requestFor(text, { recipe }), join(temp, "out"), { overwrite: false }, testHost());
    const factors: Record<string, number> = {};
    for (const [name, { values }] of readCheckpoint(join(temp, "out"))) {
      const kept = [...values].filter((v) => v !== 0);
      expect(new Set(kept).size).toBe(1);
      factors[name] = kept[0]!;
    }
    return { factors, warnings: summary.warnings.map((w) => w.message) };
  });
}
const factorsOf = (qs: readonly number[]) =>
  Object.fromEntries(names.map((name, i) => [name, Math.fround(1 / qs[i]!)]));

describe("q of DAREx", () => {
  test("a list of conditions gives each tensor its own", async () => {
    const q = [{ filter: "mlp", value: [0.8, 0.6] }, { filter: "self_attn", value: 0.7 }, { value: 0.5 }];
    const { factors, warnings } = await survivors({ rescale: "q", q });
    expect(factors).toEqual(factorsOf([0.8, 0.7, 0.6, 0.5]));
    expect(warnings).toEqual([]);
  });
  test("a q_file gives it by name, or by the first part of a name that fits", async () => {
    const file = { mlp: 0.8, "layers.1": 0.9, [names[2]!]: 0.6, "*": 0.55 };
    const { factors, warnings } = await survivors({ rescale: "q", q_file: "q.json" }, file);
    expect(factors).toEqual(factorsOf([0.8, 0.55, 0.6, 0.55]));
    expect(warnings).toEqual([
      '"layers.1" of the q_file "q.json" gives no tensor its q: no name has it, or an earlier key does',
    ]);
  });
  test("tensors that the file does not name keep the recipe's q", async () => {
    const { factors } = await survivors({ rescale: "q", q: 0.75, q_file: "q.json" }, { lm_head: 0.5 });
    expect(factors).toEqual(factorsOf([0.75, 0.75, 0.75, 0.5]));
  });
  for (const [what, file, message] of [
    ["is missing", null, /Cannot read the q_file "q.json": there is no file ".*q.json"/],
    ["is not JSON", "{", /Cannot read the q_file "q.json": it is not JSON/],
    ["is a list", [], /Cannot read the q_file "q.json": it is not a JSON object/],
    ["has text for a number", { mlp: "0.5" }, /q_file "q.json": q of "mlp" is "0.5", it must be a number above 0/],
    ["has a q of 0", { mlp: 0 }, /q_file "q.json": q of "mlp" is 0, it must be a number above 0/],
    ["lacks a tensor", { mlp: 0.5 }, /by 1\/q: q is not in "q.json", it must be above 0/],
  ] as const) {
    test(`a q_file that ${what} is refused`, async () => {
      await expect(survivors({ rescale: "q", q_file: "q.json" }, file)).rejects.toThrow(message);
    });
  }
  test("rescale q without a q is refused", async () => {
    await expect(survivors({ rescale: "q" })).rejects.toThrow(/by 1\/q: q is not given/);
  });
  for (const [parameters, warning] of [
    [{ rescale: "q", q: 0.5 }, null],
    [{ rescale: "q", q: 1 }, null],
    [{ rescale: "q", q: 0.49 }, /q is below 1 − p/],
    [{ rescale: "q", q: 1.5 }, /q is above 1/],
    [{ q: 0.7 }, /q has no effect without rescale: q/],
    [{ lambda: 2.5 }, /lambda is above 2/],
    [{ lambda: -1.5 }, /lambda is below -1/],
    [{ lambda: 2 }, null],
  ] as const) {
    test(`${JSON.stringify(parameters)}: ${warning ? "a warning" : "nothing to say"}`, async () => {
      const { warnings } = await survivors(parameters);
      expect(warnings.length).toBe(warning ? 1 : 0);
      if (warning) expect(warnings[0]!).toMatch(warning);
    });
  }
});

describe("doubtful numbers of DARE", () => {
  const said = async (perModel: Record<string, unknown>[], parameters: Record<string, unknown> = {}) => {
    const { warnings } = await mergeOne({
      method: "dare_linear",
      base: fixture.base,
      models: onBase("AB"),
      perModel,
      parameters,
    });
    return warnings.filter((w) => /drop rate|weights/.test(w)).length;
  };
  test("a drop rate above 0.95", async () => {
    expect(await said([{ drop_rate: 0.96 }, { drop_rate: 0.5 }])).toBe(1);
    expect(await said([{ drop_rate: 0.95 }, { drop_rate: 0.5 }])).toBe(0);
  });
  test("weights that sum to more than the models, or to nothing, unless they are normalised", async () => {
    const two = [
      { drop_rate: 0.5, weight: 1.2 },
      { drop_rate: 0.5, weight: 1 },
    ];
    expect(await said(two)).toBe(1);
    expect(await said(two, { normalize: true })).toBe(0);
    expect(await said(two.map((m) => ({ ...m, weight: 1 })))).toBe(0);
    expect(await said(two.map((m, i) => ({ ...m, weight: i === 0 ? 0.5 : -0.45 })))).toBe(1);
  });
});
