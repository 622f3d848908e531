// Where the time went.

import { formatBytes, formatMemory, formatSeconds, plural } from "../../format.ts";
import type { MergeProfile } from "../../host.ts";
import { phases } from "../../kernel/phases.ts";
import { barChart, formatNumber } from "../../svg/index.ts";
import { phaseTitles } from "../../trace.ts";
import type { ReportFacts, Timings } from "../facts.ts";
import { type Content, facts as factList, figure, p, type Section } from "../html.ts";
import { chartWidth } from "../names.ts";

const seconds = (s: number) => `${formatNumber(s, 3)} s`;

function phaseChart({ phases: spent, workers }: MergeProfile): Content {
  const shown = phases.filter((phase) => spent.merge[phase] + spent.survey[phase] > 0);
  const sum = (of: (w: MergeProfile["workers"][number]) => number) => workers.reduce((total, w) => total + of(w), 0);
  const title = "Time of the workers, by phase";
  return figure(
    title,
    barChart({
      title,
      description: `Seconds of ${plural(workers.length, "worker")}, added up.`,
      categories: [...shown.map((phase) => phaseTitles[phase]), "start", "wait"],
      series: [
        {
          name: "merging",
          values: [...shown.map((phase) => spent.merge[phase]), sum((w) => w.start), sum((w) => w.wait)],
        },
        { name: "surveys", values: [...shown.map((phase) => spent.survey[phase]), null, null] },
      ],
      width: chartWidth,
      x: { label: "seconds", format: (value) => formatNumber(value, 3) },
    }),
    `Added up over ${plural(workers.length, "worker")}. What each phase is: docs/profile.md.`,
  );
}

function body(t: Timings): Content {
  const rate = t.seconds > 0 ? (t.bytesRead + t.bytesWritten) / t.seconds : 0;
  return [
    factList([
      ["In all", formatSeconds(t.seconds)],
      ["Rate", `${formatBytes(rate)} a second, read and written`],
      ["Read", formatBytes(t.bytesRead)],
      ["Written", formatBytes(t.bytesWritten)],
      ["Workers", String(t.workers)],
      ["Reading", seconds(t.workerSeconds.read)],
      ["Computing", seconds(t.workerSeconds.compute)],
      ["Writing", seconds(t.workerSeconds.write)],
      [
        "Memory",
        `${t.peakMemoryBytes === null ? "unknown" : formatMemory(t.peakMemoryBytes)} at the peak, ${formatMemory(t.plannedPeakBytes)} planned`,
      ],
    ]),
    p("Reading, computing and writing are added up over the workers."),
    t.profile ? phaseChart(t.profile) : null,
  ];
}

export function timingsSection({ timings }: ReportFacts): Section {
  return { id: "time", title: "Time", body: "missing" in timings ? p(timings.missing) : body(timings.found) };
}
