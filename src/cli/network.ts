// A small model that a command line names, ready to run, and the prompts that go with it.

import { readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { localFiles } from "../bytes/file.ts";
import { fail, quote } from "../errors.ts";
import { type Network, openNetwork } from "../infer/network.ts";
import { type Case, parseCases } from "../infer/score.ts";
import { openTokenizer, type Tokenizer } from "../infer/tokenizer.ts";
import { compileKernel } from "../kernel/kernel.ts";
import { openCheckpoint } from "../tensor/checkpoint.ts";
import { resolveModel } from "../tensor/locate.ts";
import { readPlaces } from "./environment.ts";
import type { Context } from "./main.ts";
import { writeDiagnostic } from "./terminal.ts";

/** A file of prompts. */
const maxPromptBytes = 64 * 1024 * 1024;

export interface Runnable {
  readonly network: Network;
  readonly tokenizer: Tokenizer;
}

export async function openRunnable(reference: string, memoryBytes: number, context: Context): Promise<Runnable> {
  const location = await resolveModel(reference, readPlaces(context.env), localFiles);
  const checkpoint = await openCheckpoint(reference, location.folder, { file: location.file });
  for (const warning of checkpoint.warnings) writeDiagnostic(context.terminal.err, "warning", warning);
  const tokenizer = await openTokenizer(location.folder);
  const network = await openNetwork(checkpoint, location.folder, compileKernel(), {
    memoryBytes,
    signal: context.signal,
  });
  return { network, tokenizer };
}

export interface PromptFile {
  /** Without folder and ending. */
  readonly name: string;
  readonly cases: readonly Case[];
  readonly text: string;
}

/** Reads files of prompts; a folder stands for its .jsonl files. */
export function readPrompts(names: readonly string[], cwd: string): PromptFile[] {
  const files = names.flatMap((name) => {
    const full = resolve(cwd, name);
    if (localFiles.kind(full) !== "folder") return [full];
    const inside = readdirSync(full).filter((file) => file.endsWith(".jsonl"));
    if (inside.length === 0)
      fail("file-not-found", `Cannot read prompts of ${quote(name, 4096)}: the folder has no .jsonl files`);
    return inside.sort().map((file) => join(full, file));
  });
  return files.map((file) => {
    const text = localFiles.readText(file, maxPromptBytes);
    return { name: basename(file).replace(/\.jsonl?$/, ""), cases: parseCases(text, file), text };
  });
}
