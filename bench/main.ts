// npm run bench -- [--shape small|base|double] [--runs N] [--runtimes bun,deno,binary] [--methods a,b] [--scaling] [--cold]
//
// Makes the synthetic checkpoints, measures both floors, then each method, all in one run, and writes a table with machine
// and date to bench/results/. Every merge is run as it comes, and bare: without hash and sync, as the copy floor is.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { benchShapes, makeCheckpoints } from "./checkpoints.ts";
import { chill, copyFloor, machine, median, mergeOnce, runtimesOf, warm } from "./measure.ts";
import { benchRecipe } from "./recipes.ts";

const root = resolve(import.meta.dirname, "..");
const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "base" },
    runs: { type: "string", default: "5" },
    runtimes: { type: "string", default: "bun,deno" },
    methods: {
      type: "string",
      default: "linear,task_arithmetic,slerp,dare_linear,dare_ties,ties,breadcrumbs,model_stock,della",
    },
    /** One worker too. */
    scaling: { type: "boolean", default: false },
    /** Empty the page cache before everything that is timed. */
    cold: { type: "boolean", default: false },
    /** Keep the tables of this run apart, e.g. while trying something. */
    name: { type: "string", default: "" },
  },
});

const shape = benchShapes[options.shape as keyof typeof benchShapes];
if (!shape) throw new Error(`--shape must be one of ${Object.keys(benchShapes).join(", ")}`);
const runs = Number(options.runs);
const data = join(root, "bench/data");
const folders = makeCheckpoints(data, shape, console.error);

interface Row {
  readonly method: string;
  readonly runtime: string;
  readonly workers: number;
  /** Without hash and sync. */
  readonly bare: boolean;
  readonly seconds: number;
  readonly all: readonly number[];
  readonly floor: number;
  readonly durableFloor: number;
  /** How many times as fast as with one worker; null where that was not measured. */
  readonly speedup: number | null;
  readonly gigabytesPerSecond: number;
  readonly nanosecondsPerParameterAndCore: number;
  /** Of the last run: what a worker spends on a parameter, reading, computing and writing. */
  readonly workerNanoseconds: { readonly read: number; readonly compute: number; readonly write: number };
  readonly peakMemoryMiB: number;
  readonly sha256: string | null;
}

const rows: Row[] = [];
const ready = (inputs: readonly string[]) => (options.cold ? chill() : warm(inputs));
for (const method of options.methods.split(",")) {
  const { path, inputs } = benchRecipe(data, shape.name, folders, method);
  const floor: number[] = [];
  const durableFloor: number[] = [];
  const jobs = runtimesOf(root, options.runtimes.split(",")).flatMap((runtime) =>
    (options.scaling ? [1, 2] : [2])
      .flatMap((workers) => [false, true].map((bare) => ({ workers, bare })))
      .map((how) => ({
        runtime,
        ...how,
        seconds: [] as number[],
        last: null as Awaited<ReturnType<typeof mergeOnce>> | null,
      })),
  );
  // Round by round, so that a busy minute of the machine meets every column alike.
  for (let i = 0; i < runs; i++) {
    // Twice: the first copy after a pause may have to get its memory back from a host, which no merge behind another has to.
    for (let turn = 0; turn < 2; turn++) {
      await ready(inputs);
      floor.push(await copyFloor(inputs, data));
    }
    await ready(inputs);
    durableFloor.push(await copyFloor(inputs, data, "durable"));
    for (const job of jobs) {
      await ready(inputs);
      const args = ["--workers", String(job.workers), ...(job.bare ? ["--no-checksum", "--no-sync"] : [])];
      job.last = await mergeOnce(job.runtime, path, data, args);
      job.seconds.push(job.last.seconds);
    }
  }
  for (const { runtime, workers, bare, seconds, last } of jobs) {
    const { summary } = last!;
    const wall = median(seconds);
    const single = jobs.find((j) => j.runtime === runtime && j.bare === bare && j.workers === 1);
    const row: Row = {
      method,
      runtime: runtime.name,
      workers,
      bare,
      seconds: wall,
      all: seconds,
      // The least: a slow copy would flatter.
      floor: Math.min(...floor),
      durableFloor: Math.min(...durableFloor),
      speedup: single ? median(single.seconds) / wall : null,
      gigabytesPerSecond: (inputs.length * summary.bytesWritten + summary.bytesWritten) / wall / 1e9,
      nanosecondsPerParameterAndCore: (wall * 1e9 * Math.min(workers, 2)) / summary.parameters,
      workerNanoseconds: {
        read: (summary.workerSeconds.read * 1e9) / summary.parameters,
        compute: (summary.workerSeconds.compute * 1e9) / summary.parameters,
        write: (summary.workerSeconds.write * 1e9) / summary.parameters,
      },
      peakMemoryMiB: (summary.peakMemoryBytes ?? 0) / 2 ** 20,
      sha256: summary.files[0]!.sha256,
    };
    rows.push(row);
    console.error(
      `${method} ${runtime.name} ×${workers}${bare ? " bare" : ""}: ${wall.toFixed(2)} s, floors ${row.floor.toFixed(2)} and ${row.durableFloor.toFixed(2)} s, ${row.peakMemoryMiB.toFixed(0)} MiB`,
    );
  }
}

const date = new Date().toISOString().slice(0, 10);
const ratio = (seconds: number, floor: number) => `${(seconds / floor).toFixed(2)} (${floor.toFixed(2)} s)`;
const table = [
  `# ${shape.name}: ${date}`,
  "",
  `${machine()}. ${options.cold ? "Cold" : "Warm"} page cache, medians of ${runs}, whole processes; \`npm run bench -- --shape ${shape.name} --runs ${runs}${options.scaling ? " --scaling" : ""}${options.cold ? " --cold" : ""}\`.`,
  "",
  "The copy floor is `cat` of all inputs but one, and `cp` of that, side by side; the durable floor also hashes and syncs the copy. Of both it is the least.",
  "Bare rows are merges with --no-checksum --no-sync.",
  "",
  "| method | runtime | workers | | seconds | × copy floor | × durable floor | × one worker | GB/s | ns/parameter/core | of it read + compute + write | peak MiB |",
  "|---|---|---|---|---|---|---|---|---|---|---|---|",
  ...rows.map(
    (r) =>
      `| ${r.method} | ${r.runtime} | ${r.workers} | ${r.bare ? "bare" : ""} | ${r.seconds.toFixed(2)} | ${ratio(r.seconds, r.floor)} | ${ratio(r.seconds, r.durableFloor)} | ${r.speedup?.toFixed(2) ?? ""} | ${r.gigabytesPerSecond.toFixed(2)} | ${r.nanosecondsPerParameterAndCore.toFixed(2)} | ${r.workerNanoseconds.read.toFixed(1)} + ${r.workerNanoseconds.compute.toFixed(1)} + ${r.workerNanoseconds.write.toFixed(1)} | ${r.peakMemoryMiB.toFixed(0)} |`,
  ),
  "",
].join("\n");
console.log(table);
mkdirSync(join(root, "bench/results"), { recursive: true });
const base = join(root, "bench/results", `${date}-${shape.name}${options.name && `-${options.name}`}`);
writeFileSync(`${base}.md`, table);
writeFileSync(`${base}.json`, `${JSON.stringify({ date, machine: machine(), shape, runs, rows }, null, 1)}\n`);
for (const method of new Set(rows.map((r) => r.method))) {
  const hashes = new Set(rows.filter((r) => r.method === method && !r.bare).map((r) => r.sha256));
  if (hashes.size !== 1) throw new Error(`${method} has ${hashes.size} different outputs`);
}
