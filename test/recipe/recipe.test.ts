// Strictness, places and messages of the recipe reader.

import { describe, expect, test } from "bun:test";
import { parseModelText } from "../../src/recipe/model.ts";
import { editDistance, nearest, similar } from "../../src/recipe/nearest.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { catalogue } from "./catalogue.ts";
import { problems, recipe, told } from "./helpers.ts";

const two = "models:\n  - {model: a, parameters: {weight: 1}}\n  - {model: b, parameters: {weight: 1}}\n";
const linear = `${two}merge_method: linear\n`;
const wrong = (text: string): string[] => told(problems(() => recipe(text)));

describe("did you mean", () => {
  const slips: [where: string, text: string, line: string][] = [
    ["dype", `${linear}dype: float32\n`, '5:1 "dype" is not read here (the recipe) | Did you mean "dtype"?'],
    [
      "base-model",
      `${linear}base-model: a\n`,
      '5:1 "base-model" is not read here (the recipe) | Did you mean "base_model"?',
    ],
    [
      "mergeMethod",
      `${linear}mergeMethod: a\n`,
      '5:1 "mergeMethod" is not read here (the recipe) | Did you mean "merge_method"?',
    ],
    ["seed", `${linear}seed: 1\n`, '5:1 "seed" is not read here (the recipe) | Did you mean "random_seed"?'],
    [
      "normalise",
      `${linear}parameters: {normalise: 1}\n`,
      '5:14 "normalise" is not read in parameters | Did you mean "normalize"?',
    ],
    [
      "wieght at the top",
      `${linear}wieght: 1\n`,
      '5:1 "wieght" is not read here (the recipe) | Did you mean "weight", under parameters:?',
    ],
    [
      "fliter",
      `${linear}parameters:\n  normalize:\n    - {fliter: x, value: true}\n`,
      '7:8 "fliter" is not read here (parameters.normalize[0]) | Did you mean "filter"?',
    ],
    [
      "toknes",
      `${linear}tokenizer: {source: union, toknes: {}}\n`,
      '5:28 "toknes" is not read here (tokenizer) | Did you mean "tokens"?',
    ],
    [
      "merge_method in a slice",
      "merge_method: passthrough\nslices:\n  - merge_method: linear\n    sources:\n      - {model: a, layer_range: [0, 1]}\n",
      '3:5 "merge_method" is not read here (slices[0]) | It belongs at the top of the recipe.',
    ],
    [
      "layer_range in models",
      "merge_method: passthrough\nmodels:\n  - model: a\n    layer_range: [0, 1]\n",
      '4:5 "layer_range" is not read here (models[0]) | It belongs in an entry of slices[].sources.',
    ],
    [
      "revision beside model",
      "merge_method: passthrough\nmodels:\n  - model: a\n    revision: main\n",
      '4:5 "revision" is not read here (models[0]) | It belongs in the model itself: model: path@revision, or model: {model: {path: …, revision: …}}.',
    ],
    [
      "weight beside parameters",
      "merge_method: linear\nmodels:\n  - model: a\n    weight: 1\n",
      '4:5 "weight" is not read here (models[0]) | It is a parameter: write it under parameters: in models[0].',
    ],
    [
      "dtype in parameters",
      `${linear}parameters: {dtype: float32}\n`,
      '5:14 "dtype" is not read in parameters | It belongs at the top of the recipe.',
    ],
    [
      "pathh",
      "merge_method: passthrough\nmodels:\n  - model: {model: {path: a, revison: b}}\n",
      '3:30 "revison" is not read here (models[0].model.model) | Did you mean "revision"?',
    ],
  ];
  for (const [name, text, line] of slips) {
    test(`${name} is an error that names what was meant`, () => {
      expect(wrong(text)).toContain(line);
    });
  }

  test("keys that look like nothing known warn once and are otherwise left alone", () => {
    const text = `${linear}x-note: &n {densty: 1}\nembed_slerp: true\nfoo: *n\nparameters: {smooth: 1, t: 0.5, density: 1}\n`;
    expect(told(recipe(text).warnings)).toEqual([
      '5:1 "x-note" is not a key that is read in the recipe; it has no effect',
      '6:1 "embed_slerp" is not a key that is read in the recipe; it has no effect',
      '7:1 "foo" is not a key that is read in the recipe; it has no effect',
      '8:14 "smooth" is not a key that is read in parameters; it has no effect',
      '8:25 "t" in parameters is not used by this method',
      '8:33 "density" in parameters is not used by this method',
    ]);
    const twice =
      "merge_method: passthrough\nslices:\n  - {foo: 1, sources: [{model: a, layer_range: [0, 1]}]}\n  - {foo: 1, sources: [{model: a, layer_range: [1, 2]}]}\n";
    expect(recipe(twice).warnings.length).toBe(1);
  });

  test("distances count edits and swaps, up to a limit", () => {
    const rows: [string, string, number][] = [
      ["dtype", "dype", 1],
      ["weight", "wieght", 1],
      ["", "ab", 2],
      ["same", "same", 0],
      ["abc", "xyz", 3],
      ["abcdef", "ab", 4],
    ];
    for (const [a, b, d] of rows) expect(editDistance(a, b, 3)).toBe(Math.min(d, 4));
    expect(nearest("t", ["q"])).toBeUndefined();
    expect(nearest("Normalize", ["normalize"])).toBe("normalize");
    expect(similar("dare-ties", catalogue.keys())[0]).toBe("dare_ties");
    expect(similar("tie", catalogue.keys())).toContain("ties");
  });
});

