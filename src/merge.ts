// From a recipe to a merged checkpoint: parse, open, plan, stage, run, hash, write what goes beside, commit.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { plannedFolder, writeBeside } from "./beside.ts";
import { fromBase64 } from "./bytes/base64.ts";
import type { Folder } from "./bytes/source.ts";
import type { Stage } from "./bytes/stage.ts";
import { chatTemplate } from "./chat-templates.ts";
import { BraidError, type Diagnostic, fail, isBraidError, quote } from "./errors.ts";
import { Conductor, type ConductorHooks, type TensorOutcome } from "./exec/conduct.ts";
import { drive } from "./exec/drive.ts";
import type { Job } from "./exec/executor.ts";
import { transferList } from "./exec/messages.ts";
import type { FileHash, Host, MergeRequest, MergeStep, MergeSummary } from "./host.ts";
import { kernelSha256 } from "./kernel/kernel.ts";
import { catalogue, methods } from "./methods/index.ts";
import type { Method } from "./methods/method.ts";
import { type OpenedModel, openModels } from "./models.ts";
import { buildPlan } from "./plan/build.ts";
import { type InputModel, tensorNames } from "./plan/model.ts";
import type { Plan } from "./plan/plan.ts";
import type { Profiler } from "./profile.ts";
import { Progress } from "./progress.ts";
import { withQFiles } from "./q-file.ts";
import { ReadAhead } from "./read-ahead.ts";
import { assignTensors } from "./recipe/assign.ts";
import { isText } from "./recipe/modules.ts";
import { type ParsedRecipe, type ParsedSlice, parseRecipe } from "./recipe/recipe.ts";
import { planIdentity } from "./report.ts";
import { Tally } from "./tally.ts";
import type { ModelLocation } from "./tensor/locate.ts";
import { type OutputTokenizer, prepareTokenizer } from "./tokenizer.ts";
import { Written } from "./written.ts";

/** mergekit and Braid agree on nothing random; this is the seed when nobody names one. */
export const defaultSeed = "42";
/** Bytes that are sent to the disk together while the merge goes on. */
const flushBytes = 256 * 1024 * 1024;
/** Tensors of all models from which on what planning leaves behind is worth giving back: tens of MiB. */
const collectFrom = 8192;
/** Bytes of arrays in receipts that may have become garbage: engines do not count what came from another thread as their own. */
const collectBytes = 32 * 1024 * 1024;
/** Room for what goes beside the tensors. */
const spareBytes = 64 * 1024 * 1024;

export interface Prepared {
  readonly plan: Plan;
  readonly planSha256: string;
  readonly recipe: ParsedRecipe;
  readonly recipeSha256: string;
  readonly method: Method;
  /** As they are, and with their matrices in the output's vocabulary. */
  readonly opened: readonly OpenedModel[];
  readonly checkpoints: readonly InputModel[];
  readonly locations: readonly ModelLocation[];
  readonly tokenizer: OutputTokenizer;
  /** The chat template that replaces the tokenizer's own. */
  readonly template: string | null;
  /** Of a recipe in slices, the input layer that each output layer comes from; null where the base's layers stay. */
  readonly layers: readonly number[] | null;
  readonly warnings: readonly Diagnostic[];
  /** Of a file of several recipes: those that come first. */
  readonly earlier: readonly Prepared[];
}

/** One recipe of a file of several, and what the names of earlier ones stand for. */
interface Document {
  readonly recipe: ParsedRecipe;
  readonly outputs: ReadonlyMap<string, Folder>;
}

function recipesOf({ recipe, compat, outDtype }: MergeRequest): ParsedRecipe[] {
  const recipes = parseRecipe(recipe.text, recipe.file, catalogue(compat === "mergekit"));
  if (outDtype === undefined) return recipes;
  return recipes.map((r, i) => (i === recipes.length - 1 ? { ...r, outDtype } : r));
}

/**
 * Reads the recipe and every header, and plans. Nothing is written and no tensor byte is read. Of a file of several recipes the
 * last one is planned; those before it are in `earlier`, and what they will write stands for the models of their names.
 *
 * @throws BraidError with all that is wrong with the recipe, or with all tensors that cannot be merged.
 */
