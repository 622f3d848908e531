// Every recipe of test/vectors/recipes against what mergekit 0.1.5 made of it (expected.json).

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import type { Diagnostic } from "../../src/errors.ts";
import { assignTensors, outLayers } from "../../src/recipe/assign.ts";
import type { ModelReference } from "../../src/recipe/model.ts";
import { type ParsedRecipe, parseRecipe } from "../../src/recipe/recipe.ts";
import { catalogue } from "./catalogue.ts";
import { close, llama, problems, told } from "./helpers.ts";

interface ExpectedInput {
  model: string;
  tensor: string;
}
interface ExpectedTensor {
  t: number;
  base?: string | null;
  shared?: Record<string, unknown>;
  inputs: ExpectedInput[];
}
interface Expected {
  braid: "accept" | "refuse";
  method: string;
  name?: string | null;
  models: string[];
  model_parts?: Record<string, Record<string, string>>;
  tokenizer_models?: string[];
  base_model: string | null;
  dtype?: string;
  out_dtype?: string;
  chat_template?: string;
  unknown_keys?: string[];
  unused_parameters?: string[];
  filters_matching_nothing?: string[];
  out_layers: number;
  out_tensors: number;
  tensors: Record<string, ExpectedTensor>;
  documents?: Expected[];
}

const folder = new URL("../vectors/recipes/", import.meta.url);
const text = (file: string): string => readFileSync(new URL(file, folder), "utf8");
const expected = JSON.parse(text("expected.json")) as Record<string, Expected>;
const names = llama(4);

function tokenizerModels(recipe: ParsedRecipe): string[] {
  const found: ModelReference[] = [];
  if (recipe.tokenizer?.source.kind === "model") found.push(recipe.tokenizer.source.model);
  for (const { source } of recipe.tokenizer?.tokens ?? [])
    if (source && source.kind !== "zero") found.push(source.model);
  return [...new Set(found.map((m) => m.display))];
}

