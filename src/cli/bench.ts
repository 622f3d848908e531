// `braid bench`: what this machine makes of the kernels, and what a merge would take on it.

import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { type BenchMethod, benchDtypes, benchMethods, prepareCase } from "../bench/cases.ts";
import { type Estimate, estimate } from "../bench/estimate.ts";
import { noiseOpener } from "../bench/noise.ts";
import { type Effort, jobOf, measure } from "../bench/run.ts";
import { createInlineExecutor } from "../exec/inline.ts";
import { createThreadPool } from "../exec/threads.ts";
import type { Host } from "../host.ts";
import { compileKernel } from "../kernel/kernel.ts";
import type { Prepared } from "../prepare.ts";
import type { FloatDtype } from "../tensor/dtype.ts";
import { copyRate, type DiskRates, diskRates, sha256Rate } from "./bench-rates.ts";
import { runtimeName } from "./environment.ts";
import { formatBytes, formatParameters, formatSeconds, formatTable, plural, printable } from "./format.ts";
import { createHost } from "./host.ts";
import type { Context } from "./main.ts";
import type { CommandOf } from "./program.ts";
import { ProgressLine, paint, type Screen } from "./terminal.ts";

/** Beside this file, for the same reason as the worker of a merge. */
const workerEntry = new URL("./bench-worker.ts", import.meta.url);

const MiB = 1024 * 1024;
const efforts = {
  full: {
    caseMs: 60,
    minRounds: 3,
    maxRounds: 7,
    elements: 2 ** 21,
    rateRounds: 7,
    diskBytes: 128 * MiB,
    diskMs: 1500,
  },
  quick: { caseMs: 20, minRounds: 2, maxRounds: 3, elements: 2 ** 19, rateRounds: 3, diskBytes: 16 * MiB, diskMs: 300 },
} as const satisfies Record<string, Effort & Record<string, number>>;

interface KernelFigure {
  readonly method: BenchMethod;
  readonly dtype: FloatDtype;
  readonly models: number;
  /** Nanoseconds of computing per parameter: on one core, and as it counts with all workers at it. */
  readonly oneCore: number;
  readonly allWorkers: number;
  readonly bytesReadPerParameter: number;
  readonly bytesWrittenPerParameter: number;
}

/** What `--json` gives. Rates are in bytes per second. */
interface BenchReport {
  readonly runtime: string;
  readonly workers: number;
  readonly models: number;
  readonly elements: number;
  readonly kernels: readonly KernelFigure[];
  /** Nanoseconds per parameter and model, on one core. */
  readonly mask: number;
  readonly copy: number;
  readonly sha256: number;
  readonly disk: DiskRates | null;
  readonly parameters: number;
  /** Of bf16 models. */
  readonly estimates: readonly ({ readonly method: BenchMethod; readonly models: number } & Estimate)[];
  readonly seconds: number;
}

interface Case {
  readonly method: BenchMethod;
  readonly dtype: FloatDtype;
  readonly models: number;
  readonly one: Prepared;
  readonly all: Prepared;
}

type BenchOptions = Pick<CommandOf<"bench">, "models" | "folder" | "noDisk" | "quick" | "parameters"> & {
  readonly workers: number;
};

async function bench(o: BenchOptions, host: Host, note: (text: string) => void): Promise<BenchReport> {
  const started = host.now();
  const effort = o.quick ? efforts.quick : efforts.full;
  const elements = Math.ceil((effort.elements * 3) / Math.max(3, o.models) / 4096) * 4096;
  note("memory and SHA-256");
  const copy = copyRate(effort.rateRounds);
  const sha256 = sha256Rate(effort.rateRounds);
  host.signal.throwIfAborted();
  note("disk");
  const folder = resolve(host.cwd, o.folder ?? tmpdir());
  const disk = o.noDisk ? null : await diskRates(folder, effort.diskBytes, effort.diskMs, host.signal);

  const module = compileKernel();
  const now = () => host.now();
  const cases: Case[] = [];
  for (const method of benchMethods) {
    for (const dtype of benchDtypes) {
      const models = method === "slerp" ? 2 : o.models;
      const what = { method, dtype, models, elements };
      const one = await prepareCase(what, 1, host);
      cases.push({ method, dtype, models, one, all: o.workers === 1 ? one : await prepareCase(what, o.workers, host) });
    }
  }
  const inline = (profile: boolean) => {
    const job = jobOf(
      cases.map((c) => c.one),
      profile,
    );
    return { job, executor: createInlineExecutor({ module, job, now, opener: noiseOpener }) };
  };
  const allJob = jobOf(cases.map((c) => c.all));
  const one = inline(false);
  const pool =
    o.workers === 1 ? null : createThreadPool({ module, workers: o.workers, job: allJob, entry: workerEntry });
  const kernels: KernelFigure[] = [];
  let mask: number;
  try {
    for (const c of cases) {
      const { method, dtype, models } = c;
      note(`${method} ${dtype}`);
      const alone = await measure(c.one, one.job, one.executor, effort, now, host.signal);
      const together = pool ? await measure(c.all, allJob, pool, effort, now, host.signal) : alone;
      kernels.push({
        method,
        dtype,
        models,
        oneCore: alone.nsPerParameter,
        allWorkers: together.nsPerParameter / o.workers,
        bytesReadPerParameter: alone.bytesReadPerParameter,
        bytesWrittenPerParameter: alone.bytesWrittenPerParameter,
      });
    }
    note("mask");
    mask = await maskFigure(cases, inline(true), effort, now, host.signal);
  } finally {
    await one.executor.close();
    await pool?.close();
  }
  const rates = { copy, sha256, read: disk?.read ?? null, write: disk?.write ?? null };
  const estimates = kernels
    .filter((k) => k.dtype === "BF16")
    .map((k) => ({
      method: k.method,
      models: k.models,
      ...estimate(o.parameters, { ...k, nsPerParameter: k.allWorkers * o.workers }, rates, o.workers),
    }));
  const { workers, models, parameters } = o;
  const seconds = (host.now() - started) / 1000;
  return {
    runtime: runtimeName(),
    workers,
    models,
    elements,
    kernels,
    mask,
    copy,
    sha256,
    disk,
    parameters,
    estimates,
    seconds,
  };
}

