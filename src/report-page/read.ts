// From the folder of a merge to the facts of its report: braid.json, the output's headers, the recipe planned again, and where the
// inputs are still there, their deltas beside the output's.

import { analyze } from "../analyze/analyze.ts";
import { defaultAnalysis } from "../analyze/plan.ts";
import type { Folder } from "../bytes/source.ts";
import { readWhole } from "../bytes/source.ts";
import { fail, isBraidError, quote } from "../errors.ts";
import type { Opener } from "../exec/files.ts";
import { defaultRequest, type Host, type MergeRequest, type MergeSummary } from "../host.ts";
import { catalogue } from "../methods/index.ts";
import { type Prepared, prepare } from "../prepare.ts";
import { parseRecipe } from "../recipe/recipe.ts";
import { planIdentity } from "../report.ts";
import { type Checkpoint, openCheckpoint } from "../tensor/checkpoint.ts";
import { dtypeNamed, type FloatDtype, floatDtypes } from "../tensor/dtype.ts";
import { absorbedSlice, countAbsorbed } from "./absorbed.ts";
import type { Absorbed, Comparison, InputFacts, Maybe, ReportFacts, Timings } from "./facts.ts";
import { type Manifest, manifestName, maxManifestBytes, parseManifest } from "./manifest.ts";

export interface ReportRequest {
  /** The folder of the output. */
  readonly out: string;
  /** Where paths of the recipe begin that are not found from here; null: the output's folder. */
  readonly inputs: string | null;
  /** The request of the merge that just ran; null: what braid.json says of it. */
  readonly merged: MergeRequest | null;
  readonly summary: TimingSummary | null;
  /** Read the tensors: without it there are no deltas. */
  readonly deltas: boolean;
  /** Merge again to count what rounding took back. */
  readonly rounding: boolean;
  readonly workers: number | null;
  readonly memoryBytes: number;
}

export type TimingSummary = Pick<
  MergeSummary,
  "seconds" | "workers" | "bytesRead" | "bytesWritten" | "workerSeconds" | "peakMemoryBytes" | "plannedPeakBytes"
> &
  Partial<Pick<MergeSummary, "profile" | "planSha256">>;

/** What reading tensors takes. */
export interface ReportTools {
  readonly module: WebAssembly.Module;
  readonly opener: Opener;
  /** Compares models with a base; their names are what a recipe would call them. */
}

/** Elements up to which every slice is merged again; of larger models so many are. */
const absorbedElements = 2 ** 30;

/** Reads braid.json. `path` and `folder` are the output's. */
export async function readManifest(path: string, folder: Folder): Promise<Manifest> {
  if (!(await folder.list()).includes(manifestName)) {
    fail("manifest", `Cannot report on ${quote(path, 4096)}: it has no ${manifestName}`, {
      hint: "braid report reads a folder that braid merge wrote.",
    });
  }
  const from = `${path}/${manifestName}`;
  const source = await folder.open(manifestName);
  try {
    const bytes = await readWhole(source, maxManifestBytes, (n) =>
      fail("manifest", `Cannot report on ${quote(from, 4096)}: it has ${n} bytes, the limit is ${maxManifestBytes}`),
    );
    return parseManifest(new TextDecoder().decode(bytes), from);
  } finally {
    await source.close();
  }
}

/** @throws BraidError where `out` is not the output of a merge. What is missing beside it is told in the facts. */
export async function readFacts(request: ReportRequest, tools: ReportTools, host: Host): Promise<ReportFacts> {
  const out = host.fs.resolve(host.cwd, request.out);
  const kind = host.fs.kind(out);
  if (kind !== "folder") {
    const what = kind === null ? "there is no such folder" : "it is a file, expected the folder of a merge";
    fail("file-not-found", `Cannot report on ${quote(request.out, 4096)}: ${what}`);
  }
  const folder = host.fs.folder(out);
  const manifest = await readManifest(request.out, folder);
  const output = await openCheckpoint(request.out, folder);
  const warnings: string[] = [];
  assertOutput(manifest, output, request.out);
  const recipeFolder = host.fs.resolve(host.cwd, request.inputs ?? request.merged?.recipe.folder ?? out);
  const mergeRequest: MergeRequest = {
    ...(request.merged ?? requestOf(manifest)),
    recipe: { text: manifest.recipe, file: `${request.out}/${manifestName}`, folder: recipeFolder },
    workers: request.workers,
    memoryBytes: request.memoryBytes,
  };
  const planned = await attempt(() => prepare(mergeRequest, host));
  const prepared = "found" in planned ? planned.found : null;
  if (prepared && !samePlan(prepared, manifest)) {
    warnings.push(
      "The recipe does not lead to the plan that was carried out: the inputs, or what decides beside the recipe, are not what they were.",
    );
  }
  const inputs = inputFacts(manifest, baseOf(manifest));
  const comparison = await compare(request, planned, inputs, manifest, mergeRequest, host);
  const absorbed = await absorption(request, planned, manifest, mergeRequest, folder, tools, host);
  return {
    title: host.fs.split(out).file,
    manifest,
    inputs,
    outputDtypes: dtypesOf(output),
    comparison,
    absorbed,
    timings: timingsOf(request.summary, manifest),
    warnings,
  };
}