/** The last name of a path like `models[0].parameters.weight (…)` or `t: modelnorm`. */
const lastName = (path: string): string =>
  path
    .replace(/ \(.*$/, "")
    .split(/[.:] ?/)
    .at(-1)!;

function compare(recipe: ParsedRecipe, want: Expected): void {
  const display = (index: number | null): string | null => (index === null ? null : recipe.models[index]!.display);
  expect(recipe.method).toBe(want.method);
  expect(recipe.name ?? null).toBe(want.name ?? recipe.name ?? null);
  expect(recipe.models.map((m) => m.display)).toEqual(want.models);
  expect(display(recipe.base)).toBe(want.base_model);
  expect(recipe.dtype).toBe(want.dtype as typeof recipe.dtype);
  expect(recipe.outDtype).toBe(want.out_dtype as typeof recipe.outDtype);
  expect(recipe.chatTemplate).toBe(want.chat_template);
  expect(tokenizerModels(recipe)).toEqual(want.tokenizer_models ?? []);
  for (const [name, parts] of Object.entries(want.model_parts ?? {})) {
    const model = recipe.models.find((m) => m.display === name)!;
    const got = {
      model: model.path,
      revision: model.revision,
      lora: model.lora?.path,
      lora_revision: model.lora?.revision,
    };
    expect(JSON.parse(JSON.stringify(got))).toEqual(parts);
  }

  const warnings: Diagnostic[] = [...recipe.warnings];
  const assigned = assignTensors(
    recipe,
    catalogue,
    () => names,
    (d) => warnings.push(d),
  );
  expect(assigned.length).toBe(want.out_tensors);
  expect(outLayers(recipe, () => names)).toBe(want.out_layers);
  const byName = new Map(assigned.map((a) => [a.name, a]));
  expect(byName.size).toBe(assigned.length);
  for (const [name, tensor] of Object.entries(want.tensors)) {
    const a = byName.get(name)!;
    const got = {
      t: a.t,
      base: display(a.base),
      shared: a.shared,
      inputs: a.inputs.map((i) => ({ model: display(i.model), tensor: i.tensor, ...i.parameters })),
    };
    const wanted = { t: tensor.t, base: tensor.base ?? null, shared: tensor.shared ?? {}, inputs: tensor.inputs };
    if (!close(got, wanted)) expect({ name, ...got }).toEqual({ name, ...wanted } as never);
  }
  // random_seed is a key of Braid's own. Everything else that mergekit drops gets a warning.
  const dropped = [
    ...(want.unknown_keys ?? []),
    ...(want.unused_parameters ?? []),
    ...(want.filters_matching_nothing ?? []),
  ];
  for (const name of dropped.map(lastName).filter((n) => n !== "random_seed")) {
    expect(warnings.filter((w) => w.message.includes(`"${name}"`)).length).toBeGreaterThan(0);
  }
  // And no others, but for the weight of a base, which is not used.
  const known = new Set(dropped.map(lastName));
  const surplus = warnings.filter(
    (w) => ![...known].some((n) => w.message.includes(`"${n}"`)) && !/base_model has none/.test(w.message),
  );
  expect(told(surplus)).toEqual([]);
}

/** What is said about the recipes that are refused: kind, place and the words that matter. */
const refusals: Record<string, [kind: string, line: number, column: number, words: RegExp][]> = {
  "25-rejected-slerp-without-base.yml": [["recipe-models", 1, 15, /slerp needs a base_model/]],
  "26-rejected-source-without-layer-range.yml": [
    ["recipe-models", 2, 5, /base_model "org\/base" is not among the sources of slices\[0\]/],
    ["recipe-schema", 3, 9, /slices\[0\]\.sources\[0\]\.layer_range is missing.* \| .*models: instead of slices:/],
    ["recipe-schema", 6, 9, /slices\[0\]\.sources\[1\]\.layer_range is missing/],
  ],
  "27-rejected-tabs.yml": [["recipe-syntax", 5, 18, /a tab .* \| PyYAML/]],
  "28-rejected-two-tokenizer-settings.yml": [
    ["recipe-schema", 11, 1, /tokenizer and tokenizer_source exclude each other/],
  ],
  "29-rejected-one-model-twice-in-a-slice.yml": [
    ["recipe-models", 10, 12, /"org\/model-a" is listed twice in one slice/],
  ],
  "30-rejected-slerp-t-on-the-models.yml": [
    ["recipe-schema", 5, 21, /"t" is one value for all models .* \| It belongs under parameters: at the top/],
    ["recipe-schema", 7, 21, /"t" is one value for all models/],
  ],
  "31-rejected-unknown-method.yml": [
    ["unknown-method", 1, 15, /"dare".* \| Did you mean "dare_linear" or "dare_ties"\?/],
  ],
  "32-rejected-blank-weight.yml": [
    ["recipe-schema", 7, 7, /models\[1\]\.parameters\.weight must be a number.*found nothing/],
  ],
  "33-typo-dype-and-parameter-at-top-level.yml": [
    ["recipe-schema", 7, 1, /"select_topk" .* \| It is a parameter: write it under parameters:/],
    ["recipe-schema", 9, 1, /"dype" .* \| Did you mean "dtype"\?/],
  ],
  "34-typo-density-outside-parameters.yml": [
    ["recipe-schema", 5, 5, /"density" .* write it under parameters: in models\[0\]/],
    ["recipe-schema", 9, 5, /"weight" .* write it under parameters: in models\[1\]/],
    ["recipe-schema", 11, 7, /"densty" .* Did you mean "density"\?/],
    ["recipe-schema", 14, 3, /"normalise" .* Did you mean "normalize"\?/],
  ],
  "35-typo-two-recipes-in-one-document.yml": [
    ["recipe-schema", 12, 1, /"merge_method" stands twice; the first is in line 6 \| .*---/],
    ["recipe-schema", 14, 1, /"models" stands twice; the first is in line 1/],
  ],
  "36-typo-layer-range-to-minus-one.yml": [
    ["recipe-schema", 4, 20, /layer_range \[0, -1\] has no layers.* \| Negative numbers do not count from the end/],
    ["recipe-schema", 8, 20, /layer_range \[0, -1\] has no layers/],
  ],
};

describe("recipes as people publish them", () => {
  test("the folder holds the 36 recipes that expected.json lists", () => {
    expect(
      readdirSync(folder)
        .filter((f) => f.endsWith(".yml"))
        .sort(),
    ).toEqual(Object.keys(expected).sort());
    expect(Object.keys(expected).length).toBe(36);
  });

  for (const [file, want] of Object.entries(expected)) {
    if (want.braid === "accept") {
      test(`${file} resolves to mergekit's inputs and parameters`, () => {
        const recipes = parseRecipe(text(file), file, catalogue);
        const wanted = want.documents ?? [want];
        expect(recipes.length).toBe(wanted.length);
        recipes.forEach((recipe, i) => {
          compare(recipe, wanted[i]!);
        });
      });
    } else {
      test(`${file} is refused, with place and remedy`, () => {
        const found = problems(() => parseRecipe(text(file), file, catalogue));
        const wanted = refusals[file]!;
        expect(found.map((d) => [d.kind as string, d.where!.line, d.where!.column])).toEqual(
          wanted.map(([kind, line, column]) => [kind, line, column]),
        );
        told(found).forEach((line, i) => {
          expect(line).toMatch(wanted[i]![3]);
        });
      });
    }
  }
});