/** The mask is a kernel of its own, so the phases of a profiled DARE merge tell it. */
async function maskFigure(
  cases: readonly Case[],
  { job, executor }: { job: ReturnType<typeof jobOf>; executor: ReturnType<typeof createInlineExecutor> },
  effort: Effort,
  now: () => number,
  signal: AbortSignal,
): Promise<number> {
  const dare = cases.find((c) => c.method === "dare_linear" && c.dtype === "BF16")!;
  try {
    const { phases } = await measure(dare.one, job, executor, effort, now, signal);
    return (phases.mask ?? Number.NaN) / dare.one.plan.parameters / dare.models;
  } finally {
    await executor.close();
  }
}

const gigabytes = (bytesPerSecond: number) => `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`;
const limits: Readonly<Record<Estimate["limit"], string>> = {
  processor: "the processor limits",
  disk: "the disk limits",
  hash: "hashing the output limits",
};

function writeReport(screen: Screen, r: BenchReport): void {
  const { workers, disk } = r;
  const title = (text: string) => `${paint(screen, "bold", text)}\n`;
  const header = ["", ...benchDtypes, ...(workers > 1 ? benchDtypes : [])];
  const rows = benchMethods.map((method) => {
    const of = (dtype: FloatDtype) => r.kernels.find((k) => k.method === method && k.dtype === dtype)!;
    const { models } = of("BF16");
    return [
      `${method} of ${models}`,
      ...benchDtypes.map((d) => of(d).oneCore.toFixed(2)),
      ...(workers > 1 ? benchDtypes.map((d) => of(d).allWorkers.toFixed(2)) : []),
    ];
  });
  screen.write(title(`ns/parameter on one core${workers > 1 ? `, then with ${plural(workers, "worker")}` : ""}`));
  screen.write(formatTable([header, ...rows], header.map((_, i) => i).slice(1)));
  screen.write(title("Machine"));
  screen.write(
    formatTable([
      ["mask", `${r.mask.toFixed(2)} ns/parameter and model, on one core`],
      ["memory copy", gigabytes(r.copy)],
      ["SHA-256", gigabytes(r.sha256)],
      ...(disk
        ? [
            ["write", `${gigabytes(disk.write)} to ${printable(disk.folder)}, synced (${formatBytes(disk.bytes)})`],
            ["read", `${gigabytes(disk.read)}${disk.cached ? " from the system's cache: the disk is slower" : ""}`],
          ]
        : []),
      ["runtime", r.runtime],
    ]),
  );
  screen.write(title(`A merge of ${formatParameters(r.parameters)} parameters in bf16, ${plural(workers, "worker")}`));
  const none = disk ? "" : " (no disk measured)";
  screen.write(
    formatTable(
      r.estimates.map(({ method, models, seconds, limit }) => [
        `${method} of ${models}`,
        `about ${formatSeconds(seconds)}`,
        `${limits[limit]}${none}`,
      ]),
    ),
  );
  screen.write(`Measured in ${formatSeconds(r.seconds)}\n`);
}

export async function runBench(command: CommandOf<"bench">, context: Context): Promise<number> {
  const { out, err } = context.terminal;
  const progress = new ProgressLine(err, () => performance.now());
  const host = createHost({ ...context, report: () => {} });
  let report: BenchReport;
  try {
    const note = (text: string) => {
      if (!command.quiet) progress.note(`measuring ${text}`);
    };
    report = await bench({ ...command, workers: command.workers ?? host.cores }, host, note);
  } finally {
    progress.clear();
  }
  if (command.json) out.write(`${JSON.stringify(report, null, 2)}\n`);
  else if (!command.quiet) writeReport(out, report);
  return 0;
}