describe("messages", () => {
  test("all errors of a recipe come at once, in the order of the text", () => {
    const text = [
      "merge_method: tiess",
      "dtype: bf16",
      "out_dtype: 3",
      "models:",
      "  - model: a+b+c",
      "    weight: 1",
      "  - model: b",
      "    parameters: {weight: }",
      "  - model: b",
      "tokenizer: {source: base}",
      "tokenizer_source: union",
      "chat_template: [1]",
      "random_seed: -1",
    ].join("\n");
    expect(wrong(text)).toEqual([
      '1:15 Cannot merge by "tiess": there is no such method | Did you mean "ties"?',
      '2:8 dtype must be one of bfloat16, float16, float32, float64, float8_e4m3fn, float8_e5m2, found "bf16" | Did you mean "bfloat16"?',
      "3:12 out_dtype must be text, found 3",
      '5:12 Cannot read the model "a+b+c": expected path[@revision][+lora[@revision]] | A path that itself holds + or @ is written as a mapping: {model: {path: …, revision: …}, lora: {path: …}}.',
      '6:5 "weight" is not read here (models[0]) | It is a parameter: write it under parameters: in models[0].',
      "8:18 models[1].parameters.weight must be a number, true, false, text, a list of them (a gradient) or a list of {filter, value}, found nothing",
      '9:12 "b" is listed twice in one slice | Add up its weights instead.',
      "10:1 tokenizer and tokenizer_source exclude each other | Keep one: tokenizer: {source: …} says the same as tokenizer_source.",
      "12:16 chat_template must be text, found a list",
      "13:14 random_seed must be in [0, 2^64), found -1",
    ]);
  });

  test("the error carries kinds, file and an exit code", () => {
    const found = problems(() => recipe("merge_method: linear\n"));
    expect(found).toEqual([
      {
        kind: "recipe-schema",
        message: "Exactly one of models, slices or modules must be in the recipe, found none",
        where: { file: "r.yml", line: 1, column: 1 },
      },
    ]);
  });

  const rows: [name: string, text: string, words: RegExp][] = [
    [
      "a base that a slice does not list",
      "merge_method: ties\nbase_model: z\nslices:\n  - sources: [{model: a, layer_range: [0, 1]}]\n",
      /4:5 base_model "z" is not among the sources of slices\[0\]/,
    ],
    ["no model at all", "merge_method: linear\nmodels: []\n", /the list is empty/],
    ["no module", "merge_method: linear\nmodules: {}\n", /2:10 There is no module to merge: the mapping is empty/],
    [
      "models and slices in a module",
      "merge_method: linear\nmodules:\n  default: {models: [{model: a}], slices: []}\n",
      /Exactly one of models or slices must be in modules\.default, found models and slices/,
    ],
    ["a date for a name", `${linear}name: 2024-01-01\n`, /name must be text, found the date 2024-01-01 \(quote it/],
    [
      "a key that YAML 1.1 takes for a boolean",
      `${linear}on: 1\n`,
      /5:1 Cannot read a key of the recipe: it must be text, found on \| Put it in quotes: "on"/,
    ],
    [
      "drop_rate and density together",
      "merge_method: dare_ties\nbase_model: z\nmodels:\n  - {model: a, parameters: {density: 1, drop_rate: 0.5}}\n",
      /4:52 "density" and "drop_rate" in models\[0\]\.parameters say the same thing/,
    ],
    [
      "a seed beyond 64 bits",
      `${linear}random_seed: 18446744073709551616\n`,
      /random_seed must be in \[0, 2\^64\), found 18446744073709551616/,
    ],
    ["float8 without its format as dtype", `${linear}dtype: float8\n`, /dtype must be one of/],
    ["the base's tokenizer without a base", `${linear}tokenizer_source: base\n`, /has no base_model/],
    [
      "a token source without a token",
      `${linear}tokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}\n`,
      /needs either token or token_id/,
    ],
    [
      "a layer range of text",
      "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: 0-4}]\n",
      /layer_range must be a list of two whole numbers, \[first, end\), found "0-4"/,
    ],
    [
      "a list with conditions and numbers",
      `${linear}parameters:\n  normalize: [1, {filter: x, value: 1}]\n`,
      /6:14 parameters\.normalize must be a number, .* found a list/,
    ],
    [
      "a condition without a value",
      `${linear}parameters:\n  normalize: [{filter: x}]\n`,
      /parameters\.normalize must be/,
    ],
    [
      "an unnamed recipe before the last",
      "merge_method: passthrough\nmodels: [{model: a}]\n---\nmerge_method: passthrough\nmodels: [{model: b}]\n",
      /Recipe 1 of 2 has no name/,
    ],
    [
      "two recipes of one name",
      "name: a\nmerge_method: passthrough\nmodels: [{model: a}]\n---\nname: a\nmerge_method: passthrough\nmodels: [{model: b}]\n",
      /5:7 Two recipes of this file have the name "a"/,
    ],
    ["an empty document", "a: 1\n---\n", /Cannot read the recipe: it is empty/],
  ];
  for (const [name, text, words] of rows) {
    test(`${name} is refused`, () => {
      expect(wrong(text).join("\n")).toMatch(words);
    });
  }

  test("a duplicate key warns where it does not make two recipes of one", () => {
    expect(told(recipe(`${linear}dtype: float32\ndtype: bfloat16\n`).warnings)).toEqual([
      '6:1 "dtype" stands twice; this one counts, the one in line 5 does not',
    ]);
  });

  test("a shared parameter on a model warns if it is set where it is read, else it is an error", () => {
    const text = (outer: string): string =>
      `merge_method: ties\nbase_model: z\n${outer}models:\n  - {model: a, parameters: {weight: 1, lambda: 2}}\n`;
    expect(told(recipe(text("parameters: {lambda: 1}\n")).warnings).join()).toMatch(
      /5:48 "lambda" is one value for all models .* counts/,
    );
    expect(wrong(text("")).join()).toMatch(/4:48 "lambda" is one value .* It belongs under parameters: at the top/);
  });

  test("conditions behind one that takes every tensor are pointed out", () => {
    const text = `${two.replace("{weight: 1}", "{weight: [{value: 1}, {filter: mlp, value: 2}]}")}merge_method: linear\n`;
    expect(told(recipe(text).warnings)).toEqual([
      '2:71 A condition of "weight" in models[0].parameters is never reached: the one before it takes every tensor',
    ]);
  });
});

describe("what is read", () => {
  test("models by text and by mapping are the same models", () => {
    const text =
      "merge_method: linear\nparameters: {weight: 1}\nbase_model: {model: {path: org/a, revision: v1}, lora: {path: org/l}}\nmodels:\n  - model: org/a@v1+org/l\n  - model: {model: org/b@v2}\n  - model: {model: {path: ./c+d}}\n";
    const { models, base } = recipe(text);
    expect(models).toEqual([
      { path: "org/a", revision: "v1", lora: { path: "org/l" }, display: "org/a@v1+org/l" },
      { path: "org/b", revision: "v2", display: "org/b@v2" },
      { path: "./c+d", display: "./c+d" },
    ]);
    expect(base).toBe(0);
  });

  test("the text form takes one + and one @ on each side", () => {
    const rows: [string, boolean][] = [
      ["a", true],
      ["C:\\x y\\z", true],
      ["D:/a b@main", true],
      ["a@1+b@2", true],
      ["a+b+c", false],
      ["a@b@c", false],
      ["+b", false],
      ["a+", false],
      ["a@", false],
      ["", false],
      [" ", false],
    ];
    for (const [text, good] of rows) expect(parseModelText(text) !== undefined).toBe(good);
  });

  test("seeds are whole numbers of 64 bits, 0 among them", () => {
    const seed = (text: string): bigint | undefined => recipe(`${linear}random_seed: ${text}\n`).seed;
    expect([seed("0"), seed("42"), seed("18446744073709551615"), seed('"7"'), seed("010")]).toEqual([
      0n,
      42n,
      18446744073709551615n,
      7n,
      8n,
    ]);
    expect(recipe(linear).seed).toBeUndefined();
  });

  test("an empty key is an absent key", () => {
    const r = recipe(`${linear}dtype:\nbase_model:\nparameters:\ntokenizer:\nslices:\n`);
    expect([r.dtype, r.base, r.tokenizer, r.parameters.size]).toEqual([undefined, null, undefined, 0]);
  });

  test("the tokenizer map is read with every kind of source", () => {
    const text = `${linear}tokenizer:\n  source: {model: {path: m}}\n  pad_to_multiple_of: "64"\n  tokens:\n    "<a>": {source: b@1, force: yes}\n    "<b>": {source: {kind: model_token, model: b, token_id: 3}}\n    "<c>": {source: {kind: zero}, force: 0}\n    "<d>": {force: false}\n`;
    const { tokenizer } = recipe(text);
    const b = { path: "b", display: "b" };
    expect(tokenizer!.source).toEqual({ kind: "model", model: { path: "m", display: "m" } });
    expect(tokenizer!.padToMultipleOf).toBe(64);
    expect(tokenizer!.tokens.map(({ at: _, ...rule }) => rule)).toEqual([
      { token: "<a>", source: { kind: "model", model: { path: "b", revision: "1", display: "b@1" } }, force: true },
      { token: "<b>", source: { kind: "model_token", model: b, tokenId: 3 }, force: false },
      { token: "<c>", source: { kind: "zero" }, force: false },
      { token: "<d>", force: false },
    ]);
  });

  test("slices know their bases, and bases outside of the sources come last", () => {
    const text =
      "merge_method: linear\nbase_model: z\nparameters: {weight: 1}\nslices:\n  - sources: [{model: a, layer_range: [0, 1]}]\n  - base_model: y\n    sources: [{model: b, layer_range: [1, 2]}]\n";
    const r = recipe(text);
    expect(r.models.map((m) => m.display)).toEqual(["a", "b", "y", "z"]);
    expect([r.base, r.slices[0]!.base, r.slices[1]!.base]).toEqual([3, 3, 2]);
    expect(r.slices.map((s) => s.sources.length)).toEqual([1, 1]);
  });

  test("a file of several recipes gives one for each, with their names", () => {
    const text =
      "name: a\nmerge_method: passthrough\nmodels: [{model: x}]\n---\nmerge_method: passthrough\nmodels: [{model: a}]\n";
    expect(parseRecipe(text, "r.yml", catalogue).map((r) => [r.name, r.warnings.length])).toEqual([
      ["a", 0],
      [undefined, 0],
    ]);
  });
});
