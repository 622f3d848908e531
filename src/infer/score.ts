// Exact match: the share of prompts whose greedy continuation is the expected answer, to the last character.

import { fail, quote } from "../errors.ts";
import { isRecord } from "../tensor/config.ts";
import { generate, greedy } from "./generate.ts";
import type { Network } from "./network.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface Case {
  readonly prompt: string;
  readonly answer: string;
}

export interface Score {
  readonly correct: number;
  readonly total: number;
  readonly accuracy: number;
  /** What the model said, by case. */
  readonly answers: readonly string[];
}

export interface ScoreOptions {
  /** [the longest answer in tokens, and one: the end]. */
  readonly maxTokens?: number;
  readonly signal?: AbortSignal;
  readonly pause?: () => Promise<void> | void;
}

/** Names that data sets give to the two texts. */
const answerKeys = ["answer", "completion", "target"] as const;

/**
 * Cases of a JSONL text: an object with `prompt` and `answer` on every line. Blank lines are skipped.
 *
 * @throws BraidError `prompts` naming file and line.
 */
export function parseCases(text: string, file: string): Case[] {
  const cases: Case[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const wrong = (what: string): never =>
      fail("prompts", `Cannot read line ${i + 1} of ${quote(file, 4096)}: ${what}`, {
        hint: 'Every line is an object like {"prompt": "2+2=", "answer": "4"}.',
      });
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      wrong("it is not JSON");
    }
    if (!isRecord(value)) return wrong("it is not an object");
    const { prompt } = value;
    const answer = answerKeys.map((key) => value[key]).find((v) => typeof v === "string");
    if (typeof prompt !== "string" || prompt === "") return wrong('it has no text "prompt"');
    if (typeof answer !== "string") return wrong('it has no text "answer"');
    cases.push({ prompt, answer });
  }
  if (cases.length === 0) fail("prompts", `Cannot read ${quote(file, 4096)}: it has no prompts`);
  return cases;
}

/**
 * Continues every prompt greedily and compares. An answer that is right ends there, so one token more than the longest answer is
 * enough to tell.
 */
export async function scoreExactMatch(
  network: Network,
  tokenizer: Tokenizer,
  cases: readonly Case[],
  options: ScoreOptions = {},
): Promise<Score> {
  const { signal, pause } = options;
  const longest = cases.reduce((most, c) => Math.max(most, tokenizer.encode(c.answer, true).length), 0);
  const maxTokens = options.maxTokens ?? longest + 1;
  const prompts = cases.map((c) => tokenizer.encode(c.prompt));
  const tokens = await generate(network, prompts, {
    maxTokens,
    stops: stopsOf(network, tokenizer),
    ...greedy,
    ...(signal ? { signal } : {}),
    ...(pause ? { pause } : {}),
  });
  const answers = tokens.map((t) => tokenizer.decode(t));
  const correct = answers.filter((a, i) => a === cases[i]!.answer).length;
  return { correct, total: cases.length, accuracy: correct / cases.length, answers };
}

/** Tokens that end a text: the tokenizer's and the config's. */
export function stopsOf(network: Network, tokenizer: Tokenizer): number[] {
  return [...new Set([...tokenizer.stops, ...network.architecture.stops])];
}
