// Words of help pages.

import { lineBreak, type Message, message, text } from "@optique/core/message";

/** Lines of text as one message: a message collapses plain line breaks. */
export function lines(...parts: readonly string[]): Message {
  return parts.flatMap((part, i) => (i === 0 ? [text(part)] : [lineBreak(), text(part)]));
}

/** How a default is written: bare, where Optique would quote it. */
export const shown = (value: string): { readonly message: Message } => ({ message: message`${text(value)}` });
