// Options that several commands share, and the parsers of their values.

import { object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { optional, withDefault } from "@optique/core/modifiers";
import { argument } from "@optique/core/primitives";
import { choice, integer, string, type ValueParser } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { defaultRequest, type MergeRequest } from "../host.ts";
import { dtypeNamed } from "../tensor/dtype.ts";
import { formatBytes, formatMemory, formatParameters } from "./format.ts";
import { shown } from "./help.ts";
import { option } from "./option.ts";
import type { RecipeText } from "./recipe-text.ts";

const units: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/**
 * Bytes of "256MiB", "5GB", "1.5G" or a plain number; null when it is none. `billions`: a bare B means 10⁹, as in
 * mergekit's `--out-shard-size 5B`; without it a bare B is refused, because it could mean bytes.
 */
export function parseSize(input: string, billions = false): number | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(input);
  if (!match) return null;
  const suffix = match[2]!.toLowerCase();
  const unit = suffix === "b" ? (billions ? 1e9 : undefined) : units[suffix];
  if (unit === undefined) return null;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : null;
}

export function size(
  options: { billions?: boolean; format?: (bytes: number) => string } = {},
): ValueParser<"sync", number> {
  const example = options.billions ? "5GB, 500MiB or mergekit's 5B" : "256MiB or 2GB";
  return {
    mode: "sync",
    metavar: "SIZE",
    placeholder: 1,
    parse: (input) => {
      const value = parseSize(input, options.billions);
      return value === null
        ? {
            success: false,
            error: message`Cannot read the size ${input}: expected a positive size like ${text(example)}.`,
          }
        : { success: true, value };
    },
    format: options.format ?? formatBytes,
  };
}

const countUnits: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6, b: 1e9, t: 1e12 };

/** Parameters as model names count them: "7B", "350M", "1.5b", 7000000000; null when it is none. */
export function parseParameters(input: string): number | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmbt]?)\s*$/i.exec(input);
  const count = match ? Math.round(Number(match[1]) * countUnits[match[2]!.toLowerCase()]!) : 0;
  return Number.isSafeInteger(count) && count > 0 ? count : null;
}

export function parameterCount(): ValueParser<"sync", number> {
  return {
    mode: "sync",
    metavar: "N",
    placeholder: 1,
    parse: (input) => {
      const value = parseParameters(input);
      return value === null
        ? {
            success: false,
            error: message`Cannot read the number of parameters ${input}: expected one like ${text("7B or 350M")}.`,
          }
        : { success: true, value };
    },
    format: (value) => formatParameters(value),
  };
}

/** A whole number of any length, kept as text: seeds may exceed 2⁵³. */
export function seed(): ValueParser<"sync", string> {
  return {
    mode: "sync",
    metavar: "SEED",
    placeholder: "42",
    parse: (input) =>
      /^[+-]?\d{1,40}$/.test(input)
        ? { success: true, value: BigInt(input).toString() }
        : {
            success: false,
            error: message`Cannot read the seed ${input}: expected a whole number like ${text("42")}.`,
          },
    format: (value) => value,
  };
}

const shardSize = size({ billions: true });
const memorySize = size({ format: formatMemory });

/** What is said when a positional argument is not there. */
export const missing = (metavar: string) => ({ endOfInput: message`Missing ${text(metavar)} (see --help).` });

export const recipeArgument = argument(path({ metavar: "RECIPE", type: "file", extensions: [] }), {
  description: message`Recipe in mergekit's YAML; ${text("-")} reads it from standard input.`,
  errors: missing("RECIPE"),
});

const overflowOption = {
  overflow: withDefault(
    option("--overflow", choice(["error", "saturate", "inf"], { metavar: "POLICY" }), {
      description: message`A result too large for the output dtype: stop, take the largest value, or write infinity.`,
    }),
    defaultRequest.overflow,
    shown(defaultRequest.overflow),
  ),
};

const loraOption = {
  loraMergeDtype: optional(
    option("--lora-merge-dtype", choice(["float32", "bfloat16", "float16"], { metavar: "DTYPE" }), {
      description: message`Round a folded adapter to this dtype [float32; with --compat mergekit each weight's own].`,
    }),
  ),
};

export const applyNumberOptions = object("Numbers", { ...overflowOption, ...loraOption });

export const numberOptions = object("Numbers", {
  seed: optional(
    option("--seed", "--random-seed", seed(), {
      description: message`Seed of the random masks; overrides the recipe's random_seed (which defaults to 42).`,
    }),
  ),
  compat: withDefault(
    option("--compat", choice(["none", "mergekit"], { metavar: "WITH" }), {
      description: message`Follow the papers, or mergekit 0.1.5 wherever it differs from them.`,
    }),
    defaultRequest.compat,
    shown(defaultRequest.compat),
  ),
  nonFinite: withDefault(
    option("--non-finite", choice(["error", "keep", "base"], { metavar: "POLICY" }), {
      description: message`NaN or infinity in an input: stop, let that element be non-finite, or take the base's element.`,
    }),
    defaultRequest.nonFinite,
    shown(defaultRequest.nonFinite),
  ),
  ...overflowOption,
  rounding: withDefault(
    option("--rounding", choice(["nearest", "stochastic"], { metavar: "RULE" }), {
      description: message`How results are stored in fewer bits: to the nearest, or by chance and unbiased (the seed decides).`,
    }),
    defaultRequest.rounding,
    shown(defaultRequest.rounding),
  ),
  allowMissing: option("--allow-missing", {
    description: message`Merge a tensor that some models lack from those that have it.`,
  }),
  ...loraOption,
});

