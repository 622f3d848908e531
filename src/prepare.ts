// From a recipe to a plan, and all that is known before a tensor byte is read: parse, open, plan.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { plannedFolder } from "./beside.ts";
import type { Folder } from "./bytes/source.ts";
import { chatTemplate } from "./chat-templates.ts";
import { BraidError, type Diagnostic, fail, isBraidError, quote } from "./errors.ts";
import type { Host, MergeRequest } from "./host.ts";
import { kernelSha256 } from "./kernel/kernel.ts";
import { catalogue, methods } from "./methods/index.ts";
import type { Method } from "./methods/method.ts";
import { type OpenedModel, openModels } from "./models.ts";
import { buildPlan } from "./plan/build.ts";
import { type InputModel, tensorNames } from "./plan/model.ts";
import type { Plan } from "./plan/plan.ts";
import { withQFiles } from "./q-file.ts";
import { assignTensors } from "./recipe/assign.ts";
import { isText } from "./recipe/modules.ts";
import { type ParsedRecipe, type ParsedSlice, parseRecipe } from "./recipe/recipe.ts";
import { planIdentity } from "./report.ts";
import type { ModelLocation } from "./tensor/locate.ts";
import { type OutputTokenizer, prepareTokenizer } from "./tokenizer.ts";

/** mergekit and Braid agree on nothing random; this is the seed when nobody names one. */
const defaultSeed = "42";
/** Tensors of all models from which on what planning leaves behind is worth giving back: tens of MiB. */
const collectFrom = 8192;

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
export interface Document {
  readonly recipe: ParsedRecipe;
  readonly outputs: ReadonlyMap<string, Folder>;
}

/** The recipes of a file, in their order; what a merge writes is the last one's. */
export function recipesOf({ recipe, compat, outDtype }: MergeRequest): ParsedRecipe[] {
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

/** The plan of one recipe of a file. @throws as `prepare` */
export async function prepareDocument(
  { recipe, outputs }: Document,
  request: MergeRequest,
  host: Host,
): Promise<Prepared> {
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

/** The layers of a slice, as its first source counts them. */
function layersOf(slice: ParsedSlice): number[] {
  const [first, end] = slice.sources[0]!.layerRange!;
  return Array.from({ length: end - first }, (_, i) => first + i);
}

function distinct(warnings: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(warnings.map((w) => [JSON.stringify(w), w])).values()];
}
