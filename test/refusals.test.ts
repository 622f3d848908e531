// Every way a merge is refused before a byte is written: one message that says what, where, what was found and what to do.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ErrorKind, isBraidError } from "../src/errors.ts";
import type { MergeRequest } from "../src/host.ts";
import { merge } from "../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "./support/host.ts";
import { safetensorsBytes, writeModel } from "./support/models.ts";

interface Refusal {
  name: string;
  /** Recipe text; …/a, …/b and …/base are replaced by the folders of three good models. */
  recipe: string | ((temp: string) => string);
  kind: ErrorKind;
  exit: number;
  says: (string | RegExp)[];
  request?: Partial<MergeRequest>;
  prepare?: (temp: string) => void;
}

const models = "models: [{model: …/a}, {model: …/b}]";
const weighted = "models: [{model: …/a, parameters: {weight: 1}}, {model: …/b, parameters: {weight: 1}}]";

const cases: Refusal[] = [
  {
    name: "an unknown method",
    recipe: `merge_method: dare\nbase_model: …/base\n${models}`,
    kind: "unknown-method",
    exit: 2,
    says: ["recipe.yml:1:15", '"dare"', "dare_ties"],
  },
  { name: "YAML that cannot be read", recipe: "models: [", kind: "recipe-syntax", exit: 2, says: ["recipe.yml:1:"] },
  {
    name: "a misspelt key, with the right one",
    recipe: `merge_method: linear\ndype: float32\n${weighted}`,
    kind: "recipe-schema",
    exit: 2,
    says: ["recipe.yml:2:1", "dtype"],
  },
  {
    name: "several errors at once",
    recipe: `merge_method: ties\nbase_model: …/base\nmodels:\n  - model: …/a\n    density: 0.5\n  - model: …/b\n    parameters: {densty: 0.5}\n`,
    kind: "recipe-schema",
    exit: 2,
    says: [/:5:5: /, /:7:18: /, "density"],
  },
  {
    name: "drop rate 1",
    recipe: `merge_method: dare_linear\nbase_model: …/base\nparameters: {drop_rate: 1}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["drop_rate", "[0, 1)", "recipe.yml:3:"],
  },
  {
    name: "densities that differ where all tensors are ranked together",
    recipe: `merge_method: ties\nbase_model: …/base\nparameters: {density: [{filter: n, value: 0.5}, {value: 0.25}], scope: model}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["Cannot rank all tensors together", "density", "0.5 for", "0.25 for", "scope tensor"],
  },
  {
    name: "a gamma that drops everything",
    recipe: `merge_method: breadcrumbs\nbase_model: …/base\nparameters: {density: 0.5, gamma: 1}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["gamma", "[0, 1)", "recipe.yml:3:"],
  },
  {
    name: "a window of probabilities that leaves (0, 1)",
    recipe: `merge_method: della\nbase_model: …/base\nparameters: {density: 0.9, epsilon: 0.1}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["epsilon", "0.9 ± 0.1", "less than 0.1"],
  },
  {
    name: "a window of probabilities that nobody named",
    recipe: `merge_method: della_linear\nbase_model: …/base\nparameters: {density: 0.1}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["epsilon", "0.1 ± 0.15"],
  },
  {
    name: "DELLA without a density",
    recipe: `merge_method: della\nbase_model: …/base\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["neither density nor drop_rate"],
  },
  {
    name: "rescale q for DELLA",
    recipe: `merge_method: della\nbase_model: …/base\nparameters: {density: 0.5, rescale: q}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["rescale", "exact, l1"],
  },
  {
    name: "density 0",
    recipe: `merge_method: ties\nbase_model: …/base\nparameters: {density: 0}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["density", "(0, 1]"],
  },
  {
    name: "density above 1",
    recipe: `merge_method: ties\nbase_model: …/base\nparameters: {density: 1.5}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["density", "1.5"],
  },
  {
    name: "a DARE method that drops nothing",
    recipe: `merge_method: dare_ties\nbase_model: …/base\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["drop_rate", "density"],
  },
  {
    name: "weights that cancel",
    recipe:
      "merge_method: linear\nmodels: [{model: …/a, parameters: {weight: 1}}, {model: …/b, parameters: {weight: -1}}]",
    kind: "recipe-parameter",
    exit: 2,
    says: ["weights", "sum to 0", "normalize: false"],
  },
  {
    name: "a weight on some models only",
    recipe: "merge_method: linear\nmodels: [{model: …/a, parameters: {weight: 1}}, {model: …/b}]",
    kind: "recipe-parameter",
    exit: 2,
    says: ["weight", "/b"],
  },
  {
    name: "slerp without t",
    recipe: `merge_method: slerp\nbase_model: …/a\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["slerp", "t"],
  },
  {
    name: "t beyond the arc",
    recipe: `merge_method: slerp\nbase_model: …/a\nparameters: {t: 1.5}\n${models}`,
    kind: "recipe-parameter",
    exit: 2,
    says: ["1.5", "[0, 1]"],
  },
  {
    name: "slerp of three models",
    recipe:
      "merge_method: slerp\nbase_model: …/base\nparameters: {t: 0.5}\nmodels: [{model: …/a}, {model: …/b}, {model: …/base}]",
    kind: "recipe-models",
    exit: 2,
    says: ["slerp", "2", "3"],
  },
  {
    name: "a missing base_model",
    recipe: `merge_method: ties\n${models}`,
    kind: "recipe-models",
    exit: 2,
    says: ["base_model"],
  },
  {
    name: "a method that nobody knows",
    recipe: `merge_method: karchr\n${models}`,
    kind: "unknown-method",
    exit: 2,
    says: ["karchr", "karcher"],
  },
  {
    name: "an adapter that is none",
    recipe: "merge_method: linear\nmodels: [{model: …/a+…/b, parameters: {weight: 1}}]",
    kind: "adapter",
    exit: 65,
    says: ["/b", "adapter_config.json"],
  },
  {
    name: "an output dtype that cannot be written",
    recipe: `merge_method: linear\n${weighted}\ndtype: float8`,
    kind: "recipe-schema",
    exit: 2,
    says: ["float8", "bfloat16"],
  },
  {
    name: "a budget that is too small",
    recipe: `merge_method: linear\n${weighted}`,
    kind: "memory-budget",
    exit: 2,
    says: ["MiB", "--memory"],
    request: { memoryBytes: 1 << 20 },
  },
  {
    name: "a model that is nowhere",
    recipe:
      "merge_method: linear\nmodels: [{model: org/nowhere, parameters: {weight: 1}}, {model: …/a, parameters: {weight: 1}}]",
    kind: "model-not-found",
    exit: 66,
    says: ['"org/nowhere"', "models--org--nowhere", "hf download org/nowhere"],
  },
  {
    name: "a pickled checkpoint",
    recipe:
      "merge_method: linear\nmodels: [{model: …/pickle, parameters: {weight: 1}}, {model: …/a, parameters: {weight: 1}}]",
    kind: "pickle-input",
    exit: 65,
    says: ["pytorch_model.bin", "run code"],
    prepare: (t) => {
      mkdirSync(join(t, "pickle"));
      writeFileSync(join(t, "pickle/pytorch_model.bin"), "x");
    },
  },
  {
    name: "a damaged header",
    recipe:
      "merge_method: linear\nmodels: [{model: …/bad, parameters: {weight: 1}}, {model: …/a, parameters: {weight: 1}}]",
    kind: "safetensors-header",
    exit: 65,
    says: ["model.safetensors", "Cannot read"],
    prepare: (t) => {
      mkdirSync(join(t, "bad"));
      writeFileSync(join(t, "bad/model.safetensors"), safetensorsBytes({ w: { data: [1, 2] } }).subarray(0, 40));
    },
  },
  {
    name: "an index that points outside",
    recipe:
      "merge_method: linear\nmodels: [{model: …/evil, parameters: {weight: 1}}, {model: …/a, parameters: {weight: 1}}]",
    kind: "unsafe-path",
    exit: 77,
    says: ["../a/model.safetensors"],
    prepare: (t) => {
      mkdirSync(join(t, "evil"));
      writeFileSync(
        join(t, "evil/model.safetensors.index.json"),
        JSON.stringify({ metadata: {}, weight_map: { w: "../a/model.safetensors" } }),
      );
    },
  },
  {
    name: "a tensor that one model lacks",
    recipe:
      "merge_method: linear\nmodels: [{model: …/less, parameters: {weight: 1}}, {model: …/a, parameters: {weight: 1}}]",
    kind: "tensor-missing",
    exit: 65,
    says: ['"model.layers.0.w"', "/less", "--allow-missing"],
    prepare: (t) => writeModel(join(t, "less"), { "model.embed_tokens.weight": { data: [1, 2, 3, 4], shape: [2, 2] } }),
  },
  {
    name: "a delta without a base tensor",
    recipe: "merge_method: task_arithmetic\nbase_model: …/less\nmodels: [{model: …/a, parameters: {weight: 1}}]",
    kind: "tensor-missing",
    exit: 65,
    says: ["base", '"model.layers.0.w"'],
    request: { allowMissing: true },
    prepare: (t) => writeModel(join(t, "less"), { "model.embed_tokens.weight": { data: [1, 2, 3, 4], shape: [2, 2] } }),
  },
  {
    name: "two shapes",
    recipe:
      "merge_method: linear\nmodels: [{model: …/wide, parameters: {weight: 1}}, {model: …/a, parameters: {weight: 1}}]",
    kind: "shape-mismatch",
    exit: 65,
    says: ['"model.layers.0.w"', "[3]", "[2]", "/wide"],
    prepare: (t) =>
      writeModel(join(t, "wide"), {
        "model.embed_tokens.weight": { data: [1, 2, 3, 4], shape: [2, 2] },
        "model.layers.0.w": { data: [1, 2, 3] },
      }),
  },
  {
    name: "two vocabularies",
    recipe:
      "merge_method: linear\nmodels: [{model: …/words, parameters: {weight: 1}}, {model: …/a, parameters: {weight: 1}}]",
    kind: "vocabulary-mismatch",
    exit: 65,
    says: ['"model.embed_tokens.weight"', "3 and 2", "tokenizer_source"],
    prepare: (t) =>
      writeModel(join(t, "words"), {
        "model.embed_tokens.weight": { data: [1, 2, 3, 4, 5, 6], shape: [3, 2] },
        "model.layers.0.w": { data: [1, 2] },
      }),
  },
  {
    name: "eta above 100 %",
    recipe: "merge_method: star\nbase_model: …/base\nmodels: [{model: …/a}, {model: …/b}]\nparameters: {eta: 101}",
    kind: "recipe-parameter",
    exit: 2,
    says: ["eta", "101"],
    prepare: matrixModels,
  },
  {
    name: "components that do not fit side by side",
    recipe:
      "merge_method: tsv\nbase_model: …/base\nmodels: [{model: …/a}, {model: …/b}]\nparameters: {rank_fraction: 0.75}",
    kind: "recipe-parameter",
    exit: 2,
    says: ["3 components", "2 models", "4 in all"],
    prepare: matrixModels,
  },
  {
    name: "a common fraction of all",
    recipe:
      "merge_method: iso_cts\nbase_model: …/base\nmodels: [{model: …/a}, {model: …/b}]\nparameters: {common_fraction: 1}",
    kind: "recipe-parameter",
    exit: 2,
    says: ["common_fraction"],
    prepare: matrixModels,
  },
  {
    name: "a filter without a cutoff",
    recipe: "merge_method: free\nbase_model: …/base\nmodels: [{model: …/a}, {model: …/b}]\nparameters: {lambda: 1}",
    kind: "recipe-parameter",
    exit: 2,
    says: ["cutoff"],
    prepare: matrixModels,
  },
  {
    name: "an output that exists",
    recipe: `merge_method: linear\n${weighted}`,
    kind: "output-exists",
    exit: 73,
    says: ["--overwrite"],
    prepare: (t) => writeModel(join(t, "out"), { w: { data: [1] } }),
  },
];

function matrixModels(temp: string): void {
  for (const name of ["base", "a", "b"])
    writeModel(join(temp, name), { "layers.0.w": { data: Array.from({ length: 16 }, (_, i) => i), shape: [4, 4] } });
}

describe("a merge that cannot be is refused", () => {
  for (const c of cases) {
    test(c.name, () =>
      withTempFolder(async (temp) => {
        for (const [i, name] of ["base", "a", "b"].entries()) {
          writeModel(join(temp, name), {
            "model.embed_tokens.weight": { data: [1, 2, 3, 4 + i], shape: [2, 2] },
            "model.layers.0.w": { data: [i, 1] },
          });
        }
        c.prepare?.(temp);
        const before = readdirSync(temp).sort();
        const text = (typeof c.recipe === "function" ? c.recipe(temp) : c.recipe).replaceAll("…", temp);
        let error: unknown;
        try {
          await merge(requestFor(text, c.request ?? {}), join(temp, "out"), { overwrite: false }, testHost());
        } catch (e) {
          error = e;
        }
        if (!isBraidError(error)) throw error ?? new Error("the merge was not refused");
        expect({ kind: error.kind, exit: error.exitCode, message: error.message }).toEqual({
          kind: c.kind,
          exit: c.exit,
          message: error.message,
        });
        for (const part of c.says) {
          if (typeof part === "string") expect(error.message).toContain(part);
          else expect(error.message).toMatch(part);
        }
        expect(readdirSync(temp).sort()).toEqual(before);
        expect(existsSync(join(temp, "out.part"))).toBe(false);
      }),
    );
  }
});
