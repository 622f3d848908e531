// Vocabularies as they lie on disk, in every form, and the ways in which they can be wrong.

import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { localFiles } from "../../src/bytes/file.ts";
import { isBraidError } from "../../src/errors.ts";
import { readPieces } from "../../src/tensor/sentencepiece.ts";
import { extendTokenizer } from "../../src/tensor/tokenizer-json.ts";
import { maxTokens, readVocabulary } from "../../src/tensor/vocabulary.ts";
import { projectRoot, withTempFolder } from "../support/host.ts";

const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };

async function read(files: Record<string, unknown>) {
  return withTempFolder(async (temp) => {
    const folder = join(temp, "m");
    mkdirSync(folder);
    for (const [name, content] of Object.entries(files)) {
      const raw = typeof content === "string" || content instanceof Uint8Array;
      writeFileSync(join(folder, name), raw ? content : JSON.stringify(content));
    }
    return readVocabulary(localFiles.folder(folder), new Map());
  });
}

async function wrong(files: Record<string, unknown>): Promise<string> {
  try {
    await read(files);
  } catch (e) {
    if (!isBraidError(e)) throw e;
    return `${e.kind}: ${e.message}`;
  }
  return "nothing";
}

const varint = (n: number): number[] => (n < 128 ? [n] : [(n % 128) + 128, ...varint(Math.floor(n / 128))]);
const bytesOf = (text: string) => [...new TextEncoder().encode(text)];
const field = (number: number, bytes: number[]) => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const piece = (text: string, type: number) =>
  field(1, [...field(1, bytesOf(text)), 2 * 8 + 5, 0, 0, 0x80, 0x3f, 3 * 8, ...varint(type)]);

describe("a vocabulary is read from", () => {
  test("tokenizer.json: a mapping or a list, and added tokens", async () => {
    const added = [
      { id: 9, content: "<x>", special: true },
      { id: 77, content: "b" },
    ];
    for (const vocab of [
      { a: 0, b: 1, "12": 2, __proto: 3 },
      [
        ["a", -1],
        ["b", -2],
        ["12", 0],
        ["__proto", -3],
      ],
    ]) {
      const v = (await read({ "tokenizer.json": { model: { vocab }, added_tokens: added } }))!;
      // What the vocabulary has already keeps its id.
      expect([...v.ids].sort()).toEqual([
        ["12", 2],
        ["<x>", 9],
        ["__proto", 3],
        ["a", 0],
        ["b", 1],
      ]);
      expect(v.size).toBe(10);
      expect([...v.added.keys()]).toEqual(["<x>", "b"]);
      expect(v.added.get("<x>")!.special).toBe(true);
    }
    const odd = (await read({ "tokenizer.json": '{"model": {"vocab": {"__proto__": 0, "constructor": 1}}}' }))!;
    expect([...odd.ids]).toEqual([
      ["__proto__", 0],
      ["constructor", 1],
    ]);
  });

  test("vocab.json, vocab.txt and a SentencePiece model, with what stands beside them", async () => {
    const beside = {
      "added_tokens.json": { "<chat>": 5 },
      "tokenizer_config.json": {
        added_tokens_decoder: { "6": { content: "<end>", special: true }, "0": { content: "a" } },
      },
    };
    const model = new Uint8Array([...piece("a", 1), ...field(2, [1, 2, 3]), ...piece("▁b", 6)]);
    for (const main of [
      { "vocab.json": { a: 0, "▁b": 1 } },
      { "vocab.txt": "a\r\n▁b\n" },
      { "tokenizer.model": model },
    ]) {
      const v = (await read({ ...main, ...beside }))!;
      expect([...v.ids]).toEqual([
        ["a", 0],
        ["▁b", 1],
        ["<chat>", 5],
        ["<end>", 6],
      ]);
      expect(v.size).toBe(7);
    }
  });

  test("a SentencePiece model as its library writes it", async () => {
    const folder = localFiles.folder(join(projectRoot, "test/tokenizers/delta"));
    const v = (await readVocabulary(folder, new Map()))!;
    expect([v.form, v.size, v.ids.get("<unk>"), v.ids.get("<0x0A>"), v.ids.get("<|chat|>")]).toEqual([
      "SentencePiece",
      341,
      0,
      13,
      340,
    ]);
  });

  test("nothing, where there is no tokenizer", async () => {
    expect(await read({ "config.json": {} })).toBeNull();
  });
});

