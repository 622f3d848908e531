// The grammar of the command line: what its commands have in common, and its help. Parsing only; nothing is run here.

import { or } from "@optique/core/constructs";
import { runParser } from "@optique/core/facade";
import { type Message, message, optionName, text } from "@optique/core/message";
import type { InferValue, Parser } from "@optique/core/parser";
import { findSimilar } from "@optique/core/suggestion";
import { extractOptionNames } from "@optique/core/usage";
import { exitCodes } from "../errors.ts";
import { lines } from "./help.ts";
import { defaultTrace } from "./options.ts";
import type { Screen, Terminal } from "./terminal.ts";

export const version = "0.1.0";

/**
 * The grammar of each command, in the order of the help. To make them all takes longer than to read a recipe, so that a command
 * that is named makes its own only.
 */
const grammars = {
  merge: async () => (await import("./merge-commands.ts")).mergeCommand,
  plan: async () => (await import("./merge-commands.ts")).planCommand,
  check: async () => (await import("./merge-commands.ts")).checkCommand,
  inspect: async () => (await import("./inspect-command.ts")).inspectCommand,
  analyze: async () => (await import("./analyze-command.ts")).analyzeCommand,
  report: async () => (await import("./report-command.ts")).reportCommand,
  extract: async () => (await import("./extract-command.ts")).extractCommand,
  apply: async () => (await import("./apply-command.ts")).applyCommand,
  bench: async () => (await import("./bench-command.ts")).benchCommand,
  serve: async () => (await import("./node-commands.ts")).serveCommand,
  worker: async () => (await import("./node-commands.ts")).workerCommand,
  nodes: async () => (await import("./node-commands.ts")).nodesCommand,
  chat: async () => (await import("./infer-commands.ts")).chatCommand,
  eval: async () => (await import("./infer-commands.ts")).evalCommand,
  sweep: async () => (await import("./sweep-command.ts")).sweepCommand,
} as const;

type CommandName = keyof typeof grammars;
type Grammar<Name extends CommandName = CommandName> = Awaited<ReturnType<(typeof grammars)[Name]>>;
export type Command = { [Name in CommandName]: InferValue<Grammar<Name>> }[CommandName];
export type CommandOf<Name extends Command["command"]> = Extract<Command, { command: Name }>;

const isCommand = (word: string | undefined): word is CommandName =>
  word !== undefined && Object.hasOwn(grammars, word);
const commandNames = [...Object.keys(grammars), "completions"];

/** An unknown word or option, with the nearest one that is known where it stands. */
function unexpected(args: readonly string[], token: string, loaded: ReadonlyMap<string, Grammar>): Message {
  const name = args.find((arg) => !arg.startsWith("-")) ?? "";
  const inside = loaded.get(name);
  if (token.startsWith("-")) {
    const known = inside ? [...extractOptionNames(inside.usage), "--help"] : ["--help", "--version"];
    const option = token.replace(/=.*/s, "");
    if (known.includes(option)) return message`Option ${optionName(option)} must come after the command.`;
    return hint(message`Unknown option ${optionName(option)}.`, option, known);
  }
  return inside
    ? message`Unexpected argument ${token}: ${text(`braid ${name}`)} takes no more.`
    : hint(message`Unknown command ${token}.`, token, commandNames);
}

function hint(base: Message, token: string, known: readonly string[]): Message {
  const [nearest] = findSimilar(token, known, { maxDistance: 3, maxSuggestions: 1 });
  return nearest === undefined ? base : [...base, text(` Did you mean ${nearest}?`)];
}

/** The grammar of the command that comes first; of all commands where none does, as in `braid --help`. */
async function createProgram(args: readonly string[]): Promise<Parser<"sync", Command, unknown>> {
  const [first] = args;
  const names = isCommand(first) ? [first] : (Object.keys(grammars) as CommandName[]);
  const loaded = new Map<string, Grammar>();
  for (const name of names) loaded.set(name, await grammars[name]());
  const errors = { unexpectedInput: (token: string) => unexpected(args, token, loaded) };
  return or(...([...loaded.values()] as [Grammar, ...Grammar[]]), { errors });
}

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
export async function parseArguments(
  args: readonly string[],
  terminal: Terminal,
): Promise<Command | { readonly exit: number }> {
  const show = (screen: Screen, page: string) => screen.write(`${page.replace(/ +$/gm, "")}\n`);
  const done = (exit: number) => ({ exit });
  return runParser(await createProgram(args), "braid", args.length === 0 ? ["--help"] : withFileNames(args), {
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
