// From a recipe to a merged checkpoint: parse, open, plan, stage, run, hash, write what goes beside, commit.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { headSource } from "./bytes/memory.ts";
import { type Folder, readWhole } from "./bytes/source.ts";
import type { Stage } from "./bytes/stage.ts";
import { chatTemplate, withTemplate } from "./chat-templates.ts";
import { type Diagnostic, fail, quote } from "./errors.ts";
import { Conductor, type TensorOutcome } from "./exec/conduct.ts";
import { drive } from "./exec/drive.ts";
import type { Job } from "./exec/executor.ts";
import type { FileHash, Host, MergeRequest, MergeStep, MergeSummary } from "./host.ts";
import { kernelSha256 } from "./kernel/kernel.ts";
import { declaredLicense } from "./license.ts";
import { catalogue, methods } from "./methods/index.ts";
import type { Method } from "./methods/method.ts";
import { openModels } from "./models.ts";
import { buildPlan } from "./plan/build.ts";
import { type InputModel, tensorNames } from "./plan/model.ts";
import type { Plan } from "./plan/plan.ts";
import type { Profiler } from "./profile.ts";
import { Progress } from "./progress.ts";
import { withQFiles } from "./q-file.ts";
import { ReadAhead } from "./read-ahead.ts";
import { assignTensors } from "./recipe/assign.ts";
import { type ParsedRecipe, type ParsedSlice, parseRecipe } from "./recipe/recipe.ts";
import { manifest, modelCard, type Provenance, planIdentity } from "./report.ts";
import { Tally } from "./tally.ts";
import type { Checkpoint } from "./tensor/checkpoint.ts";
import { configText, outputConfig } from "./tensor/config.ts";
import { byteWidth, type FloatDtype, isFloat, torchNames } from "./tensor/dtype.ts";
import type { ModelLocation } from "./tensor/locate.ts";
import { indexJson, indexName, type OutputFile } from "./tensor/shards.ts";
import { cleanSidecar, maxParsedSidecarBytes, tokenizerNames } from "./tensor/sidecars.ts";
import { maxSidecarBytes, tokenizerDonor } from "./tokenizer.ts";
import { Written } from "./written.ts";

/** mergekit and Braid agree on nothing random; this is the seed when nobody names one. */
export const defaultSeed = "42";
/** Bytes that are sent to the disk together while the merge goes on. */
const flushBytes = 256 * 1024 * 1024;
/** Room for what goes beside the tensors. */
const spareBytes = 64 * 1024 * 1024;

