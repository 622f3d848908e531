// One vocabulary for the output, and the rows of embeddings and heads that belong to it. Every model's matrices become views whose
// row r is the row of the output's token r, so that methods merge token with token.

import { fail, quote } from "../errors.ts";
import type { RowRun, ViewSource } from "../kernel/view.ts";
import { rowsDtype } from "../kernel/view.ts";
import { type ModelReference, modelKey } from "../recipe/model.ts";
import type { TokenRule } from "../recipe/tokenizer.ts";
import type { TensorInfo } from "../tensor/checkpoint.ts";
import { textConfig } from "../tensor/config.ts";
import { type FloatDtype, isFloat } from "../tensor/dtype.ts";
import { maxTokens, type Vocabulary } from "../tensor/vocabulary.ts";
import { findTensor, type InputModel, type Override, storedDtype, tensorNames } from "./model.ts";

/** A token that the tokenizer of the output has besides those of the tokenizer that it starts from. */
export interface AppendedToken {
  readonly token: string;
  readonly id: number;
  /** Index of the model that it comes from; null where only the recipe names it. */
  readonly model: number | null;
  /** It is found in the text before anything is split. */
  readonly added: boolean;
}

export interface OutputVocabulary {
  /** By id; undefined where there is none. */
  readonly tokens: readonly (string | undefined)[];
  readonly appended: readonly AppendedToken[];
}

/** What became of the rows, for people. */
export interface VocabularyOutcome {
  /** Of the matrix with most rows. */
  readonly rows: number;
  readonly tokens: number;
  /** Tokens that one model or several lack, by what those are given: the count of tokens. */
  readonly filled: { readonly explicit: number; readonly sole: number; readonly base: number; readonly mean: number };
  /** Tokens that no model has a row for. */
  readonly zero: number;
  /** Tokens of each model that the starting tokenizer lacks, in the recipe's order. */
  readonly appended: readonly number[];
}

/**
 * The vocabulary of the output: the ids of `donor`; then what `others` have more, model by model and in each by ascending id;
 * then their added tokens likewise; then tokens that only the recipe names.
 *
 * @throws `tokenizer` where it would be too long.
 */
export function outputVocabulary(
  donor: Vocabulary,
  others: readonly (Vocabulary | null)[],
  named: readonly string[],
): OutputVocabulary {
  const tokens: (string | undefined)[] = new Array<string | undefined>(donor.size).fill(undefined);
  // An added token may stand where the vocabulary has another name for the row; the added one is what text becomes.
  for (const [token, id] of donor.ids) tokens[id] = token;
  for (const { content, id } of donor.added.values()) tokens[id] = content;
  const have = new Set(donor.ids.keys());
  const appended: AppendedToken[] = [];
  const append = (token: string, model: number | null, added: boolean) => {
    if (have.has(token)) return;
    have.add(token);
    appended.push({ token, id: tokens.length, model, added });
    tokens.push(token);
    if (tokens.length > maxTokens)
      fail("tokenizer", `Cannot bring the vocabularies together: more than ${maxTokens} tokens`);
  };
  const seen = new Set([donor.digest]);
  const fresh = [...others.entries()].filter(([, v]) => v && !seen.has(v.digest) && seen.add(v.digest));
  const byId = fresh.map(([model, v]) => [model, v!, [...v!.ids].sort((a, b) => a[1] - b[1])] as const);
  for (const added of [false, true])
    for (const [model, v, list] of byId)
      for (const [token] of list) if (v.added.has(token) === added) append(token, model, added);
  for (const token of named) append(token, null, true);
  return { tokens, appended };
}

export interface RowsRequest {
  readonly models: readonly InputModel[];
  /** As the recipe names them, for its rules. */
  readonly references: readonly ModelReference[];
  /** Of each model, in their order. */
  readonly vocabularies: readonly Vocabulary[];
  readonly output: OutputVocabulary;
  /** The model whose tokenizer the output's starts from, and its index where it is one of the recipe's. */
  readonly donor: InputModel;
  readonly donorIndex: number | null;
  /** Index of the recipe's base_model, or null. */
  readonly base: number | null;
  readonly rules: readonly TokenRule[];
  /** Output matrices have a multiple of this many rows. */
  readonly multipleOf: number;
  /** Keep rows that the donor's matrix has behind its vocabulary. */
  readonly keepPadding: boolean;
}

/** Rows that a row is the mean of; none: zeros. */
interface Choice {
  readonly models: readonly number[];
  readonly rows: readonly number[];
}
const zeros: Choice = { models: [], rows: [] };

