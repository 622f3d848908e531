// What scores the points of a sweep: prompts with Braid's own inference, or a program that prints a number.

import { spawn } from "node:child_process";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { fail, quote } from "../errors.ts";
import { scoreExactMatch } from "../infer/score.ts";
import type { Evaluator } from "../sweep/sweep.ts";
import { printable } from "./format.ts";
import type { Context } from "./main.ts";
import { openRunnable, type PromptFile } from "./network.ts";

/** Exact match on every file of prompts: a score for each. */
export function promptEvaluator(files: readonly PromptFile[], context: Context, memoryBytes: number): Evaluator {
  const texts = files.map(({ name, text }) => [name, text]);
  return {
    identity: `exact-match-1 ${bytesToHex(sha256(utf8ToBytes(JSON.stringify(texts))))}`,
    async evaluate(out, signal) {
      const { network, tokenizer } = await openRunnable(out, memoryBytes, context);
      const scores: Record<string, number> = {};
      for (const { name, cases } of files) {
        const { accuracy } = await scoreExactMatch(network, tokenizer, cases, { signal, pause: breathe });
        scores[name] = accuracy;
      }
      return scores;
    },
  };
}

/** Signals are heard between steps. */
const breathe = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/**
 * Words of a command line: blanks part them, quotes of both kinds join, a backslash takes the next character as it is (in single quotes
 * it is one). Nothing else means anything: no variables, no patterns, no pipes.
 *
 * @throws BraidError `usage` for a quote that is not closed.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quoted: string | null = null;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === "\\" && quoted !== "'" && i + 1 < text.length) word = (word ?? "") + text[++i]!;
    else if (quoted !== null) {
      if (c === quoted) quoted = null;
      else word += c;
    } else if (c === "'" || c === '"') {
      quoted = c;
      word ??= "";
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? "") + c;
  }
  if (quoted !== null) fail("usage", `Cannot read --eval ${quote(text, 500)}: a ${quoted} is not closed`);
  if (word !== null) words.push(word);
  if (words.length === 0) fail("usage", "Cannot read --eval: it is empty");
  return words;
}

const number = /[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?/g;

/** The score in what a program printed: the first group of the last match of a pattern, or the last number. */
export function findScore(printed: string, pattern: RegExp | null): number | null {
  const matches = [...printed.matchAll(pattern ?? number)];
  const last = matches.at(-1);
  const text = last === undefined ? undefined : (last[1] ?? last[0]);
  const value = text === undefined ? Number.NaN : Number(text);
  return text?.trim() === "" || !Number.isFinite(value) ? null : value;
}

/** What a program prints is kept up to here; a score stands at its end. */
const maxPrinted = 1 << 20;
const shownTail = 300;

export interface CommandOptions {
  readonly command: string;
  readonly pattern: string | undefined;
  readonly timeoutSeconds: number;
  readonly cwd: string;
}

export function commandEvaluator({ command, pattern, timeoutSeconds, cwd }: CommandOptions): Evaluator {
  const words = splitWords(command);
  if (!words.some((w) => w.includes("{out}"))) {
    fail("usage", `Cannot score by ${quote(command, 500)}: it does not name {out}, the merged folder`);
  }
  let regex: RegExp | null = null;
  try {
    regex = pattern === undefined ? null : new RegExp(pattern, "g");
  } catch (cause) {
    fail("usage", `Cannot read --score ${quote(pattern!)}: ${(cause as Error).message}`, { cause });
  }
  return {
    identity: `command-1 ${JSON.stringify([words, pattern ?? null])}`,
    async evaluate(out, signal) {
      // Each word is substituted after the command was cut into words: a path never becomes several, or anything else.
      const [program, ...args] = words.map((w) => w.replaceAll("{out}", () => out));
      const { code, printed, complaint } = await runProgram(program!, args, cwd, timeoutSeconds, signal);
      const tail = printable((complaint.trim() || printed.trim()).slice(-shownTail));
      if (code !== 0) {
        fail("sweep", `Cannot score ${quote(out, 4096)}: ${quote(program!)} ended with ${code}`, {
          hint: tail === "" ? "It printed nothing." : `It printed: ${tail}`,
        });
      }
      const score = findScore(printed, regex);
      if (score === null) {
        fail(
          "sweep",
          `Cannot score ${quote(out, 4096)}: ${quote(program!)} printed no ${pattern === undefined ? "number" : `match of ${quote(pattern)}`}`,
          {
            hint: tail === "" ? "It printed nothing." : `It printed: ${tail}`,
          },
        );
      }
      return { score };
    },
  };
}

interface Ended {
  readonly code: number | string;
  readonly printed: string;
  readonly complaint: string;
}

function runProgram(
  program: string,
  args: readonly string[],
  cwd: string,
  seconds: number,
  signal: AbortSignal,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const child = spawn(program, [...args], { cwd, shell: false, stdio: ["ignore", "pipe", "pipe"], detached: true });
    let [printed, complaint] = ["", ""];
    let late = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      printed = (printed + text).slice(-maxPrinted);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaint = (complaint + text).slice(-maxPrinted);
    });
    // A script's own children go with it: they would hold its output open. The program leads a process group for that.
    const kill = (name: "SIGTERM" | "SIGKILL") => {
      try {
        process.kill(-child.pid!, name);
      } catch {
        child.kill(name);
      }
    };
    const stop = () => kill("SIGTERM");
    const timer = setTimeout(() => {
      late = true;
      kill("SIGKILL");
    }, seconds * 1000);
    signal.addEventListener("abort", stop, { once: true });
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    };
    child.on("error", (cause: NodeJS.ErrnoException) => {
      end();
      const why = cause.code === "ENOENT" ? "there is no such program" : (cause.code ?? cause.message);
      try {
        fail("sweep", `Cannot start ${quote(program)}: ${why}`, { cause });
      } catch (e) {
        reject(e);
      }
    });
    child.on("close", (code, name) => {
      end();
      if (signal.aborted) reject(signal.reason);
      else resolve({ code: late ? `SIGKILL after ${seconds} s` : (code ?? name ?? "nothing"), printed, complaint });
    });
  });
}
