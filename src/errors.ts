// One error type for everything that can be said to a user. The table below is the whole list of kinds; docs/errors.md
// and test/errors.test.ts are driven by it, so a kind without a test or a line in the docs cannot appear.

/** Exit codes, after sysexits(3) where it has one. */
export const exitCodes = {
  ok: 0,
  usage: 2,
  data: 65,
  input: 66,
  node: 69,
  output: 73,
  io: 74,
  again: 75,
  verify: 76,
  denied: 77,
  interrupted: 130,
  terminated: 143,
} as const;

export type ExitName = keyof typeof exitCodes;

/** Every kind of error: its exit code and, in one line, what it means. */
export const errorKinds = {
  // The command line
  usage: { exit: "usage", means: "the command line is not understood" },
  // The recipe
  "recipe-syntax": { exit: "usage", means: "the recipe is not YAML that mergekit (PyYAML) would read" },
  "recipe-schema": {
    exit: "usage",
    means: "a key or value of the recipe is missing, misspelt, misplaced or of the wrong type",
  },
  "recipe-parameter": {
    exit: "usage",
    means: "a merge parameter is out of range (drop rate 1, density 0, weights that sum to 0 …)",
  },
  "recipe-models": { exit: "usage", means: "the method needs another number of models, or a base_model" },
  "recipe-unsupported": { exit: "usage", means: "a known setting that this version does not carry out yet" },
  "unknown-method": { exit: "usage", means: "merge_method is not a method that Braid has" },
  "memory-budget": { exit: "usage", means: "the plan does not fit the memory given by --memory" },
  // Inputs
  "model-not-found": { exit: "input", means: "a model is neither a path nor in the local Hugging Face cache" },
  "file-not-found": { exit: "input", means: "an input file does not exist" },
  "pickle-input": {
    exit: "data",
    means: "the checkpoint is a pickle (.bin, .pt, .ckpt), which can run code; convert it first",
  },
  "safetensors-header": { exit: "data", means: "a safetensors header is damaged or not allowed" },
  "shard-index": { exit: "data", means: "model.safetensors.index.json is damaged, or does not match its shards" },
  "unsafe-path": { exit: "denied", means: "a file name inside a checkpoint points outside of its folder" },
  "model-config": { exit: "data", means: "config.json or another JSON file of the checkpoint cannot be read" },
  "model-unsupported": { exit: "data", means: "a model whose forward pass `chat`, `eval` and `sweep` do not know" },
  prompts: { exit: "data", means: "a file of prompts and answers cannot be read" },
  tokenizer: {
    exit: "data",
    means: "the files of a tokenizer cannot be read, or vocabularies cannot be brought together",
  },
  "tensor-missing": { exit: "data", means: "a tensor that the merge needs is not in one of the models" },
  "shape-mismatch": { exit: "data", means: "a tensor has different shapes in two models" },
  "vocabulary-mismatch": { exit: "data", means: "embeddings or heads have different vocabulary sizes" },
  adapter: { exit: "data", means: "an adapter that cannot be folded into its model" },
  "dtype-unsupported": { exit: "data", means: "a tensor has a dtype that cannot be merged" },
  "integer-mismatch": { exit: "data", means: "an integer or boolean tensor differs between the models" },
  "non-finite": { exit: "data", means: "an input holds NaN or infinity (see --non-finite)" },
  overflow: { exit: "data", means: "a merged value does not fit the output dtype (see --overflow)" },
  manifest: {
    exit: "data",
    means: "braid.json of an output, or sweep.json, is missing, damaged or of another version",
  },
  "input-changed": { exit: "data", means: "an input file changed while it was read" },
  // Output and input/output
  "output-exists": { exit: "output", means: "the output exists and --overwrite was not given" },
  "output-locked": { exit: "output", means: "another merge is writing to this output" },
  "output-denied": { exit: "output", means: "the output cannot be created there" },
  "no-space": { exit: "io", means: "the output does not fit the free space" },
  io: { exit: "io", means: "the operating system could not read or write" },
  "worker-died": { exit: "io", means: "a worker thread stopped" },
  "node-unavailable": { exit: "node", means: "a node cannot be reached, or does not take part" },
  "node-answer": { exit: "verify", means: "what a node answered is damaged or wrong" },
  "kernel-mismatch": { exit: "verify", means: "the kernels are not the ones that the plan names" },
  sweep: { exit: "again", means: "a point of a sweep could not be scored; the points before it are kept" },
  interrupted: { exit: "interrupted", means: "stopped by SIGINT; nothing that looks finished was left" },
  terminated: { exit: "terminated", means: "stopped by SIGTERM; nothing that looks finished was left" },
} as const satisfies Record<string, { exit: ExitName; means: string }>;

export type ErrorKind = keyof typeof errorKinds;

/** A place in a text file, counted from 1. */
export interface Position {
  file: string;
  line: number;
  column: number;
}

/** One thing that is wrong, or (as a warning) odd. `where` is a position in the recipe when there is one. */
export interface Diagnostic {
  kind: ErrorKind;
  message: string;
  where?: Position;
  /** What to do about it, as one sentence or command. */
  hint?: string;
}

/** `file:line:column: message` and the hint on a line of its own. */
export function formatDiagnostic(d: Diagnostic): string {
  const place = d.where ? `${d.where.file}:${d.where.line}:${d.where.column}: ` : "";
  return `${place}${d.message}${d.hint ? `\n  ${d.hint}` : ""}`;
}

/** The one error that Braid throws at its users. It carries every diagnostic found, never only the first. */
export class BraidError extends Error {
  readonly diagnostics: readonly Diagnostic[];

  constructor(first: Diagnostic | readonly Diagnostic[], options?: ErrorOptions) {
    const list = Array.isArray(first) ? (first as readonly Diagnostic[]) : [first as Diagnostic];
    super(list.map(formatDiagnostic).join("\n"), options);
    this.name = "BraidError";
    this.diagnostics = list;
  }

  get kind(): ErrorKind {
    return this.diagnostics[0]!.kind;
  }

  get exitCode(): number {
    return exitCodes[errorKinds[this.kind].exit];
  }
}

/** Shorthand for the common case of one diagnostic. */
export function fail(
  kind: ErrorKind,
  message: string,
  extra: { where?: Position; hint?: string; cause?: unknown } = {},
): never {
  const { cause, ...rest } = extra;
  throw new BraidError({ kind, message, ...rest }, cause === undefined ? undefined : { cause });
}

export function isBraidError(e: unknown): e is BraidError {
  return e instanceof BraidError;
}

const printable = /[^\u0020-\u007e\u00a0-\uffff]|[\u200b-\u200f\u2028-\u202f\u2066-\u2069\ufeff]/gu;

/** A name that came from a file, quoted for a message: control and bidirectional characters are written as \u{…}. */
export function quote(name: string, limit = 200): string {
  const cut = name.length > limit ? `${name.slice(0, limit)}…` : name;
  return `"${cut.replace(printable, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`)}"`;
}
