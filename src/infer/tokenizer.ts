// Text to tokens and back, by Hugging Face's own reader of tokenizer.json.

import { Tokenizer as Reader } from "@huggingface/tokenizers";
import { type Folder, readWhole } from "../bytes/source.ts";
import { fail, isBraidError, quote } from "../errors.ts";
import { isRecord } from "../tensor/config.ts";
import { tokenIds } from "./architecture.ts";

/** As `tokenizer.json` of the largest vocabularies in use (256 k tokens): 34 MB. */
const maxTokenizerBytes = 64 * 1024 * 1024;

export interface Tokenizer {
  /** With the special tokens that the tokenizer puts around a text, unless `plain`. */
  encode(text: string, plain?: boolean): number[];
  /** Special tokens are written out, unless `plain`. */
  decode(tokens: readonly number[], plain?: boolean): string;
  /** Tokens that end a text, by the tokenizer's and the generation's configuration. */
  readonly stops: readonly number[];
  /** The chat template, when the model has one. */
  readonly template: string | null;
  /** Names of special tokens as templates use them: `bos_token`, `eos_token` … */
  readonly specials: Readonly<Record<string, string>>;
}

/**
 * Reads `tokenizer.json` and the configurations beside it.
 *
 * @throws BraidError `tokenizer` when there is none or it cannot be read.
 */
export async function openTokenizer(folder: Folder): Promise<Tokenizer> {
  const names = await folder.list();
  const subject = quote(folder.name, 4096);
  if (!names.includes("tokenizer.json")) {
    fail("tokenizer", `Cannot read the tokenizer of ${subject}: it has no tokenizer.json`, {
      hint: names.includes("tokenizer.model")
        ? "transformers writes one: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)."
        : "Copy the tokenizer's files from the base model.",
    });
  }
  const read = async (name: string): Promise<Record<string, unknown> | null> => {
    if (!names.includes(name)) return null;
    const text = await readText(folder, name);
    try {
      const value: unknown = JSON.parse(text);
      if (isRecord(value)) return value;
    } catch {}
    return fail("tokenizer", `Cannot read ${quote(name)} of ${subject}: it is not a JSON object`);
  };
  const file = (await read("tokenizer.json"))!;
  const config = (await read("tokenizer_config.json")) ?? {};
  const generation = (await read("generation_config.json")) ?? {};
  const template = names.includes("chat_template.jinja")
    ? await readText(folder, "chat_template.jinja")
    : config.chat_template;
  let reader: Reader;
  try {
    reader = new Reader(file, config);
  } catch (cause) {
    fail("tokenizer", `Cannot read the tokenizer of ${subject}: ${(cause as Error).message}`, { cause });
  }
  const specials = Object.fromEntries(
    ["bos_token", "eos_token", "pad_token", "unk_token"].flatMap((key) => {
      const value = isRecord(config[key]) ? (config[key] as Record<string, unknown>).content : config[key];
      return typeof value === "string" ? [[key, value] as const] : [];
    }),
  );
  const end = specials.eos_token === undefined ? undefined : reader.token_to_id(specials.eos_token);
  return {
    encode: (text, plain = false) => reader.encode(text, { add_special_tokens: !plain }).ids,
    decode: (tokens, plain = false) =>
      tokens.length === 0 ? "" : reader.decode([...tokens], { skip_special_tokens: plain }),
    stops: [...new Set([...tokenIds(generation.eos_token_id), ...tokenIds(end)])],
    template: typeof template === "string" ? template : null,
    specials,
  };
}

async function readText(folder: Folder, name: string): Promise<string> {
  const source = await folder.open(name);
  try {
    const bytes = await readWhole(source, maxTokenizerBytes, (n) =>
      fail(
        "tokenizer",
        `Cannot read ${quote(source.name, 4096)}: it has ${n} bytes, the limit is ${maxTokenizerBytes}`,
      ),
    );
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    if (isBraidError(cause)) throw cause;
    return fail("tokenizer", `Cannot read ${quote(source.name, 4096)}: it is not UTF-8`, { cause });
  } finally {
    await source.close();
  }
}
