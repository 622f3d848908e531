// docs/recipe.schema.json is what recipeJsonSchema() makes. BRAID_UPDATE=1 writes it anew.

import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { catalogue as catalogueOf } from "../../src/methods/index.ts";
import { placeKeys } from "../../src/recipe/keys.ts";
import { recipeJsonSchema } from "../../src/recipe/schema.ts";

interface Json {
  [key: string]: Json;
}
const catalogue = catalogueOf(false);
const file = new URL("../../docs/recipe.schema.json", import.meta.url);
const schema = recipeJsonSchema(catalogue) as unknown as Json;
const properties = (at: Json): string[] => Object.keys(at.properties!).sort();
const inner = (at: Json): Json =>
  at.anyOf ? (at.anyOf as unknown as Json[]).find((o) => o.type !== ("null" as unknown))! : at;

describe("the schema for editors", () => {
  test("docs/recipe.schema.json is up to date", () => {
    const text = `${JSON.stringify(schema, null, 1)}\n`;
    if (process.env.BRAID_UPDATE) writeFileSync(file, text);
    expect(readFileSync(file, "utf8")).toBe(text);
  });

  test("it names the keys that the reader takes, everywhere", () => {
    const top = schema.properties!;
    const slice = inner(top.slices!).items!;
    const source = slice.properties!.sources!.items!;
    const tokenizer = inner(top.tokenizer!);
    expect(properties(schema)).toEqual([...placeKeys.recipe].sort());
    expect(properties(inner(top.models!).items!)).toEqual([...placeKeys["model entry"]].sort());
    expect(properties(slice)).toEqual([...placeKeys.slice].sort());
    expect(properties(source)).toEqual([...placeKeys.source].sort());
    expect(properties(inner(top.modules!).additionalProperties!)).toEqual([...placeKeys.module].sort());
    expect(properties(tokenizer)).toEqual([...placeKeys.tokenizer].sort());
    expect(properties(inner(tokenizer.properties!.tokens!).additionalProperties!)).toEqual([...placeKeys.token].sort());
  });

  test("it knows methods and parameters", () => {
    expect(schema.properties!.merge_method!.enum as unknown).toEqual([...catalogue.keys()].sort());
    const parameters = properties(schema.definitions!.parameters!);
    for (const name of ["weight", "density", "drop_rate", "t", "lambda", "select_topk"])
      expect(parameters).toContain(name);
  });
});
