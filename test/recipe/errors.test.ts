// What mergekit 0.1.5 said to wrong and odd recipes, and what Braid says (test/vectors/recipe-errors.json).

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { assignTensors } from "../../src/recipe/assign.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { catalogue } from "./catalogue.ts";
import { llama, problems, told } from "./helpers.ts";

interface Case {
  id: string;
  config: string;
}
const { cases } = JSON.parse(readFileSync(new URL("../vectors/recipe-errors.json", import.meta.url), "utf8")) as {
  cases: Case[];
};

const refused: Record<string, [kind: string, words: RegExp]> = {
  "unknown-method": ["unknown-method", /4:15 .*"blend".* \| Known methods: arcee_fusion, .*ties\./],
  "missing-method": ["recipe-schema", /merge_method is missing/],
  "missing-base-task_arithmetic": ["recipe-models", /task_arithmetic needs a base_model \| .*fine-tuned from/],
  "missing-base-ties": ["recipe-models", /ties needs a base_model/],
  "missing-base-dare_linear": ["recipe-models", /dare_linear needs a base_model/],
  "missing-base-slerp": ["recipe-models", /slerp needs a base_model \| .*t = 0/],
  "missing-base-model_stock": ["recipe-models", /model_stock needs a base_model/],
  "slerp-three-models": ["recipe-models", /slerp needs exactly 2 models \(base_model is one of them\).*found 3/],
  "slerp-base-not-listed-two-models": ["recipe-models", /exactly 2 models.*found 3/],
  "slerp-missing-t": [
    "recipe-parameter",
    /4:15|5:15.*slerp needs t.*"model\.embed_tokens\.weight" and 38 more tensors/,
  ],
  "linear-missing-weight": ["recipe-parameter", /2:5 linear needs weight.*for "golden\/inputs\/tiny-a"/],
  "linear-weight-missing-in-one": ["recipe-parameter", /3:5 linear needs weight.*for "golden\/inputs\/tiny-b"/],
  "linear-filter-without-default": ["recipe-parameter", /needs weight.*tiny-a.*embed_tokens/],
  "weight-not-a-number": ["recipe-parameter", /2:56 weight must be a number, found "heavy"/],
  "unknown-parameter-ignored": ["recipe-schema", /"wieght".*Did you mean "weight"/],
  "base-only-models-empty": ["recipe-schema", /Exactly one of models, slices or modules.*found none/],
  "models-and-slices": ["recipe-schema", /4:1 Exactly one of.*found models and slices/],
  "no-models": ["recipe-schema", /Exactly one of.*found none/],
  "same-model-twice": ["recipe-models", /3:13 .*listed twice/],
  "layer-range-too-long": [
    "recipe-schema",
    /2:58 layer_range \[0, 99\] goes beyond "golden\/inputs\/tiny-a", which has 4 layers/,
  ],
  "layer-range-unequal": ["recipe-schema", /same number of layers: this one has 1, the first 2/],
  "layer-range-missing": ["recipe-schema", /layer_range is missing/],
  "layer-range-reversed": ["recipe-schema", /layer_range \[2, 1\] has no layers/],
  "passthrough-two-models": ["recipe-models", /passthrough needs exactly 1 model in models, found 2/],
  "model_stock-one-finetune": ["recipe-models", /at least 2 models beside the base_model in models, found 1/],
  "nuslerp-one-model": ["recipe-models", /exactly 2 models in models, found 1/],
  "nuslerp-three-models": ["recipe-models", /exactly 2 models in models, found 3/],
  "della-epsilon-too-large": [
    "recipe-parameter",
    /2:82 epsilon must leave density ± epsilon in \(0, 1\), found 0\.1 ± 0\.2/,
  ],
  "della-default-epsilon-density-0.1": ["recipe-parameter", /2:5 epsilon must .* 0\.1 ± 0\.15/],
  "dare-density-negative": ["recipe-parameter", /2:68 density must be in \(0, 1\], found -0\.5/],
  "density-above-one": ["recipe-parameter", /density must be in \(0, 1\], found 1\.5/],
  "ties-density-negative": ["recipe-parameter", /density must be in \(0, 1\], found -0\.5/],
  "unknown-dtype": [
    "recipe-schema",
    /dtype must be one of bfloat16, float16, float32, float64, float8_e4m3fn, float8_e5m2, found "float8"/,
  ],
  "int-dtype": ["recipe-schema", /dtype must be one of .*found "int64"/],
  "bad-lora-syntax": ["recipe-schema", /2:13 Cannot read the model "a\+b\+c"/],
  "tokenizer-and-tokenizer_source": ["recipe-schema", /exclude each other/],
  "yaml-not-a-mapping": ["recipe-schema", /must be a mapping with merge_method.*found a list/],
  "yaml-syntax": ["recipe-syntax", /^2:1 Cannot read the YAML/],
  "empty-file": ["recipe-schema", /the file is empty/],
};

const shapes = "shapes and tensors are in the checkpoints, which the planner reads";
const missing = "which tensors a checkpoint lacks is for the planner";
const numbers = "a sum of weights is for the method to judge";
const accepted: Record<string, string> = {
  "linear-zero-weight-sum": numbers,
  "unknown-top-level-key-ignored": "unknown keys that look like nothing known only warn",
  "shape-mismatch": shapes,
  "shape-mismatch-vocab": shapes,
  "shape-mismatch-ties": shapes,
  "different-architectures": shapes,
  "model-not-found": "paths are looked up by the planner",
  "missing-tensor": missing,
  "missing-tensor-base": missing,
  "multislerp-three-models-unchanged-tensor": "the values decide",
};
for (const { id } of cases) if (id.startsWith("optional-")) accepted[id] = missing;

describe("recipes that mergekit refuses or should have", () => {
  test("every case is either refused here or left to others for a reason", () => {
    expect([...Object.keys(refused), ...Object.keys(accepted)].sort()).toEqual(cases.map((c) => c.id).sort());
  });

  for (const { id, config } of cases) {
    const names = llama(4);
    const work = (): unknown => assignTensors(parseRecipe(config, "r.yml", catalogue)[0]!, catalogue, () => names);
    const want = refused[id];
    if (want) {
      test(`${id} is refused`, () => {
        const found = problems(work);
        expect(found[0]?.kind as string).toBe(want[0]);
        expect(told(found).join("\n")).toMatch(want[1]);
        for (const d of found) expect(d.where?.file).toBe("r.yml");
      });
    } else {
      test(`${id} passes the recipe: ${accepted[id]}`, () => {
        expect(told(problems(work))).toEqual([]);
      });
    }
  }
});
