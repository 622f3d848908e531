// The grammar of `braid analyze`.

import { merge, object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { choice, float, string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { defaultAnalysis } from "../analyze/plan.ts";
import { lines, shown } from "./help.ts";
import { option } from "./option.ts";
import { machineOptions, missing, talkOptions } from "./options.ts";

const examples = [
  "Examples:",
  "  braid analyze ./base ./fine-tune-a ./fine-tune-b ./fine-tune-c",
  "  braid analyze ./base ./a ./b --write-recipe recipe.yml && braid merge recipe.yml ./merged",
  "  braid analyze org/base org/a base+./adapter --per-tensor --json > analysis.json",
];

export const analyzeCommand = command(
  "analyze",
  merge(
    object({
      command: constant("analyze"),
      base: argument(path({ metavar: "BASE", type: "either" }), {
        description: message`The model that the others were trained from.`,
        errors: missing("BASE"),
      }),
      models: multiple(
        argument(path({ metavar: "MODEL", type: "either" }), {
          description: message`A fine-tune: a folder, a .safetensors file, an id in the local cache, an adapter, or base+adapter.`,
          errors: missing("MODEL"),
        }),
        { min: 1, errors: { tooFew: missing("MODEL").endOfInput } },
      ),
    }),
    object("Analysis", {
      include: multiple(
        option("--include", string({ metavar: "PATTERN" }), {
          description: message`Only tensors whose name holds this; * stands for anything. Can be repeated.`,
        }),
      ),
      exclude: multiple(
        option("--exclude", string({ metavar: "PATTERN" }), {
          description: message`No tensors whose name holds this. Can be repeated.`,
        }),
      ),
      top: withDefault(
        option("--top", float({ min: 0.0001, max: 1, metavar: "SHARE" }), {
          description: message`Share of each tensor that counts as its largest elements, whose overlap is told.`,
        }),
        defaultAnalysis.topShare,
        shown(String(defaultAnalysis.topShare)),
      ),
      allowMissing: option("--allow-missing", {
        description: message`Take a tensor that some models lack from those that have it.`,
      }),
    }),
    object("Printing", {
      perTensor: option("--per-tensor", {
        description: message`Every tensor, also with --json; without it the table has the ten that changed most.`,
      }),
      modelcypher: optional(
        option("--modelcypher", choice(["default", "aggressive"], { metavar: "PRESET" }), {
          description: message`Also the report of ModelCypher's dare_sparsity, with what is wrong with it.`,
        }),
      ),
    }),
    object("Output", {
      writeRecipe: optional(
        option("--write-recipe", string({ metavar: "FILE" }), {
          description: message`Write a recipe to start from, with its reasons. A file that exists is replaced only with --overwrite.`,
        }),
      ),
      overwrite: option("--overwrite", { description: message`Replace FILE when it exists.` }),
    }),
    machineOptions,
    talkOptions,
  ),
  {
    brief: message`Show what is in the deltas of fine-tunes, and advise on a merge.`,
    description: message`Reads BASE and every MODEL once and tells how large the changes are, how sparse, how alike and how much in each other's way, by model, kind of tensor and layer; then what to begin a merge with, and why.`,
    usageLine: [
      { type: "argument", metavar: "BASE" },
      { type: "argument", metavar: "MODEL" },
      { type: "literal", value: "... [OPTIONS]" },
    ],
    footer: lines(...examples),
  },
);