/** The files of braid.json are those of the folder. Their hashes are for `sha256sum`: taking them would be another reading. */
function assertOutput(manifest: Manifest, output: Checkpoint, out: string): void {
  const there = new Map(output.files.map((f) => [f.name, f.byteLength]));
  for (const { name, byteLength } of manifest.files) {
    const length = there.get(name);
    if (length === byteLength) continue;
    const what = length === undefined ? "it is not there" : `it has ${length} bytes`;
    fail("manifest", `Cannot report on ${quote(out, 4096)}: ${quote(name)} should have ${byteLength} bytes, ${what}`, {
      hint: "The output was changed after it was merged.",
    });
  }
}

function requestOf(manifest: Manifest): MergeRequest {
  const { loraMergeDtype, ...options } = manifest.options ?? {};
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const isFloatName = (name: string | undefined): name is FloatDtype =>
    name !== undefined && (floatDtypes as readonly string[]).includes(name);
  return {
    ...defaultRequest,
    ...(given as Partial<MergeRequest>),
    recipe: { text: manifest.recipe, file: manifestName, folder: "" },
    seed: manifest.seed,
    compat: manifest.compat,
    loraMergeDtype: isFloatName(loraMergeDtype) ? loraMergeDtype : dtypeNamed(loraMergeDtype ?? ""),
  };
}

/** Kernels of another version make the same bytes or have another name for their methods; they are no other inputs. */
function samePlan({ plan }: Prepared, manifest: Manifest): boolean {
  return planIdentity({ ...plan, kernelSha256: manifest.kernelSha256 }) === manifest.planSha256;
}

async function attempt<T>(run: () => Promise<T>): Promise<Maybe<T>> {
  try {
    return { found: await run() };
  } catch (e) {
    if (!isBraidError(e) || e.kind === "interrupted" || e.kind === "terminated") throw e;
    const first = e.diagnostics[0]!;
    const help =
      first.kind === "model-not-found" ? " braid report --inputs names the folder where the recipe was." : "";
    return { missing: `${first.message.split("\n")[0]}.${help}` };
  }
}

/** Index of the recipe's base among its models; null where it has none. */
function baseOf({ recipe, compat }: Manifest): number | null | undefined {
  try {
    return parseRecipe(recipe, manifestName, catalogue(compat === "mergekit")).at(-1)?.base;
  } catch (e) {
    if (!isBraidError(e)) throw e;
    return undefined; // a method of another version, say: the roles are not known then
  }
}

function inputFacts(manifest: Manifest, base: number | null | undefined): InputFacts[] {
  return manifest.inputs.map((input, i) => ({
    reference: input.model,
    role: i === base ? "base" : base === null && i === 0 ? "reference" : "model",
    ...(input.license === undefined ? {} : { license: input.license }),
  }));
}

/** Why deltas by the names of tensors would say nothing, or null. */
function incomparable(prepared: Prepared, manifest: Manifest): string | null {
  const { plan, recipe, layers, earlier } = prepared;
  if (earlier.length > 0) return "The recipe's inputs are outputs of its earlier parts, which are not kept.";
  const moved =
    layers?.some((layer, i) => layer !== i) ||
    recipe.slices.some(({ sources }) =>
      sources.some((s) => String(s.layerRange ?? "") !== String(sources[0]?.layerRange ?? "")),
    );
  if (moved) return "The recipe takes layers from other places: their names do not say what to compare them with.";
  const other = manifest.inputs.find(({ files }, i) =>
    files.some((f, k) => f.headerSha256 !== plan.inputs[i]?.files[k]?.headerSha256),
  );
  return other ? `${other.model} is not what was merged: the headers of its files are others.` : null;
}

