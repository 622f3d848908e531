// `braid extract`: a fine-tune as an adapter, and how much of it the adapter holds.

import { createThreadPool } from "../exec/threads.ts";
import { extract } from "../extract.ts";
import type { MergeEvent } from "../host.ts";
import { compileKernel } from "../kernel/kernel.ts";
import { dtypeNamed } from "../tensor/dtype.ts";
import type { AdapterSummary } from "../write-adapter.ts";
import {
  formatBytes,
  formatCount,
  formatMemory,
  formatSeconds,
  formatShare,
  formatTable,
  plural,
  printable,
} from "./format.ts";
import { createHost } from "./host.ts";
import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
import { ProgressLine, writeDiagnostic } from "./terminal.ts";

/** Modules that are shown by name: those that hold the least of their energy. */
const shownModules = 5;
/** Names of lost tensors that are shown. */
const shownNames = 4;

function namesText(names: readonly string[]): string {
  const shown = names.slice(0, shownNames).map(printable).join(", ");
  return names.length > shownNames ? `${shown} and ${formatCount(names.length - shownNames)} more` : shown;
}

/** What is told of an adapter that was written. */
export function adapterText(s: AdapterSummary): string {
  const worst = [...s.modules].sort((a, b) => a.retained - b.retained).slice(0, shownModules);
  const sketched = s.modules.filter((m) => m.how === "sketch").length;
  const rows = [
    ["energy", `${formatShare(s.retained)} of ‖ΔW‖² is in the adapter`],
    ...worst.map((m, i) => [i === 0 ? "least" : "", `${formatShare(m.retained)}  ${printable(m.module)}`]),
    ...(sketched > 0
      ? [
          [
            "sketched",
            `${plural(sketched, "matrix", "matrices")} (--svd exact finds the best factors, and takes longer)`,
          ],
        ]
      : []),
    ...(s.unchanged > 0 ? [["unchanged", `${plural(s.unchanged, "linear layer")}, left out`]] : []),
    ...(s.saved.length > 0 ? [["whole", `${plural(s.saved.length, "tensor")}: ${namesText(s.saved)}`]] : []),
    ...(s.lost.length > 0 ? [["lost", `${plural(s.lost.length, "changed tensor")}: ${namesText(s.lost)}`]] : []),
    ["bytes", `${formatBytes(s.bytesRead)} read, ${formatBytes(s.bytesWritten)} written`],
    [
      "memory",
      `${s.peakMemoryBytes === null ? "unknown" : formatMemory(s.peakMemoryBytes)} at the peak, ${formatMemory(s.plannedPeakBytes)} planned`,
    ],
  ];
  const title = `Wrote an adapter of rank ${s.rank} for ${plural(s.modules.length, "linear layer")} (${formatCount(s.parameters)} parameters) in ${formatSeconds(s.seconds)}`;
  return `${title}\n${formatTable(rows)}`;
}

const workerEntry = new URL("./worker.ts", import.meta.url);

export async function runExtract(command: CommandOf<"extract">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const module = compileKernel();
  const progress = new ProgressLine(err, () => performance.now());
  const report = (event: MergeEvent): void => {
    if (event.type === "warning") {
      progress.clear();
      writeDiagnostic(err, "warning", event.diagnostic);
    } else if (event.type === "progress" && !command.quiet) progress.update({ ...event, label: event.tensor });
    else if (event.type === "hashing" && !command.quiet) progress.note(`hashing ${event.file}`);
  };
  const host = createHost({
    ...context,
    report,
    createExecutor: (job, workers) =>
      createThreadPool({ module, workers, job, entry: workerEntry, timeOrigin: performance.timeOrigin }),
  });
  const request = {
    rank: command.rank,
    alpha: command.alpha ?? null,
    include: command.include,
    exclude: command.exclude,
    dtype: dtypeNamed(command.dtype)!,
    svd: command.svd,
    saveRest: command.saveRest,
    workers: command.workers ?? null,
    memoryBytes: command.memory,
    checksum: !command.noChecksum,
    sync: !command.noSync,
    overwrite: command.overwrite,
  };
  let summary: AdapterSummary;
  try {
    summary = await extract(command.base, command.model, request, command.out, host);
  } finally {
    progress.clear();
  }
  if (command.json) out.write(`${JSON.stringify(summary, null, 2)}\n`);
  else if (!command.quiet) out.write(adapterText(summary));
  return 0;
}
