// The grammar of `braid sweep`.

import { merge, object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { command, constant } from "@optique/core/primitives";
import { integer, string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { lines } from "./help.ts";
import { option } from "./option.ts";
import { machineOptions, numberOptions, recipeArgument, talkOptions } from "./options.ts";

const defaultTimeout = 3600;

export const sweepCommand = command(
  "sweep",
  merge(
    object({ command: constant("sweep"), recipe: recipeArgument }),
    object("Grid", {
      over: multiple(
        option("--over", string({ metavar: "NAME=V,V..." }), {
          description: message`What to vary, and its values: a parameter (drop_rate, weight, lambda, …), seed, method, a key of the recipe, or a place like models[0].parameters.weight. Several make a grid.`,
        }),
      ),
    }),
    object("Evaluation", {
      prompts: multiple(
        option("--prompts", path({ metavar: "FILE.jsonl", type: "either" }), {
          description: message`Score by exact match on these prompts, with Braid's own inference (see braid eval). A folder stands for its .jsonl files.`,
        }),
      ),
      eval: optional(
        option("--eval", string({ metavar: "COMMAND" }), {
          description: message`Score by a program: words and quotes as in a shell, but no shell runs; ${text("{out}")} stands for the merged folder.`,
        }),
      ),
      score: optional(
        option("--score", string({ metavar: "REGEX" }), {
          description: message`Where the score is in what the program prints: the first group, of the last match [the last number printed].`,
        }),
      ),
      evalTimeout: withDefault(
        option("--eval-timeout", integer({ min: 1, metavar: "SECONDS" }), {
          description: message`How long the program may take for one point.`,
        }),
        defaultTimeout,
      ),
      by: optional(
        option("--by", string({ metavar: "NAME" }), {
          description: message`The score that decides, of several [their mean].`,
        }),
      ),
      lowest: option("--lowest", { description: message`The lowest score is best, as for perplexities.` }),
    }),
    object("Output", {
      out: optional(
        option("-o", "--out", path({ metavar: "DIR", type: "directory" }), {
          description: message`Where sweep.csv, sweep.json and the journal go [the recipe's name and -sweep]. What its journal has is not done again.`,
        }),
      ),
      keep: option("--keep", {
        description: message`Keep every merged checkpoint; without it each is removed when it has its score.`,
      }),
    }),
    numberOptions,
    machineOptions,
    talkOptions,
  ),
  {
    brief: message`Merge over a grid of parameters, score, and pick the best.`,
    description: message`Plans every combination, merges and scores one after the other, and tells the best. A sweep that was stopped goes on where it was.`,
    usageLine: [
      { type: "argument", metavar: "RECIPE" },
      { type: "literal", value: "--over NAME=V,V... [OPTIONS]" },
    ],
    footer: lines(
      "Examples:",
      "  braid sweep examples/dare-ties.yml --over drop_rate=0.8,0.9,0.95 --prompts examples/models/tests",
      "  braid sweep recipe.yml --over weight=0.5,0.7,1 --over seed=1,2,3 --eval './score.sh {out}'",
      "  braid sweep recipe.yml --over 'models[0].parameters.weight=0.5,1' --eval 'perplexity {out}' --score 'PPL = ([0-9.]+)' --lowest",
    ),
  },
);