/** The models with their matrices brought to the output's vocabulary, and what became of the rows. */
export function bringRows(request: RowsRequest): { models: InputModel[]; outcome: VocabularyOutcome } {
  const { models, output, donor } = request;
  const ids = request.vocabularies.map((v) => idsOf(v, output.tokens));
  const used = request.vocabularies.map(usedIds);
  const names = new Set(models.flatMap((m) => vocabularyTensors(m)));
  const overrides = models.map((m) => new Map(m.overrides));
  const layouts = new Map<string, Layout>();
  let widest: Layout | null = null;
  for (const name of names) {
    const infos = models.map((m) => matrixOf(m, name));
    const columns = infos.find((info) => info)?.shape[1] ?? 1;
    // Of a matrix of another width nothing can be taken; that it cannot be merged is said where shapes are compared.
    const rows = infos.map((info) => (info && (info.shape[1] ?? 1) === columns ? info.shape[0]! : 0));
    const donorRows = request.keepPadding ? (matrixOf(donor, name)?.shape[0] ?? 0) : 0;
    const least = Math.max(output.tokens.length, donorRows);
    const total = Math.ceil(least / request.multipleOf) * request.multipleOf;
    const key = JSON.stringify([total, rows]);
    const layout = layouts.get(key) ?? layOut(request, ids, used, rows, total);
    layouts.set(key, layout);
    if (!widest || total > widest.rows) widest = layout;
    for (const [i, info] of infos.entries()) {
      if (rows[i] === 0 || !info) continue;
      const { runs, order } = layout.models[i]!;
      const stored = models[i]!.overrides.has(name) || models[i]!.tensors.has(name);
      if (stored && total === rows[i] && isWhole(runs, order, i)) continue;
      const sources = order.map((m) => sourceOf(infos[m]!));
      const view = { op: "rows", columns, sources, runs } as const;
      overrides[i]!.set(name, {
        ...info,
        name,
        dtype: rowsDtype(view),
        shape: [total, ...info.shape.slice(1)],
        count: total * columns,
        storedAs: storedDtype(info),
        across: { view, models: order },
      });
    }
  }
  return {
    models: models.map((m, i) => ({ ...m, overrides: overrides[i]! })),
    outcome: {
      rows: widest?.rows ?? 0,
      tokens: output.tokens.reduce((sum, t) => sum + (t === undefined ? 0 : 1), 0),
      filled: widest?.filled ?? { explicit: 0, sole: 0, base: 0, mean: 0 },
      zero: widest?.zero ?? 0,
      appended: models.map((_, i) => output.appended.filter((t) => t.model === i).length),
    },
  };
}

/** For every output id, the id of that token in a vocabulary, or −1. */
function idsOf({ ids }: Vocabulary, tokens: readonly (string | undefined)[]): Int32Array {
  return Int32Array.from(tokens, (token) => (token === undefined ? -1 : (ids.get(token) ?? -1)));
}

/** Which ids have a token. */
function usedIds({ ids, size }: Vocabulary): Uint8Array {
  const used = new Uint8Array(size);
  for (const id of ids.values()) used[id] = 1;
  return used;
}

/** Where all rows come from, for tensors with these numbers of rows in the models. */
interface Layout {
  readonly rows: number;
  /** By model: the runs of its view, whose sources are the models of `order`. */
  readonly models: readonly { readonly runs: readonly RowRun[]; readonly order: readonly number[] }[];
  readonly filled: { explicit: number; sole: number; base: number; mean: number };
  readonly zero: number;
}

function layOut(
  request: RowsRequest,
  ids: readonly Int32Array[],
  used: readonly Uint8Array[],
  rows: readonly number[],
  total: number,
): Layout {
  const { output, base, donorIndex } = request;
  const rules = new Map(request.rules.map((r) => [r.token, r]));
  const filled = { explicit: 0, sole: 0, base: 0, mean: 0 };
  let zero = 0;
  const builders = rows.map(() => new Runs());
  const has = (model: number, r: number) => {
    const id = ids[model]![r]!;
    return id >= 0 && id < rows[model]!;
  };
  const members = rows.flatMap((n, i) => (n > 0 ? [i] : []));
  for (let r = 0; r < total; r++) {
    const token = output.tokens[r];
    if (token === undefined) {
      // Padding: a model's own, where it has no token there; then the donor's.
      const free = (m: number) => r < rows[m]! && used[m]![r] !== 1;
      for (const i of members) {
        const from = free(i) ? i : donorIndex !== null && free(donorIndex) ? donorIndex : null;
        builders[i]!.add(from === null ? zeros : { models: [from], rows: [r] });
      }
      continue;
    }
    const rule = rules.size > 0 ? rules.get(token) : undefined;
    const forced = rule?.force === true && rule.source !== undefined;
    const owners = members.filter((m) => has(m, r));
    if (owners.length === members.length && !forced) {
      for (const i of members) builders[i]!.addRow(i, ids[i]![r]!);
      continue;
    }
    let rest: Choice;
    if (rule?.source) {
      rest = ruled(request, rule, ids, rows, r);
      filled.explicit++;
    } else if (owners.length === 0) {
      rest = zeros;
      zero++;
    } else {
      const chosen = owners.length > 1 && base !== null && has(base, r) ? [base] : owners;
      rest = { models: chosen, rows: chosen.map((m) => ids[m]![r]!) };
      filled[owners.length === 1 ? "sole" : chosen.length === 1 ? "base" : "mean"]++;
    }
    for (const i of members) {
      if (!forced && has(i, r)) builders[i]!.addRow(i, ids[i]![r]!);
      else builders[i]!.add(rest);
    }
  }
  return { rows: total, models: builders.map((b) => b.finish()), filled, zero };
}

