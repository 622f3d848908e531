// `braid merge`: what is going to happen, a progress line, and what came of it.

import { basename, resolve } from "node:path";
import { mergeAsAdapter } from "../adapter-merge.ts";
import { type EmrSummary, exportMasks } from "../emr-export.ts";
import { fail } from "../errors.ts";
import { createThreadPool, EarlyThreads } from "../exec/threads.ts";
import { defaultExtraction } from "../extract.ts";
import type { Host, MergeEvent, MergeSummary } from "../host.ts";
import { compileKernel } from "../kernel/kernel.ts";
import { merge } from "../merge.ts";
import type { Plan } from "../plan/plan.ts";
import { Profiler } from "../profile.ts";
import { traceText } from "../trace.ts";
import type { AdapterSummary } from "../write-adapter.ts";
import { emrText, shellWord } from "./emr-text.ts";
import { programName } from "./environment.ts";
import { adapterText } from "./extract.ts";
import {
  formatBytes,
  formatCount,
  formatMemory,
  formatParameters,
  formatSeconds,
  formatShare,
  formatTable,
  formatValue,
  plural,
  printable,
} from "./format.ts";
import { availableCores, createHost } from "./host.ts";
import { assertFree, LateFile } from "./late-file.ts";
import type { Context } from "./main.ts";
import type { MergeNodes } from "./merge-nodes.ts";
import { toRequest } from "./options.ts";
import { baseModel } from "./plan.ts";
import { profileText } from "./profile.ts";
import type { CommandOf } from "./program.ts";
import type { QueueOptions, QueueTerms } from "./queue-executor.ts";
import { type RecipeText, readRecipe } from "./recipe-text.ts";
import { defaultReport, reportMerge } from "./report.ts";
import { ProgressLine, paint, type Screen, writeDiagnostic } from "./terminal.ts";

/** Under Bun's binary too this names the worker: it is an entry of its own and lies beside this file. */
const workerEntry = new URL("./worker.ts", import.meta.url);

/** Threads that are started before the plan. More would hold up the plan itself, and a recipe that is refused. */
const mostEarly = 4;

/** The line about a merge that is about to run. */
function writeHeader(screen: Screen, plan: Plan, out: string): void {
  const base = baseModel(plan);
  const models = plan.inputs.filter((_, i) => i !== base).map(({ reference }) => printable(reference));
  screen.write(
    `${paint(screen, "bold", plan.method)} of ${plural(models.length, "model")} → ${printable(out)}\n` +
      formatTable([
        ["models", models.join(", ")],
        ...(base === null ? [] : [["base", printable(plan.inputs[base]?.reference ?? "")]]),
        ["tensors", `${formatCount(plan.tensors.length)} (${formatParameters(plan.parameters)} parameters)`],
        ["bytes", `${formatBytes(plan.bytesRead)} to read, ${formatBytes(plan.bytesWritten)} to write`],
        ["memory", `at most ${formatMemory(plan.memory.peakBytes)}, ${plural(plan.memory.workers, "worker")}`],
      ]),
  );
}

const rateTable = (rows: MergeSummary["dropRates"], title: string): string[][] =>
  rows.map(({ model, asked, actual }, i) => [
    i === 0 ? title : "",
    `${formatShare(actual)}${asked === null ? "" : ` of ${formatShare(asked)} asked`}  ${printable(model)}`,
  ]);

