// One model on disk: its safetensors files, the index that joins them, its config. Reads headers only.

import { type ByteSource, type FileIdentity, type Folder, readWhole } from "../bytes/source.ts";
import { type Diagnostic, fail, quote } from "../errors.ts";
import { type Config, configTied, isRecord, maxConfigBytes, parseJson } from "./config.ts";
import type { Dtype } from "./dtype.ts";
import { elementCount, type Header, parseHeader } from "./header.ts";
import { readIndex, type ShardIndex } from "./index-file.ts";
import { pickleEndings, pickleHint } from "./pickle.ts";
import { indexName } from "./shards.ts";
import { autoMapWarning, chooseSidecars } from "./sidecars.ts";

export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly count: number;
  /** Index into `files`. */
  readonly file: number;
  /** Bytes [start, end) of that file. */
  readonly start: number;
  readonly end: number;
}

export interface CheckpointFile {
  readonly name: string;
  /** Where workers find it: a path, or an address. */
  readonly location: string;
  readonly byteLength: number;
  readonly headerSha256: string;
  /** Of a local file, when its header was read. */
  readonly identity: FileIdentity | null;
}

export interface Checkpoint {
  /** As the recipe spells it. */
  readonly reference: string;
  readonly folder: string;
  /** By name. */
  readonly files: readonly CheckpointFile[];
  /** In the order of the files, and of the bytes in each. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of all files; the first file that has a key wins. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly config: Config | null;
  /** The tensors say it: there are embeddings and no head. */
  readonly tied: boolean;
  /** What the config says of it, if anything. */
  readonly configTied: boolean | undefined;
  /** Names of the files worth copying to the output, beside config.json. */
  readonly sidecars: readonly string[];
  readonly warnings: readonly Diagnostic[];
}

export interface OpenOptions {
  /** Read this file of the folder alone, without config.json or index if need be. */
  readonly file?: string | undefined;
  readonly maxHeaderBytes?: number | undefined;
}

const shardPattern = /-\d{5}-of-\d{5}\.safetensors$/;
const singleName = "model.safetensors";
const adapterNames = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"];

export async function openCheckpoint(
  reference: string,
  folder: Folder,
  options: OpenOptions = {},
): Promise<Checkpoint> {
  const names = await folder.list();
  const warnings: Diagnostic[] = [];
  const index = options.file === undefined && names.includes(indexName) ? await readIndexOf(folder) : null;
  const chosen = options.file === undefined ? chooseFiles(folder, names, index) : [options.file];
  const files: CheckpointFile[] = [];
  const tensors = new Map<string, TensorInfo>();
  const metadata = new Map<string, string>();
  for (const name of chosen) {
    const { file, header } = await withSource(folder, name, async (source) => {
      const header = await parseHeader(source, { maxHeaderBytes: options.maxHeaderBytes });
      const { byteLength, identity = null } = source;
      return {
        header,
        file: { name, location: folder.locate(name), byteLength, headerSha256: header.sha256, identity },
      };
    });
    if (index) matchIndex(folder, name, header, index);
    for (const { name: tensor, dtype, shape, start, end } of header.tensors.values()) {
      tensors.set(tensor, { name: tensor, dtype, shape, count: elementCount(shape)!, file: files.length, start, end });
    }
    for (const [key, value] of header.metadata) if (!metadata.has(key)) metadata.set(key, value);
    files.push(file);
  }
  const config = names.includes("config.json") ? await readConfig(folder, warnings) : null;
  if (options.file !== undefined && shardPattern.test(options.file)) {
    warnings.push({
      kind: "shard-index",
      message: `${quote(options.file)} is one shard of several; only its tensors are read`,
    });
  }
  if (config === null && options.file === undefined) {
    warnings.push({
      kind: "model-config",
      message: `${quote(folder.name, 4096)} has no config.json; the output will have none from it`,
    });
  }
  return {
    reference,
    folder: folder.name,
    files,
    tensors,
    metadata,
    config,
    tied: lacksHead(tensors.keys()),
    configTied: configTied(config),
    sidecars: chooseSidecars(names),
    warnings,
  };
}

/** Embeddings and no head: the head is the embeddings. */
function lacksHead(names: Iterable<string>): boolean {
  let embeddings = false;
  for (const name of names) {
    if (/(^|\.)(lm_head|embed_out)\.weight$/.test(name)) return false;
    embeddings ||= /(^|\.)(embed_tokens|wte|embed_in)\.weight$/.test(name);
  }
  return embeddings;
}

