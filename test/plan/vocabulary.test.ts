// Whole merges of models with random vocabularies, against the rules said plainly: for every token of the output, in every model,
// which rows it is made of.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { merge } from "../../src/merge.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { readCheckpoint } from "../support/tensors.ts";

const columns = 3;

/** Numbers from a seed (a linear congruential generator: any will do). */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Toy {
  name: string;
  /** By id; null is a hole. */
  tokens: (string | null)[];
  added: Set<string>;
  rows: number[][];
}

function toy(name: string, index: number, next: (below: number) => number): Toy {
  const pool = [..."abcdefghijklmnop"].filter(() => next(3) > 0);
  for (let i = pool.length - 1; i > 0; i--) {
    const j = next(i + 1);
    [pool[i], pool[j]] = [pool[j]!, pool[i]!];
  }
  const tokens: (string | null)[] = pool.flatMap((t) => (next(8) === 0 ? [null, t] : [t]));
  const added = new Set(["<x>", "<y>", "<z>"].filter(() => next(2) === 0));
  const all = [...tokens, ...added];
  const count = all.length + next(3);
  const rows = Array.from({ length: count }, (_, r) =>
    Array.from({ length: columns }, (_, c) => 64 * index + 4 * r + c),
  );
  return { name, tokens: all, added, rows };
}

function write(folder: string, { name, tokens, added, rows }: Toy): void {
  const path = join(folder, name);
  const data = rows.flat();
  const shape = [rows.length, columns];
  writeModel(
    path,
    {
      "model.embed_tokens.weight": { data, shape },
      "lm_head.weight": { data: data.map((x) => -x), shape },
      "lm_head.bias": { data: rows.map((r) => r[0]!) },
      "model.layers.0.w": { data: [1, 2] },
    },
    { model_type: "llama", vocab_size: rows.length },
  );
  const entries = tokens.flatMap((t, id) => (t === null ? [] : [[t, id] as const]));
  const plain = entries.filter(([t]) => !added.has(t));
  const json = {
    added_tokens: entries.filter(([t]) => added.has(t)).map(([content, id]) => ({ id, content, special: true })),
    model: { type: "WordLevel", vocab: Object.fromEntries(plain), unk_token: "a" },
  };
  writeFileSync(join(path, "tokenizer.json"), JSON.stringify(json));
}

interface Rule {
  source?: unknown;
  force?: boolean;
}

/** The rows that model `i` brings for a token, as the rules of docs/tokenizer.md say, one after the other. */
function expected(models: Toy[], i: number, token: string, base: number | null, rule: Rule | undefined): number[] {
  const own = (m: number) => {
    const id = models[m]!.tokens.indexOf(token);
    return id < 0 ? undefined : models[m]!.rows[id];
  };
  const mine = own(i);
  if (mine && !rule?.force) return mine;
  if (rule) {
    const source = rule.source as string | { kind: string; model?: string; token?: string };
    if (typeof source === "string") return own(models.findIndex((m) => m.name === source))!;
    if (source.kind === "zero") return [0, 0, 0];
    const from = models.find((m) => m.name === source.model)!;
    return from.rows[from.tokens.indexOf(source.token!)]!;
  }
  const owners = models.flatMap((_, m) => (own(m) ? [m] : []));
  if (owners.length === 1) return own(owners[0]!)!;
  if (base !== null && owners.includes(base)) return own(base)!;
  const third = Math.fround(1 / Math.max(owners.length, 1));
  return Array.from({ length: columns }, (_, c) =>
    Math.fround(owners.reduce((sum, m) => sum + own(m)![c]!, 0) * third),
  );
}