describe("refused, with the file and the reason", () => {
  const vocab = (id: unknown) => ({ "tokenizer.json": { model: { vocab: { a: id } } } });
  const cases: [name: string, files: Record<string, unknown>, says: RegExp][] = [
    ["no JSON", { "tokenizer.json": '{"model": ' }, /tokenizer\.json.*not JSON/],
    ["nested without end", { "tokenizer.json": "[".repeat(2_000_000) }, /tokenizer\.json.*not JSON/],
    ["no UTF-8", { "vocab.json": new Uint8Array([0x7b, 0xff]) }, /vocab\.json.*not UTF-8/],
    ["a list", { "tokenizer.json": [] }, /not an object/],
    ["no model", { "tokenizer.json": {} }, /has no model/],
    ["a negative id", vocab(-1), /the id of "a" is -1/],
    ["a fraction", vocab(1.5), /is 1\.5/],
    ["text", vocab("0"), /is "0"/],
    ["an id beyond the limit", vocab(maxTokens), /below 4194304/],
    ["no tokens", { "tokenizer.json": { model: { vocab: {} } } }, /no tokens/],
    ["a list of no pairs", { "tokenizer.json": { model: { vocab: ["a"] } } }, /entry 0 of model\.vocab/],
    [
      "added tokens without content",
      { "tokenizer.json": { model: { vocab: { a: 0 } }, added_tokens: [{ id: 1 }] } },
      /added_tokens/,
    ],
    [
      "an added token without id",
      { "tokenizer.json": { model: { vocab: { a: 0 } }, added_tokens: [{ content: "x" }] } },
      /not there/,
    ],
    ["a form that is not known", { "tekken.json": {} }, /tekken\.json/],
    [
      "a cut SentencePiece model",
      { "tokenizer.model": new Uint8Array([10, 5, 10, 1]) },
      /tokenizer\.model.*behind the 4/,
    ],
    ["a piece that is no UTF-8", { "tokenizer.model": new Uint8Array(field(1, field(1, [0xff]))) }, /not UTF-8/],
  ];
  for (const [name, files, says] of cases) {
    test(name, async () => {
      const message = await wrong(files);
      expect(message.slice(0, 11)).toBe("tokenizer: ");
      expect(message).toMatch(says);
    });
  }

  test("a file that is longer than the limit", async () => {
    const source = { name: "m/tokenizer.json", byteLength: 100_000_001, read: () => {}, close: () => {} };
    const folder = {
      name: "m",
      list: async () => ["tokenizer.json"],
      open: async () => source,
      locate: (f: string) => `m/${f}`,
    };
    await expect(readVocabulary(folder, new Map())).rejects.toThrow("the limit is 100000000");
  });
});

