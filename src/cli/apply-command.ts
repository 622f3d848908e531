// The grammar of `braid apply`.

import { merge, object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { choice, string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { dtypes } from "../recipe/schema.ts";
import { lines } from "./help.ts";
import { option } from "./option.ts";
import { applyNumberOptions, layoutOptions, machineOptions, missing, talkOptions } from "./options.ts";

const examples = [
  "Examples:",
  "  braid apply ./emr/ft-add.safetensors ./ft-add",
  "  braid apply ./base+./emr/ft-add.safetensors ./ft-add",
  "  braid apply org/base+./adapter ./folded --dtype bfloat16",
];

export const applyCommand = command(
  "apply",
  merge(
    object({
      command: constant("apply"),
      model: argument(string({ metavar: "MODEL" }), {
        description: message`base+adapter, an adapter's folder, or a file of masks of an EMR export: what a recipe would call the model.`,
        errors: missing("MODEL"),
      }),
      out: argument(path({ metavar: "OUT", type: "directory" }), {
        description: message`Folder to write. It appears when it is complete, and must be new unless --overwrite is given.`,
        errors: missing("OUT"),
      }),
    }),
    object("Output", {
      overwrite: option("--overwrite", { description: message`Replace OUT when it exists.` }),
      dtype: optional(
        option("--dtype", choice(dtypes, { metavar: "DTYPE" }), {
          description: message`What tensors are stored in [as they are in the base].`,
        }),
      ),
    }),
    layoutOptions,
    applyNumberOptions,
    machineOptions,
    talkOptions,
  ),
  {
    brief: message`Write a model with its adapter, or one of an EMR export, as a checkpoint.`,
    description: message`Writes what MODEL stands for as a checkpoint that loads like any other. It is a passthrough merge of that one model, and its recipe is kept beside it.`,
    usageLine: [
      { type: "argument", metavar: "MODEL" },
      { type: "argument", metavar: "OUT" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines(...examples),
  },
);