export function summaryText(summary: MergeSummary): string {
  const { seconds, parameters, bytesRead, bytesWritten, workerSeconds: work, peakMemoryBytes: peak } = summary;
  const rate = seconds > 0 ? (bytesRead + bytesWritten) / seconds / 1e9 : 0;
  const rows = [
    [
      "rate",
      `${rate.toFixed(2)} GB/s, ${((seconds * 1e9) / Math.max(parameters, 1)).toFixed(1)} ns/parameter, ${plural(summary.workers, "worker")}`,
    ],
    [
      "work",
      `${work.read.toFixed(2)} s reading, ${work.compute.toFixed(2)} s computing, ${work.write.toFixed(2)} s writing, added up over the workers`,
    ],
    ["bytes", `${formatBytes(bytesRead)} read, ${formatBytes(bytesWritten)} written`],
    ...rateTable(summary.dropRates, "dropped"),
    ...rateTable(summary.densities, "kept"),
    ...summary.methodFacts.map(({ fact, mean, least, most, tensors }) => [
      fact,
      `${formatValue(mean)} in the mean of ${plural(tensors, "matrix", "matrices")}, ${formatValue(least.value)} to ${formatValue(most.value)} (${printable(most.tensor)})`,
    ]),
    ...summary.nonFinite.map(({ model, tensor, count, first }, i) => [
      i === 0 ? "non-finite" : "",
      `${formatCount(count)} in ${printable(tensor)} of ${printable(model)}, the first at ${formatCount(first)}`,
    ]),
    ...(summary.overflow > 0 ? [["overflow", plural(summary.overflow, "value")]] : []),
    [
      "memory",
      `${peak === null ? "unknown" : formatMemory(peak)} at the peak, ${formatMemory(summary.plannedPeakBytes)} planned`,
    ],
    ["plan", `sha256 ${summary.planSha256}`],
    ...summary.files.map(({ name, byteLength, sha256 }, i) => [
      i === 0 ? "files" : "",
      `${sha256 === null ? "" : `sha256 ${sha256}  `}${printable(name)}  ${formatBytes(byteLength)}`,
    ]),
  ];
  const steps = (summary.earlier ?? []).map((s) => [
    `step ${printable(basename(s.out))}`,
    `${s.method}, ${formatParameters(s.parameters)} parameters in ${formatSeconds(s.seconds)}`,
  ]);
  rows.unshift(...steps);
  return `Merged ${plural(summary.tensors, "tensor")} (${formatCount(parameters)} parameters) in ${formatSeconds(seconds)}\n${formatTable(rows)}`;
}

export async function runMerge(command: CommandOf<"merge">, context: Context): Promise<number> {
  const queue = command.queue ? await (await import("./queue-executor.ts")).openQueue(command, context.env) : null;
  try {
    return await mergeRecipe(command, context, (host) => readRecipe(command.recipe, host.cwd, host.signal), queue);
  } finally {
    await queue?.queue.connection.close();
  }
}

type MergeCommand = Omit<CommandOf<"merge">, "command" | "recipe" | keyof QueueOptions>;

/** `merge` of a recipe from wherever. */
export async function mergeRecipe(
  command: MergeCommand,
  context: Context,
  readRecipe: (host: Host) => RecipeText | Promise<RecipeText>,
  queue: QueueTerms | null = null,
): Promise<number> {
  const early = new EarlyThreads(workerEntry, Math.min(command.workers ?? availableCores(), mostEarly));
  try {
    return await mergeWith(early, command, context, readRecipe, queue);
  } finally {
    early.end();
  }
}

/** Loads what nodes need, a third of all code, where an option is about them. */
async function nodesOf(
  command: MergeCommand,
  context: Context,
  module: WebAssembly.Module,
  clear: () => void,
  queue: QueueTerms | null,
): Promise<MergeNodes | null> {
  const { nodes, nodesFile, workers, serveInputs, redundancy, inputUrl } = command;
  const named = nodes.length > 0 || nodesFile !== undefined || queue !== null;
  const about = workers === 0 || serveInputs !== undefined || redundancy > 1 || inputUrl.length > 0;
  if (!named && !about) return null;
  return (await import("./merge-nodes.ts")).createMergeNodes(command, context, module, clear, queue);
}