async function withSource<T>(folder: Folder, name: string, use: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await folder.open(name);
  try {
    return await use(source);
  } finally {
    await source.close();
  }
}

function readIndexOf(folder: Folder): Promise<ShardIndex> {
  return withSource(folder, indexName, readIndex);
}

async function readConfig(folder: Folder, warnings: Diagnostic[]): Promise<Config> {
  return withSource(folder, "config.json", async (source) => {
    const subject = quote(source.name, 4096);
    const bytes = await readWhole(source, maxConfigBytes, (n) =>
      fail("model-config", `Cannot read ${subject}: it has ${n} bytes, the limit is ${maxConfigBytes}`),
    );
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return fail("model-config", `Cannot read ${subject}: it is not UTF-8`);
    }
    const config = parseJson(source.name, text, warnings);
    if (!isRecord(config)) return fail("model-config", `Cannot read ${subject}: it is not an object`);
    if (Object.hasOwn(config, "auto_map")) warnings.push(autoMapWarning(source.name));
    return config;
  });
}

/** The safetensors files that make up the model, sorted. */
function chooseFiles(folder: Folder, names: readonly string[], index: ShardIndex | null): readonly string[] {
  const where = quote(folder.name, 4096);
  if (index) {
    const same = index.shards.length === 1 && index.shards[0] === singleName;
    if (names.includes(singleName) && !same) {
      fail("shard-index", `Cannot choose between ${singleName} and ${indexName} in ${where}: they are two models`, {
        hint: "Loaders disagree on which one counts. Move one of them away.",
      });
    }
    const absent = index.shards.filter((shard) => !names.includes(shard));
    if (absent.length > 0) {
      fail("shard-index", `Cannot open ${where}: ${indexName} names ${listNames(absent)}, not in the folder`, {
        hint: "The download may not be complete.",
      });
    }
    return index.shards;
  }
  if (names.includes(singleName)) return [singleName];
  const found = names.filter((name) => name.endsWith(".safetensors") && name !== "adapter_model.safetensors");
  if (found.length === 1 && !shardPattern.test(found[0]!)) return found;
  if (found.length > 0) {
    fail("shard-index", `Cannot open ${where}: it has ${listNames(found)} and no ${indexName}`, {
      hint: `Without ${indexName} nothing says whether files are missing. Name one file to read it alone.`,
    });
  }
  const adapter = adapterNames.find((name) => names.includes(name));
  if (adapter !== undefined) {
    fail("recipe-unsupported", `Cannot open ${where} as a model: it is an adapter (${adapter}), not a whole model`, {
      hint: "In a recipe, write base+adapter.",
    });
  }
  const pickle = names.find((name) => pickleEndings.some((ending) => name.endsWith(ending)));
  if (pickle !== undefined) {
    fail(
      "pickle-input",
      `Cannot open ${where}: its weights are a pickle (${quote(pickle)}), which can run code when it is read`,
      {
        hint: pickleHint(folder.name),
      },
    );
  }
  return fail(
    "file-not-found",
    `Cannot open ${where}: it has no ${singleName}, no ${indexName} and no other .safetensors file`,
  );
}

/** The tensors of a shard must be those that the index puts there, both ways. */
function matchIndex(folder: Folder, shard: string, header: Header, index: ShardIndex): void {
  const extra = [...header.tensors.keys()].filter((name) => index.weightMap.get(name) !== shard);
  const missing: string[] = [];
  for (const [name, file] of index.weightMap) if (file === shard && !header.tensors.has(name)) missing.push(name);
  if (extra.length === 0 && missing.length === 0) return;
  const parts: string[] = [];
  if (missing.length > 0)
    parts.push(`${listNames(missing)} should be in ${quote(shard)} and ${missing.length === 1 ? "is" : "are"} not`);
  if (extra.length > 0)
    parts.push(`${listNames(extra)} ${extra.length === 1 ? "is" : "are"} in ${quote(shard)} and should not be`);
  fail("shard-index", `Cannot open ${quote(folder.name, 4096)}: by ${indexName}, ${parts.join("; ")}`, {
    hint: "transformers would fill a missing tensor with random numbers and say little.",
  });
}

function listNames(names: readonly string[], limit = 3): string {
  const shown = names.slice(0, limit).map((name) => quote(name));
  return names.length > limit ? `${shown.join(", ")} and ${names.length - limit} more` : shown.join(", ");
}
