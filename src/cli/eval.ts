// `braid eval`: how many prompts a small model answers to the last character.

import { fail } from "../errors.ts";
import { scoreExactMatch } from "../infer/score.ts";
import { formatSeconds, formatShare, formatTable, printable } from "./format.ts";
import type { Context } from "./main.ts";
import { openRunnable, readPrompts } from "./network.ts";
import type { CommandOf } from "./program.ts";
import { ProgressLine } from "./terminal.ts";

/** Accuracy as tables have it: "98.33 %". */
export const percent = (x: number): string => formatShare(Math.round(x * 1e4) / 1e4);

export const mean = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0) / numbers.length;

export async function runEval(command: CommandOf<"eval">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const { signal } = context;
  if (command.prompts.length === 0)
    fail("usage", "Cannot score: no prompts are given", { hint: "Give --prompts FILE.jsonl." });
  const files = readPrompts(command.prompts, process.cwd()).map((f) => ({
    ...f,
    cases: f.cases.slice(0, command.limit),
  }));
  const started = performance.now();
  const { network, tokenizer } = await openRunnable(command.model, command.memory, context);
  const progress = new ProgressLine(err, () => performance.now());
  const results = [];
  try {
    for (const { name, cases } of files) {
      if (!command.quiet) progress.note(`${name}: ${cases.length} prompts`);
      const { maxTokens } = command;
      const score = await scoreExactMatch(network, tokenizer, cases, { signal, ...(maxTokens ? { maxTokens } : {}) });
      const wrong = cases.flatMap((c, i) => (score.answers[i] === c.answer ? [] : [{ ...c, said: score.answers[i]! }]));
      results.push({ name, correct: score.correct, total: score.total, accuracy: score.accuracy, wrong });
    }
  } finally {
    progress.clear();
  }
  const seconds = (performance.now() - started) / 1000;
  const average = mean(results.map((r) => r.accuracy));
  const shown = results.map((r) => ({ ...r, wrong: r.wrong.slice(0, command.wrong) }));
  if (command.json) {
    const { byteLength } = network;
    out.write(
      `${JSON.stringify({ model: command.model, tasks: shown, mean: average, seconds, memoryBytes: byteLength }, null, 2)}\n`,
    );
    return 0;
  }
  const rows = [
    ...results.map((r) => [printable(r.name), percent(r.accuracy), `${r.correct} of ${r.total}`]),
    ...(results.length > 1 ? [["mean", percent(average), ""]] : []),
  ];
  out.write(formatTable(rows, [1, 2]));
  for (const { name, wrong } of shown) {
    for (const w of wrong) {
      out.write(`${printable(name)}: ${printable(w.prompt)}${printable(w.said)}   expected ${printable(w.answer)}\n`);
    }
  }
  if (!command.quiet && err.isTTY) err.write(`in ${formatSeconds(seconds)}\n`);
  return 0;
}
