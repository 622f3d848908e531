// The recipes of the bench: every method over the same checkpoints, with the parameters that its users start from.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

export interface BenchRecipe {
  readonly path: string;
  /** The files it reads. */
  readonly inputs: readonly string[];
}

const parameters: Readonly<Record<string, object>> = {
  slerp: { t: 0.4 },
  dare_linear: { density: 0.1 },
  dare_ties: { density: 0.1 },
  ties: { density: 0.2 },
  breadcrumbs: { density: 0.9, gamma: 0.01 },
  breadcrumbs_ties: { density: 0.9, gamma: 0.01 },
  della: { density: 0.5, epsilon: 0.1 },
  della_linear: { density: 0.5, epsilon: 0.1 },
};

/** Methods that find their own weights, or take none. */
const unweighted = ["slerp", "model_stock"];

/** Writes the recipe of a method into `data`. `folders`: the base, then three fine-tunes; slerp takes two models. */
export function benchRecipe(data: string, shape: string, folders: readonly string[], method: string): BenchRecipe {
  const [base, ...models] = folders as [string, ...string[]];
  const used = method === "slerp" ? models.slice(0, 1) : models;
  const listed = method === "linear" || method === "slerp" ? [base, ...used] : used;
  const recipe = {
    merge_method: method,
    ...(method === "linear" ? {} : { base_model: base }),
    models: listed.map((model) => ({
      model,
      ...(unweighted.includes(method) ? {} : { parameters: { weight: 1 / 3 } }),
    })),
    parameters: parameters[method] ?? {},
    dtype: "bfloat16",
  };
  const path = join(data, `${shape}-${method}.yml`);
  writeFileSync(path, JSON.stringify(recipe, null, 1));
  return { path, inputs: [base, ...used].map((folder) => join(folder, "model.safetensors")) };
}
