// A tokenizer.json with tokens appended (docs/tokenizer.md says what a loader then makes of them).

import { isRecord } from "./config.ts";
import type { AddedToken } from "./vocabulary.ts";

type Json = Record<string, unknown>;

export interface NewToken {
  readonly token: string;
  readonly id: number;
  /** Null: it belongs to the vocabulary proper. */
  readonly added: AddedToken | null;
  /** The tokenizer.json that it comes from; null where there is none. */
  readonly from: Json | null;
}

export interface Extended {
  readonly text: string;
  /** Tokens of the vocabulary proper that text never becomes, for want of merges. */
  readonly unreachable: number;
}

/**
 * The file with more tokens, each with exactly its id. Added tokens, the base's and the new ones, get an entry of the vocabulary
 * too: loaders number those without one anew, behind whatever the vocabulary has.
 */
export function extendTokenizer(base: Json, tokens: readonly NewToken[], baseAdded: readonly AddedToken[]): Extended {
  const model = base.model as Json;
  const added = [
    ...(Array.isArray(base.added_tokens) ? (base.added_tokens as Json[]) : []),
    ...tokens.flatMap((t) => (t.added ? [{ ...t.added, id: t.id }] : [])),
  ];
  const placed = [...baseAdded.map(({ content, id }) => ({ token: content, id })), ...tokens];
  let unreachable = 0;
  let vocab: string;
  const changes: Json = {};
  if (Array.isArray(model.vocab)) vocab = scored(model.vocab as [string, number][], placed, tokens);
  else {
    const entries = new Map(Object.entries(model.vocab as Record<string, number>));
    for (const { token, id } of placed) if (!entries.has(token)) entries.set(token, id);
    vocab = mapText([...entries].sort((a, b) => a[1] - b[1]));
    if (typeOf(model) === "BPE") {
      const { merges, made } = moreMerges(base, tokens);
      changes.merges = merges;
      unreachable = tokens.filter((t) => !t.added && !made.has(t.token)).length;
    }
  }
  const modelText = objectText({ ...model, ...changes }, "vocab", vocab);
  return { text: `${objectText({ ...base, added_tokens: added }, "model", modelText)}\n`, unreachable };
}

/** An object as JSON, one of its members given as text. Built from pairs: engines put keys that are numbers first. */
function objectText(object: Json, key: string, text: string): string {
  const members = Object.entries(object).map(
    ([name, value]) => `${JSON.stringify(name)}:${name === key ? text : JSON.stringify(value)}`,
  );
  return `{${members.join(",\n")}}`;
}

function mapText(entries: readonly (readonly [string, number])[]): string {
  return `{${entries.map(([token, id]) => `${JSON.stringify(token)}:${id}`).join(",\n")}}`;
}

/** The list of a Unigram model, in which the place is the id: places of no token are filled, with the score of the rarest. */
function scored(
  list: readonly [string, number][],
  placed: readonly { token: string; id: number }[],
  tokens: readonly NewToken[],
): string {
  const least = list.reduce((min, [, score]) => Math.min(min, score), 0);
  const scores = new Map<Json, Map<string, number>>();
  const scoreOf = ({ token, from }: NewToken): number => {
    const vocab = from && isRecord(from.model) ? from.model.vocab : null;
    if (!from || !Array.isArray(vocab)) return least;
    const known = scores.get(from) ?? new Map(vocab as [string, number][]);
    scores.set(from, known);
    return known.get(token) ?? least;
  };
  const own = new Map(tokens.flatMap((t) => (t.added ? [] : [[t.id, scoreOf(t)] as const])));
  const out = [...list];
  for (const { token, id } of [...placed].sort((a, b) => a.id - b.id)) {
    while (out.length < id) out.push([`<unused ${out.length}>`, least]);
    if (out.length === id) out.push([token, own.get(id) ?? least]);
  }
  return JSON.stringify(out);
}

export function typeOf(model: Json): string {
  if (typeof model.type === "string") return model.type;
  return Array.isArray(model.vocab) ? "Unigram" : Array.isArray(model.merges) ? "BPE" : "WordLevel";
}

/** The base's merges, then those of the others that make a new token, where both work on the same symbols. */
function moreMerges(base: Json, tokens: readonly NewToken[]): { merges: unknown[]; made: Set<string> } {
  const model = base.model as Json;
  const own = Array.isArray(model.merges) ? (model.merges as unknown[]) : [];
  const made = new Set<string>();
  const kind = symbolsOf(base);
  const wanted = new Map<Json, Set<string>>();
  for (const { token, from, added } of tokens) {
    if (added || !from || kind === null || symbolsOf(from) !== kind) continue;
    wanted.set(from, (wanted.get(from) ?? new Set()).add(token));
  }
  const all = new Set([...wanted.values()].flatMap((set) => [...set]));
  if (all.size === 0) return { merges: own, made };
  const pairs = own.map(pairOf).filter((p) => p !== null);
  const seen = new Set(pairs.map(([a, b]) => `${a}\0${b}`));
  const more: [string, string][] = [];
  for (const from of wanted.keys()) {
    for (const merge of (from.model as Json).merges as unknown[]) {
      const pair = pairOf(merge);
      if (!pair || !all.has(pair[0] + pair[1])) continue;
      made.add(pair[0] + pair[1]);
      const key = `${pair[0]}\0${pair[1]}`;
      if (seen.has(key)) continue;
      seen.add(key);
      more.push(pair);
    }
  }
  // Tokens of one symbol need no merge.
  for (const token of all) if ([...token].length === 1) made.add(token);
  const asText = own.length > 0 && typeof own[0] === "string" && more.every((p) => !p.some((t) => t.includes(" ")));
  return { merges: asText ? [...own, ...more.map((p) => p.join(" "))] : [...pairs, ...more], made };
}

function pairOf(merge: unknown): [string, string] | null {
  if (typeof merge === "string") {
    const at = merge.indexOf(" ", 1);
    return at < 0 ? null : [merge.slice(0, at), merge.slice(at + 1)];
  }
  if (!Array.isArray(merge) || merge.length !== 2) return null;
  const [a, b] = merge as unknown[];
  return typeof a === "string" && typeof b === "string" ? [a, b] : null;
}

/** What a BPE model's symbols are: bytes as letters (GPT-2), or characters with ▁ for blanks (SentencePiece); null: anything else. */
function symbolsOf(json: Json): "bytes" | "characters" | null {
  const { model } = json;
  if (!isRecord(model) || typeOf(model) !== "BPE" || !Array.isArray(model.merges)) return null;
  if (model.continuing_subword_prefix || model.end_of_word_suffix) return null;
  const parts = JSON.stringify([json.pre_tokenizer ?? null, json.decoder ?? null]);
  if (parts.includes('"type":"ByteLevel"')) return "bytes";
  return model.byte_fallback === true ? "characters" : null;
}
