// From a plan to a merged checkpoint: stage, run, hash, write what goes beside, commit.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { writeBeside } from "./beside.ts";
import { fromBase64 } from "./bytes/base64.ts";
import type { Folder } from "./bytes/source.ts";
import type { Stage } from "./bytes/stage.ts";
import { Conductor } from "./exec/conduct.ts";
import { drive } from "./exec/drive.ts";
import type { Job } from "./exec/executor.ts";
import { transferList } from "./exec/messages.ts";
import type { ConductorHooks, TensorOutcome } from "./exec/outcome.ts";
import type { FileHash, Host, MergeRequest, MergeStep, MergeSummary } from "./host.ts";
import { type Document, type Prepared, prepare, prepareDocument, recipesOf } from "./prepare.ts";
import type { Profiler } from "./profile.ts";
import { Progress } from "./progress.ts";
import { ReadAhead } from "./read-ahead.ts";
import { Tally } from "./tally.ts";
import { Written } from "./written.ts";

/** Bytes that are sent to the disk together while the merge goes on. */
const flushBytes = 256 * 1024 * 1024;
/** Bytes of arrays in receipts that may have become garbage: engines do not count what came from another thread as their own. */
const collectBytes = 32 * 1024 * 1024;
/** Room for what goes beside the tensors. */
const spareBytes = 64 * 1024 * 1024;

export interface MergeOptions {
  readonly overwrite: boolean;
  /** Where the outputs of all recipes of a file but the last go, each in a folder of its name; else they are removed at the end. */
  readonly intermediate?: string;
  /** Is told where the time goes. */
  readonly profiler?: Profiler;
}

type Step = <T>(name: MergeStep, run: () => T | Promise<T>, since?: number) => Promise<T>;

function stepsOf(profiler: Profiler | undefined): Step {
  return async (name, run, since) => (profiler ? profiler.step(name, run, since) : run());
}

/**
 * Merges into `out`. Until it resolves, nothing there looks finished; when it rejects, nothing was left. Of a file of several
 * recipes the last one goes to `out`.
 */
export async function merge(
  request: MergeRequest,
  out: string,
  options: MergeOptions,
  host: Host,
): Promise<MergeSummary> {
  const recipes = recipesOf(request);
  const last = recipes.at(-1)!;
  const outputs = new Map<string, Folder>();
  if (recipes.length === 1) return mergeDocument({ recipe: last, outputs }, request, out, options, host);
  await prepare(request, host); // Told before the first step, not after hours of it, when a later one cannot be.
  const steps = host.fs.resolve(host.cwd, options.intermediate ?? `${out}.steps`);
  const earlier: MergeSummary[] = [];
  try {
    for (const recipe of recipes.slice(0, -1)) {
      const place = host.fs.resolve(steps, folderName(recipe.name!));
      earlier.push(await mergeDocument({ recipe, outputs }, request, place, options, host));
      outputs.set(recipe.name!, host.fs.folder(place));
    }
    const summary = await mergeDocument({ recipe: last, outputs }, request, out, options, host);
    return { ...summary, earlier };
  } finally {
    if (options.intermediate === undefined) await host.removeFolder(steps);
  }
}

/** What the output must be apart from. Of a raw file it is the file: the folder that it lies in is nobody's model. */
function inputPlaces({ checkpoints, locations }: Prepared): string[] {
  return checkpoints.flatMap((c, i) =>
    locations[i]!.file !== undefined && c.config === null ? c.files.map((f) => f.location) : [c.folder],
  );
}

/** A recipe's name as one part of a path. */
function folderName(name: string): string {
  const plain = name.replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "");
  return plain === name ? name : `${plain}-${bytesToHex(sha256(utf8ToBytes(name))).slice(0, 8)}`;
}

