// Options as Optique has them, but for what they say of a word that is not theirs. Each of them is asked about every word, and by
// default measures how far it is from the names of all others: for a merge with four options that was half of the time of parsing.
// Nobody reads it; the whole grammar says what an unknown option is near to (program.ts).

import { message } from "@optique/core/message";
import { type OptionOptions, option as plainOption } from "@optique/core/primitives";

const errors = { noMatch: message`Unknown option.` } as const;

function isOptions(last: unknown): last is OptionOptions {
  // A value parser is an object too.
  return typeof last === "object" && last !== null && !("parse" in last);
}

/** `option` of Optique, with its signatures. */
export const option = ((...args: unknown[]) => {
  const last = args.at(-1);
  const rest = isOptions(last) ? args.slice(0, -1) : args;
  const own = isOptions(last) ? last : {};
  return (plainOption as (...args: unknown[]) => unknown)(...rest, { ...own, errors: { ...errors, ...own.errors } });
}) as typeof plainOption;