const noDeltas = "The tensors were not read (--no-deltas).";
const without = (reason: string) => `This section needs the inputs as they were merged. ${reason}`;

async function compare(
  request: ReportRequest,
  planned: Maybe<Prepared>,
  inputs: readonly InputFacts[],
  manifest: Manifest,
  { recipe, allowMissing }: MergeRequest,
  host: Host,
): Promise<Maybe<Comparison>> {
  if (!request.deltas) return { missing: noDeltas };
  if ("missing" in planned) return { missing: without(planned.missing) };
  const reason = incomparable(planned.found, manifest);
  if (reason !== null) return { missing: reason };
  const base = inputs.find((i) => i.role !== "model")!;
  const models = inputs.filter((i) => i.role === "model").map((i) => i.reference);
  const { workers, memoryBytes } = request;
  const asked = { ...defaultAnalysis, workers, memoryBytes, allowMissing, folder: recipe.folder };
  const out = host.fs.resolve(host.cwd, request.out);
  const made = await attempt(async () => {
    const { analysis } = await analyze(base.reference, [...models, out], asked, host);
    // What the models do together is another sum when the output is one of them.
    const alone = models.length > 1 ? (await analyze(base.reference, models, asked, host)).analysis : null;
    return { analysis, inputsTogether: alone?.whole.together ?? null };
  });
  if ("missing" in made) return { missing: `The models cannot be compared. ${made.missing}` };
  return { found: { ...made.found, output: models.length, standIn: base.role === "reference" } };
}

async function absorption(
  request: ReportRequest,
  planned: Maybe<Prepared>,
  manifest: Manifest,
  mergeRequest: MergeRequest,
  folder: Folder,
  { module, opener }: ReportTools,
  host: Host,
): Promise<Maybe<Absorbed>> {
  if (!request.deltas || !request.rounding)
    return { missing: "What rounding took back was not counted (--no-rounding)." };
  if ("missing" in planned)
    return { missing: `What rounding took back is not known: it takes the inputs. ${planned.missing}` };
  const prepared = planned.found;
  const base = prepared.recipe.base;
  if (base === null) return { missing: "The recipe has no base that rounding could give elements back to." };
  if (prepared.earlier.length > 0)
    return { missing: "What rounding took back is not counted for recipes in several parts." };
  if (!samePlan(prepared, manifest))
    return { missing: "What rounding took back is not known: the merge cannot be repeated from what is here." };
  const every = Math.max(1, Math.ceil(manifest.parameters / absorbedElements));
  const wide = await prepare({ ...mergeRequest, outDtype: "float32", workers: 1, sliceElements: absorbedSlice }, host);
  const stored = await Promise.all(prepared.plan.outputs.map((f) => folder.open(f.name)));
  try {
    return await attempt(() =>
      countAbsorbed({
        wide,
        plan: prepared.plan,
        base,
        stored,
        module,
        opener,
        host,
        every,
      }),
    );
  } finally {
    for (const source of stored) await source.close();
  }
}

function dtypesOf({ tensors }: Checkpoint): ReportFacts["outputDtypes"] {
  const sums = new Map<string, { tensors: number; elements: number }>();
  for (const { dtype, count } of tensors.values()) {
    const was = sums.get(dtype) ?? { tensors: 0, elements: 0 };
    sums.set(dtype, { tensors: was.tensors + 1, elements: was.elements + count });
  }
  return [...sums].map(([dtype, sum]) => ({ dtype, ...sum })).sort((a, b) => b.elements - a.elements);
}

const noTimes =
  "Times are not part of an output, which is the same on every machine. braid merge --report has them, and so has braid report --summary with what braid merge --json printed.";

function timingsOf(summary: TimingSummary | null, manifest: Manifest): Maybe<Timings> {
  if (!summary) return { missing: noTimes };
  if (summary.planSha256 !== undefined && summary.planSha256 !== manifest.planSha256)
    return { missing: "The summary is that of another merge: its plan is not the one in braid.json." };
  return { found: summary };
}
