// `braid sweep`: a table of points and scores that grows, and the best of them.

import { mkdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fail } from "../errors.ts";
import { createThreadPool } from "../exec/threads.ts";
import type { MergeEvent } from "../host.ts";
import { mostMemoryBytes } from "../infer/memory.ts";
import { compileKernel } from "../kernel/kernel.ts";
import { parseSweep } from "../report-page/sweep-file.ts";
import { sweepPage } from "../report-page/sweep-page.ts";
import { parseAxes } from "../sweep/axes.ts";
import { type PointResult, type SweepEvent, type SweepResult, sweep } from "../sweep/sweep.ts";
import { scoreNames, sweepCsv } from "../sweep/table.ts";
import { programName } from "./environment.ts";
import { percent } from "./eval.ts";
import { commandEvaluator, promptEvaluator } from "./evaluator.ts";
import { formatSeconds, formatTable, formatValue, plural, printable } from "./format.ts";
import { createHost } from "./host.ts";
import { journalFile, writeWhole } from "./journal-file.ts";
import type { Context } from "./main.ts";
import { readPrompts } from "./network.ts";
import { toRequest } from "./options.ts";
import type { CommandOf } from "./program.ts";
import { readRecipe } from "./recipe-text.ts";
import { ProgressLine, paint, writeDiagnostic } from "./terminal.ts";

const workerEntry = new URL("./worker.ts", import.meta.url);

const valuesText = (values: Readonly<Record<string, string>>) =>
  Object.entries(values)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

/** The folder of a point: its number, and its values as far as they are plain. */
function folderOf(index: number, values: Readonly<Record<string, string>>): string {
  const plain = valuesText(values)
    .replace(/[^\w.=-]+/g, "_")
    .slice(0, 80);
  return `${String(index + 1).padStart(3, "0")}-${plain}`;
}

