// The grammar of `braid chat` and `braid eval`.

import { merge, object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { float, integer, string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { mostMemoryBytes } from "../infer/memory.ts";
import { formatMemory } from "./format.ts";
import { lines, shown } from "./help.ts";
import { option } from "./option.ts";
import { missing, seed, size, talkOptions } from "./options.ts";

const modelArgument = argument(path({ metavar: "MODEL", type: "either" }), {
  description: message`A checkpoint folder, or an id like org/name@revision that is in the local Hugging Face cache.`,
  errors: missing("MODEL"),
});

export const inferMemoryOption = withDefault(
  option("--memory", size({ format: formatMemory }), {
    description: message`Ceiling for weights, cache and rows; WebAssembly has no more than 4 GiB.`,
  }),
  mostMemoryBytes,
  shown("4GiB"),
);

/** New tokens that a reply may have. */
const defaultReply = 128;

export const chatCommand = command(
  "chat",
  merge(
    object({ command: constant("chat"), model: modelArgument }),
    object("Reply", {
      prompt: optional(
        option("-p", "--prompt", string({ metavar: "TEXT" }), {
          description: message`What to continue or answer [each line that is typed; all of standard input where that is no terminal].`,
        }),
      ),
      maxTokens: withDefault(
        option("--max-tokens", integer({ min: 1, max: 1_000_000, metavar: "N" }), {
          description: message`Tokens of the reply, at most.`,
        }),
        defaultReply,
      ),
      temperature: withDefault(
        option("--temperature", float({ min: 0, max: 100, metavar: "T" }), {
          description: message`0 takes the likeliest token every time, 1 draws from the model's distribution.`,
        }),
        0,
      ),
      seed: withDefault(
        option("--seed", seed(), { description: message`Of the draws; the same one gives the same reply everywhere.` }),
        "42",
        shown("42"),
      ),
      raw: option("--raw", {
        description: message`Continue the text as it is, also when the model has a chat template.`,
      }),
    }),
    object("Machine", { memory: inferMemoryOption }),
    talkOptions,
  ),
  {
    brief: message`Talk with a small model.`,
    description: message`Runs a small model (llama, mistral, qwen2, qwen3) in f32 on one core and prints what it says. A model with a chat template is asked by it; any other continues the text.`,
    usageLine: [
      { type: "argument", metavar: "MODEL" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines(
      "Examples:",
      "  braid chat ./out/demo --prompt 12+30=",
      "  braid chat ./merged",
      "  braid chat ./merged --prompt 'Why is the sky blue?' --temperature 0.7 --seed 7 --json",
    ),
  },
);

export const evalCommand = command(
  "eval",
  merge(
    object({ command: constant("eval"), model: modelArgument }),
    object("Evaluation", {
      prompts: multiple(
        option("--prompts", path({ metavar: "FILE.jsonl", type: "either" }), {
          description: message`Prompts with their answers, an object with prompt and answer on each line; a folder stands for its .jsonl files. Can be repeated.`,
        }),
      ),
      maxTokens: optional(
        option("--max-tokens", integer({ min: 1, max: 1_000_000, metavar: "N" }), {
          description: message`Tokens of an answer, at most [the longest expected one, and one more].`,
        }),
      ),
      limit: optional(
        option("--limit", integer({ min: 1, metavar: "N" }), {
          description: message`Only the first prompts of each file.`,
        }),
      ),
      wrong: withDefault(
        option("--wrong", integer({ min: 0, metavar: "N" }), {
          description: message`Show so many wrong answers of each file.`,
        }),
        0,
      ),
    }),
    object("Machine", { memory: inferMemoryOption }),
    talkOptions,
  ),
  {
    brief: message`Score a small model on prompts with answers.`,
    description: message`Continues every prompt greedily and counts the answers that are right to the last character.`,
    usageLine: [
      { type: "argument", metavar: "MODEL" },
      { type: "literal", value: "--prompts FILE.jsonl... [OPTIONS]" },
    ],
    footer: lines(
      "Examples:",
      "  braid eval ./out/demo --prompts examples/models/tests",
      "  braid eval ./merged --prompts sums.jsonl --prompts words.jsonl --wrong 5",
    ),
  },
);
