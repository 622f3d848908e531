// The grammar of `braid inspect`.

import { merge, object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { lines } from "./help.ts";
import { option } from "./option.ts";
import { missing, talkOptions } from "./options.ts";

export const inspectCommand = command(
  "inspect",
  merge(
    object({
      command: constant("inspect"),
      path: argument(path({ metavar: "PATH", type: "either" }), {
        description: message`A checkpoint folder, a .safetensors file, or an id like org/name@revision that is in the local Hugging Face cache.`,
        errors: missing("PATH"),
      }),
      tensor: optional(
        argument(string({ metavar: "TENSOR" }), {
          description: message`Name of one tensor, for its statistics and first values.`,
        }),
      ),
    }),
    object("Printing", {
      all: option("--all", { description: message`Every tensor; without it the table stops after 50.` }),
    }),
    talkOptions,
  ),
  {
    brief: message`Show what a checkpoint holds.`,
    description: message`Shows the files, tensors, metadata and configuration of a checkpoint, or the statistics of one tensor.`,
    usageLine: [
      { type: "argument", metavar: "PATH" },
      { type: "optional", terms: [{ type: "argument", metavar: "TENSOR" }] },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines(
      "Examples:",
      "  braid inspect examples/models/base",
      "  braid inspect examples/models/base model.embed_tokens.weight",
    ),
  },
);
