import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { catalogue } from "../../src/methods/index.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { formMethods, formOf, type RecipeForm, textOf, withMethod } from "../../src/web/recipe-form.ts";

const examples = join(import.meta.dirname, "../../examples");
const form: RecipeForm = {
  method: "dare_ties",
  base: "models/base",
  models: [
    { model: "models/ft-add", weight: 0.7 },
    { model: "models/ft-rev", weight: -0.5 },
    { model: "a model: with #odd 'name'", weight: 1 },
  ],
  values: { drop_rate: 0.85, lambda: 1.2 },
  seed: 7,
  dtype: "float16",
};

describe("controls and text of a recipe", () => {
  for (const { name } of formMethods) {
    test(`${name}: what controls write is a recipe, and is read back as it was`, () => {
      const given = withMethod(form, name, "models/base");
      const text = textOf(given);
      const [recipe] = parseRecipe(text, "recipe.yml", catalogue(false));
      expect(recipe!.method).toBe(name);
      const back = formOf(text)!;
      const shown = formMethods.find((method) => method.name === name)!;
      expect(back.models.map(({ model }) => model)).toEqual(given.models.map(({ model }) => model));
      if (shown.weights) expect(back.models).toEqual([...given.models]);
      expect(back.values).toEqual(given.values);
      expect(back.base).toBe(given.base);
      expect(back.seed).toBe(shown.random ? 7 : 42);
      expect(textOf(back)).toBe(textOf({ ...given, seed: back.seed, models: back.models }));
    });
  }

  test("the demo's recipe can be shown by controls, comments and flow style included", () => {
    expect(formOf(readFileSync(join(examples, "dare-ties.yml"), "utf8"))).toEqual({
      method: "dare_ties",
      base: "models/base",
      models: ["add", "rev", "sort"].map((name) => ({ model: `models/ft-${name}`, weight: 0.7 })),
      values: { drop_rate: 0.9, lambda: 1 },
      seed: 42,
      dtype: "bfloat16",
    });
  });

  test("every example either says no more than its controls, or is left to its text", () => {
    const shown: string[] = [];
    for (const file of readdirSync(examples).filter((name) => name.endsWith(".yml"))) {
      const read = formOf(readFileSync(join(examples, file), "utf8"));
      if (!read) continue;
      shown.push(file);
      // Written again it means the same: the same form.
      expect(formOf(textOf(read))).toEqual(read);
    }
    expect(shown).toContain("ties.yml");
    expect(shown).toContain("della.yml");
    // A gradient, filters: more than a slider says.
    expect(shown).not.toContain("slerp.yml");
  });

  for (const [what, text] of [
    ["a key that no control has", "merge_method: ties\nbase_model: a\nmodels: [{model: b}]\nparameters: {trim: 0.1}\n"],
    [
      "a list of values",
      "merge_method: ties\nbase_model: a\nmodels: [{model: b}]\nparameters: {density: [0.1, 0.5]}\n",
    ],
    ["slices", "merge_method: passthrough\nslices: []\n"],
    ["a method without controls", "merge_method: tsv\nbase_model: a\nmodels: [{model: b}]\n"],
    ["a density of one model", "merge_method: ties\nbase_model: a\nmodels: [{model: b, parameters: {density: 0.1}}]\n"],
    ["several recipes", "merge_method: ties\n---\nmerge_method: ties\n"],
    ["no YAML", "merge_method: [\n"],
    ["an alias", "merge_method: &m ties\nbase_model: *m\nmodels: [{model: b}]\n"],
  ] as const) {
    test(`${what} is left to the text`, () => expect(formOf(text)).toBeNull());
  }

  test("SLERP takes two models, and the first is its base", () => {
    const slerp = withMethod(form, "slerp", "models/base");
    expect(slerp.models).toHaveLength(2);
    expect(slerp.base).toBe("models/ft-add");
  });
});
