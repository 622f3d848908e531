// Mutated recipes: whatever the text, the answer is recipes or one BraidError with places inside the text.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { BraidError, formatDiagnostic } from "../../src/errors.ts";
import { assignTensors } from "../../src/recipe/assign.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { catalogue } from "./catalogue.ts";
import { llama } from "./helpers.ts";

const folder = new URL("../vectors/recipes/", import.meta.url);
const texts = readdirSync(folder)
  .filter((f) => f.endsWith(".yml"))
  .sort()
  .map((f) => readFileSync(new URL(f, folder), "utf8"));
const pieces = [
  "\t",
  " ",
  "\n",
  "- ",
  ": ",
  ":",
  "[",
  "]",
  "{",
  "}",
  "'",
  '"',
  " #",
  "&a ",
  "*a",
  "!!str ",
  "!x ",
  "|",
  ">",
  "---\n",
  "...\n",
  "? ",
  "<<: ",
  "@",
  "+",
  "~",
  "null",
  "1:30",
  "010",
  "yes",
  ".nan",
  "-.inf",
  "1e999",
  "99999999999999999999",
  "-1",
  "0",
  "2001-01-01",
  "\\",
  "é",
  "\u2028",
  "\ufeff",
  "😀",
  "\ud800",
  "*silent",
  "{}",
  "[]",
  "__proto__: 1\n",
  "constructor",
  "weight: ",
  "models:\n",
  "slices:\n",
  "parameters: ",
  "base_model: ",
  "filter: ",
  "layer_range: [0, 2]\n",
];

/** mulberry32: small, seeded, the same in every engine. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function mutate(text: string, next: (below: number) => number): string {
  for (let i = next(3) + 1; i > 0; i--) {
    const at = next(text.length + 1);
    const other = next(text.length + 1);
    const kind = next(4);
    if (kind <= 1) text = text.slice(0, at) + pieces[next(pieces.length)]! + text.slice(at);
    else if (kind === 2) text = text.slice(0, at) + text.slice(at + next(12) + 1);
    else text = text.slice(0, at) + text.slice(other, other + next(40)) + text.slice(at);
  }
  return text;
}

describe("mutated recipes", () => {
  const names = llama(4);
  for (const seed of [1, 2, 3, 4]) {
    test(`are read or refused with a place, never anything else (seed ${seed})`, () => {
      const next = randomOf(seed);
      let read = 0;
      for (let i = 0; i < 400; i++) {
        const text = mutate(texts[next(texts.length)]!, next);
        const lines = text.split(/\r\n|\r|\n/).length;
        try {
          for (const recipe of parseRecipe(text, "r.yml", catalogue)) {
            for (const tensor of assignTensors(recipe, catalogue, () => names))
              expect(tensor.inputs.length).toBeGreaterThan(0);
            read++;
          }
        } catch (error) {
          if (!(error instanceof BraidError))
            throw new Error(`seed ${seed}, text ${JSON.stringify(text)}`, { cause: error });
          for (const d of error.diagnostics) {
            expect(d.where!.line).toBeGreaterThan(0);
            expect(d.where!.line).toBeLessThan(lines + 2);
            expect(d.where!.column).toBeGreaterThan(0);
            expect(formatDiagnostic(d)).not.toMatch(/undefined|\[object|NaN:/);
          }
        }
      }
      // Most mutations break something; some must not, or the test would look at one side only.
      expect(read).toBeGreaterThan(5);
    });
  }
});
