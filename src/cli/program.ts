// The grammar of the command line: every command, its options and its help. Parsing only; nothing is run here.

import { merge, object, or } from "@optique/core/constructs";
import { runParser } from "@optique/core/facade";
import { lineBreak, type Message, message, optionName, text } from "@optique/core/message";
import { multiple, optional } from "@optique/core/modifiers";
import type { InferValue } from "@optique/core/parser";
import { argument, command, constant, option } from "@optique/core/primitives";
import { findSimilar } from "@optique/core/suggestion";
import { extractOptionNames } from "@optique/core/usage";
import { integer, string } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { exitCodes } from "../errors.ts";
import { maxRank } from "../tensor/adapter.ts";
import { analyzeCommand } from "./analyze-command.ts";
import { applyCommand } from "./apply-command.ts";
import { compatNote, compatOptions } from "./compat-options.ts";
import { extractCommand } from "./extract-command.ts";
import { chatCommand, evalCommand } from "./infer-commands.ts";
import { nodeOptions, nodeTokenOption, nodeUrl, serveOptions } from "./node-options.ts";
import {
  benchOptions,
  defaultTrace,
  layoutOptions,
  machineOptions,
  mergeMachineOptions,
  missing,
  numberOptions,
  profileOptions,
  recipeArgument,
  talkOptions,
} from "./options.ts";
import { queueOptions, workerOptions } from "./queue-options.ts";
import { reportCommand } from "./report-command.ts";
import { sweepCommand } from "./sweep-command.ts";
import type { Screen, Terminal } from "./terminal.ts";

export const version = "0.1.0";

/** Lines of text as one message: a message collapses plain line breaks. */
function lines(...parts: readonly string[]): Message {
  return parts.flatMap((part, i) => (i === 0 ? [text(part)] : [lineBreak(), text(part)]));
}

