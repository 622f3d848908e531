// Vocabularies brought together, against mergekit's own outputs (test/tokenizers/make.py): the row of every token, token by token,
// because mergekit gives the tokens of a union other ids on every run.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../src/merge.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "./support/host.ts";
import { expectNear } from "./support/one-tensor.ts";
import { type PlainTensor, readCheckpoint, readSafetensors } from "./support/tensors.ts";

const folder = join(projectRoot, "test/tokenizers");

interface Case {
  recipe: Record<string, unknown>;
  rows: number;
  tokens: string[];
  /** In the order of `tokens`, where mergekit's ids are the same on every run. */
  ids?: number[];
}
const cases = JSON.parse(readFileSync(join(folder, "mergekit/cases.json"), "utf8")) as Record<string, Case>;

/** Ids of a written tokenizer, read without the code under test. */
function idsIn(out: string): Map<string, number> {
  const ids = new Map<string, number>();
  const json = JSON.parse(readFileSync(join(out, "tokenizer.json"), "utf8")) as {
    model: { vocab: Record<string, number> };
    added_tokens: { content: string; id: number }[];
  };
  for (const [token, id] of Object.entries(json.model.vocab)) ids.set(token, id);
  for (const { content, id } of json.added_tokens) ids.set(content, id);
  return ids;
}

const row = ({ shape, values }: PlainTensor, r: number) => [...values.slice(r * shape[1]!, (r + 1) * shape[1]!)];

async function mergeCase(recipe: unknown, out: string): Promise<Map<string, PlainTensor>> {
  await merge(requestFor(JSON.stringify(recipe)), out, { overwrite: false }, testHost());
  return readCheckpoint(out);
}

/**
 * Where mergekit adds a token to the base's tokenizer, it takes the base to have had it: the row of padding that happens to have
 * the new id. The recipe says where the row comes from, so Braid takes it from there.
 */
const paddingRows: Record<string, string[]> = { "rules-on-base": ["<|chat|>"] };

describe("rows as mergekit gives them", () => {
  test("every recorded case is here", () => {
    expect(Object.keys(cases).length).toBe(11);
  });

  for (const [name, { recipe, tokens, ids: fixed }] of Object.entries(cases)) {
    test(name, async () => {
      await withTempFolder(async (temp) => {
        const out = join(temp, "out");
        const got = await mergeCase(recipe, out);
        const want = readSafetensors(join(folder, `mergekit/${name}.safetensors`));
        const ids = existsSync(join(out, "tokenizer.json")) ? idsIn(out) : null;
        if (fixed && ids) expect(tokens.map((t) => ids.get(t))).toEqual(fixed);
        if (ids) {
          expect([...ids.keys()].sort()).toEqual([...tokens].sort());
          expect(new Set(ids.values()).size).toBe(ids.size);
        }
        for (const [ours, theirs] of [
          ["model.embed_tokens.weight", "embed"],
          ["lm_head.weight", "head"],
        ] as const) {
          for (const [i, token] of tokens.entries()) {
            const a = row(got.get(ours)!, ids?.get(token) ?? fixed![i]!);
            if (paddingRows[name]?.includes(token)) continue;
            const b = row(want.get(theirs)!, i);
            const worst = Math.max(...a.map((x, k) => Math.abs(x - b[k]!)));
            if (!(worst <= 1e-6)) expect(`${ours} ${JSON.stringify(token)}: ${a}`).toBe(`${b}`);
          }
        }
      });
    });
  }
});

/** A small model's matrices. */
const stored = (model: string) => readSafetensors(join(folder, model, "model.safetensors"));

describe("where mergekit differs", () => {
  test("a token that only a rule brings has the row that the rule names, in every model", async () => {
    await withTempFolder(async (temp) => {
      const out = join(temp, "out");
      const got = await mergeCase(cases["rules-on-base"]!.recipe, out);
      const id = idsIn(out).get("<|chat|>")!;
      expect(id).toBe(303);
      const chat = row(stored("beta").get("lm_head.weight")!, 1);
      expectNear(row(got.get("lm_head.weight")!, id), chat);
    });
  });

  test("rows of padding stay, merged where both models have them", async () => {
    await withTempFolder(async (temp) => {
      const { recipe } = cases.base!;
      const got = (await mergeCase(recipe, join(temp, "out"))).get("lm_head.weight")!;
      const alpha = stored("alpha").get("lm_head.weight")!;
      expect(got.shape).toEqual([320, 8]);
      // beta has 290 rows, all of them tokens: it lends alpha's padding.
      for (let r = 303; r < 320; r++) expectNear(row(got, r), row(alpha, r));
      const compat = requestFor(JSON.stringify(recipe), { compat: "mergekit" });
      await merge(compat, join(temp, "compat"), { overwrite: false }, testHost());
      expect(readCheckpoint(join(temp, "compat")).get("lm_head.weight")!.shape).toEqual([303, 8]);
    });
  });
});
