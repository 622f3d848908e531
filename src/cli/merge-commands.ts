// The grammar of `braid merge`, `braid plan` and `braid check`.

import { merge, object } from "@optique/core/constructs";
import { lineBreak, message } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { integer, string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { maxRank } from "../tensor/adapter.ts";
import { compatNote, compatOptions } from "./compat-options.ts";
import { lines } from "./help.ts";
import { nodeOptions } from "./node-options.ts";
import { option } from "./option.ts";
import {
  layoutOptions,
  machineOptions,
  mergeMachineOptions,
  missing,
  numberOptions,
  profileOptions,
  recipeArgument,
  talkOptions,
} from "./options.ts";
import { queueOptions } from "./queue-options.ts";

export const mergeCommand = command(
  "merge",
  merge(
    object({
      command: constant("merge"),
      recipe: recipeArgument,
      out: argument(path({ metavar: "OUT", type: "directory" }), {
        description: message`Folder to write. It appears when it is complete, and must be new unless --overwrite is given.`,
        errors: missing("OUT"),
      }),
    }),
    object("Output", {
      overwrite: option("--overwrite", { description: message`Replace OUT when it exists.` }),
      asAdapter: optional(
        option("--as-adapter", integer({ min: 1, max: maxRank, metavar: "RANK" }), {
          description: message`Write the difference to base_model as a LoRA adapter of this rank instead of a checkpoint.`,
        }),
      ),
      exportMasks: option("--export-masks", {
        description: message`Of an emr recipe: write the unified delta with a mask and a scale for each model, from which braid apply makes the models again.`,
      }),
      intermediateDir: optional(
        option("--intermediate-dir", string({ metavar: "DIR" }), {
          description: message`Keep what the recipes of a file but the last write here, each in a folder of its name [removed at the end].`,
        }),
      ),
    }),
    layoutOptions,
    numberOptions,
    mergeMachineOptions,
    nodeOptions,
    queueOptions,
    profileOptions,
    talkOptions,
    compatOptions,
  ),
  {
    brief: message`Merge checkpoints as a recipe says.`,
    description: message`Merges checkpoints as RECIPE says and writes a checkpoint that loads like any other into OUT.`,
    usageLine: [
      { type: "argument", metavar: "RECIPE" },
      { type: "argument", metavar: "OUT" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: [
      ...lines(
        "Examples:",
        "  braid merge examples/dare-ties.yml ./merged",
        "  braid merge recipe.yml ./merged --seed 7 --out-shard-size 2GB --overwrite",
        "  braid merge recipe.yml ./merged --json > summary.json",
        "  braid merge recipe.yml ./merged --profile trace.json",
        "  braid merge recipe.yml ./merged --node http://10.0.0.2:7433 --node-token-file token",
        "",
      ),
      lineBreak(),
      ...compatNote,
    ],
  },
);

export const planCommand = command(
  "plan",
  merge(
    object({ command: constant("plan"), recipe: recipeArgument }),
    object("Printing", {
      all: option("--all", { description: message`Every tensor; without it the table stops after 20.` }),
    }),
    layoutOptions,
    numberOptions,
    machineOptions,
    talkOptions,
    compatOptions,
  ),
  {
    brief: message`Show what a merge would read, compute and write.`,
    description: message`Reads the recipe and the headers of its checkpoints, and shows every input, output and tensor, the bytes and the peak memory. No tensor is read.`,
    usageLine: [
      { type: "argument", metavar: "RECIPE" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines("Examples:", "  braid plan recipe.yml --all", "  braid plan recipe.yml --json > plan.json"),
  },
);

export const checkCommand = command(
  "check",
  merge(
    object({ command: constant("check"), recipe: recipeArgument }),
    object("Checking", {
      deep: option("--deep", {
        description: message`Read samples of every tensor too, and tell how far the models are from the base: a wrong one is noticed.`,
      }),
    }),
    layoutOptions,
    numberOptions,
    machineOptions,
    talkOptions,
    compatOptions,
  ),
  {
    brief: message`Check a recipe and its checkpoints without merging.`,
    description: message`Reports everything that can be known from the recipe and the headers: what is fine, what is odd, what is wrong. The exit code is 0, or that of the first error.`,
    usageLine: [
      { type: "argument", metavar: "RECIPE" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines(
      "Examples:",
      "  braid check recipe.yml && braid merge recipe.yml ./merged",
      "  braid check recipe.yml --deep --json > check.json",
    ),
  },
);
