// An export of EMR-merging on disk: one delta for all models, and for each model a mask of one bit an element and a scale.
// docs/methods/emr.md describes the files.

import { type Folder, readWhole } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import type { CheckpointFile, TensorInfo } from "./checkpoint.ts";
import { isRecord, maxConfigBytes, parseJson } from "./config.ts";
import { isFloat } from "./dtype.ts";
import { elementCount, parseHeader } from "./header.ts";

export const emrIndexName = "emr.json";
export const emrUnifiedName = "unified.safetensors";
export const emrFormat = "braid-emr-1";

/** One model of an export, in emr.json. */
export interface EmrEntry {
  /** Of the file with its masks, without the ending. */
  readonly name: string;
  /** What the recipe called it. */
  readonly model: string;
  readonly file: string;
  /** r: what the unified delta is multiplied by. */
  readonly scale: number;
  /** Elements whose bit is set. */
  readonly kept: number;
}

export interface EmrIndex {
  readonly format: typeof emrFormat;
  readonly base_model: string;
  readonly unified: string;
  readonly models: readonly EmrEntry[];
}

/** One model of an export, opened. */
export interface EmrModel {
  readonly reference: string;
  readonly folder: string;
  readonly baseModel: string;
  readonly scale: number;
  readonly unifiedFile: CheckpointFile;
  readonly maskFile: CheckpointFile;
  readonly tensors: readonly { readonly unified: TensorInfo; readonly mask: TensorInfo }[];
}

/** Whether a folder is an export. */
export function isEmrFolder(names: readonly string[]): boolean {
  return names.includes(emrIndexName) && names.includes(emrUnifiedName);
}

/** Bytes of a mask. */
export const maskByteLength = (elements: number): number => Math.ceil(elements / 8);

/** @throws `adapter` where the files do not fit each other. */
export async function openEmrModel(reference: string, folder: Folder, file: string): Promise<EmrModel> {
  const where = quote(folder.name, 4096);
  const refuse = (what: string): never => fail("adapter", `Cannot read the EMR export ${where}: ${what}`);
  const { index, entry } = await readEntry(folder, file, refuse);
  const unified = await openTensors(folder, emrUnifiedName);
  const masks = await openTensors(folder, file);
  const byName = new Map(unified.tensors.map((t) => [t.name, t]));
  const tensors = masks.tensors.map((mask) => {
    const of =
      byName.get(mask.name) ??
      refuse(`${quote(file)} has a mask of ${quote(mask.name)}, and ${emrUnifiedName} has no such tensor`);
    if (!isFloat(of.dtype)) refuse(`${quote(of.name)} in ${emrUnifiedName} is ${of.dtype}`);
    if (mask.dtype !== "U8" || mask.count !== maskByteLength(of.count))
      refuse(
        `the mask of ${quote(mask.name)} in ${quote(file)} has ${mask.count} elements of ${mask.dtype}, expected ${maskByteLength(of.count)} of U8`,
      );
    return { unified: of, mask };
  });
  if (tensors.length === 0) refuse(`${quote(file)} has no masks`);
  return {
    reference,
    folder: folder.name,
    baseModel: index.base_model,
    scale: entry.scale,
    unifiedFile: unified.file,
    maskFile: masks.file,
    tensors,
  };
}

/** The files of models that a folder's index names, for messages. */
export async function emrModelFiles(folder: Folder): Promise<string[]> {
  const index = await readIndex(folder, (what) =>
    fail("adapter", `Cannot read the EMR export ${quote(folder.name, 4096)}: ${what}`),
  );
  return index.models.map((m) => m.file);
}

type Refuse = (what: string) => never;

async function readEntry(folder: Folder, file: string, refuse: Refuse): Promise<{ index: EmrIndex; entry: EmrEntry }> {
  const index = await readIndex(folder, refuse);
  const entry = index.models.find((m) => m.file === file);
  if (!entry) {
    const known = index.models.map((m) => quote(m.file)).join(", ");
    return refuse(`${quote(file)} is no model of it; it has ${known}`);
  }
  return { index, entry };
}

async function readIndex(folder: Folder, refuse: Refuse): Promise<EmrIndex> {
  const source = await folder.open(emrIndexName);
  try {
    const bytes = await readWhole(source, maxConfigBytes, (n) =>
      refuse(`${emrIndexName} has ${n} bytes, the limit is ${maxConfigBytes}`),
    );
    const value = parseJson(source.name, new TextDecoder().decode(bytes));
    if (!isRecord(value)) return refuse(`${emrIndexName} is not an object`);
    if (value.format !== emrFormat)
      return refuse(
        `the format of ${emrIndexName} is ${JSON.stringify(value.format)}, this version reads "${emrFormat}"`,
      );
    const { base_model, models } = value;
    if (typeof base_model !== "string") return refuse(`${emrIndexName} does not say which base_model it belongs to`);
    if (!Array.isArray(models)) return refuse(`${emrIndexName} has no list of models`);
    return { format: emrFormat, base_model, unified: emrUnifiedName, models: models.map((m) => entryOf(m, refuse)) };
  } finally {
    await source.close();
  }
}

function entryOf(value: unknown, refuse: Refuse): EmrEntry {
  if (!isRecord(value)) return refuse(`a model in ${emrIndexName} is not an object`);
  const { name, model, file, scale, kept } = value;
  if (typeof name !== "string" || typeof model !== "string" || typeof file !== "string")
    return refuse(`a model in ${emrIndexName} has no name, model or file`);
  // Another folder's file is not part of the export.
  if (!/^[A-Za-z0-9][\w.-]*\.safetensors$/.test(file)) return refuse(`${emrIndexName} names the file ${quote(file)}`);
  if (typeof scale !== "number" || !Number.isFinite(scale))
    return refuse(`the scale of ${quote(name)} in ${emrIndexName} is ${JSON.stringify(scale)}, it must be a number`);
  return { name, model, file, scale, kept: typeof kept === "number" ? kept : 0 };
}

async function openTensors(folder: Folder, name: string): Promise<{ file: CheckpointFile; tensors: TensorInfo[] }> {
  const source = await folder.open(name);
  try {
    const header = await parseHeader(source);
    const { byteLength, identity = null } = source;
    const file = { name, location: folder.locate(name), byteLength, headerSha256: header.sha256, identity };
    const tensors = [...header.tensors.values()].map(({ name: tensor, dtype, shape, start, end }) => ({
      name: tensor,
      dtype,
      shape,
      count: elementCount(shape)!,
      file: 0,
      start,
      end,
    }));
    return { file, tensors };
  } finally {
    await source.close();
  }
}
