// Recipes that show what a recipe leaves of each model. A mask depends on the seed, on the tensor's name and on the model's place in the
// recipe, so the same recipe with the weight 1 for one model and 0 for the others adds exactly what is left of that one.

import { methodOf, type RecipeForm, textOf } from "./recipe-form.ts";

/** Methods that sparsify before they combine, and the one that adds up what is left. */
const sparsifiers: Readonly<Record<string, string>> = {
  dare_ties: "dare_linear",
  dare_linear: "dare_linear",
  dare_slerp: "dare_linear",
  ties: "ties",
  della: "della_linear",
  breadcrumbs: "breadcrumbs",
};

/** What the changes are counted from: the recipe's base, or its first model. */
export function originOf(form: RecipeForm): string | null {
  return form.base ?? form.models[0]?.model ?? null;
}

/** The models whose changes can be seen. */
export function changedModels(form: RecipeForm): string[] {
  const origin = originOf(form);
  return form.models.map(({ model }) => model).filter((model) => model !== origin);
}

/** Base + what is left of one model, or null where the method leaves all of it. */
export function survivorRecipe(form: RecipeForm, model: string): string | null {
  const sparsifier = sparsifiers[form.method];
  if (!sparsifier) return null;
  const models = form.models.map((each) => ({ ...each, weight: each.model === model ? 1 : 0 }));
  const values: Record<string, number> = {};
  for (const key of ["drop_rate", "density", "gamma", "epsilon"]) {
    const value = form.values[key];
    if (value !== undefined) values[key] = value;
  }
  return recipeText(sparsifier, { ...form, models, values });
}

function recipeText(method: string, form: RecipeForm): string {
  const parameters = Object.entries(form.values).map(([key, value]) => `  ${key}: ${value}`);
  return `${[
    `merge_method: ${method}`,
    `base_model: ${JSON.stringify(form.base)}`,
    "models:",
    ...form.models.map(
      ({ model, weight }) => `  - model: ${JSON.stringify(model)}\n    parameters: { weight: ${weight} }`,
    ),
    "parameters:",
    "  lambda: 1",
    ...parameters,
    `random_seed: ${form.seed}`,
    "dtype: float32",
  ].join("\n")}\n`;
}

/** The recipe itself, its output in f32 so that nothing is lost to rounding. */
export function mergedRecipe(form: RecipeForm): string {
  return textOf({ ...form, dtype: "float32" });
}

/** What an election weighs a model with. */
export function weightsOf(form: RecipeForm): number[] {
  const weighs = methodOf(form.method)?.weights ?? false;
  const origin = originOf(form);
  return form.models.filter(({ model }) => model !== origin).map(({ weight }) => (weighs ? weight : 1));
}
