// All that can be known of a merge before it begins: what is wrong or odd with the recipe, with each model, and with the models
// beside each other. From text and headers, and if asked from samples of the tensors.

import { chatTemplate } from "../chat-templates.ts";
import { BraidError, type Diagnostic, type ErrorKind, isBraidError, quote } from "../errors.ts";
import type { Host, MergeRequest } from "../host.ts";
import { catalogue } from "../methods/index.ts";
import { type OpenedModel, tryModels } from "../models.ts";
import type { Plan } from "../plan/plan.ts";
import { type Prepared, prepare } from "../prepare.ts";
import { type ParsedRecipe, parseRecipe } from "../recipe/recipe.ts";
import { type Joined, prepareTokenizer } from "../tokenizer.ts";
import { type ConfigKey, compareConfigs } from "./config.ts";
import { type Distance, distanceOf, type HeaderShare, sharesOf } from "./lineage.ts";
import { factsOf, type ModelFacts } from "./models.ts";

/**
 * Mean |x − base| over mean |base| from which on the base is doubted. Fine-tuning moves weights by a few percent; two weights that
 * have nothing to do with each other are √2 apart where they are normal and of one scale, and at a correlation of r they are
 * √(2(1 − r)): one half is r = 0.875.
 */
export const farFromBase = 0.5;

/**
 * Bytes per second and worker that an estimate of time assumes, read and written together. Whole merges of four 0.54-GB models from
 * a warm cache gave 0.55 to 1.4e9 (bench/results/2026-11-22-base.md); a slow disk gives less.
 */
export const assumedRate = 0.8e9;

/** One recipe: its models, how they fit together, and what its merge would be if nothing is wrong. */
export interface Examined {
  readonly recipe: ParsedRecipe;
  /** Of the models that could be opened, in the recipe's order. */
  readonly models: readonly ModelFacts[];
  readonly config: readonly ConfigKey[];
  readonly shares: readonly HeaderShare[];
  /** Index into `models` of what distances are measured from: the base_model, or else the first. */
  readonly from: number | null;
  /** Null unless samples were asked for. */
  readonly distances: readonly Distance[] | null;
  readonly plan: Plan | null;
  /** What becomes of the vocabularies, where the recipe asks for one. */
  readonly joined: Joined | null;
}

export interface Examination {
  readonly recipes: readonly Examined[];
  readonly errors: readonly Diagnostic[];
  readonly warnings: readonly Diagnostic[];
}

/** Never throws for what is wrong with the recipe or the models; all of it is in the answer. */
export async function examine(request: MergeRequest, host: Host, options: { deep: boolean }): Promise<Examination> {
  const errors: Diagnostic[] = [];
  const warnings: Diagnostic[] = [];
  const recipes = await caught(errors, async () =>
    parseRecipe(request.recipe.text, request.recipe.file, catalogue(request.compat === "mergekit")),
  );
  if (!recipes) return { recipes: [], errors, warnings };
  const prepared = await caught(errors, () => prepare(request, host));
  const steps = prepared ? [...prepared.earlier, prepared] : [];
  const examined: Examined[] = [];
  const outputs = new Set<string>();
  for (const [i, recipe] of recipes.entries()) {
    const step = steps[i];
    const opened = step ? step.opened : await openAll(recipe, outputs, request, host, errors);
    warnings.push(...(step?.warnings ?? recipe.warnings));
    const one = await caught(errors, () => examineRecipe(recipe, opened, step ?? null, outputs, host, options.deep));
    if (one) {
      warnings.push(...one.warnings);
      examined.push(one.examined);
    }
    if (recipe.name !== undefined) outputs.add(recipe.name);
  }
  return { recipes: examined, errors: distinct(errors), warnings: distinct(warnings) };
}

async function caught<T>(errors: Diagnostic[], run: () => Promise<T>): Promise<T | null> {
  try {
    return await run();
  } catch (error) {
    if (!isBraidError(error)) throw error;
    errors.push(...error.diagnostics);
    return null;
  }
}

/** Every model that can be opened, but for those that an earlier recipe would write. */
async function openAll(
  recipe: ParsedRecipe,
  outputs: ReadonlySet<string>,
  request: MergeRequest,
  host: Host,
  errors: Diagnostic[],
): Promise<OpenedModel[]> {
  const models = recipe.models.filter((m) => !outputs.has(m.display));
  const base = recipe.base === null ? null : models.indexOf(recipe.models[recipe.base]!);
  const results = await tryModels({ ...recipe, models, base: base === -1 ? null : base }, request, host, new Map());
  errors.push(...results.filter(isBraidError).flatMap((e) => e.diagnostics));
  const opened = results.filter((r): r is OpenedModel => !(r instanceof BraidError));
  if (opened.length === recipe.models.length) {
    // Tensors that do not fit are told before anybody asks for these.
    const mergekit = request.compat === "mergekit";
    await caught(errors, () => prepareTokenizer(recipe, opened, request.recipe.folder, mergekit, host));
    await caught(errors, () => chatTemplate(recipe, opened));
  }
  return opened;
}

