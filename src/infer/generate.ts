// Continues texts token by token, many of them side by side.

import { fail } from "../errors.ts";
import { batchRows, positionBytes } from "./memory.ts";
import type { Network, Run } from "./network.ts";
import { draw, uniform } from "./sample.ts";

export interface GenerateOptions {
  /** New tokens of a text, at most. */
  readonly maxTokens: number;
  /** A text ends with one of these, which is not part of what is given back. */
  readonly stops: readonly number[];
  /** 0: always the likeliest token. */
  readonly temperature: number;
  /** Of draws at a temperature above 0. */
  readonly seed: string;
  readonly signal?: AbortSignal;
  /** Is told every new token as it comes. */
  readonly onToken?: (text: number, token: number) => void;
  /** Awaited between steps: a page draws and hears its user here. */
  readonly pause?: () => Promise<void> | void;
}

export const greedy = { temperature: 0, seed: "42" } as const;

/** Keys and values of texts that run side by side, at most; one text may have more. */
const cacheBytes = 256 * 1024 * 1024;
const mostTexts = 512;

/**
 * The new tokens of every prompt. What a text gets does not depend on the others.
 *
 * @throws BraidError `usage` when a prompt is empty, or longer than the model's context with what is to follow.
 */
export async function generate(
  network: Network,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<number[][]> {
  const empty = prompts.findIndex((p) => p.length === 0);
  if (empty >= 0) fail("usage", `Cannot continue prompt ${empty + 1}: it has no tokens`);
  const longest = prompts.reduce((most, p) => Math.max(most, p.length), 0);
  // The last new token is never fed back.
  const context = longest + options.maxTokens - 1;
  const room = Math.min(cacheBytes, network.spareBytes / 2);
  const side = Math.floor(room / (positionBytes(network.architecture) * context));
  const texts = Math.min(prompts.length, mostTexts, Math.max(1, side));
  if (texts === 0 || options.maxTokens < 1) return prompts.map(() => []);
  const rows = prompts.slice(0, texts).reduce((sum, p) => sum + p.length, 0);
  network.reserve(texts, context, Math.min(batchRows, Math.max(rows, longest)));
  const out: number[][] = prompts.map(() => []);
  for (let first = 0; first < prompts.length; first += texts) {
    await continueTexts(network, prompts.slice(first, first + texts), first, out, options);
  }
  return out;
}

async function continueTexts(
  network: Network,
  prompts: readonly (readonly number[])[],
  first: number,
  out: readonly number[][],
  { maxTokens, stops, temperature, seed, signal, onToken, pause }: GenerateOptions,
): Promise<void> {
  let runs: Run[] = prompts.map((tokens, text) => ({ text, start: 0, tokens }));
  while (runs.length > 0) {
    signal?.throwIfAborted();
    const next: Run[] = [];
    network.forward(runs, (run, position, logits) => {
      const { text } = runs[run]!;
      const u = temperature === 0 ? 0 : uniform(seed, first + text, position);
      const token = draw(logits, temperature, u, network.exp);
      if (stops.includes(token)) return;
      const tokens = out[first + text]!;
      tokens.push(token);
      onToken?.(first + text, token);
      if (tokens.length < maxTokens) next.push({ text, start: position + 1, tokens: [token] });
    });
    runs = next;
    await pause?.();
  }
}
