// The grammar of `braid extract`.

import { merge, object } from "@optique/core/constructs";
import { type Message, message } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { choice, float, integer, string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { defaultExtraction } from "../extract.ts";
import { svdNames } from "../plan/adapter.ts";
import { maxRank } from "../tensor/adapter.ts";
import { formatMemory } from "./format.ts";
import { lines, shown } from "./help.ts";
import { option } from "./option.ts";
import { missing, size, talkOptions } from "./options.ts";

const modelArgument = (metavar: "BASE" | "MODEL", description: Message) =>
  argument(path({ metavar, type: "either" }), { description, errors: missing(metavar) });

const examples = [
  "Examples:",
  "  braid extract ./base ./fine-tune ./adapter --rank 64",
  "  braid extract org/base org/fine-tune ./adapter -r 32 --include attn",
  "  braid extract ./base ./fine-tune ./adapter -r 64 --save-rest",
];

export const extractCommand = command(
  "extract",
  merge(
    object({
      command: constant("extract"),
      base: modelArgument("BASE", message`The model that was fine-tuned.`),
      model: modelArgument("MODEL", message`The fine-tune.`),
      out: argument(path({ metavar: "OUT", type: "directory" }), {
        description: message`Folder to write. It appears when it is complete, and must be new unless --overwrite is given.`,
        errors: missing("OUT"),
      }),
    }),
    object("Adapter", {
      rank: option("--rank", "-r", integer({ min: 1, max: maxRank, metavar: "R" }), {
        description: message`Rank of the factors. Smaller matrices get as much as they have.`,
      }),
      alpha: optional(
        option("--alpha", float({ metavar: "A" }), {
          description: message`lora_alpha; the factors make up for it [the rank, for a scale of 1].`,
        }),
      ),
      include: multiple(
        option("--include", string({ metavar: "PATTERN" }), {
          description: message`Only tensors whose name holds this; * stands for anything. Can be repeated. Embeddings and heads that it names are stored whole.`,
        }),
      ),
      exclude: multiple(
        option("--exclude", string({ metavar: "PATTERN" }), {
          description: message`No tensors whose name holds this. Can be repeated.`,
        }),
      ),
      saveRest: option("--save-rest", {
        description: message`Store what changed and is no linear layer (norms, biases, embeddings) as whole tensors.`,
      }),
      dtype: withDefault(
        option("--dtype", choice(["float32", "bfloat16", "float16"], { metavar: "DTYPE" }), {
          description: message`What the factors are stored in.`,
        }),
        "float32" as const,
        shown("float32"),
      ),
      svd: withDefault(
        option("--svd", choice(svdNames, { metavar: "HOW" }), {
          description: message`All singular components, or a random sketch of the first ones; auto sketches where that saves at least half of the work.`,
        }),
        defaultExtraction.svd,
        shown(defaultExtraction.svd),
      ),
    }),
    object("Output", {
      overwrite: option("--overwrite", { description: message`Replace OUT when it exists.` }),
      noChecksum: option("--no-checksum", { description: message`Leave out the SHA-256 of the adapter's file.` }),
      noSync: option("--no-sync", {
        description: message`Leave it to the system when the output reaches the disk: a power failure soon after may spoil it.`,
      }),
    }),
    object("Machine", {
      workers: optional(
        option("--workers", "--num-threads", integer({ min: 1, max: 1024, metavar: "N" }), {
          description: message`Worker threads [as many as there are cores and memory for]. The result does not depend on it.`,
        }),
      ),
      memory: withDefault(
        option("--memory", size({ format: formatMemory }), { description: message`Ceiling for the whole process.` }),
        defaultExtraction.memoryBytes,
        shown("1GiB"),
      ),
    }),
    talkOptions,
  ),
  {
    brief: message`Make a LoRA adapter of a fine-tune.`,
    description: message`Takes the difference of MODEL and BASE, linear layer by linear layer, finds its first singular components and writes them as an adapter that PEFT loads. Tells how much of the difference the adapter holds.`,
    usageLine: [
      { type: "argument", metavar: "BASE" },
      { type: "argument", metavar: "MODEL" },
      { type: "argument", metavar: "OUT" },
      { type: "literal", value: "--rank R" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines(...examples),
  },
);