async function mergeWith(
  early: EarlyThreads,
  command: MergeCommand,
  context: Context,
  readRecipe: (host: Host) => RecipeText | Promise<RecipeText>,
  queue: QueueTerms | null,
): Promise<number> {
  const { out, err } = context.terminal;
  const talkative = !command.quiet && !command.json;
  if (!command.quiet) for (const note of command.unneeded) err.write(`note: ${note}\n`);
  const module = compileKernel();
  const now = () => performance.now();
  const progress = new ProgressLine(err, now);
  const report = (event: MergeEvent): void => {
    switch (event.type) {
      case "warning":
        progress.clear();
        writeDiagnostic(err, "warning", event.diagnostic);
        break;
      case "plan":
        progress.clear();
        if (talkative) writeHeader(out, event.plan, event.out);
        break;
      case "progress":
        if (!command.quiet) {
          const line = nodes?.line() ?? "";
          progress.update({ ...event, label: line === "" ? event.tensor : `${line}  ${event.tensor}` });
        }
        break;
      case "hashing":
        if (!command.quiet) progress.note(`hashing ${event.file}`);
        break;
    }
  };
  const nodes = await nodesOf(command, context, module, () => progress.clear(), queue);
  const own = createHost({
    ...context,
    report,
    createExecutor: (job, workers) => {
      const pool = (n: number) =>
        createThreadPool({ module, workers: n, job, entry: workerEntry, early, timeOrigin: performance.timeOrigin });
      return nodes ? nodes.createExecutor(job, workers, pool) : pool(workers);
    },
  });
  const host = nodes ? { ...own, hashFile: nodes.hashFile(own.hashFile) } : own;
  const asked = toRequest(await readRecipe(host), {
    ...command,
    workers: command.workers === 0 ? 1 : command.workers,
  });
  const request = nodes ? nodes.request(asked) : asked;
  await nodes?.checkCopies(asked.recipe.folder);
  const { overwrite, profile } = command;
  if (command.asAdapter !== undefined) {
    if (command.exportMasks)
      fail("usage", "Cannot use --as-adapter and --export-masks together: they write two things");
    if (profile !== undefined) fail("usage", "Cannot profile a merge that is stored as an adapter");
    if (command.report !== undefined) fail("usage", "Cannot report on a merge that is stored as an adapter");
    const adapter = { ...defaultExtraction, ...request, rank: command.asAdapter, overwrite };
    let summary: AdapterSummary;
    try {
      summary = await mergeAsAdapter(request, adapter, command.out, host);
    } finally {
      progress.clear();
    }
    if (command.json) out.write(`${JSON.stringify(summary, null, 2)}\n`);
    else if (talkative) out.write(adapterText(summary));
    return 0;
  }
  if (command.exportMasks) {
    if (profile !== undefined) fail("usage", "Cannot profile an export of masks");
    if (nodes) fail("usage", "Cannot export masks with --node: nodes run merges only");
    let summary: EmrSummary;
    try {
      summary = await exportMasks(request, command.out, overwrite, host);
    } finally {
      progress.clear();
    }
    if (command.json) out.write(`${JSON.stringify(summary, null, 2)}\n`);
    else if (talkative) out.write(emrText(summary, programName(context.env)));
    return 0;
  }
  const reportFile =
    command.report === undefined ? null : resolve(host.cwd, command.report || defaultReport(command.out, host.cwd));
  if (reportFile !== null) assertFree(reportFile, overwrite, "the report", "--report=FILE");
  const trace =
    profile === undefined ? null : new LateFile(resolve(host.cwd, profile), overwrite, "the trace", "--profile=FILE");
  const profiler = trace ? new Profiler(now) : undefined;
  let summary: MergeSummary;
  let reportExit = 0;
  try {
    const intermediate = command.intermediateDir;
    const options = {
      overwrite,
      ...(profiler ? { profiler } : {}),
      ...(intermediate === undefined ? {} : { intermediate }),
    };
    summary = await merge(request, command.out, options, host);
    if (profiler) trace?.commit(traceText(profiler));
    if (reportFile !== null)
      reportExit = await reportMerge(
        reportFile,
        { out: command.out, request, summary },
        context,
        command.quiet ? null : progress,
      );
  } finally {
    trace?.abort();
    progress.clear();
  }
  const extra = {
    ...(trace ? { trace: trace.path } : {}),
    ...(reportFile !== null && reportExit === 0 ? { report: reportFile } : {}),
    ...(nodes ? { nodes: [...nodes.reports.values()], nodeEvents: nodes.events } : {}),
  };
  if (command.json) out.write(`${JSON.stringify({ ...summary, ...extra }, null, 2)}\n`);
  else if (talkative) {
    out.write(summaryText(summary));
    const rows = nodes?.rows() ?? [];
    if (rows.length > 0) out.write(formatTable(rows));
    if (summary.profile && profile !== undefined) {
      out.write(`${profileText(summary.profile)}Trace: ${printable(profile)} (open it in https://ui.perfetto.dev)\n`);
    }
    if (reportFile !== null && reportExit === 0) out.write(`Report: ${printable(reportFile)}\n`);
    out.write(`\nNext: ${programName(context.env)} inspect ${shellWord(command.out)}\n`);
  }
  return reportExit;
}
