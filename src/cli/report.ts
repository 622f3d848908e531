// `braid report`, and the report of `braid merge --report`: reads what there is, writes one page.

import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { localFiles } from "../bytes/file.ts";
import { fail, isBraidError, quote } from "../errors.ts";
import { fileOpener } from "../exec/local.ts";
import { createThreadPool } from "../exec/threads.ts";
import type { MergeRequest, MergeSummary } from "../host.ts";
import { compileKernel } from "../kernel/kernel.ts";
import type { ReportFacts } from "../report-page/facts.ts";
import { manifestName } from "../report-page/manifest.ts";
import { reportPage } from "../report-page/page.ts";
import { type ReportRequest, readFacts, type TimingSummary } from "../report-page/read.ts";
import { parseSweep, sweepName } from "../report-page/sweep-file.ts";
import { sweepPage } from "../report-page/sweep-page.ts";
import { readPlaces } from "./environment.ts";
import { formatBytes, printable } from "./format.ts";
import { createHost } from "./host.ts";
import { assertFree, LateFile } from "./late-file.ts";
import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
import { ProgressLine, writeDiagnostic } from "./terminal.ts";

/** A summary is as long as its list of files and warnings. */
const maxSummaryBytes = 64 * 1024 * 1024;

/** Beside the output, not in it: what is in it is the same on every machine, and loaders read all of it. */
export function defaultReport(out: string, cwd: string): string {
  const whole = resolve(cwd, out);
  return join(dirname(whole), `${basename(whole)}.report.html`);
}

function readSummary(path: string): TimingSummary {
  const wrong = (what: string) =>
    fail("usage", `Cannot read the summary ${quote(path, 4096)}: ${what}`, {
      hint: "--summary takes what braid merge --json printed.",
    });
  let value: Partial<MergeSummary>;
  try {
    const bytes = readFileSync(path);
    if (bytes.length > maxSummaryBytes) return wrong(`it has ${bytes.length} bytes, the limit is ${maxSummaryBytes}`);
    value = JSON.parse(new TextDecoder().decode(bytes)) as Partial<MergeSummary>;
  } catch (e) {
    if ((e as Error).name === "NotCapable") throw e;
    return wrong((e as Error).message.split("\n")[0]!);
  }
  const { seconds, workers, bytesRead, bytesWritten, workerSeconds, plannedPeakBytes } = value ?? {};
  const numbers = [seconds, workers, bytesRead, bytesWritten, plannedPeakBytes];
  const spent = [workerSeconds?.read, workerSeconds?.compute, workerSeconds?.write];
  if (![...numbers, ...spent].every((n) => typeof n === "number")) return wrong("it has no times of a merge");
  return value as TimingSummary;
}

/** What the page says is missing, by section. */
function missingParts(facts: ReportFacts): { section: string; reason: string }[] {
  const parts = { deltas: facts.comparison, rounding: facts.absorbed, times: facts.timings };
  return Object.entries(parts).flatMap(([section, part]) =>
    "missing" in part ? [{ section, reason: part.missing }] : [],
  );
}

export interface Made {
  readonly html: string;
  readonly facts: ReportFacts;
}

const workerEntry = new URL("./worker.ts", import.meta.url);

/** Reads and writes the page as text. */
export async function makeReport(
  request: ReportRequest,
  context: Context,
  progress: ProgressLine | null,
): Promise<Made> {
  const module = compileKernel();
  const host = createHost({
    ...context,
    report: (event) => {
      if (event.type === "progress") progress?.update({ ...event, label: event.tensor });
    },
    createExecutor: (job, workers) =>
      createThreadPool({ module, workers, job, entry: workerEntry, timeOrigin: performance.timeOrigin }),
  });
  try {
    const facts = await readFacts(request, { module, opener: fileOpener }, host);
    return { html: reportPage(facts), facts };
  } finally {
    progress?.clear();
  }
}

/**
 * The report of a merge that just ran. The merge stays done when its report cannot be made: that is told, and the exit code
 * says it.
 */
export async function reportMerge(
  file: string,
  merged: { readonly out: string; readonly request: MergeRequest; readonly summary: MergeSummary },
  context: Context,
  progress: ProgressLine | null,
): Promise<number> {
  const { out, request, summary } = merged;
  const { workers, memoryBytes } = request;
  try {
    const { html } = await makeReport(
      { out, inputs: null, merged: request, summary, deltas: true, rounding: true, workers, memoryBytes },
      context,
      progress,
    );
    new LateFile(file, true, "the report", "--report=FILE").commit(html);
    return 0;
  } catch (e) {
    if (!isBraidError(e) || context.signal.aborted) throw e;
    for (const diagnostic of e.diagnostics) writeDiagnostic(context.terminal.err, "error", diagnostic);
    return e.exitCode;
  }
}

/** The sweep.json that a path means, or null: itself, or one in a folder that is no merge. */
function sweepFileOf(path: string): string | null {
  const kind = localFiles.kind(path);
  if (kind === "file") return path.endsWith(".json") && basename(path) !== manifestName ? path : null;
  const inside = join(path, sweepName);
  return kind === "folder" && localFiles.kind(join(path, manifestName)) === null && localFiles.kind(inside) === "file"
    ? inside
    : null;
}

/** Writes the page, and says so. */
function writePage(
  command: CommandOf<"report">,
  context: Context,
  path: string | null,
  html: string,
  rest: object,
  lines: readonly string[],
): void {
  const { out } = context.terminal;
  if (path === null) {
    out.write(html);
    return;
  }
  new LateFile(path, command.overwrite, "the report", "FILE.html").commit(html);
  const byteLength = new TextEncoder().encode(html).length;
  if (command.json) out.write(`${JSON.stringify({ report: path, byteLength, ...rest }, null, 2)}\n`);
  else if (!command.quiet) {
    out.write(`Wrote ${printable(path)} (${formatBytes(byteLength)})\n`);
    for (const line of lines) out.write(`  ${printable(line)}\n`);
  }
}

export async function runReport(command: CommandOf<"report">, context: Context): Promise<number> {
  const { cwd } = readPlaces(context.env);
  const toScreen = command.file === "-";
  if (toScreen && command.json) fail("usage", "Cannot write the page and --json to standard output at once");
  const sweep = sweepFileOf(resolve(cwd, command.out));
  const standard = sweep === null ? defaultReport(command.out, cwd) : sweep.replace(/\.json$/, ".html");
  const path = toScreen ? null : resolve(cwd, command.file ?? standard);
  if (path !== null) assertFree(path, command.overwrite, "the report", "FILE.html");
  if (sweep !== null) {
    const text = localFiles.readText(sweep, maxSummaryBytes);
    writePage(command, context, path, sweepPage(parseSweep(text, sweep)), {}, []);
    return 0;
  }
  const { html, facts } = await makeReport(
    {
      out: command.out,
      inputs: command.inputs ?? null,
      merged: null,
      summary: command.summary === undefined ? null : readSummary(resolve(cwd, command.summary)),
      deltas: !command.noDeltas,
      rounding: !command.noRounding,
      workers: command.workers ?? null,
      memoryBytes: command.memory,
    },
    context,
    command.quiet ? null : new ProgressLine(context.terminal.err, () => performance.now()),
  );
  const missing = missingParts(facts);
  const lines = missing.map(({ section, reason }) => `without ${section}: ${reason}`);
  writePage(command, context, path, html, { missing, warnings: facts.warnings }, lines);
  return 0;
}
