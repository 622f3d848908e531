// The vocabulary of a checkpoint: which token has which id. Read from tokenizer.json, or from the older files that stand for it:
// vocab.json, vocab.txt or a SentencePiece model, with added_tokens.json and tokenizer_config.json.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { type Folder, readWhole } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { isRecord } from "./config.ts";
import { readPieces } from "./sentencepiece.ts";

/** The largest published tokenizer.json files (256k tokens, merges as pairs) are about 35 MB. */
export const maxTokenizerBytes = 100_000_000;
/** Ids are below this; the largest published vocabularies have 262,144 tokens. */
export const maxTokens = 4_194_304;

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

export interface Vocabulary {
  /** Path of its main file, for messages. */
  readonly file: string;
  readonly form: "tokenizer.json" | "vocab.json" | "vocab.txt" | "SentencePiece";
  /** Every token, added ones too. */
  readonly ids: ReadonlyMap<string, number>;
  /** Those that are found in the text before anything is split: special tokens and others. By content. */
  readonly added: ReadonlyMap<string, AddedToken>;
  /** The highest id, plus one. */
  readonly size: number;
  /** SHA-256 of the files it was read from: two that agree are one vocabulary. */
  readonly digest: string;
}

const mainFiles = ["tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"] as const;
const sideFiles = ["added_tokens.json", "tokenizer_config.json"] as const;
const saveHint =
  'Save it as tokenizer.json: AutoTokenizer.from_pretrained("MODEL").save_pretrained("MODEL") in transformers.';

/**
 * The vocabulary in a folder, or null where no file of it is a tokenizer. `known`: vocabularies that were read before, by digest.
 *
 * @throws `tokenizer` with the file and the reason.
 */
export async function readVocabulary(folder: Folder, known: Map<string, Vocabulary>): Promise<Vocabulary | null> {
  const names = await folder.list();
  const main = mainFiles.find((name) => names.includes(name));
  if (main === undefined) {
    const odd = ["tekken.json", "sentencepiece.bpe.model", "tokenizer.model.v3"].find((name) => names.includes(name));
    if (odd !== undefined)
      fail(
        "tokenizer",
        `Cannot read the vocabulary of ${quote(folder.name, 4096)}: ${odd} is a form that is not known`,
        {
          hint: saveHint,
        },
      );
    return null;
  }
  const read = async (name: string) => readTokenizerFile(folder, name);
  const bytes = await read(main);
  const sides = new Map<string, Uint8Array>();
  for (const name of sideFiles) if (names.includes(name)) sides.set(name, await read(name));
  const hash = sha256.create();
  for (const part of [bytes, ...sides.values()]) hash.update(sha256(part));
  const digest = bytesToHex(hash.digest());
  const before = known.get(digest);
  if (before) return before;
  const file = folder.locate(main);
  const draft = new Draft(file);
  if (main === "tokenizer.json") readTokenizerJson(draft, parseTokenizer(file, bytes));
  else if (main === "vocab.json") readMap(draft, parseTokenizer(file, bytes), "it");
  else if (main === "vocab.txt") readLines(draft, bytes);
  else readSentencePiece(draft, bytes);
  for (const [name, side] of sides) readSide(draft, name, parseTokenizer(folder.locate(name), side));
  if (draft.ids.size === 0) draft.refuse("it has no tokens");
  const form = main.endsWith(".model") ? "SentencePiece" : (main as Vocabulary["form"]);
  const vocabulary = { file, form, ids: draft.ids, added: draft.added, size: draft.size, digest };
  known.set(digest, vocabulary);
  return vocabulary;
}

/** @throws `tokenizer` where it is too long. */
export async function readTokenizerFile(folder: Folder, name: string): Promise<Uint8Array> {
  const source = await folder.open(name);
  try {
    return await readWhole(source, maxTokenizerBytes, (n) =>
      fail(
        "tokenizer",
        `Cannot read ${quote(source.name, 4096)}: it has ${n} bytes, the limit is ${maxTokenizerBytes}`,
      ),
    );
  } finally {
    await source.close();
  }
}