/** What a rule of the recipe says. @throws `recipe-models`, `tokenizer` where there is no such row. */
function ruled(
  { references, vocabularies, models }: RowsRequest,
  { token, source, at }: TokenRule,
  ids: readonly Int32Array[],
  rows: readonly number[],
  r: number,
): Choice {
  if (!source || source.kind === "zero") return zeros;
  const model = references.findIndex((m) => modelKey(m) === modelKey(source.model));
  if (model < 0)
    fail(
      "recipe-models",
      `Cannot take the row of ${quote(token)} from ${quote(source.model.display)}: it is no model of this recipe`,
      {
        where: at,
        hint: "Name one of the models that are merged.",
      },
    );
  const wanted = source.kind === "model_token" ? (source.token ?? null) : token;
  const row =
    source.kind === "model_token" && source.tokenId !== undefined
      ? source.tokenId
      : wanted === token
        ? ids[model]![r]!
        : (vocabularies[model]!.ids.get(wanted!) ?? -1);
  if (row >= 0 && row < rows[model]!) return { models: [model], rows: [row] };
  const what = row < 0 ? `has no token ${quote(wanted!)}` : `has ${rows[model]} rows, none with index ${row}`;
  return fail("tokenizer", `Cannot take the row of ${quote(token)}: ${quote(models[model]!.reference)} ${what}`, {
    where: at,
  });
}

/** Joins rows that follow one another to runs. */
class Runs {
  private readonly runs: RowRun[] = [];
  private readonly order: number[] = [];
  private first = 0;
  private count = 0;
  private open: Choice = zeros;

  /** One row of one model. */
  addRow(model: number, row: number): void {
    const { open, count } = this;
    if (count > 0 && open.models.length === 1 && open.models[0] === model && open.rows[0]! + count === row)
      this.count++;
    else this.add({ models: [model], rows: [row] });
  }

  add(choice: Choice): void {
    const { open, count } = this;
    const goesOn =
      count > 0 &&
      choice.models.length === open.models.length &&
      choice.models.every((m, k) => m === open.models[k] && choice.rows[k] === open.rows[k]! + count);
    if (!goesOn) {
      this.close();
      this.open = choice;
    }
    this.count++;
  }

  private close(): void {
    if (this.count === 0) return;
    const take = this.open.models.map((model, k) => {
      let source = this.order.indexOf(model);
      if (source < 0) source = this.order.push(model) - 1;
      return { source, row: this.open.rows[k]! };
    });
    this.runs.push({ first: this.first, count: this.count, take });
    this.first += this.count;
    this.count = 0;
  }

  finish(): { runs: readonly RowRun[]; order: readonly number[] } {
    this.close();
    return { runs: this.runs, order: this.order };
  }
}

/** Whether a view is the model's own matrix as it is. */
function isWhole(runs: readonly RowRun[], order: readonly number[], model: number): boolean {
  return runs.length === 1 && order.length === 1 && order[0] === model && runs[0]!.take[0]!.row === 0;
}

function sourceOf({ file, start, dtype, view }: Override): ViewSource {
  return { file, start, dtype: dtype as FloatDtype, ...(view ? { view } : {}) };
}

export const embeddingName = /(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings|shared)\.weight$/;
const headName = /(^|\.)(lm_head|embed_out|output)\.(weight|bias)$/;
const positionName = /wpe|pos|token_type/;

/** Names of a model's tensors with a row for every token. By their name, or because they have as many rows as the config has tokens. */
export function vocabularyTensors(model: InputModel): string[] {
  const { config } = model;
  const size = config ? textConfig(config).vocab_size : undefined;
  return [...tensorNames(model)].filter((name) => {
    if (/\.\d+\./.test(name)) return false;
    if (embeddingName.test(name) || headName.test(name)) return true;
    const { shape } = model.overrides.get(name) ?? model.tensors.get(name)!;
    return shape.length === 2 && shape[0] === size && shape[1] !== size && !positionName.test(name);
  });
}

/** A model's matrix (or bias) of that name whose rows can be taken. */
function matrixOf(model: InputModel, name: string): Override | undefined {
  const info: (TensorInfo & Override) | undefined = findTensor(model, name);
  return info && isFloat(info.dtype) && (info.shape.length === 2 || info.shape.length === 1) ? info : undefined;
}
