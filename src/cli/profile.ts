// What `braid merge --profile` prints and writes: a table of phases, and a trace file that appears when it is complete.

import * as fs from "node:fs";
import { errorCode, outputFailed, rename, show } from "../bytes/output.ts";
import { fail } from "../errors.ts";
import type { MergeProfile, MergeStep } from "../host.ts";
import { type Phase, phases } from "../kernel/phases.ts";
import { phaseTitles } from "../trace.ts";
import { formatTable, plural } from "./format.ts";

/** Opened before the merge begins, so that a place that cannot be written to is told before an hour of work, not after it. */
export class TraceFile {
  readonly path: string;
  private readonly part: string;
  private fd: number | null;

  constructor(path: string, overwrite: boolean) {
    this.path = path;
    this.part = `${path}.part`;
    if (!overwrite && fs.existsSync(path)) {
      fail("output-exists", `Cannot write the trace ${show(path)}: it exists`, {
        hint: "Name another file (--profile=FILE), or give --overwrite.",
      });
    }
    try {
      this.fd = fs.openSync(this.part, "w");
    } catch (e) {
      outputFailed(`Cannot write the trace ${show(path)}`, e);
    }
  }

  commit(text: string): void {
    try {
      fs.writeFileSync(this.fd!, text);
    } catch (e) {
      this.abort();
      outputFailed(`Cannot write the trace ${show(this.path)}`, e);
    }
    this.close();
    rename(this.part, this.path);
  }

  /** May follow a commit: then there is nothing left to do. */
  abort(): void {
    if (this.fd === null) return;
    this.close();
    try {
      fs.unlinkSync(this.part);
    } catch (e) {
      if (errorCode(e) !== "ENOENT") outputFailed(`Cannot delete ${show(this.part)}`, e);
    }
  }

  private close(): void {
    if (this.fd !== null) fs.closeSync(this.fd);
    this.fd = null;
  }
}

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