/** A tokenizer's file as JSON; only ids and texts of it are used, so numbers need not keep their spelling. */
export function parseTokenizer(file: string, bytes: Uint8Array): Record<string, unknown> {
  const refuse = (why: string): never => fail("tokenizer", `Cannot read ${quote(file, 4096)}: ${why}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return refuse("it is not UTF-8");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The engines say it in words of their own; which file it is, is what helps.
    return refuse("it is not JSON");
  }
  return isRecord(value) ? value : refuse("it is not an object");
}

/** What is known of a vocabulary while its files are read. */
class Draft {
  readonly ids = new Map<string, number>();
  readonly added = new Map<string, AddedToken>();
  size = 0;
  readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  refuse(why: string): never {
    fail("tokenizer", `Cannot read the vocabulary in ${quote(this.file, 4096)}: ${why}`);
  }

  set(token: string, id: unknown): number {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= maxTokens)
      this.refuse(
        `the id of ${quote(token)} is ${JSON.stringify(id) ?? "not there"}, ids are whole and below ${maxTokens}`,
      );
    this.ids.set(token, id);
    if (id >= this.size) this.size = id + 1;
    return id;
  }

  /** A token that the vocabulary has already keeps its id, as in the tokenizers library. */
  add(content: string, id: unknown, flags: Record<string, unknown>): void {
    const known = this.ids.get(content);
    this.added.set(content, {
      id: known ?? this.set(content, id),
      content,
      single_word: flags.single_word === true,
      lstrip: flags.lstrip === true,
      rstrip: flags.rstrip === true,
      normalized: flags.normalized === true,
      special: flags.special === true,
    });
  }
}

function readTokenizerJson(draft: Draft, json: Record<string, unknown>): void {
  const { model, added_tokens: added } = json;
  if (!isRecord(model)) draft.refuse("it has no model");
  if (Array.isArray(model.vocab)) {
    // Unigram: the place in the list is the id.
    for (const [id, entry] of model.vocab.entries()) {
      const token: unknown = Array.isArray(entry) ? entry[0] : undefined;
      if (typeof token !== "string") draft.refuse(`entry ${id} of model.vocab is no pair of a token and a score`);
      draft.set(token, id);
    }
  } else readMap(draft, model.vocab, "model.vocab");
  if (added === undefined || added === null) return;
  if (!Array.isArray(added)) draft.refuse("added_tokens is no list");
  for (const [i, token] of added.entries()) {
    if (!isRecord(token) || typeof token.content !== "string")
      draft.refuse(`entry ${i} of added_tokens has no content`);
    draft.add(token.content, token.id, token);
  }
}

function readMap(draft: Draft, map: unknown, subject: string): void {
  if (!isRecord(map)) draft.refuse(`${subject} is no mapping of tokens to ids`);
  for (const token of Object.keys(map)) draft.set(token, map[token]);
}

function readLines(draft: Draft, bytes: Uint8Array): void {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    draft.refuse("it is not UTF-8");
  }
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  for (const [id, line] of lines.entries()) draft.set(line.replace(/\r$/, ""), id);
}

function readSentencePiece(draft: Draft, bytes: Uint8Array): void {
  try {
    for (const [id, { text }] of readPieces(bytes, maxTokens).entries()) draft.set(text, id);
  } catch (e) {
    if (!(e instanceof RangeError || e instanceof TypeError)) throw e;
    draft.refuse(e instanceof RangeError ? e.message : "a piece is not UTF-8");
  }
}

/** Tokens that stand beside the main file; those that it has too are only marked as added. */
function readSide(draft: Draft, name: string, json: Record<string, unknown>): void {
  if (name === "added_tokens.json") {
    for (const content of Object.keys(json))
      if (!draft.added.has(content)) draft.add(content, json[content], { special: false });
    return;
  }
  const decoder = json.added_tokens_decoder;
  if (!isRecord(decoder)) return;
  for (const id of Object.keys(decoder)) {
    const token = decoder[id];
    if (!isRecord(token) || typeof token.content !== "string")
      draft.refuse(`${quote(id)} of added_tokens_decoder in ${name} has no content`);
    draft.add(token.content, Number(id), token);
  }
}