const workersOption = (min: number) =>
  optional(
    option("--workers", "--num-threads", integer({ min, max: 1024, metavar: "N" }), {
      description: message`Worker threads [all cores]. The result does not depend on it.`,
    }),
  );

const memoryOptions = {
  memory: withDefault(
    option("--memory", memorySize, { description: message`Ceiling for the whole process.` }),
    defaultRequest.memoryBytes,
    shown("256MiB"),
  ),
  slice: optional(
    option("--slice", integer({ min: 4096, metavar: "N" }), {
      description: message`Elements of a slice, the unit of work, in multiples of 4,096 [chosen by the plan]. The result does not depend on it.`,
    }),
  ),
};

export const machineOptions = object("Machine", { workers: workersOption(1), ...memoryOptions });
/** A report's slices are its own. */
export const reportMachineOptions = object("Machine", { workers: workersOption(1), memory: memoryOptions.memory });
/** Without workers of its own a merge needs nodes. */
export const mergeMachineOptions = object("Machine", { workers: workersOption(0), ...memoryOptions });

export const layoutOptions = object("Output", {
  outShardSize: withDefault(
    option("--out-shard-size", shardSize, { description: message`Largest file of the output.` }),
    defaultRequest.outShardBytes,
    shown("5GB"),
  ),
  noCopyTokenizer: option("--no-copy-tokenizer", {
    description: message`Leave out the tokenizer and chat template files.`,
  }),
  noModelCard: option("--no-write-model-card", {
    description: message`Leave out README.md with the models, the method and the recipe.`,
  }),
  noChecksum: option("--no-checksum", {
    description: message`Leave out the SHA-256 of the output files; braid.json then has null.`,
  }),
  noSync: option("--no-sync", {
    description: message`Leave it to the system when the output reaches the disk: a power failure soon after may spoil it.`,
  }),
  // What these two ask for is what is done anyway; mergekit's users type them.
  copyTokenizer: option("--copy-tokenizer", { hidden: true }),
  writeModelCard: option("--write-model-card", { hidden: true }),
});

/** Where the trace goes when --profile names no file. */
export const defaultTrace = "braid-trace.json";

export const profileOptions = object("Messages", {
  report: optional(
    option("--report", string({ metavar: "[FILE.html]" }), {
      description: message`Write a page about the merge (${text("braid report")}) to the file, with its times [beside OUT, as ${text("OUT.report.html")}]. A file that exists is replaced only with --overwrite.`,
    }),
  ),
  profile: optional(
    option("--profile", path({ metavar: "[FILE.json]", type: "file", extensions: [".json"] }), {
      description: message`Tell where the time went, and write a trace for ui.perfetto.dev to the file [${text(defaultTrace)}]. A file that exists is replaced only with --overwrite.`,
    }),
  ),
});

export const jsonOption = option("--json", {
  description: message`One JSON document on standard output instead of text.`,
});

export const talkOptions = object("Messages", {
  json: jsonOption,
  quiet: option("-q", "--quiet", { description: message`Only warnings and errors.` }),
  verbose: option("-v", "--verbose", { description: message`More detail; the stack of an unexpected error.` }),
});

export const benchOptions = object("Measuring", {
  models: withDefault(
    option("--models", integer({ min: 1, max: 8, metavar: "N" }), {
      description: message`Models of a merge, beside the base; SLERP joins two.`,
    }),
    3,
  ),
  workers: optional(
    option("--workers", "--num-threads", integer({ min: 1, max: 1024, metavar: "N" }), {
      description: message`Worker threads, measured beside one core [all cores].`,
    }),
  ),
  parameters: withDefault(
    option("--parameters", parameterCount(), {
      description: message`Size of the model whose merges are estimated.`,
    }),
    7e9,
    shown("7B"),
  ),
  folder: optional(
    option("--folder", path({ metavar: "DIR", type: "directory" }), {
      description: message`Where the disk is measured, with a file of at most 128 MiB that is removed [the folder for temporary files].`,
    }),
  ),
  noDisk: option("--no-disk", { description: message`Leave the disk out.` }),
  quick: option("--quick", { description: message`Less of everything: a few seconds, rougher figures.` }),
});

/** What the shared options amount to. */
export interface RequestOptions {
  readonly seed: string | undefined;
  readonly compat: MergeRequest["compat"];
  readonly nonFinite: MergeRequest["nonFinite"];
  readonly overflow: MergeRequest["overflow"];
  readonly rounding: MergeRequest["rounding"];
  readonly allowMissing: boolean;
  readonly loraMergeDtype: "float32" | "bfloat16" | "float16" | undefined;
  readonly workers: number | undefined;
  readonly memory: number;
  readonly slice: number | undefined;
  readonly outShardSize: number;
  readonly noCopyTokenizer: boolean;
  readonly noModelCard: boolean;
  readonly noChecksum: boolean;
  readonly noSync: boolean;
}

export function toRequest(recipe: RecipeText, o: RequestOptions): MergeRequest {
  return {
    recipe,
    workers: o.workers ?? null,
    memoryBytes: o.memory,
    sliceElements: o.slice ?? null,
    seed: o.seed ?? null,
    compat: o.compat,
    nonFinite: o.nonFinite,
    overflow: o.overflow,
    rounding: o.rounding,
    outShardBytes: o.outShardSize,
    copyTokenizer: !o.noCopyTokenizer,
    writeModelCard: !o.noModelCard,
    allowMissing: o.allowMissing,
    loraMergeDtype: o.loraMergeDtype === undefined ? null : dtypeNamed(o.loraMergeDtype),
    checksum: !o.noChecksum,
    sync: !o.noSync,
  };
}