describe("SentencePiece bytes", () => {
  const model = [
    ...piece("<unk>", 2),
    ...field(3, [8, 1]),
    ...piece("▁the", 1),
    5 * 8,
    ...varint(300),
    ...piece("x", 4),
  ];

  test("give texts, scores and types, whatever lies between", () => {
    expect(readPieces(new Uint8Array(model), 10)).toEqual([
      { text: "<unk>", score: 1, type: 2 },
      { text: "▁the", score: 1, type: 1 },
      { text: "x", score: 1, type: 4 },
    ]);
    expect(() => readPieces(new Uint8Array(model), 2)).toThrow("more than 2 pieces");
  });

  test("cut or changed anywhere, they are read or refused, and never for long", () => {
    const reads = (bytes: number[]) => {
      try {
        return readPieces(new Uint8Array(bytes), 100).length;
      } catch (e) {
        if (!(e instanceof RangeError || e instanceof TypeError)) throw e;
        return -1;
      }
    };
    let refused = 0;
    for (let i = 0; i < model.length; i++) {
      if (reads(model.slice(0, i)) < 0) refused++;
      for (let bit = 0; bit < 8; bit++) {
        const n = reads(model.map((b, k) => (k === i ? b ^ (1 << bit) : b)));
        expect(n).toBeLessThanOrEqual(model.length / 2);
        if (n < 0) refused++;
      }
    }
    expect(refused).toBeGreaterThan(model.length);
  });
});

describe("a tokenizer.json with more tokens", () => {
  const bytes = { type: "ByteLevel" };
  const bpe = (vocab: Record<string, number>, merges: unknown[], more = {}) => ({
    pre_tokenizer: bytes,
    model: { type: "BPE", vocab, merges, ...more },
    added_tokens: [] as object[],
  });
  const other = bpe({ a: 0, b: 1, ab: 2, abc: 3, c: 4 }, [
    ["a", "b"],
    ["ab", "c"],
  ]);
  const want = (token: string, id: number, from: Record<string, unknown> | null = other) => ({
    token,
    id,
    added: null,
    from,
  });

  test("takes the merges that make them, in the base's own spelling", () => {
    const base = bpe({ a: 0, b: 1, c: 2, bc: 3 }, ["b c"]);
    const { text, unreachable } = extendTokenizer(base, [want("ab", 4), want("abc", 5)], []);
    const { model } = JSON.parse(text) as typeof base;
    expect(model.merges).toEqual(["b c", "a b", "ab c"]);
    expect(model.vocab).toEqual({ a: 0, b: 1, c: 2, bc: 3, ab: 4, abc: 5 });
    expect(unreachable).toBe(0);
  });

  test("takes none from a tokenizer that splits text into other symbols", () => {
    const base = { ...bpe({ a: 0 }, [], { byte_fallback: true }), pre_tokenizer: null };
    const { text, unreachable } = extendTokenizer(base, [want("ab", 1), want("q", 2, null)], []);
    expect((JSON.parse(text) as typeof base).model.merges).toEqual([]);
    expect(unreachable).toBe(2);
  });

  test("gives every added token its id in the vocabulary too", () => {
    const base = { ...bpe({ a: 0, "7": 1 }, []), added_tokens: [{ id: 2, content: "<x>" }] };
    const x = { ...plain, id: 2, content: "<x>" };
    const y = { ...plain, id: 4, content: "<y>" };
    const { text } = extendTokenizer(base, [want("c", 3), { token: "<y>", id: 4, added: y, from: null }], [x]);
    const json = JSON.parse(text) as typeof base;
    expect(json.model.vocab).toEqual({ a: 0, "7": 1, "<x>": 2, c: 3, "<y>": 4 });
    expect(json.added_tokens).toEqual([{ id: 2, content: "<x>" }, y]);
  });

  test("fills the places of a Unigram list that have no token", () => {
    const base = {
      model: {
        type: "Unigram",
        vocab: [
          ["a", -1],
          ["b", -4],
        ] as [string, number][],
      },
      added_tokens: [{ id: 3, content: "<x>" }],
    };
    const from = { model: { type: "Unigram", vocab: [["c", -2]] } };
    const { text } = extendTokenizer(
      base,
      [want("c", 4, from), want("d", 5, null)],
      [{ ...plain, id: 3, content: "<x>" }],
    );
    const { vocab } = (JSON.parse(text) as typeof base).model;
    expect(vocab).toEqual([
      ["a", -1],
      ["b", -4],
      ["<unused 2>", -4],
      ["<x>", -4],
      ["c", -2],
      ["d", -4],
    ]);
  });
});