export async function prepare(request: MergeRequest, host: Host): Promise<Prepared> {
  const earlier: Prepared[] = [];
  const outputs = new Map<string, Folder>();
  const recipes = recipesOf(request);
  for (const recipe of recipes.slice(0, -1)) {
    const prepared = await prepareDocument({ recipe, outputs }, request, host);
    earlier.push(prepared);
    outputs.set(recipe.name!, plannedFolder(prepared));
  }
  return { ...(await prepareDocument({ recipe: recipes.at(-1)!, outputs }, request, host)), earlier };
}

async function prepareDocument({ recipe, outputs }: Document, request: MergeRequest, host: Host): Promise<Prepared> {
  const mergekit = request.compat === "mergekit";
  const known = catalogue(mergekit);
  const method = methods.get(recipe.method);
  if (!method) {
    const have = [...methods.keys()].join(", ");
    fail("recipe-unsupported", `Cannot merge by ${quote(recipe.method)}: this version does not have that method yet`, {
      hint: `It has ${have}.`,
    });
  }
  const opened = await openModels(recipe, request, host, outputs);
  const large = opened.reduce((sum, o) => sum + o.model.tensors.size, 0) >= collectFrom;
  if (large) host.collect();
  const failed: BraidError[] = [];
  const tokenizer = await prepareTokenizer(recipe, opened, request.recipe.folder, mergekit, host).catch((e) => {
    if (!isBraidError(e)) throw e;
    failed.push(e);
    return null;
  });
  const late: BraidError[] = [];
  const template = await chatTemplate(recipe, opened).catch((e) => {
    if (!isBraidError(e)) throw e;
    late.push(e);
    return null;
  });
  const checkpoints = tokenizer?.models ?? opened.map((o) => o.model);
  const warnings: Diagnostic[] = [...recipe.warnings, ...(tokenizer?.warnings ?? [])];
  const names = checkpoints.map(tensorNames);
  const namesOf = (model: number) => names[model]!;
  const warn = (d: Diagnostic) => void warnings.push(d);
  const assigned = withQFiles(assignTensors(recipe, known, namesOf, warn), request.recipe.folder, host, warn);
  const recipeSha256 = bytesToHex(sha256(utf8ToBytes(request.recipe.text)));
  const built = collect(failed, late, () =>
    buildPlan(recipe, assigned, checkpoints, method, {
      seed: request.seed ?? recipe.seed?.toString() ?? defaultSeed,
      mergekit,
      policy: { nonFinite: request.nonFinite, overflow: request.overflow },
      rounding: request.rounding,
      shardBytes: request.outShardBytes,
      workers: request.workers ?? host.cores,
      memoryBytes: request.memoryBytes,
      sliceElements: request.sliceElements,
      ...(request.elsewhere ? { elsewhere: request.elsewhere } : {}),
      allowMissing: request.allowMissing,
      kernelSha256,
      recipeSha256,
      tokens: tokenizer?.joined?.tokensRead ?? 0,
    }),
  );
  if (!tokenizer || !built || late.length > 0) throw new BraidError([...failed, ...late].flatMap((e) => e.diagnostics));
  warnings.push(...checkpoints.flatMap((c) => c.warnings), ...built.warnings);
  const planSha256 = planIdentity(built.plan);
  if (large) host.collect();
  const text = recipe.modules.find((m) => isText(m) && m.form === "slices");
  const layers = text ? recipe.slices.slice(text.first, text.end).flatMap(layersOf) : null;
  return {
    plan: built.plan,
    planSha256,
    recipe,
    recipeSha256,
    method,
    opened,
    checkpoints,
    locations: opened.map((o) => o.location),
    tokenizer,
    template,
    layers,
    warnings: distinct(warnings),
    earlier: [],
  };
}

/**
 * Runs what comes after a failure, for what it has to tell of its own; its errors come first, those of `late` after all. That rows do not match is no news
 * where the vocabularies could not be brought together.
 */
function collect<T>(failed: BraidError[], late: readonly BraidError[], run: () => T): T | null {
  if (failed.length === 0 && late.length === 0) return run();
  try {
    return run();
  } catch (e) {
    if (!isBraidError(e)) throw e;
    const own = e.diagnostics.filter((d) => failed.length === 0 || d.kind !== "vocabulary-mismatch");
    if (own.length > 0) failed.unshift(new BraidError(own));
    return null;
  }
}

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

/** The layers of a slice, as its first source counts them. */
function layersOf(slice: ParsedSlice): number[] {
  const [first, end] = slice.sources[0]!.layerRange!;
  return Array.from({ length: end - first }, (_, i) => first + i);
}

function distinct(warnings: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(warnings.map((w) => [JSON.stringify(w), w])).values()];
}
