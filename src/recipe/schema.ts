// The shape of a recipe. Every `error` is the phrase that follows "must be" in messages; `describe` goes to the editor schema.

import * as z from "zod";
import type { Catalogue, ParameterSpec } from "./catalogue.ts";

const text = z.string({ error: "text" });
const whole = z.union([z.int(), z.string().regex(/^\s*[-+]?[0-9]+\s*$/)], { error: "a whole number" });
const scalar = z.union([z.number(), z.boolean(), z.string()], { error: "a number, true, false or text" });
const scalars = z.array(scalar, { error: "a list of numbers" });
const truth = z.union([z.boolean(), z.enum(["true", "false", "yes", "no", "on", "off"]), z.literal([0, 1])], {
  error: "true or false",
});

const conditional = z
  .looseObject(
    {
      filter: z.string().nullish().describe("Substring of tensor names; absent or * takes every tensor."),
      value: z.union([scalar, scalars], { error: "a number, true, false, text or a list of them" }),
    },
    { error: "a mapping with filter and value" },
  )
  .meta({
    id: "condition",
    description: "A value for the tensors whose name contains the filter; the first match wins.",
  });

const parameterPhrase = "a number, true, false, text, a list of them (a gradient) or a list of {filter, value}";
/** A scalar, a gradient over layers, a conditional or a list of conditionals. */
const parameterSchema = z
  .union([scalar, scalars, conditional, z.array(conditional)], { error: parameterPhrase })
  .meta({ id: "parameter" });
const parameters = z
  .record(z.string(), parameterSchema, { error: "a mapping of parameter names to values" })
  .meta({ id: "parameters" })
  .nullish();

const path = z.union([text, z.looseObject({ path: text, revision: text.nullish() })], {
  error: "path[@revision] or {path, revision}",
});
const model = z
  .union([text, z.looseObject({ model: path, lora: path.nullish() })], {
    error: "path[@revision][+lora[@revision]] or {model: {path, revision}, lora: {path, revision}}",
  })
  .meta({ id: "model", description: "path[@revision][+lora[@revision]], or the same as a mapping." });

const inputs = z.array(z.looseObject({ model, parameters }, { error: "a mapping with model" }), {
  error: "a list of models",
});
const sources = z.array(
  z.looseObject(
    {
      model,
      layer_range: z
        .tuple([whole, whole], { error: "a list of two whole numbers, [first, end)" })
        .describe("Layers [first, end)."),
      parameters,
    },
    { error: "a mapping with model and layer_range" },
  ),
  { error: "a list of {model, layer_range}" },
);
const slices = z.array(
  z.looseObject({ sources, base_model: model.nullish(), parameters }, { error: "a mapping with sources" }),
  {
    error: "a list of slices",
  },
);
const shape = { models: inputs.nullish(), slices: slices.nullish() };
const modules = z.record(
  z.string(),
  z.looseObject({ ...shape, parameters }, { error: "a mapping with models or slices" }),
  {
    error: "a mapping of module names",
  },
);

const tokenSource = z.union(
  [
    text,
    z.looseObject({ kind: z.literal("model_token"), model, token: text.nullish(), token_id: whole.nullish() }),
    z.looseObject({ kind: z.literal("zero") }),
    z.looseObject({ model: path, lora: path.nullish() }),
  ],
  { error: "a model, {kind: model_token, model, token or token_id} or {kind: zero}" },
);
const tokenizer = z.looseObject(
  {
    source: model.nullish().describe("union (default), base, or a model."),
    tokens: z
      .record(
        z.string(),
        z.looseObject({ source: tokenSource.nullish(), force: truth.nullish() }, { error: "a mapping with source" }),
        {
          error: "a mapping of tokens",
        },
      )
      .nullish(),
    pad_to_multiple_of: whole.nullish(),
  },
  { error: "a mapping with source, tokens and pad_to_multiple_of" },
);

export const dtypes = ["bfloat16", "float16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"] as const;

/** One recipe. Unknown keys pass here: keys.ts judges them. */
export const recipeSchema = z.looseObject(
  {
    merge_method: text,
    ...shape,
    modules: modules.nullish(),
    base_model: model.nullish().describe("The model that deltas are taken from; t = 0 of slerp."),
    dtype: text.nullish().describe("Dtype of the output, unless out_dtype is given; the inputs' own if absent."),
    out_dtype: text.nullish().describe("Dtype of the output."),
    parameters,
    chat_template: text.nullish().describe("auto, the name of a built-in template, or Jinja text."),
    tokenizer_source: model.nullish().describe("union, base, or a model."),
    tokenizer: tokenizer.nullish(),
    name: text.nullish().describe("In a file of several recipes: the name that later ones use as a model."),
    random_seed: whole.nullish().describe("Seed of random masks, 0 to 2^64 − 1; the command line overrides it."),
  },
  { error: "a mapping with merge_method and models, slices or modules" },
);

type Json = Record<string, unknown>;

/** The schema for editors (`# yaml-language-server: $schema=…`), with the names of methods and parameters filled in. */
export function recipeJsonSchema(catalogue: Catalogue): Json {
  const schema = z.toJSONSchema(recipeSchema, { io: "input", target: "draft-7" }) as Json as {
    properties: Record<string, Json>;
    definitions: Record<string, Json>;
    oneOf?: Json[];
  };
  const methods = [...catalogue.values()].map((m) => m.name).sort();
  schema.properties.merge_method = { type: "string", enum: methods, description: "The merge method." };
  const pick = (name: string): Json => ({
    anyOf: [{ type: "string", enum: dtypes, description: name }, { type: "null" }],
  });
  schema.properties.dtype = pick("Dtype of the output, unless out_dtype is given; the inputs' own if absent.");
  schema.properties.out_dtype = pick("Dtype of the output.");
  const known = new Map<string, ParameterSpec>();
  for (const method of catalogue.values()) {
    for (const spec of method.parameters) {
      for (const name of [spec.name, ...(spec.aliases ?? []).map((a) => a.name)])
        if (!known.has(name)) known.set(name, spec);
    }
  }
  schema.definitions.parameters!.properties = Object.fromEntries(
    [...known]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, spec]) => [name, { description: spec.describe, allOf: [{ $ref: "#/definitions/parameter" }] }]),
  );
  // z.toJSONSchema cannot say "exactly one of these keys".
  schema.oneOf = ["models", "slices", "modules"].map((key) => ({ required: [key] }));
  return {
    ...schema,
    title: "Braid recipe",
    description: "A recipe for merging language models: mergekit's YAML and Braid's own parameters.",
  };
}
