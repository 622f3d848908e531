// What a model is given of a conversation: by its chat template, or, without one, the last text as it is.

import { Template } from "@huggingface/jinja";
import { fail } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface Message {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/**
 * The tokens to continue. Templates write their special tokens themselves, so the tokenizer adds none.
 *
 * @throws BraidError `tokenizer` when the template cannot be rendered.
 */
export function conversationTokens(tokenizer: Tokenizer, messages: readonly Message[], raw: boolean): number[] {
  if (raw || tokenizer.template === null) return tokenizer.encode(messages.at(-1)!.content);
  let text: string;
  try {
    text = new Template(tokenizer.template).render({ ...tokenizer.specials, messages, add_generation_prompt: true });
  } catch (cause) {
    fail("tokenizer", `Cannot use the model's chat template: ${(cause as Error).message}`, {
      hint: "Continue a plain text with --raw.",
      cause,
    });
  }
  return tokenizer.encode(text, true);
}

/**
 * Text of tokens that come one by one: gives what is new, and holds back a character whose bytes are not all there yet.
 */
export function createDetokenizer(tokenizer: Tokenizer): (tokens: readonly number[], last: boolean) => string {
  let told = "";
  return (tokens, last) => {
    const text = tokenizer.decode(tokens, true);
    const ready = last ? text : text.replace(/\ufffd+$/, "");
    if (!ready.startsWith(told)) return "";
    const fresh = ready.slice(told.length);
    told = ready;
    return fresh;
  };
}