export async function runSweep(command: CommandOf<"sweep">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const talkative = !command.quiet && !command.json;
  const axes = parseAxes(command.over);
  if (axes.length === 0)
    fail("usage", "Cannot sweep: nothing varies", { hint: "Give --over, for example --over drop_rate=0.8,0.9." });
  if (command.seed !== undefined && axes.some((a) => ["seed", "random_seed"].includes(a.name))) {
    fail("usage", "Cannot sweep over seeds with --seed: it would be the seed of every point");
  }
  if (command.prompts.length > 0 === (command.eval !== undefined)) {
    fail(
      "usage",
      `Cannot sweep ${command.eval === undefined ? "without an evaluation" : "by two evaluations"}: give --prompts FILE.jsonl or --eval COMMAND`,
    );
  }
  if (command.score !== undefined && command.eval === undefined) fail("usage", "Cannot use --score without --eval");
  const cwd = process.cwd();
  const exact = command.eval === undefined;
  const evaluator =
    command.eval === undefined
      ? promptEvaluator(readPrompts(command.prompts, cwd), context, mostMemoryBytes)
      : commandEvaluator({ command: command.eval, pattern: command.score, timeoutSeconds: command.evalTimeout, cwd });
  const module = compileKernel();
  const progress = new ProgressLine(err, () => performance.now());
  let now = "";
  const host = createHost({
    ...context,
    report: (event: MergeEvent): void => {
      if (event.type === "warning") {
        progress.clear();
        writeDiagnostic(err, "warning", event.diagnostic);
      } else if (event.type === "progress" && !command.quiet) progress.update({ ...event, label: now });
    },
    createExecutor: (job, workers) =>
      createThreadPool({ module, workers, job, entry: workerEntry, timeOrigin: performance.timeOrigin }),
  });
  const recipe = await readRecipe(command.recipe, cwd, context.signal);
  const stem = command.recipe === "-" ? "recipe" : basename(command.recipe).replace(/\.ya?ml$/i, "");
  const folder = resolve(cwd, command.out ?? `${stem}-sweep`);
  const journalName = join(folder, "sweep.jsonl");
  const score = (x: number) => (exact ? percent(x) : formatValue(x));
  const line = ({ values, scores, score: s, known }: PointResult) => {
    const names = Object.keys(scores);
    const each = names.length > 1 ? `  (${names.map((n) => `${printable(n)} ${score(scores[n]!)}`).join(", ")})` : "";
    return `${printable(valuesText(values))}  ${score(s)}${each}${known ? "  known" : ""}`;
  };
  const report = (event: SweepEvent): void => {
    if (event.type === "planned" && talkative) {
      progress.clear();
      out.write(
        `${plural(event.points, "point")}${event.known > 0 ? `, ${event.known} known from ${printable(journalName)}` : ""}\n`,
      );
    } else if (event.type === "point") {
      now = `${event.index + 1}/${event.points} ${valuesText(event.values)}`;
      if (!command.quiet && event.step === "score") progress.note(`${now}: scoring`);
    } else if (event.type === "found" && talkative && err.isTTY) {
      progress.clear();
      err.write(`${event.index + 1}/${event.points}  ${line(event.result)}\n`);
    }
  };
  const request = toRequest(recipe, { ...command, ...plainOutput(command.keep) });
  let result: SweepResult;
  try {
    result = await sweep(
      request,
      {
        axes,
        evaluator,
        by: command.by ?? null,
        lowest: command.lowest,
        keep: command.keep,
        place: (index, { values }) => join(folder, folderOf(index, values)),
        journal: journalFile(journalName),
        journalName,
        report,
      },
      // Points are compared, not shipped: only those that stay need to survive a power failure.
      host,
    );
  } finally {
    progress.clear();
  }
  mkdirSync(folder, { recursive: true });
  const best = result.points[result.best]!;
  const document = {
    format: "braid-sweep-1",
    recipe: command.recipe,
    evaluator: evaluator.identity,
    lowest: command.lowest,
    by: command.by ?? null,
    ...result,
  };
  await writeWhole(join(folder, "sweep.csv"), sweepCsv(result));
  await writeWhole(join(folder, "sweep.json"), `${JSON.stringify(document, null, 2)}\n`);
  const text = JSON.stringify(document);
  await writeWhole(join(folder, "sweep.html"), sweepPage(parseSweep(text, "sweep.json")));
  if (command.json) out.write(`${JSON.stringify({ folder, ...document }, null, 2)}\n`);
  else if (talkative) {
    const names = scoreNames(result);
    const shown = names.length > 1 ? [...names, "mean"] : names;
    const byName = (p: PointResult, n: string) => (n === "mean" && names.length > 1 ? p.score : p.scores[n]);
    const rows = [
      [...axes.map((a) => printable(a.name)), ...shown.map(printable), "merge", "score", ""],
      ...result.points.map((p, i) => [
        ...axes.map((a) => printable(p.values[a.name]!)),
        ...shown.map((n) => {
          const value = byName(p, n);
          return value === undefined ? "–" : score(value);
        }),
        formatSeconds(p.mergeSeconds),
        formatSeconds(p.evalSeconds),
        [i === result.best ? "best" : "", p.known ? "known" : ""].filter(Boolean).join(", "),
      ]),
    ];
    out.write(formatTable(rows, rows[0]!.map((_, i) => i).slice(0, -1)));
    const { shared, run } = result.surveys;
    if (shared > 0) out.write(`  ${plural(shared, "survey")} of ${shared + run} shared between points\n`);
    out.write(`${paint(out, "bold", "Best")}  ${printable(valuesText(best.values))}  ${score(best.score)}\n`);
    out.write(`Written: ${printable(join(command.out ?? `${stem}-sweep`, "sweep.csv"))}, sweep.json, sweep.html\n`);
    if (!command.keep) {
      out.write(
        `\nNext: set these values in the recipe, and ${programName(context.env)} merge ${printable(command.recipe)} ./merged\n`,
      );
    }
  }
  return 0;
}

/** A checkpoint that is removed after its score needs no card, and nobody waits for its disk. */
const plainOutput = (keep: boolean) => ({
  outShardSize: 5e9,
  noCopyTokenizer: false,
  noModelCard: !keep,
  noChecksum: false,
  noSync: !keep,
});
