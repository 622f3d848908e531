// The files of a checkpoint beside its tensors: which are worth copying, and what must not go along.

import { type Diagnostic, quote } from "../errors.ts";
import { configText, isRecord, parseJson } from "./config.ts";

/** Copied when they are there. config.json is not among them: the output gets its own. Code (*.py) never is. */
export const sidecarNames = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer.model.v3",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "merges.txt",
  "vocab.json",
  "vocab.txt",
  "spiece.model",
  "sentencepiece.bpe.model",
  "tekken.json",
  "chat_template.jinja",
  "chat_template.json",
  "preprocessor_config.json",
  "processor_config.json",
  "image_processor_config.json",
  "video_preprocessor_config.json",
] as const;

/** Those that hold a tokenizer; another one may take their place. */
export const tokenizerNames = [
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer.model.v3",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "merges.txt",
  "vocab.json",
  "vocab.txt",
  "spiece.model",
  "sentencepiece.bpe.model",
  "tekken.json",
  "chat_template.jinja",
  "chat_template.json",
] as const satisfies readonly (typeof sidecarNames)[number][];

/** Sidecars that may name code to load; they are parsed, the others are copied byte for byte. */
export const maxParsedSidecarBytes = 10_000_000;
const mayNameCode = /_config\.json$/;

export function chooseSidecars(names: readonly string[]): string[] {
  const present = new Set(names);
  return sidecarNames.filter((name) => present.has(name));
}

export function autoMapWarning(file: string): Diagnostic {
  return {
    kind: "model-config",
    message: `${quote(file, 4096)} has auto_map, which makes loaders run code from the model's folder; it was dropped`,
    hint: "The output loads with the code of transformers. Copy the *.py files by hand if it needs its own.",
  };
}

/** The bytes to write for a sidecar: its own, or without `auto_map` where it has one. */
export function cleanSidecar(name: string, bytes: Uint8Array): { bytes: Uint8Array; warnings: Diagnostic[] } {
  const untouched = { bytes, warnings: [] };
  if (!mayNameCode.test(name) || bytes.length > maxParsedSidecarBytes) return untouched;
  const text = new TextDecoder().decode(bytes);
  if (!text.includes("auto_map") && !text.includes("\\u")) return untouched;
  const value = parseJson(name, text);
  if (!isRecord(value) || !Object.hasOwn(value, "auto_map")) return untouched;
  const { auto_map: _, ...rest } = value;
  return { bytes: new TextEncoder().encode(configText(rest)), warnings: [autoMapWarning(name)] };
}
