// The tokenizer files of an output whose tokenizer has more tokens than the one it starts from: tokenizer.json is made anew, what
// says the same beside it follows, and what would contradict it is left out.

import { type Diagnostic, fail, quote } from "./errors.ts";
import { configText, isRecord, parseJson } from "./tensor/config.ts";
import { extendTokenizer, type NewToken } from "./tensor/tokenizer-json.ts";
import { type AddedToken, parseTokenizer, readTokenizerFile } from "./tensor/vocabulary.ts";
import type { Joined, OutputTokenizer } from "./tokenizer.ts";

export interface TokenizerFiles {
  readonly written: ReadonlyMap<string, string>;
  /** Of the donor's, not copied. */
  readonly dropped: readonly string[];
  readonly warnings: readonly Diagnostic[];
}

/** Older forms of the vocabulary, which would say something else than the new tokenizer.json. */
const olderForms = [
  "tokenizer.model",
  "tokenizer.model.v3",
  "merges.txt",
  "vocab.json",
  "vocab.txt",
  "spiece.model",
  "sentencepiece.bpe.model",
  "tekken.json",
];

type Json = Record<string, unknown>;

/** Null where the donor's files serve as they are. @throws `tokenizer` where they cannot be extended. */
export async function tokenizerFiles({ donor, joined }: OutputTokenizer): Promise<TokenizerFiles | null> {
  if (!joined || joined.output.appended.length === 0) return null;
  const { appended } = joined.output;
  const { sidecars } = donor.model;
  const written = new Map<string, string>();
  const warnings: Diagnostic[] = [];
  const added = appended.flatMap((t) => (t.added ? [flagsOf(joined, t.token, t.id, t.model)] : []));
  const warn = (message: string, hint?: string) =>
    warnings.push({ kind: "tokenizer", message, ...(hint ? { hint } : {}) });
  const has = (name: string) => sidecars.includes(name);
  const read = async (name: string): Promise<Json> =>
    parseTokenizer(donor.folder.locate(name), await readTokenizerFile(donor.folder, name));
  let dropped: string[] = [];
  if (has("tokenizer.json")) {
    const jsonOf = await sourceFiles(joined);
    const tokens = appended.map(({ token, id, model, added: isAdded }): NewToken => {
      const flags = isAdded ? flagsOf(joined, token, id, model) : null;
      return { token, id, added: flags, from: model === null ? null : (jsonOf.get(model) ?? null) };
    });
    const extended = extendTokenizer(await read("tokenizer.json"), tokens, [...joined.donor.added.values()]);
    written.set("tokenizer.json", extended.text);
    dropped = sidecars.filter((name) => olderForms.includes(name));
    if (extended.unreachable > 0) {
      warn(
        `${extended.unreachable} tokens were appended without merges: they have rows and can be decoded, text does not become them`,
        "Their tokenizer splits text in another way than the one that the output starts from.",
      );
    }
    if (dropped.length > 0) {
      warn(
        `${dropped.map((n) => quote(n)).join(", ")} of ${quote(donor.model.reference)} not copied: tokenizer.json has more tokens`,
      );
    }
  } else {
    checkOlder(joined, donor.model.reference);
  }
  if (has("added_tokens.json") || !written.has("tokenizer.json")) {
    const old = has("added_tokens.json") ? Object.entries(await read("added_tokens.json")) : [];
    const lines = [...old, ...added.map((t) => [t.content, t.id] as const)];
    written.set(
      "added_tokens.json",
      `{\n${lines.map(([token, id]) => `  ${JSON.stringify(token)}: ${JSON.stringify(id)}`).join(",\n")}\n}\n`,
    );
  }
  if (has("tokenizer_config.json")) {
    const name = donor.folder.locate("tokenizer_config.json");
    const bytes = await readTokenizerFile(donor.folder, "tokenizer_config.json");
    const config = parseJson(name, new TextDecoder().decode(bytes));
    if (isRecord(config) && (isRecord(config.added_tokens_decoder) || !written.has("tokenizer.json"))) {
      const more = added.map(({ id, ...flags }) => [String(id), flags] as const);
      const decoder = { ...(config.added_tokens_decoder as Json | undefined), ...Object.fromEntries(more) };
      written.set("tokenizer_config.json", configText({ ...config, added_tokens_decoder: decoder }));
    }
  }
  return { written, dropped, warnings };
}

/** A tokenizer in the older files takes added tokens only: nobody but its library can make its vocabulary longer. */
function checkOlder(joined: Joined, reference: string): void {
  const plain = joined.output.appended.filter((t) => !t.added);
  if (plain.length === 0) return;
  fail(
    "tokenizer",
    `Cannot append ${plain.length} tokens (${quote(plain[0]!.token)} first) to the tokenizer of ${quote(reference)}: it has no tokenizer.json`,
    {
      hint: 'Save it in that form: AutoTokenizer.from_pretrained("MODEL").save_pretrained("MODEL") in transformers.',
    },
  );
}

/** How a new added token is found in text: as in its own tokenizer; one that only the recipe names, literally. */
function flagsOf({ vocabularies }: Joined, content: string, id: number, model: number | null): AddedToken {
  const known = model === null ? undefined : vocabularies[model]?.added.get(content);
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };
  return { ...plain, ...known, id, content };
}

/** What the appended tokens' own tokenizers say of merges and scores, by model; equal vocabularies are read once. */
async function sourceFiles({ output, vocabularies, folders }: Joined): Promise<Map<number, Json>> {
  const files = new Map<number, Json>();
  const models = new Set(output.appended.flatMap((t) => (t.model === null || t.added ? [] : [t.model])));
  for (const model of models) {
    const folder = folders[model]!;
    const form = vocabularies[model]?.form;
    const read = (name: string) => readTokenizerFile(folder, name);
    if (form === "tokenizer.json") files.set(model, parseTokenizer(folder.locate(form), await read(form)));
    else if (form === "vocab.json" && (await folder.list()).includes("merges.txt")) {
      const lines = new TextDecoder().decode(await read("merges.txt")).split(/\r?\n/);
      const merges = lines.filter((line) => line !== "" && !line.startsWith("#version"));
      files.set(model, { model: { type: "BPE", merges }, pre_tokenizer: { type: "ByteLevel" } });
    }
  }
  return files;
}
