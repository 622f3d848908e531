// The tokenizer of the output: whose files it is made of, which tokens it has, and the models with their rows brought to them.

import type { Folder } from "./bytes/source.ts";
import { type Diagnostic, fail, quote } from "./errors.ts";
import type { Host } from "./host.ts";
import type { OpenedModel } from "./models.ts";
import { findTensor, type InputModel } from "./plan/model.ts";
import { withScales } from "./plan/scales.ts";
import {
  bringRows,
  type OutputVocabulary,
  outputVocabulary,
  type VocabularyOutcome,
  vocabularyTensors,
} from "./plan/vocabulary.ts";
import { modelKey } from "./recipe/model.ts";
import type { ParsedRecipe } from "./recipe/recipe.ts";
import type { TokenizerChoice } from "./recipe/tokenizer.ts";
import { openCheckpoint } from "./tensor/checkpoint.ts";
import { resolveModel } from "./tensor/locate.ts";
import { readVocabulary, type Vocabulary } from "./tensor/vocabulary.ts";

/** Tokenizers with 256k entries are about 35 MB. */
export const maxSidecarBytes = 256_000_000;

/** One whose files begin the output's tokenizer. */
export interface Donor {
  readonly model: InputModel;
  readonly folder: Folder;
  /** Among the recipe's models, or null. */
  readonly index: number | null;
}

export interface OutputTokenizer {
  readonly donor: Donor;
  /** The recipe's models, their embeddings and heads in the output's vocabulary. */
  readonly models: readonly InputModel[];
  /** What was made of the vocabularies; null where the recipe does not ask, or nothing is known of them. */
  readonly joined: Joined | null;
  readonly warnings: readonly Diagnostic[];
}

export interface Joined {
  readonly source: "union" | "base" | "model";
  readonly outcome: VocabularyOutcome;
  readonly output: OutputVocabulary;
  readonly donor: Vocabulary;
  readonly donorName: string;
  readonly vocabularies: readonly (Vocabulary | null)[];
  readonly folders: readonly Folder[];
  /** Tokens of all vocabularies, each counted once; twice where their files are read again to make a longer one. */
  readonly tokensRead: number;
}

/** @throws `tokenizer` where vocabularies are needed and cannot be read or brought together. */
export async function prepareTokenizer(
  recipe: ParsedRecipe,
  opened: readonly OpenedModel[],
  recipeFolder: string,
  mergekit: boolean,
  host: Host,
): Promise<OutputTokenizer> {
  const models = opened.map((o) => o.model);
  const choice = recipe.tokenizer;
  const donor = await donorOf(recipe, opened, recipeFolder, host);
  const untouched = { donor, models, joined: null, warnings: [] };
  if (!choice) return untouched;
  const known = new Map<string, Vocabulary>();
  const vocabularies: (Vocabulary | null)[] = [];
  for (const { location } of opened) vocabularies.push(await readVocabulary(location.folder, known));
  const own = donor.index === null ? await readVocabulary(donor.folder, known) : vocabularies[donor.index]!;
  if (!own) {
    // Models without tokenizers have nothing to bring together.
    const asked = choice.tokens.length > 0 || choice.padToMultipleOf !== undefined;
    if (!asked && vocabularies.every((v) => v === null)) return untouched;
    fail("tokenizer", `Cannot read the vocabulary of ${quote(donor.model.reference)}: its folder has no tokenizer`, {
      where: choice.at,
      hint: "tokenizer_source needs tokenizer.json (or tokenizer.model, vocab.json, vocab.txt) beside the weights.",
    });
  }
  const warnings: Diagnostic[] = [];
  const complete = vocabularies.map((v, i) => v ?? assume(models[i]!, donor, warnings));
  const named = choice.tokens.map((rule) => rule.token);
  const output = outputVocabulary(own, choice.source.kind === "union" ? vocabularies : [], named);
  for (const { token, id, model } of output.appended) {
    if (model !== null) continue;
    warnings.push({
      kind: "tokenizer",
      message: `tokenizer.tokens: the tokenizer has no ${quote(token)}; it is added, with id ${id}`,
    });
  }
  const rows = bringRows({
    models,
    references: recipe.models,
    vocabularies: complete.map((v) => v ?? own),
    output,
    donor: donor.model,
    donorIndex: donor.index,
    base: recipe.base,
    rules: choice.tokens,
    multipleOf: choice.padToMultipleOf ?? 1,
    keepPadding: !mergekit,
  });
  const { outcome } = rows;
  if (outcome.zero > 0) {
    warnings.push({
      kind: "tokenizer",
      message: `No model has a row for ${outcome.zero} of the output's ${outcome.tokens} tokens: they are zeros`,
    });
  }
  const folders = opened.map((o) => o.location.folder);
  const donorName = donor.model.reference;
  const passes = output.appended.length > 0 ? 2 : 1;
  const tokensRead = passes * [...known.values()].reduce((sum, v) => sum + v.ids.size, 0);
  const joined = {
    source: choice.source.kind,
    outcome,
    output,
    donor: own,
    donorName,
    vocabularies,
    folders,
    tokensRead,
  };
  return { donor, models: rows.models, joined, warnings };
}

/** A model without a tokenizer of its own, whose rows are as many as the donor's, is taken to have the donor's vocabulary. */
function assume(model: InputModel, donor: Donor, warnings: Diagnostic[]): null {
  for (const name of vocabularyTensors(model)) {
    const [a, b] = [findTensor(model, name), findTensor(donor.model, name)];
    if (!a || !b || a.shape[0] === b.shape[0]) continue;
    fail(
      "tokenizer",
      `Cannot match the rows of ${quote(name)}: ${quote(model.reference)} has ${a.shape[0]} and no tokenizer, ${quote(donor.model.reference)} has ${b.shape[0]}`,
      { hint: "Put the model's tokenizer.json beside its weights." },
    );
  }
  warnings.push({
    kind: "tokenizer",
    message: `${quote(model.reference)} has no tokenizer; its rows are taken to be those of ${quote(donor.model.reference)}`,
  });
  return null;
}

async function donorOf(
  recipe: ParsedRecipe,
  opened: readonly OpenedModel[],
  recipeFolder: string,
  host: Host,
): Promise<Donor> {
  const at = (index: number): Donor => {
    const { model, location } = opened[index]!;
    return { model, folder: location.folder, index };
  };
  const source: TokenizerChoice["source"] | undefined = recipe.tokenizer?.source;
  if (source?.kind !== "model") return at(recipe.base ?? 0);
  const { model } = source;
  const index = recipe.models.findIndex((m) => modelKey(m) === modelKey(model));
  if (index >= 0) return at(index);
  const reference = model.revision === undefined ? model.path : `${model.path}@${model.revision}`;
  const places = { cwd: host.cwd, recipeFolder, env: host.env, home: host.home };
  const location = await resolveModel(reference, places, host.fs);
  const checkpoint = await openCheckpoint(reference, location.folder, { file: location.file });
  return { model: withScales(checkpoint), folder: location.folder, index: null };
}
