// How axes are read, and where their values go in a recipe.

import { describe, expect, test } from "bun:test";
import { isBraidError } from "../../src/errors.ts";
import { catalogue } from "../../src/methods/index.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { gridOf, parseAxes } from "../../src/sweep/axes.ts";

const known = catalogue(false);
const grid = (recipe: string, ...over: string[]) => gridOf(recipe, parseAxes(over), known);
const failure = (run: () => unknown): string => {
  try {
    run();
  } catch (e) {
    return isBraidError(e) ? `${e.kind}: ${e.message}` : String(e);
  }
  return "nothing";
};
const plain = (text: string) => text.trim().replaceAll(/\s+/g, " ");

const dare = `# why
merge_method: dare_ties
base_model: base
models:
  - model: a
    parameters: { weight: 0.7, density: "0.5" }
  - model: b
    parameters: { weight: 0.3 }
parameters:
  drop_rate: 0.9   # p
random_seed: 42
dtype: bfloat16
`;

describe("parseAxes", () => {
  test("cuts names and values; commas in brackets belong to a value", () => {
    expect(parseAxes(["drop_rate=0.8, 0.9", "density=[0.1,0.5],1", "seed=1"])).toEqual([
      { name: "drop_rate", values: ["0.8", "0.9"] },
      { name: "density", values: ["[0.1,0.5]", "1"] },
      { name: "seed", values: ["1"] },
    ]);
  });
  test.each([
    [["p"], 'usage: Cannot read --over "p": expected NAME=VALUE,VALUE…\n  For example --over drop_rate=0.8,0.9,0.95.'],
    [["p=1,,2"], 'usage: Cannot read --over "p=1,,2": it has an empty value'],
    [["p=1,2,1"], 'usage: Cannot read --over "p=1,2,1": it has "1" twice'],
    [["p=1", "p=2"], 'usage: Cannot sweep over "p" twice\n  Give all its values in one --over.'],
    [
      ["a", "b", "c"].map((n) => `${n}=${Array.from({ length: 22 }, (_, i) => i).join(",")}`),
      "usage: Cannot sweep over 10648 points: the limit is 10000",
    ],
  ])("%p", (over, message) => {
    expect(failure(() => parseAxes(over))).toBe(message);
  });
});

describe("gridOf", () => {
  test("gives every combination, the last axis fastest", () => {
    const points = grid(dare, "drop_rate=0.8,0.9", "seed=1,2");
    expect(points.map((p) => Object.values(p.values))).toEqual([
      ["0.8", "1"],
      ["0.8", "2"],
      ["0.9", "1"],
      ["0.9", "2"],
    ]);
  });

  test("sets a parameter wherever it stands, in any spelling, and leaves the rest", () => {
    const [point] = grid(dare, "drop_rate=0.25");
    expect(plain(point!.recipe)).toBe(
      plain(
        dare
          .replace('weight: 0.7, density: "0.5"', "weight: 0.7, drop_rate: 0.25")
          .replace("drop_rate: 0.9   # p", "drop_rate: 0.25"),
      ),
    );
    const [weights] = grid(dare, "weight=1");
    expect(weights!.recipe.match(/weight: 1\b/g)?.length).toBe(2);
  });

  test("puts a parameter that the recipe does not give at the top, and keys where they belong", () => {
    const [point] = grid(dare, "lambda=0.5", "seed=7", "method=dare_linear", "dtype=float32");
    const [recipe] = parseRecipe(point!.recipe, "x", known);
    expect([recipe!.method, String(recipe!.seed)]).toEqual(["dare_linear", "7"]);
    expect(point!.recipe).toMatch(/parameters:\n {2}drop_rate: 0.9.*\n {2}lambda: 0.5\n/);
    expect(point!.recipe).toContain("dtype: float32");
  });

  test("sets what a path names, and a gradient", () => {
    const [point] = grid(dare, "models[1].parameters.weight=2", "models[0].parameters.density=[0.1,0.9]");
    expect(point!.recipe).toContain("weight: 2");
    expect(point!.recipe).toContain("weight: 0.7");
    expect(point!.recipe.replaceAll(/\s/g, "")).toContain("density:[0.1,0.9]");
    const [fresh] = grid("merge_method: linear\nmodels: [{model: a}, {model: b}]\n", "models[0].parameters.weight=2");
    expect(fresh!.recipe).toContain("weight: 2");
  });

  test("keeps YAML 1.1 as it was: a quoted number, yes, an octal", () => {
    const text = 'merge_method: ties\nbase_model: "007"\nmodels: [{model: yes}, {model: 010}]\n';
    const [point] = grid(text, "density=0.5");
    expect(point!.recipe.startsWith(text.split("\n").slice(0, 2).join("\n"))).toBe(true);
    expect(point!.recipe).toContain("model: yes");
    expect(point!.recipe).toContain("model: 010");
  });

  test("of several recipes changes the last", () => {
    const [point] = grid(`name: soup\n${dare}---\nmerge_method: slerp\nparameters: {t: 0.5}\n`, "t=0.25");
    expect(point!.recipe).toContain("t: 0.25");
    expect(point!.recipe).toContain("drop_rate: 0.9");
  });

  test.each([
    ["drop_rte=1", 'Cannot sweep over "drop_rte": dare_ties has no such parameter\n  Did you mean "drop_rate"?'],
    ["sed=1", 'Cannot sweep over "sed": dare_ties has no such parameter\n  Did you mean "seed"?'],
    ["models[2].parameters.weight=1", 'the recipe has no "models[2]"\n  There is [0], [1].'],
    ["model[0].parameters.weight=1", 'the recipe has no "model"\n  Did you mean "models"?'],
    ["t=1", 'Cannot sweep over "t": dare_ties has no such parameter'],
  ])("refuses %s", (over, message) => {
    expect(failure(() => grid(dare, over))).toContain(message);
  });

  test("does not throw filters away unasked", () => {
    const text = dare.replace("drop_rate: 0.9", "drop_rate: [{filter: mlp, value: 0.9}, {value: 0.5}]");
    expect(failure(() => grid(text, "drop_rate=0.5"))).toContain(
      "parameters.drop_rate is given by filters\n  Name the place to replace it: --over parameters.drop_rate=…",
    );
    expect(grid(text, "parameters.drop_rate=0.5")[0]!.recipe).not.toContain("filter");
  });
});
