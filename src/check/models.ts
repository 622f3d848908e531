// What can be said of one model from its headers and the files beside them.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { type Folder, readWhole } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import type { Host } from "../host.ts";
import { declaredLicense } from "../license.ts";
import type { OpenedModel } from "../models.ts";
import { type InputModel, tensorNames } from "../plan/model.ts";
import { isRecord, textConfig } from "../tensor/config.ts";
import { maxSidecarBytes } from "../tokenizer.ts";

export interface ModelFacts {
  /** As the recipe spells it. */
  readonly reference: string;
  readonly folder: string;
  readonly repo: string | null;
  readonly revision: string | null;
  readonly files: number;
  readonly bytes: number;
  readonly tensors: number;
  readonly parameters: number;
  /** Tensors of each dtype, as they are stored, the most bytes first. */
  readonly dtypes: Readonly<Record<string, number>>;
  /** Rows of the embeddings and of the head; null where there is none. */
  readonly embeddingRows: number | null;
  readonly headRows: number | null;
  readonly tied: boolean;
  readonly vocabSize: number | null;
  readonly tokenizer: TokenizerFacts | null;
  readonly license: string | null;
  readonly adapter: AdapterFacts | null;
}

export interface TokenizerFacts {
  readonly file: string;
  readonly sha256: string;
  /** The largest id and one, added tokens included; null where the file does not tell it plainly. */
  readonly size: number | null;
}

export interface AdapterFacts {
  /** Weights that low-rank products are added to, and tensors that are replaced. */
  readonly changed: number;
  readonly replaced: number;
  readonly ranks: readonly number[];
  readonly scales: readonly number[];
  /** Last part of the modules' names, with how many there are: q_proj 32. */
  readonly modules: Readonly<Record<string, number>>;
  /** Parameters of the tensors that it changes, as a share of the model's. */
  readonly share: number;
}

const embeddings = /(^|\.)(embed_tokens|wte|embed_in)\.weight$/;
const heads = /(^|\.)(lm_head|embed_out)\.weight$/;

/** `planned`: an earlier recipe of the file will write it, so there is nothing of it to read but what its plan says. */
export async function factsOf({ model, location }: OpenedModel, planned: boolean, host: Host): Promise<ModelFacts> {
  const names = tensorNames(model);
  const infos = [...names].map((name) => model.overrides.get(name) ?? model.tensors.get(name)!);
  const rowsOf = (pattern: RegExp) => infos.find(({ name }) => pattern.test(name))?.shape[0] ?? null;
  const vocabSize = model.config && textConfig(model.config).vocab_size;
  return {
    reference: model.reference,
    folder: model.folder,
    repo: location.repo ?? null,
    revision: location.revision ?? null,
    files: model.files.length,
    bytes: model.files.reduce((sum, f) => sum + f.byteLength, 0),
    tensors: names.size,
    parameters: infos.reduce((sum, t) => sum + t.count, 0),
    dtypes: dtypesOf(model, names),
    embeddingRows: rowsOf(embeddings),
    headRows: rowsOf(heads),
    tied: model.tied,
    vocabSize: typeof vocabSize === "number" ? vocabSize : null,
    tokenizer: await tokenizerOf(model, location.folder),
    license: (!planned && (await declaredLicense(model, host))) || null,
    adapter: adapterOf(model, infos),
  };
}

function dtypesOf({ tensors, overrides }: InputModel, names: ReadonlySet<string>): Record<string, number> {
  const sums = new Map<string, { count: number; bytes: number }>();
  for (const name of names) {
    const { dtype, start, end } = tensors.get(name) ?? overrides.get(name)!;
    const sum = sums.get(dtype) ?? { count: 0, bytes: 0 };
    sums.set(dtype, { count: sum.count + 1, bytes: sum.bytes + end - start });
  }
  const ordered = [...sums].sort(([a, x], [b, y]) => y.bytes - x.bytes || (a < b ? -1 : 1));
  return Object.fromEntries(ordered.map(([dtype, { count }]) => [dtype, count]));
}

function adapterOf(
  { overrides, tensors }: InputModel,
  infos: readonly { readonly count: number }[],
): AdapterFacts | null {
  const modules: Record<string, number> = {};
  const ranks = new Set<number>();
  const scales = new Set<number>();
  let [changed, replaced, count] = [0, 0, 0];
  for (const [name, { view, count: elements }] of overrides) {
    if (view === undefined && tensors.get(name) !== overrides.get(name)) replaced++;
    else if (view?.op === "adapter") {
      changed++;
      for (const { rank, scale } of view.factors) {
        ranks.add(rank);
        scales.add(scale);
      }
    } else continue;
    count += elements;
    const module = name.split(".").at(-2) ?? name;
    modules[module] = (modules[module] ?? 0) + 1;
  }
  if (changed + replaced === 0) return null;
  const ascending = (set: ReadonlySet<number>) => [...set].sort((a, b) => a - b);
  const share = count / infos.reduce((sum, t) => sum + t.count, 0);
  return { changed, replaced, ranks: ascending(ranks), scales: ascending(scales), modules, share };
}

/** The file that holds the vocabulary, wherever transformers would take it from. */
async function tokenizerOf(model: InputModel, folder: Folder): Promise<TokenizerFacts | null> {
  const file = ["tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "spiece.model", "vocab.txt"].find(
    (n) => model.sidecars.includes(n),
  );
  if (file === undefined) return null;
  const source = await folder.open(file);
  try {
    const bytes = await readWhole(source, maxSidecarBytes, (n) =>
      fail(
        "model-config",
        `Cannot read ${quote(source.name, 4096)}: it has ${n} bytes, the limit is ${maxSidecarBytes}`,
      ),
    );
    return { file, sha256: bytesToHex(sha256(bytes)), size: file === "tokenizer.json" ? sizeOf(bytes) : null };
  } finally {
    await source.close();
  }
}

function sizeOf(bytes: Uint8Array): number | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
  if (!isRecord(value) || !isRecord(value.model)) return null;
  const { vocab } = value.model;
  let largest = Array.isArray(vocab) ? vocab.length - 1 : -1;
  if (isRecord(vocab)) for (const id of Object.values(vocab)) largest = Math.max(largest, Number(id));
  if (Array.isArray(value.added_tokens)) for (const t of value.added_tokens) largest = Math.max(largest, Number(t?.id));
  return largest >= 0 && Number.isFinite(largest) ? largest + 1 : null;
}