describe("rows of random vocabularies", () => {
  for (let seed = 1; seed <= 24; seed++) {
    test(`seed ${seed}`, async () => {
      const next = chance(seed);
      const models = ["m0", "m1", "m2"].map((name, i) => toy(name, i, next));
      const base = next(2) === 0 ? next(3) : null;
      const sources = ["union", "base", "m1"];
      const picked = sources[next(3)]!;
      const source = picked === "base" && base === null ? "union" : picked;
      const multiple = [1, 8][next(2)]!;
      const rules: Record<string, Rule> = {};
      const lend = models[2]!.tokens.find((t) => t !== null)!;
      if (next(2)) rules.a = { source: { kind: "zero" }, force: true };
      if (next(2)) rules["<x>"] = { source: { kind: "model_token", model: "m2", token: lend }, force: next(2) === 1 };
      if (next(2)) rules[lend] = { source: "m2" };
      if (next(2)) rules["<new>"] = { source: { kind: "model_token", model: "m2", token: lend } };
      const donor = source === "m1" ? 1 : (base ?? 0);

      // The output's tokens, in their order.
      const tokens = [...models[donor]!.tokens];
      const add = (t: string | null) => t !== null && !tokens.includes(t) && tokens.push(t);
      if (source === "union") {
        for (const m of models) for (const t of m.tokens) if (t !== null && !m.added.has(t)) add(t);
        for (const m of models) for (const t of m.added) add(t);
      }
      for (const t of Object.keys(rules)) add(t);

      await withTempFolder(async (temp) => {
        for (const m of models) write(temp, m);
        const recipe = {
          merge_method: "linear",
          ...(base === null ? {} : { base_model: `m${base}` }),
          // Only one model counts at a time, so that what each brings is seen as it is.
          models: models.map((m) => ({ model: m.name, parameters: { weight: 0 } })),
          tokenizer: { source, tokens: rules, pad_to_multiple_of: multiple },
          parameters: { normalize: false },
        };
        const host = testHost({ cwd: temp });
        for (let i = 0; i < models.length; i++) {
          recipe.models[i]!.parameters.weight = 1;
          const out = join(temp, `out${i}`);
          await merge(requestFor(JSON.stringify(recipe)), out, { overwrite: false }, host);
          recipe.models[i]!.parameters.weight = 0;
          const got = readCheckpoint(out);
          const embed = got.get("model.embed_tokens.weight")!;
          const rows = Math.ceil(Math.max(tokens.length, models[donor]!.rows.length) / multiple) * multiple;
          expect([embed.dtype, ...embed.shape]).toEqual(["F32", rows, columns]);
          for (let r = 0; r < rows; r++) {
            const token = tokens[r] ?? null;
            const pad = (m: number) => (models[m]!.tokens[r] ? undefined : models[m]!.rows[r]);
            const want =
              token === null ? (pad(i) ?? pad(donor) ?? [0, 0, 0]) : expected(models, i, token, base, rules[token]);
            const row = [...embed.values.slice(r * columns, (r + 1) * columns)];
            expect([token, ...row]).toEqual([token, ...want]);
            const head = [...got.get("lm_head.weight")!.values.slice(r * columns, (r + 1) * columns)];
            expect(head.map((x) => x + 0)).toEqual(want.map((x) => -x + 0));
            expect(got.get("lm_head.bias")!.values[r]).toBe(want[0]!);
          }
        }
      });
    });
  }
});

/** A model of the given tokens; row r of the embeddings is all `start + r`, the head's (if any) the negative. */
function small(folder: string, tokens: string[], start: number, head: boolean): string {
  const data = tokens.flatMap((_, r) => [start + r, start + r]);
  const shape = [tokens.length, 2];
  const embed = { "model.embed_tokens.weight": { dtype: "BF16", data, shape } as const };
  const both = { ...embed, "lm_head.weight": { dtype: "BF16", data: data.map((x) => -x), shape } as const };
  const path = writeModel(folder, head ? both : embed, { model_type: "llama", tie_word_embeddings: !head });
  const vocab = Object.fromEntries(tokens.map((t, id) => [t, id]));
  writeFileSync(join(path, "tokenizer.json"), JSON.stringify({ model: { type: "WordLevel", vocab } }));
  return path;
}

describe("heads that are the embeddings", () => {
  const recipe = (models: string[], more: object = {}) =>
    requestFor(
      JSON.stringify({
        merge_method: "linear",
        models: models.map((model) => ({ model, parameters: { weight: 1 } })),
        ...more,
      }),
    );

  test("stay so, in the models' dtype, even where rows are means", async () => {
    await withTempFolder(async (temp) => {
      const a = small(join(temp, "a"), ["x", "y", "z"], 10, false);
      const b = small(join(temp, "b"), ["z", "y", "q"], 20, false);
      const c = small(join(temp, "c"), ["q", "x"], 30, false);
      await merge(
        recipe([a, b, c], { tokenizer_source: "union" }),
        join(temp, "out"),
        { overwrite: false },
        testHost(),
      );
      const got = readCheckpoint(join(temp, "out"));
      expect([...got.keys()]).toEqual(["model.embed_tokens.weight"]);
      const { dtype, shape, values } = got.get("model.embed_tokens.weight")!;
      expect([dtype, ...shape]).toEqual(["BF16", 4, 2]);
      // x: 10 and 31, b lends their mean; y: 11 and 21; z: 12 and 20; q: 22 and 30. All have two owners: the mean of both.
      expect([...values]).toEqual([20.5, 20.5, 16, 16, 16, 16, 26, 26]);
    });
  });

  test("beside a model with a head of its own, lend and borrow rows of heads", async () => {
    await withTempFolder(async (temp) => {
      const tied = small(join(temp, "tied"), ["x", "y"], 10, false);
      const own = small(join(temp, "own"), ["y", "q"], 20, true);
      await merge(
        recipe([tied, own], { tokenizer_source: "union" }),
        join(temp, "out"),
        { overwrite: false },
        testHost(),
      );
      const got = readCheckpoint(join(temp, "out"));
      expect([...got.get("model.embed_tokens.weight")!.values]).toEqual([10, 10, 15.5, 15.5, 21, 21]);
      expect([...got.get("lm_head.weight")!.values]).toEqual([10, 10, -4.5, -4.5, -21, -21]);
    });
  });
});
