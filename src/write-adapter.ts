// An adapter on its way to the disk, whatever it is made of: plan, stage, tasks, hash, configs, commit.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { type Diagnostic, fail, quote } from "./errors.ts";
import { drive, type TaskSource } from "./exec/drive.ts";
import type { Job } from "./exec/executor.ts";
import type { ExtractRequest } from "./extract.ts";
import type { Host, MergeSummary } from "./host.ts";
import type { FactorFacts } from "./kernel/factor-program.ts";
import { kernelSha256 } from "./kernel/kernel.ts";
import type { MergeTask, Receipt, Task } from "./kernel/program.ts";
import {
  type AdaptedModule,
  type AdapterPlan,
  type AdapterShape,
  planAdapter,
  type SavedTensor,
} from "./plan/adapter.ts";
import type { InputModel } from "./plan/model.ts";
import { Progress } from "./progress.ts";
import { version } from "./report.ts";
import { adapterConfigName, adapterWeightsName } from "./tensor/adapter.ts";
import type { CheckpointFile } from "./tensor/checkpoint.ts";
import { configText } from "./tensor/config.ts";

/** Room for what goes beside the tensors. */
const spareBytes = 4 * 1024 * 1024;

/** What was written, and how much of the fine-tune it holds. */
export interface AdapterSummary {
  readonly out: string;
  readonly base: string;
  readonly models: readonly string[];
  readonly rank: number;
  readonly alpha: number;
  readonly modules: readonly AdapterModuleSummary[];
  /** Σ over modules of the energy that the adapter holds / Σ of ‖ΔW‖². */
  readonly retained: number;
  /** Stored whole. */
  readonly saved: readonly string[];
  /** Changed by the fine-tune and not in the adapter. */
  readonly lost: readonly string[];
  /** Linear layers that are the base's. */
  readonly unchanged: number;
  readonly parameters: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly workers: number;
  readonly seconds: number;
  readonly peakMemoryBytes: number | null;
  readonly plannedPeakBytes: number;
  readonly files: MergeSummary["files"];
  readonly warnings: readonly Diagnostic[];
}

export interface AdapterModuleSummary {
  readonly module: string;
  readonly rank: number;
  /** Components that are more than rounding; the others are zeros. */
  readonly components: number;
  readonly how: "exact" | "sketch" | "concatenation" | "factors";
  /** ‖ΔW‖², and the share of it that the adapter holds. */
  readonly energy: number;
  readonly retained: number;
}

export interface AdapterJob {
  readonly modules: readonly AdaptedModule[];
  readonly saved: readonly SavedTensor[];
  readonly lost: readonly string[];
  readonly unchanged: number;
  readonly shape: AdapterShape;
  readonly base: InputModel;
  readonly baseName: string;
  readonly names: ReadonlySet<string>;
  readonly models: readonly InputModel[];
  readonly inputFiles: readonly CheckpointFile[];
  readonly warnings: readonly Diagnostic[];
  readonly request: Pick<ExtractRequest, "workers" | "memoryBytes" | "checksum" | "sync" | "overwrite">;
  readonly out: string;
  readonly started: number;
  readonly host: Host;
}

/** Runs tasks to the end; `done` is told every receipt and may throw to stop. */
export async function runTasks(
  tasks: readonly Task[],
  job: Job,
  workers: number,
  host: Host,
  done: (task: Task, receipt: Receipt) => void,
  beat?: (task: Task, share: number) => void,
): Promise<void> {
  let next = 0;
  const source: TaskSource = { next: () => tasks[next++] ?? null, done, ...(beat ? { beat } : {}) };
  const executor = await host.createExecutor(job, workers);
  try {
    await drive(source, executor, host.signal);
  } finally {
    await executor.close();
  }
}

/** Told before the work, not after hours of it: the stage looks again. */
export async function assertFree(out: string, overwrite: boolean, host: Host): Promise<void> {
  const place = host.fs.resolve(host.cwd, out);
  if (overwrite || host.fs.kind(place) !== "folder") return;
  if ((await host.fs.folder(place).list()).length === 0) return;
  fail("output-exists", `Cannot create ${quote(place, 4096)}: it exists`, {
    hint: "Choose another output, or replace it with --overwrite.",
  });
}

/** Writes the adapter. Until it resolves, nothing at `out` looks finished; when it rejects, nothing was left. */
export async function writeAdapter(given: AdapterJob): Promise<AdapterSummary> {
  const { host, request, base, inputFiles } = given;
  const plan = planAdapter(given.modules, given.saved, {
    shape: given.shape,
    baseName: given.baseName,
    baseConfig: base.config,
    names: given.names,
    files: inputFiles.length,
    workers: request.workers ?? host.cores,
    memoryBytes: request.memoryBytes,
  });
  const warnings = [...new Map(given.warnings.map((w) => [w.message, w])).values()];
  for (const diagnostic of warnings) host.report({ type: "warning", diagnostic });
  const { header } = plan;
  const stage = await host.openStage(host.fs.resolve(host.cwd, given.out), {
    overwrite: request.overwrite,
    files: [{ name: adapterWeightsName, byteLength: header.byteLength, header: header.bytes }],
    requiredBytes: header.byteLength + spareBytes,
    inputs: [base, ...given.models].map((m) => m.folder),
    planSha256: bytesToHex(sha256(header.bytes)),
    sync: request.sync,
  });
  for (const diagnostic of stage.warnings) host.report({ type: "warning", diagnostic });
  const hash = request.checksum ? host.hashFile(stage.path(adapterWeightsName)) : null;
  try {
    const facts = await factor(plan, given, stage.path(adapterWeightsName));
    for (const f of inputFiles) if (f.identity) host.assertUnchanged(f.location, f.identity);
    if (hash) host.report({ type: "hashing", file: adapterWeightsName });
    const digest = (await hash?.finish(host.signal)) ?? null;
    const files = [{ name: adapterWeightsName, byteLength: header.byteLength, sha256: digest }];
    const found = summaryOf(plan, given, facts);
    await stage.writeText(adapterConfigName, configText(plan.config));
    await stage.writeText("braid.json", manifestText(given, found, files));
    host.signal.throwIfAborted();
    await stage.commit();
    return {
      ...found,
      bytesRead: plan.bytesRead,
      bytesWritten: header.byteLength,
      workers: plan.workers,
      seconds: (host.now() - given.started) / 1000,
      peakMemoryBytes: host.peakMemory(),
      plannedPeakBytes: plan.peakBytes,
      files,
      warnings,
    };
  } catch (error) {
    hash?.close();
    await stage.abort();
    throw error;
  }
}