async function mergeDocument(
  document: Document,
  request: MergeRequest,
  out: string,
  options: MergeOptions,
  host: Host,
): Promise<MergeSummary> {
  const started = host.now();
  const { profiler } = options;
  const step = stepsOf(profiler);
  const prepared = await step("plan", () => prepareDocument(document, request, host));
  const { plan } = prepared;
  for (const diagnostic of prepared.warnings) host.report({ type: "warning", diagnostic });
  host.report({ type: "plan", plan, out });
  const stage = await step("stage", () =>
    host.openStage(host.fs.resolve(host.cwd, out), {
      overwrite: options.overwrite,
      files: plan.outputs.map((f) => ({ name: f.name, byteLength: f.byteLength, header: fromBase64(f.header) })),
      requiredBytes: plan.outputs.reduce((sum, f) => sum + f.byteLength, spareBytes),
      inputs: inputPlaces(prepared),
      planSha256: prepared.planSha256,
      sync: request.sync,
    }),
  );
  for (const diagnostic of stage.warnings) host.report({ type: "warning", diagnostic });
  const worked = (name: string) => profiler && ((start: number) => profiler.besideSince("hash", name, start));
  const hashes = request.checksum ? plan.outputs.map((f) => host.hashFile(stage.path(f.name), worked(f.name))) : [];
  try {
    const { tally, workerSeconds, spared } = await run(prepared, request, stage, hashes, host, started, profiler);
    for (const diagnostic of tally.warnings()) host.report({ type: "warning", diagnostic });
    for (const c of prepared.checkpoints) {
      for (const f of c.files) if (f.identity) host.assertUnchanged(f.location, f.identity);
    }
    const files: MergeSummary["files"][number][] = [];
    await step("hash", async () => {
      for (const [i, f] of plan.outputs.entries()) {
        const hash = hashes[i];
        if (hash) host.report({ type: "hashing", file: f.name });
        files.push({ name: f.name, byteLength: f.byteLength, sha256: (await hash?.finish(host.signal)) ?? null });
      }
    });
    const facts = {
      out,
      method: plan.method,
      models: plan.inputs.map((i) => i.reference),
      tensors: plan.tensors.length,
      parameters: plan.parameters,
      bytesRead: plan.bytesRead,
      bytesWritten: plan.bytesWritten,
      workers: plan.memory.workers,
      workerSeconds,
      ...tally.summary(),
      plannedPeakBytes: plan.memory.peakBytes,
      planSha256: prepared.planSha256,
      files,
    };
    await step("files", () => writeBeside(prepared, request, out, stage, facts, host));
    host.signal.throwIfAborted();
    await step("commit", () => stage.commit());
    return {
      ...facts,
      bytesRead: plan.bytesRead - spared,
      seconds: (host.now() - started) / 1000,
      peakMemoryBytes: host.peakMemory(),
      warnings: [...prepared.warnings, ...tally.warnings()],
      ...(profiler ? { profile: profiler.summary() } : {}),
    };
  } catch (error) {
    for (const hash of hashes) hash.close();
    await stage.abort();
    throw error;
  }
}

/** Runs the plan's tasks into the staged files, which are hashed and sent to the disk as they fill. */
async function run(
  prepared: Prepared,
  request: MergeRequest,
  stage: Stage,
  hashes: readonly FileHash[],
  host: Host,
  started: number,
  profiler?: Profiler,
): Promise<{ tally: Tally; workerSeconds: MergeSummary["workerSeconds"]; spared: number }> {
  const { plan, method } = prepared;
  const job: Job = {
    files: [
      ...plan.inputFiles.map((f) => ({ path: f.location, mode: "read" as const })),
      ...plan.outputs.map((f) => ({ path: stage.path(f.name), mode: "write" as const })),
    ],
    workerBytes: plan.memory.workerBytes,
    ...(profiler ? { profile: true } : {}),
    sync: request.sync,
  };
  const step = stepsOf(profiler);
  profiler?.expect(plan.memory.workers);
  const tally = new Tally(plan);
  const written = new Written(plan);
  const flushed = plan.outputs.map(() => 0);
  let flushing: Promise<void> | null = null;
  const workerSeconds = { read: 0, compute: 0, write: 0 };
  let received = 0;
  const ahead = new ReadAhead(plan, host);
  const progress = new Progress(host, started, plan.bytesRead + plan.bytesWritten);
  const hooks: ConductorHooks = {
    outcome: (outcome: TensorOutcome, complete: boolean) => tally.add(outcome, complete),
    kept: (model, kept) => tally.addModel(model, kept),
    beat: (bytes, tensor, task) => progress.beat(task.id, bytes, tensor.name),
    progress: (bytes, tensor, task, receipt) => {
      for (const part of ["read", "compute", "write"] as const) workerSeconds[part] += receipt.nanoseconds[part] / 1e9;
      profiler?.task(tensor.name, task, receipt);
      ahead.done(task, tensor, receipt);
      received += transferList(receipt).reduce((sum, { byteLength }) => sum + byteLength, 0);
      if (received >= collectBytes) {
        received = 0;
        host.collect();
      }
      progress.done(task.id, bytes, tensor.name);
    },
    written: (bytes, tensor, task) => {
      const at = written.add(task);
      if (at) {
        hashes[at.file]?.advance(at.mark);
        if (request.sync && !flushing && at.mark - flushed[at.file]! >= flushBytes) {
          flushed[at.file] = at.mark;
          const { name } = plan.outputs[at.file]!;
          const flushStart = host.now();
          // What fails here fails again, and is told, when the output is synced for good.
          flushing = host
            .flush(stage.path(name))
            .catch(() => {})
            .finally(() => {
              profiler?.besideSince("flush", name, flushStart);
              flushing = null;
            });
        }
      }
      progress.done(task.id, bytes, tensor.name);
    },
  };
  const start = host.now();
  const executor = await host.createExecutor(job, plan.memory.workers);
  let spared = 0;
  try {
    const conductor = new Conductor(plan, method, hooks, executor);
    await step("merge", () => drive(conductor, executor, host.signal), start);
    spared = conductor.spared;
  } finally {
    await ahead.end();
    await step("sync", async () => {
      await flushing;
      await executor.close();
    });
  }
  progress.end();
  return { tally, workerSeconds, spared };
}
