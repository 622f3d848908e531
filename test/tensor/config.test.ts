import { describe, expect, test } from "bun:test";
import type { Diagnostic } from "../../src/errors.ts";
import {
  type Config,
  configText,
  configTied,
  type OutputChanges,
  outputConfig,
  parseJson,
} from "../../src/tensor/config.ts";
import { chooseSidecars, cleanSidecar } from "../../src/tensor/sidecars.ts";
import { failure, utf8 } from "./fixture.ts";

const parse = (text: string): Config => parseJson("config.json", text) as Config;

describe("a config", () => {
  test("is written as it was read, numbers in the spelling of Python included", () => {
    const text = `{
  "rope_theta": 10000.0,
  "rms_norm_eps": 1e-05,
  "time_step_limit": [
    0.0,
    Infinity
  ],
  "low": -Infinity,
  "max": 1.7976931348623157e+308,
  "over": 1e999,
  "none": NaN,
  "big": 1000000000000000019884624838656,
  "nested": {
    "scale": 1.0,
    "list": [],
    "empty": {}
  },
  "flag": true,
  "nothing": null,
  "text": "a \\"quoted\\" é"
}
`;
    expect(configText(parse(text))).toBe(text);
    expect(configText({ ...parse(text) })).toBe(text);
    expect(configText(outputConfig(parse(text), {}))).toBe(text);
  });

  test("loses the old spelling of a number that changed", () => {
    const config = parse('{"a": 1.0, "b": [2.0, 3.0]}');
    config.a = 4;
    (config.b as number[])[1] = 5;
    expect(configText(config)).toBe('{\n  "a": 4,\n  "b": [\n    2.0,\n    5\n  ]\n}\n');
  });

  test("may have a member called __proto__, which stays one", () => {
    const config = parse('{"__proto__": {"polluted": true}, "a": 1}');
    expect((config as { polluted?: boolean }).polluted).toBe(undefined);
    expect(configText(outputConfig(config, {}))).toContain('"__proto__": {\n    "polluted": true');
    expect(({} as { polluted?: boolean }).polluted).toBe(undefined);
  });

  test("with a name twice takes the last, as Python does, and says so", () => {
    const warnings: Diagnostic[] = [];
    expect(parseJson("config.json", '{"a": 1, "a": 2}', warnings)).toEqual({ a: 2 });
    expect(warnings.map(({ message }) => message)).toEqual(['"config.json" has "a" twice; the last one counts']);
  });

  for (const [what, text] of [
    ["a trailing comma", '{"a": 1,}'],
    ["a comment", '{"a": 1} // x'],
    ["nothing", ""],
    ["a byte order mark", "\ufeff{}"],
    ["depth", "[".repeat(200)],
    ["a single quote", "{'a': 1}"],
  ] as const) {
    test(`is refused for ${what}`, async () => {
      const error = await failure(() => parse(text));
      expect(error.kind).toBe("model-config");
      expect(error.exitCode).toBe(65);
      expect(error.message).toMatch(/^Cannot read "config.json": .* \(character \d+\)$/);
    });
  }

  for (const [text, tied] of [
    ['{"tie_word_embeddings": true}', true],
    ['{"tie_word_embeddings": false}', false],
    ['{"text_config": {"tie_word_embeddings": true}}', true],
    ['{"tie_word_embeddings": false, "text_config": {"tie_word_embeddings": true}}', true],
    ['{"tie_word_embeddings": true, "text_config": {}}', true],
    ['{"tie_word_embeddings": "yes"}', undefined],
    ["{}", undefined],
  ] as const) {
    test(`${text} says of tied embeddings: ${tied}`, () => expect(configTied(parse(text))).toBe(tied));
  }
});