async function examineRecipe(
  recipe: ParsedRecipe,
  opened: readonly OpenedModel[],
  step: Prepared | null,
  outputs: ReadonlySet<string>,
  host: Host,
  deep: boolean,
): Promise<{ examined: Examined; warnings: Diagnostic[] }> {
  const inputs = opened.map((o) => o.model);
  const models: ModelFacts[] = [];
  for (const o of opened) models.push(await factsOf(o, outputs.has(o.model.reference), host));
  const config = compareConfigs(
    inputs.map((m) => m.config),
    recipe.modules.some((m) => m.form === "slices"),
  );
  const base = recipe.base === null ? null : recipe.models[recipe.base]!.display;
  const named = inputs.findIndex((m) => m.reference === base);
  const from = named >= 0 ? named : inputs.length > 0 ? 0 : null;
  let distances: Distance[] | null = null;
  if (deep && from !== null && !outputs.has(inputs[from]!.reference)) {
    distances = [];
    for (const [i, { reference }] of inputs.entries()) {
      // What an earlier recipe will write cannot be read yet.
      if (i !== from && !outputs.has(reference)) distances.push(await distanceOf(i, inputs, from, host));
    }
  }
  const plan = step?.plan ?? null;
  const joined = step?.tokenizer.joined ?? null;
  const examined: Examined = { recipe, models, config, shares: sharesOf(inputs), from, distances, plan, joined };
  return { examined, warnings: oddities(examined, named >= 0) };
}

/** What need not be wrong, but often is. */
function oddities({ recipe, models, config, from, distances, plan }: Examined, hasBase: boolean): Diagnostic[] {
  const found: Diagnostic[] = [];
  const warn = (kind: ErrorKind, message: string, hint?: string) =>
    found.push({ kind, message, ...(hint === undefined ? {} : { hint }) });
  const donor = from === null ? undefined : models[from]?.reference;
  for (const { key, values, differs, harmless } of config) {
    if (!differs || harmless) continue;
    const own = values[from!] ?? null;
    const others = models.flatMap((m, i) =>
      values[i] === null || values[i] === own ? [] : [`${values[i]} in ${quote(m.reference)}`],
    );
    warn(
      "model-config",
      `The configs differ in ${key}: ${own ?? "nothing"} in ${quote(donor!)}, ${others.join(", ")}`,
      `The output takes the config of ${quote(donor!)}.`,
    );
  }
  for (const m of models) {
    const { reference, tokenizer, embeddingRows, headRows, vocabSize } = m;
    if (embeddingRows !== null && tokenizer?.size && tokenizer.size > embeddingRows)
      warn(
        "vocabulary-mismatch",
        `The tokenizer of ${quote(reference)} has ids up to ${tokenizer.size - 1}, its embeddings only ${embeddingRows} rows`,
      );
    if (embeddingRows !== null && headRows !== null && embeddingRows !== headRows)
      warn(
        "vocabulary-mismatch",
        `${quote(reference)} has ${embeddingRows} rows of embeddings and ${headRows} of the head`,
      );
    if (embeddingRows !== null && vocabSize !== null && embeddingRows !== vocabSize)
      warn(
        "vocabulary-mismatch",
        `The config of ${quote(reference)} says vocab_size ${vocabSize}, its embeddings have ${embeddingRows} rows`,
      );
  }
  const asked = recipe.outDtype ?? recipe.dtype;
  const stored = new Set(models.map((m) => floatsOf(m).join(" and ")));
  if (asked === undefined && stored.size > 1) {
    const list = models.map((m) => `${floatsOf(m).join(" and ")} in ${quote(m.reference)}`);
    warn(
      "dtype-unsupported",
      `The models are stored in different dtypes, and the recipe gives none: ${list.join(", ")}`,
      "Each tensor is then written in the dtype that holds all of its inputs. Set dtype or out_dtype.",
    );
  }
  const tokenizers = models.filter((m) => m.tokenizer !== null);
  const [first] = tokenizers;
  const other = tokenizers.find(
    ({ tokenizer: t }) => t!.file === first!.tokenizer!.file && t!.sha256 !== first!.tokenizer!.sha256,
  );
  const joins = plan === null || plan.tensors.some((t) => t.inputs.length > 1);
  if (first && other && joins && !recipe.tokenizer)
    warn(
      "vocabulary-mismatch",
      `The tokenizers of ${quote(first.reference)} and ${quote(other.reference)} differ (${first.tokenizer!.file})`,
      "Rows of the embeddings may then stand for different tokens. Compare their vocabularies, or set tokenizer_source.",
    );
  const licenses = new Set(models.flatMap((m) => m.license ?? []));
  if (licenses.size > 1) {
    const list = models.flatMap((m) => (m.license ? [`${m.license} (${quote(m.reference)})`] : []));
    warn(
      "model-config",
      `The models have different licences: ${list.join(", ")}`,
      "The output must keep to all of them.",
    );
  }
  for (const { model, relative, farthest } of distances ?? []) {
    if (relative === null || relative < farFromBase) continue;
    const [name, base] = [quote(models[model]!.reference), quote(donor!)];
    warn(
      "recipe-models",
      `${name} is far from ${base}: mean |δ| is ${relative.toPrecision(2)} of mean |base|, and ${farthest!.relative.toPrecision(2)} in ${quote(farthest!.tensor)}`,
      hasBase
        ? `Fine-tuning moves weights by a few percent, unrelated weights are 1.4 apart: is ${base} the model that it was trained from?`
        : "Fine-tuning moves weights by a few percent, unrelated weights are 1.4 apart: do they descend from one model?",
    );
  }
  return found;
}

const floatsOf = ({ dtypes }: ModelFacts): string[] =>
  Object.keys(dtypes)
    .filter((dtype) => /^(BF|F)\d/.test(dtype))
    .sort();

/** Seconds that the plan's bytes take at the assumed rate; whether the disk can give them is not known. */
export function assumedSeconds({ bytesRead, bytesWritten, memory }: Plan): number {
  return (bytesRead + bytesWritten) / (assumedRate * memory.workers);
}

function distinct(list: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(list.map((d) => [JSON.stringify(d), d])).values()];
}