const mergeCommand = command(
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

const planCommand = command(
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

const checkCommand = command(
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

const inspectCommand = command(
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

const benchCommand = command("bench", merge(object({ command: constant("bench") }), benchOptions, talkOptions), {
  brief: message`Measure what merges would take on this machine.`,
  description: message`Runs the kernels of every pattern on made-up models in memory, then memory, SHA-256 and a disk, and estimates merges of a model from it. About ten seconds.`,
  usageLine: [{ type: "literal", value: "[OPTIONS]" }],
  footer: lines(
    "Examples:",
    "  braid bench",
    "  braid bench --quick --models 5 --parameters 70B --folder /data",
    "  braid bench --json > machine.json",
  ),
});

const serveCommand = command("serve", merge(object({ command: constant("serve") }), serveOptions, talkOptions), {
  brief: message`Be a node: run slices of merges for others.`,
  description: message`Listens for tasks, runs this machine's own kernels on them and answers with the bytes. No code is taken, and nothing is read or fetched but what is allowed here.`,
  usageLine: [{ type: "literal", value: "[OPTIONS]" }],
  footer: lines(
    "Examples:",
    "  braid serve",
    "  braid serve --allow-root /models --workers 4",
    "  braid serve --host 0.0.0.0 --token-file token --insecure-http",
  ),
});

const workerCommand = command("worker", merge(object({ command: constant("worker") }), workerOptions, talkOptions), {
  brief: message`Take tasks of merges from a queue.`,
  description: message`Takes tasks from a NATS server, runs this machine's own kernels on them and brings the bytes to the merge they are of. Runs until it is stopped; merges come and go.`,
  usageLine: [
    { type: "literal", value: "--queue URL" },
    { type: "literal", value: "[OPTIONS]" },
  ],
  footer: lines(
    "Examples:",
    "  braid worker --queue nats://10.0.0.1:4222 --token-file token",
    "  braid worker --queue nats://10.0.0.1 --allow-root /models --idle 600",
  ),
});

const nodesCommand = command(
  "nodes",
  merge(
    object({
      command: constant("nodes"),
      urls: multiple(argument(nodeUrl, { description: message`Address of a node.`, errors: missing("URL") }), {
        min: 1,
      }),
    }),
    object("Nodes", { nodeTokenFile: nodeTokenOption }),
    talkOptions,
  ),
  {
    brief: message`Show what nodes are, and how fast.`,
    description: message`Asks every node for its version, kernels and cores, and times a slice of 8 MiB. The exit code is 69 when one does not answer or has other kernels.`,
    usageLine: [
      { type: "argument", metavar: "URL" },
      { type: "literal", value: "... [OPTIONS]" },
    ],
    footer: lines("Example:", "  braid nodes http://10.0.0.2:7433 --node-token-file token"),
  },
);

const commandNames = [
  "merge",
  "plan",
  "check",
  "inspect",
  "analyze",
  "report",
  "extract",
  "apply",
  "bench",
  "serve",
  "worker",
  "nodes",
  "chat",
  "eval",
  "sweep",
  "completions",
];

/** An unknown word or option, with the nearest one that is known where it stands. */
function unexpected(args: readonly string[], token: string): Message {
  const index = commandNames.indexOf(args.find((arg) => !arg.startsWith("-")) ?? "");
  const inside = index >= 0 ? commands[index] : undefined;
  if (token.startsWith("-")) {
    const known = inside ? [...extractOptionNames(inside.usage), "--help"] : ["--help", "--version"];
    const name = token.replace(/=.*/s, "");
    if (known.includes(name)) return message`Option ${optionName(name)} must come after the command.`;
    return hint(message`Unknown option ${optionName(name)}.`, name, known);
  }
  return inside
    ? message`Unexpected argument ${token}: ${text(`braid ${commandNames[index]}`)} takes no more.`
    : hint(message`Unknown command ${token}.`, token, commandNames);
}

function hint(base: Message, token: string, known: readonly string[]): Message {
  const [nearest] = findSimilar(token, known, { maxDistance: 3, maxSuggestions: 1 });
  return nearest === undefined ? base : [...base, text(` Did you mean ${nearest}?`)];
}

const commands = [
  mergeCommand,
  planCommand,
  checkCommand,
  inspectCommand,
  analyzeCommand,
  reportCommand,
  extractCommand,
  applyCommand,
  benchCommand,
  serveCommand,
  workerCommand,
  nodesCommand,
  chatCommand,
  evalCommand,
  sweepCommand,
] as const;

function createProgram(args: readonly string[]) {
  const errors = { unexpectedInput: (token: string) => unexpected(args, token) };
  return or(
    mergeCommand,
    planCommand,
    checkCommand,
    inspectCommand,
    analyzeCommand,
    reportCommand,
    extractCommand,
    applyCommand,
    benchCommand,
    serveCommand,
    workerCommand,
    nodesCommand,
    chatCommand,
    evalCommand,
    sweepCommand,
    {
      errors,
    },
  );
}

export type Command = InferValue<ReturnType<typeof createProgram>>;
export type CommandOf<Name extends Command["command"]> = Extract<Command, { command: Name }>;

const exitCodeText =
  "0 done · 2 usage or recipe · 65 bad data · 66 input missing · 69 node unavailable · 73 cannot create output · 74 input/output · 76 verification failed · 77 denied · 130/143 stopped by a signal";

/** Options with a file that may be left out: what its name ends in, so that RECIPE and OUT are not taken for it, and its default. */
const fileOptions = new Map([
  ["--profile", { ending: ".json", file: defaultTrace }],
  ["--report", { ending: ".html", file: "" }],
]);

/** Gives a `--profile` or `--report` without a file its default. */
function withFileNames(args: readonly string[]): readonly string[] {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    const option = i < end ? fileOptions.get(arg) : undefined;
    const next = args[i + 1] ?? "";
    if (!option) out.push(arg);
    else if (i + 1 < end && /^[^-]/.test(next) && next.endsWith(option.ending)) out.push(`${arg}=${args[++i]}`);
    else out.push(`${arg}=${option.file}`);
  }
  return out;
}

/** What the arguments ask for, or the exit code when that was help, a version, completions or a mistake. */
export function parseArguments(args: readonly string[], terminal: Terminal): Command | { readonly exit: number } {
  const show = (screen: Screen, page: string) => screen.write(`${page.replace(/ +$/gm, "")}\n`);
  const done = (exit: number) => ({ exit });
  return runParser(createProgram(args), "braid", args.length === 0 ? ["--help"] : withFileNames(args), {
    colors: terminal.out.color,
    maxWidth: Math.min(Math.max(terminal.out.columns(), 60), 120),
    showDefault: { prefix: " [default: ", suffix: "]" },
    showChoices: { prefix: " (", suffix: ")", label: "" },
    aboveError: "none",
    stdout: (page) => show(args.length === 0 ? terminal.err : terminal.out, page),
    // Help is wrapped; an error is one line, however long, so that it can be searched for and cut.
    stderr: (page) =>
      show(terminal.err, page.startsWith("Error: ") ? page.replace(/ *\n/g, " ").replace(/^Error/, "error") : page),
    help: {
      option: { names: ["-h", "--help"], group: "Other" },
      onShow: () => done(args.length === 0 ? exitCodes.usage : exitCodes.ok),
    },
    version: { option: { names: ["--version"], group: "Other" }, value: version, onShow: () => done(exitCodes.ok) },
    completion: {
      command: { names: ["completions"], group: "Other" },
      onShow: (code = 0) => done(code === 0 ? exitCodes.ok : exitCodes.usage),
    },
    onError: () => done(exitCodes.usage),
    usageLine: [
      { type: "argument", metavar: "COMMAND" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    brief: message`Merge fine-tuned language models: DARE, TIES, SLERP and relatives, on safetensors checkpoints.`,
    examples: lines(
      "braid check recipe.yml            what is wrong, before anything is read",
      "braid plan recipe.yml             what would be read, computed and written",
      "braid merge recipe.yml ./merged   the merge",
      "braid inspect ./merged            what came out",
      "braid chat ./merged -p 12+30=     what a small model says",
      "braid analyze base ft-a ft-b      what is in their deltas, and advice",
      "braid sweep recipe.yml --over …   a grid of merges, scored",
      "braid report ./merged             what the merge did, as a page",
      "braid extract base ft out -r 64   a fine-tune as a LoRA adapter",
      "braid apply base+adapter ./out    a model with its adapter, as a checkpoint",
      "braid bench                       what this machine would need",
      "braid serve                       be a node for merges elsewhere",
      "source <(braid completions bash)  completion of commands, options and files",
    ),
    footer: [...message`Every command takes --json and --help. Exit codes: ${text(exitCodeText)}.`],
  });
}
