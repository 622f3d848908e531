// What `braid merge --profile` prints: a table of phases.

import type { MergeProfile, MergeStep } from "../host.ts";
import { type Phase, phases } from "../kernel/phases.ts";
import { phaseTitles } from "../trace.ts";
import { formatTable, plural } from "./format.ts";

const stepTitles: Readonly<Record<MergeStep, string>> = {
  plan: "plan",
  stage: "stage",
  merge: "merge",
  sync: "sync",
  hash: "hash the rest",
  files: "other files",
  commit: "commit",
};

const seconds = (s: number) => `${s.toFixed(s < 10 ? 3 : 1)} s`;

/** Two tables: phases of the workers and steps of the coordinator. */
export function profileText(profile: MergeProfile): string {
  const { workers, fused } = profile;
  const sum = (of: (w: (typeof workers)[number]) => number) => workers.reduce((total, w) => total + of(w), 0);
  const whole = sum((w) => w.start + w.busy + w.wait);
  const share = (s: number) => `${(whole > 0 ? (s / whole) * 100 : 0).toFixed(1)} %`;
  const cell = (s: number) => (s === 0 ? "" : seconds(s));
  const rows: string[][] = [["phase", "merging", "surveys", "total", "share"]];
  for (const phase of phases) {
    const [merging, surveys] = [profile.phases.merge[phase], profile.phases.survey[phase]];
    if (merging + surveys === 0) continue;
    rows.push([phaseTitles[phase], cell(merging), cell(surveys), seconds(merging + surveys), share(merging + surveys)]);
    if (phase === "merge" && fused) rows.push(...fusedRows(fused));
  }
  const start = sum((w) => w.start);
  const wait = sum((w) => w.wait);
  rows.push(["start", "", "", seconds(start), share(start)], ["wait", "", "", seconds(wait), share(wait)]);
  rows.push(["all", "", "", seconds(whole), ""]);
  const steps = profile.steps.map((s) => [stepTitles[s.name], seconds(s.seconds)]);
  const beside = [
    ["hash", profile.beside.hash],
    ["flush", profile.beside.flush],
  ] as const;
  return [
    `Phases of ${plural(workers.length, "worker")}, added up\n`,
    formatTable(rows, [1, 2, 3, 4]),
    ...(fused
      ? [`  ~ estimated from every ${fused.estimatedFromEvery}th tile (${plural(fused.tiles, "tile")})\n`]
      : []),
    "Steps of the coordinator\n",
    formatTable([...steps, ["all", seconds(profile.seconds)]], [1]),
    ...beside.filter(([, s]) => s > 0).map(([name, s]) => `  beside them: ${name} ${seconds(s)}\n`),
  ].join("");
}

function fusedRows(fused: NonNullable<MergeProfile["fused"]>): string[][] {
  const parts: readonly Extract<Phase, "check" | "decode" | "combine" | "encode">[] = [
    "check",
    "decode",
    "combine",
    "encode",
  ];
  return parts.map((part) => [`  ~ ${phaseTitles[part]}`, "", "", seconds(fused[part]), ""]);
}