/** Runs the plan's tasks, the longest ones first, into the staged file. */
async function factor(plan: AdapterPlan, given: AdapterJob, path: string): Promise<Map<string, FactorFacts>> {
  const { host, inputFiles, started, shape } = given;
  const facts = new Map<string, FactorFacts>();
  const names = [...plan.modules.map((m) => `${m.module.path}.weight`), ...plan.saved.map((s) => s.tensor.name)];
  const size = (t: MergeTask) => t.count;
  const tasks = [...plan.modules.map((m) => m.task), ...plan.saved.map((s) => s.task)].sort(
    (a, b) => size(b) - size(a) || a.id - b.id,
  );
  const progress = new Progress(
    host,
    started,
    tasks.reduce((sum, t) => sum + size(t), 0),
  );
  const job: Job = {
    files: [...inputFiles.map((f) => ({ path: f.location, mode: "read" as const })), { path, mode: "write" as const }],
    workerBytes: plan.workerBytes,
    sync: given.request.sync,
  };
  const done = (task: Task, receipt: Receipt) => {
    const name = names[task.id]!;
    if (receipt.kind !== "merge") throw new TypeError("expected a merge");
    for (const n of receipt.nonFinite)
      fail(
        "non-finite",
        `Cannot factor ${quote(name)}: an input has ${n.count} NaN or infinite elements, the first at index ${n.first}`,
      );
    if (receipt.overflow.count > 0)
      fail(
        "overflow",
        `Cannot store the factors of ${quote(name)} as ${shape.dtype}: ${receipt.overflow.count} values are too large for it`,
        {
          hint: "Use --dtype float32 or bfloat16.",
        },
      );
    if (receipt.factored) facts.set(name, receipt.factored);
    progress.done(task.id, task.count, name);
  };
  await runTasks(tasks, job, plan.workers, host, done, (task, share) =>
    progress.beat(task.id, share * task.count, names[task.id]!),
  );
  progress.end();
  return facts;
}

type Found = Pick<
  AdapterSummary,
  "out" | "base" | "models" | "rank" | "alpha" | "modules" | "retained" | "saved" | "lost" | "unchanged" | "parameters"
>;

function summaryOf(plan: AdapterPlan, given: AdapterJob, facts: ReadonlyMap<string, FactorFacts>): Found {
  const { shape } = given;
  // Tasks end in any order: sums run in the order of the plan.
  let [energy, kept] = [0, 0];
  const modules = plan.modules.map(({ module, rank, program }): AdapterModuleSummary => {
    const found = facts.get(`${module.path}.weight`)!;
    energy += found.energy;
    kept += found.kept;
    const { source } = program;
    const how =
      source.op === "delta"
        ? source.sketch
          ? "sketch"
          : "exact"
        : source.pairs.reduce((sum, p) => sum + p.rank, 0) <= rank
          ? "concatenation"
          : "factors";
    return {
      module: module.path,
      rank,
      components: found.rank,
      how,
      energy: found.energy,
      retained: share(found.kept, found.energy),
    };
  });
  return {
    out: given.out,
    base: given.baseName,
    models: given.models.map((m) => m.reference),
    rank: shape.rank,
    alpha: shape.alpha ?? shape.rank,
    modules,
    retained: share(kept, energy),
    saved: given.saved.map((t) => t.name),
    lost: given.lost,
    unchanged: given.unchanged,
    parameters: plan.modules.reduce((sum, m) => sum + m.rank * (m.module.shape[0] + m.module.shape[1]), 0),
  };
}

/** The rounding of sums may add a last digit to a whole. */
function share(kept: number, energy: number): number {
  return energy > 0 ? Math.min(1, kept / energy) : 1;
}

/** braid.json: what was made of what, and how well. Times and the machine are left out, so that it repeats. */
function manifestText(given: AdapterJob, found: Found, files: AdapterSummary["files"]): string {
  const { out: _, ...rest } = found;
  const inputs = [given.base, ...given.models].map((m) => ({
    model: m.reference,
    files: m.files.map(({ name, byteLength, headerSha256 }) => ({ name, byteLength, headerSha256 })),
  }));
  return `${JSON.stringify({ format: "braid-adapter-1", version, kernelSha256, dtype: given.shape.dtype, inputs, ...rest, files }, null, 1)}\n`;
}