export interface Prepared {
  readonly plan: Plan;
  readonly planSha256: string;
  readonly recipe: ParsedRecipe;
  readonly recipeSha256: string;
  readonly method: Method;
  readonly checkpoints: readonly InputModel[];
  readonly locations: readonly ModelLocation[];
  /** Whose tokenizer files are copied, and the chat template that replaces its own. */
  readonly tokenizer: Checkpoint;
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

const recipesOf = (request: MergeRequest) =>
  parseRecipe(request.recipe.text, request.recipe.file, catalogue(request.compat === "mergekit"));

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
    outputs.set(recipe.name!, plannedFolder(prepared, host));
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
  const checkpoints = opened.map((o) => o.model);
  const warnings: Diagnostic[] = [...recipe.warnings];
  const names = checkpoints.map(tensorNames);
  const namesOf = (model: number) => names[model]!;
  const warn = (d: Diagnostic) => void warnings.push(d);
  const assigned = withQFiles(assignTensors(recipe, known, namesOf, warn), request.recipe.folder, host, warn);
  const recipeSha256 = bytesToHex(sha256(utf8ToBytes(request.recipe.text)));
  const built = buildPlan(recipe, assigned, checkpoints, method, {
    seed: request.seed ?? recipe.seed?.toString() ?? defaultSeed,
    mergekit,
    policy: { nonFinite: request.nonFinite, overflow: request.overflow },
    rounding: request.rounding,
    shardBytes: request.outShardBytes,
    workers: request.workers ?? host.cores,
    memoryBytes: request.memoryBytes,
    sliceElements: request.sliceElements,
    allowMissing: request.allowMissing,
    kernelSha256,
    recipeSha256,
  });
  warnings.push(...checkpoints.flatMap((c) => c.warnings), ...built.warnings);
  const donor = await tokenizerDonor(recipe, checkpoints, request.recipe.folder, host);
  const template = await chatTemplate(recipe, checkpoints, host);
  const planSha256 = bytesToHex(sha256(utf8ToBytes(planIdentity(built.plan))));
  const layers = recipe.form === "slices" ? recipe.slices.flatMap(layersOf) : null;
  return {
    plan: built.plan,
    planSha256,
    recipe,
    recipeSha256,
    method,
    checkpoints,
    locations: opened.map((o) => o.location),
    tokenizer: donor,
    template,
    layers,
    warnings: distinct(warnings),
    earlier: [],
  };
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
    const { tally, workerSeconds } = await run(prepared, request, stage, hashes, host, started, profiler);
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
): Promise<{ tally: Tally; workerSeconds: MergeSummary["workerSeconds"] }> {
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
  const ahead = new ReadAhead(plan, host);
  const progress = new Progress(host, started, plan.bytesRead + plan.bytesWritten);
  const conductor = new Conductor(plan, method, {
    outcome: (outcome: TensorOutcome, complete: boolean) => tally.add(outcome, complete),
    kept: (model, kept) => tally.addModel(model, kept),
    beat: (bytes, tensor, task) => progress.beat(task.id, bytes, tensor.name),
    progress: (bytes, tensor, task, receipt) => {
      for (const part of ["read", "compute", "write"] as const) workerSeconds[part] += receipt.nanoseconds[part] / 1e9;
      profiler?.task(tensor.name, task, receipt);
      ahead.done(task, tensor, receipt);
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
  });
  const start = host.now();
  const executor = host.createExecutor(job, plan.memory.workers);
  try {
    await step("merge", () => drive(conductor, executor, host.signal), start);
  } finally {
    await ahead.end();
    await step("sync", async () => {
      await flushing;
      await executor.close();
    });
  }
  progress.end();
  return { tally, workerSeconds };
}

/** The dtype that the output's config names. */
function mainDtype(plan: Plan): FloatDtype {
  const floats = new Set(plan.tensors.map((t) => t.dtype).filter(isFloat));
  return floats.size === 1 ? [...floats][0]! : "F32";
}

/** The text of the output's config.json, or null where no input has one. */
function configOf({ plan, recipe, checkpoints, layers }: Prepared): string | null {
  const donor = checkpoints[recipe.base ?? 0]!;
  if (!donor.config) return null;
  const hasHead = plan.tensors.some((t) => /(^|\.)(lm_head|embed_out)\.weight$/.test(t.name));
  const tied = donor.configTied === undefined ? undefined : donor.configTied && !hasHead;
  return configText(
    outputConfig(donor.config, {
      dtype: mainDtype(plan),
      ...(tied === undefined ? {} : { tied }),
      ...(layers ? { numLayers: layers.length, layerSources: layers } : {}),
    }),
  );
}

/** What a merge will write, for recipes that use it: headers and config, and the tokenizer files that it will copy. */
function plannedFolder(prepared: Prepared, host: Host): Folder {
  const { plan, recipe, tokenizer } = prepared;
  const name = recipe.name!;
  const files = new Map(plan.outputs.map((f) => [f.name, { bytes: fromBase64(f.header), byteLength: f.byteLength }]));
  const text = (file: string, content: string) => {
    const bytes = utf8ToBytes(content);
    files.set(file, { bytes, byteLength: bytes.length });
  };
  const config = configOf(prepared);
  if (config !== null) text("config.json", config);
  if (plan.outputs.length > 1) text(indexName, indexJson(outputFiles(plan)));
  const donor = host.fs.folder(tokenizer.folder);
  return {
    name,
    list: async () => [...files.keys(), ...tokenizer.sidecars].sort(),
    locate: (file) => `${name}/${file}`,
    open: async (file) => {
      const known = files.get(file);
      return known ? headSource(`${name}/${file}`, known.bytes, known.byteLength) : donor.open(file);
    },
  };
}

/** config.json, index, tokenizer files, model card and manifest. */
async function writeBeside(
  prepared: Prepared,
  request: MergeRequest,
  out: string,
  stage: Stage,
  facts: Parameters<typeof manifest>[1],
  host: Host,
): Promise<void> {
  const { plan, recipe, checkpoints } = prepared;
  const donor = checkpoints[recipe.base ?? 0]!;
  const dtype = mainDtype(plan);
  const config = configOf(prepared);
  if (config !== null) await stage.writeText("config.json", config);
  const isTokenizer = (name: string) => (tokenizerNames as readonly string[]).includes(name);
  const isReplaced = (name: string) => prepared.template !== null && name.startsWith("chat_template.");
  for (const [model, names] of [
    [donor, donor.sidecars.filter((n) => !isTokenizer(n))],
    [prepared.tokenizer, request.copyTokenizer ? prepared.tokenizer.sidecars.filter(isTokenizer) : []],
  ] as const) {
    const folder = host.fs.folder(model.folder);
    for (const name of names) {
      if (isReplaced(name)) continue;
      const source = await folder.open(name);
      try {
        const bytes = await readWhole(source, maxSidecarBytes, (n) =>
          fail("model-config", `Cannot copy ${quote(source.name)}: it has ${n} bytes, the limit is ${maxSidecarBytes}`),
        );
        const clean = bytes.length <= maxParsedSidecarBytes ? cleanSidecar(name, bytes) : { bytes, warnings: [] };
        for (const diagnostic of clean.warnings) host.report({ type: "warning", diagnostic });
        const renamed = name === "tokenizer_config.json" && prepared.template !== null;
        await stage.writeText(
          name,
          renamed ? withTemplate(new TextDecoder().decode(clean.bytes), prepared.template) : clean.bytes,
        );
      } finally {
        await source.close();
      }
    }
  }
  if (prepared.template !== null) await stage.writeText("chat_template.jinja", prepared.template);
  const licenses = await Promise.all(checkpoints.map((c) => declaredLicense(c, host)));
  const provenance: Provenance = {
    plan,
    planSha256: prepared.planSha256,
    recipeText: request.recipe.text,
    recipeSha256: prepared.recipeSha256,
    methodTitle: prepared.method.title,
    paper: prepared.method.paper,
    models: checkpoints.map((c, i) => {
      const { repo, revision } = prepared.locations[i]!;
      const license = licenses[i];
      return {
        reference: c.reference,
        ...(repo ? { repo } : {}),
        ...(revision ? { revision } : {}),
        ...(license ? { license } : {}),
      };
    }),
    base: recipe.base,
    dtype: torchNames[dtype],
    hashed: request.checksum,
    compat: request.compat,
    runtime: host.runtime,
  };
  if (request.writeModelCard)
    await stage.writeText(
      "README.md",
      modelCard(provenance, host.fs.split(host.fs.resolve(host.cwd, out)).file, facts.methodFacts),
    );
  await stage.writeText("mergekit_config.yml", request.recipe.text);
  if (plan.outputs.length > 1) await stage.writeText(indexName, indexJson(outputFiles(plan)));
  await stage.writeText("braid.json", manifest(provenance, facts));
}

/** The layers of a slice, as its first source counts them. */
function layersOf(slice: ParsedSlice): number[] {
  const [first, end] = slice.sources[0]!.layerRange!;
  return Array.from({ length: end - first }, (_, i) => first + i);
}

function outputFiles(plan: Plan): OutputFile[] {
  return plan.outputs.map((f, file) => {
    const tensors = plan.tensors.filter((t) => t.output.file === file);
    return {
      name: f.name,
      header: fromBase64(f.header),
      byteLength: f.byteLength,
      tensors: new Map(
        tensors.map((t) => [t.name, { start: t.output.start, end: t.output.start + t.count * byteWidth(t.dtype) }]),
      ),
      parameterCount: tensors.reduce((sum, t) => sum + t.count, 0),
    };
  });
}

function distinct(warnings: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(warnings.map((w) => [JSON.stringify(w), w])).values()];
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}
