// Options that people know from mergekit-yaml and that need no work here. They are accepted, so that a command line can be
// kept as it is, and each says in one line why nothing has to be done. Those with a meaning (--random-seed,
// --out-shard-size, --copy-tokenizer, --write-model-card, --num-threads, --quiet, -v) are ordinary options.

import { object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { map, multiple } from "@optique/core/modifiers";
import type { Parser } from "@optique/core/parser";
import { string } from "@optique/core/valueparser";
import { option } from "./option.ts";

/** Flag (its `--no-` form is accepted without a word) → why it is not needed. */
export const unneededFlags = {
  "--cuda": "merging runs on the processor, in WebAssembly, at about the speed of the disk",
  "--lazy-unpickle": "tensors are always read slice by slice, and pickles are never opened",
  "--low-cpu-memory": "memory is bounded by --memory",
  "--allow-crimes": "tensors are merged by name, and shapes that differ are always an error",
  "--trust-remote-code": "no code of a model is ever run",
  "--clone-tensors": "every output tensor is written on its own",
  "--safe-serialization": "the output is always safetensors",
  "--read-to-gpu": "merging runs on the processor",
  "--multi-gpu": "merging runs on the processor",
  "--gpu-rich": "merging runs on the processor",
  "--async-write": "workers always write their own slices",
} as const;

/** Option with a value → why it is not needed. */
export const unneededValues = {
  "--transformers-cache": "models are found through HF_HUB_CACHE and HF_HOME",
  "--lora-merge-cache": "nothing is cached on the way",
  "--device": "merging runs on the processor",
  "--write-threads": "workers write their own slices; see --workers",
} as const;

const hidden = { hidden: true } as const;

const flags = Object.keys(unneededFlags).flatMap((flag) => [
  [flag, multiple(option(flag as `--${string}`, hidden))] as const,
  [`no ${flag}`, multiple(option(flag.replace("--", "--no-") as `--${string}`, hidden))] as const,
]);
const values = Object.keys(unneededValues).map(
  (flag) => [flag, multiple(option(flag as `--${string}`, string({ metavar: "VALUE" }), hidden))] as const,
);

/** The lines to print for what was given. */
function notes(given: Readonly<Record<string, readonly unknown[]>>): readonly string[] {
  return Object.entries({ ...unneededFlags, ...unneededValues })
    .filter(([flag]) => (given[flag]?.length ?? 0) > 0)
    .map(([flag, reason]) => `${flag} is not needed: ${reason}`);
}

export const compatOptions = object({
  unneeded: map(
    object(Object.fromEntries<Parser<"sync", readonly (boolean | string)[], unknown>>([...flags, ...values])),
    notes,
  ),
});

export const compatNote = message`mergekit-yaml's other options (--cuda, --lazy-unpickle, --low-cpu-memory, --allow-crimes, --trust-remote-code …) are accepted and say why they are not needed.`;