describe("the output's config", () => {
  for (const [what, before, changes, after] of [
    ["gets dtype", {}, { dtype: "BF16" }, { dtype: "bfloat16" }],
    ["changes dtype", { dtype: "float32" }, { dtype: "F16" }, { dtype: "float16" }],
    [
      "keeps torch_dtype beside dtype",
      { torch_dtype: "float32" },
      { dtype: "BF16" },
      { torch_dtype: "bfloat16", dtype: "bfloat16" },
    ],
    ["keeps a dtype that is not given", { torch_dtype: "float32" }, {}, { torch_dtype: "float32" }],
    ["unties", { tie_word_embeddings: true }, { tied: false }, { tie_word_embeddings: false }],
    ["says untied where nothing was said", {}, { tied: false }, { tie_word_embeddings: false }],
    ["drops auto_map", { auto_map: { AutoModel: "m.M" }, a: 1 }, {}, { a: 1 }],
    ["sets the layers", { num_hidden_layers: 4 }, { numLayers: 6 }, { num_hidden_layers: 6 }],
    ["sets GPT-2's layers", { n_layer: 12 }, { numLayers: 6 }, { n_layer: 6 }],
    ["adds the layers", {}, { numLayers: 6 }, { num_hidden_layers: 6 }],
    ["sets the vocabulary", { vocab_size: 10 }, { vocabSize: 12 }, { vocab_size: 12 }],
    [
      "follows the layers in lists by layer",
      { num_hidden_layers: 3, layer_types: ["a", "b", "c"], eos_token_id: [1, 2, 3] },
      { numLayers: 4, layerSources: [0, 1, 1, 2] },
      { num_hidden_layers: 4, layer_types: ["a", "b", "b", "c"], eos_token_id: [1, 2, 3] },
    ],
    [
      "reaches into text_config",
      {
        dtype: "float32",
        text_config: { dtype: "float32", num_hidden_layers: 2, vocab_size: 5, tie_word_embeddings: true },
      },
      { dtype: "BF16", tied: false, numLayers: 3, vocabSize: 6 },
      {
        dtype: "bfloat16",
        text_config: { dtype: "bfloat16", num_hidden_layers: 3, vocab_size: 6, tie_word_embeddings: false },
        tie_word_embeddings: false,
      },
    ],
  ] as [string, Config, OutputChanges, Config][]) {
    test(what, () => {
      const frozen = JSON.stringify(before);
      expect(outputConfig(before, changes)).toEqual(after);
      expect(JSON.stringify(before)).toBe(frozen);
    });
  }
});

describe("sidecars", () => {
  test("are chosen by name; code, weights and config.json are not among them", () => {
    const names = [
      "README.md",
      "config.json",
      "modeling_x.py",
      "merges.txt",
      "model.safetensors",
      "tokenizer.json",
      "vocab.json",
      "pytorch_model.bin",
      "chat_template.jinja",
      "generation_config.json",
    ];
    expect(chooseSidecars(names)).toEqual([
      "generation_config.json",
      "tokenizer.json",
      "merges.txt",
      "vocab.json",
      "chat_template.jinja",
    ]);
  });

  test("are copied byte for byte when they name no code", () => {
    for (const [name, text] of [
      ["tokenizer_config.json", '{ "model_max_length" :1000000000000000019884624838656}'],
      ["tokenizer.json", '{"auto_map": 1}'],
      ["tokenizer_config.json", '{"chat_template": "auto_map \\u00e9"}'],
    ] as const) {
      const bytes = utf8(text);
      const cleaned = cleanSidecar(name, bytes);
      expect(cleaned.bytes).toBe(bytes);
      expect(cleaned.warnings).toEqual([]);
    }
  });

  test("lose auto_map, however it is spelt, with a warning", () => {
    for (const key of ["auto_map", "\\u0061uto_map"]) {
      const { bytes, warnings } = cleanSidecar(
        "tokenizer_config.json",
        utf8(`{"${key}": {"AutoTokenizer": ["x.T", null]}, "eps": 1.0}`),
      );
      expect(new TextDecoder().decode(bytes)).toBe('{\n  "eps": 1.0\n}\n');
      expect(warnings[0]!.message).toContain('"tokenizer_config.json" has auto_map');
    }
  });
});
