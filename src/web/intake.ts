// From what the user hands over to models: dropped folders and files, picked ones, addresses, the shipped examples.

import { fail, quote } from "../errors.ts";
import { sidecarNames } from "../tensor/sidecars.ts";
import type { Mount, MountedFile } from "./mounts.ts";
import { type Fetch, probeUrl, showUrl } from "./url-source.ts";

/** A file with the folders it came from. */
export interface Handed {
  readonly path: string;
  readonly file: File;
}

/** More files than models have: a slip, such as a home folder. */
const maxFiles = 2_000;

const mounted = (file: File): MountedFile => ({ kind: "blob", blob: file, modified: file.lastModified });

const isWeights = (name: string) => /\.(safetensors|bin|pt|pth|ckpt)$/.test(name);

/** One model for every folder that holds weights or a config, and one for loose files. */
export function mountsOf(handed: readonly Handed[], looseName: string): Mount[] {
  if (handed.length > maxFiles) {
    fail("usage", `Cannot add ${handed.length} files: a model has a few dozen, the limit is ${maxFiles}`);
  }
  const folders = new Map<string, Map<string, MountedFile>>();
  for (const { path, file } of handed) {
    const at = path.lastIndexOf("/");
    const folder = at < 0 ? "" : path.slice(0, at);
    if (!folders.has(folder)) folders.set(folder, new Map());
    folders.get(folder)!.set(path.slice(at + 1), mounted(file));
  }
  const mounts: Mount[] = [];
  for (const [folder, files] of folders) {
    if (![...files.keys()].some(isWeights)) continue;
    mounts.push({ name: nameOf(folder, files, looseName), files });
  }
  if (mounts.length === 0) {
    fail("model-not-found", `Cannot find a model among ${handed.length} files: none is a .safetensors file`);
  }
  return mounts;
}

function nameOf(folder: string, files: ReadonlyMap<string, MountedFile>, looseName: string): string {
  if (folder !== "") return folder.split("/").at(-1)!;
  const weights = [...files.keys()].filter((name) => name.endsWith(".safetensors"));
  const one = weights.length === 1 ? weights[0]!.replace(/\.safetensors$/, "") : "";
  return one === "" || one === "model" ? looseName : one;
}

/** What lies in a dropped folder, itself included. */
async function readEntry(entry: FileSystemEntry, path: string, into: Handed[]): Promise<void> {
  if (into.length > maxFiles) return;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    into.push({ path: path + entry.name, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // It answers a hundred at a time, and nothing at the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const each of entries) await readEntry(each, `${path}${entry.name}/`, into);
  }
}

/** All files of a drop. Entries are taken at once: after the event they are gone. */
export function readDrop(data: DataTransfer): Promise<Handed[]> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const loose = [...data.files];
  return (async () => {
    const into: Handed[] = [];
    if (entries.length === 0) return loose.map((file) => ({ path: file.name, file }));
    for (const entry of entries) await readEntry(entry, "", into);
    return into;
  })();
}

/** Files of an input; of a folder with their paths below it. */
export function readInput(files: FileList): Handed[] {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

const maxIndexBytes = 50_000_000;

/** A model behind an address: a folder of the usual names, or one file. Nothing but their lengths is asked for here. */
export async function mountUrl(text: string, base: string, fetch: Fetch): Promise<Mount> {
  let url: URL;
  try {
    url = new URL(text, base);
  } catch {
    fail("usage", `Cannot add ${quote(text)}: it is not an address`);
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    fail("usage", `Cannot add ${quote(text)}: expected an address that begins with https:// or http://`);
  }
  url.hash = "";
  const files = new Map<string, MountedFile>();
  const folder = new URL(url);
  const single = /\/([^/]+\.safetensors)$/.exec(url.pathname)?.[1];
  folder.pathname = single ? url.pathname.slice(0, -single.length) : url.pathname.replace(/\/*$/, "/");
  const find = async (name: string): Promise<boolean> => {
    const address = new URL(folder);
    address.pathname += name.split("/").map(encodeURIComponent).join("/");
    const facts = await probeUrl(address.href, fetch);
    if (facts) files.set(name, { kind: "url", url: address.href, ...facts });
    return facts !== null;
  };
  if (single) {
    if (!(await find(decodeURIComponent(single)))) missing(url.href);
    return { name: decodeURIComponent(single).replace(/\.safetensors$/, ""), files };
  }
  if (await find("model.safetensors.index.json")) {
    const index = files.get("model.safetensors.index.json")!;
    for (const shard of await shardsOf(index, fetch)) if (!(await find(shard))) missing(`${folder.href}${shard}`);
  } else if (!(await find("model.safetensors"))) missing(`${folder.href}model.safetensors`);
  for (const name of ["config.json", ...sidecarNames]) await find(name);
  const parts = folder.pathname
    .replace(/\/(resolve|raw)\/[^/]+\/?$/, "/")
    .split("/")
    .filter(Boolean);
  return { name: decodeURIComponent(parts.at(-1) ?? folder.hostname), files };
}

function missing(url: string): never {
  fail("model-not-found", `Cannot add the model: there is no ${showUrl(url)}`, {
    hint: "Give the address of a folder with model.safetensors, or with its index and shards, or of one .safetensors file.",
  });
}

async function shardsOf(index: MountedFile, fetch: Fetch): Promise<string[]> {
  if (index.kind !== "url") return [];
  if (index.byteLength > maxIndexBytes) {
    fail(
      "shard-index",
      `Cannot read ${showUrl(index.url)}: it has ${index.byteLength} bytes, the limit is ${maxIndexBytes}`,
    );
  }
  const response = await fetch(index.url, { credentials: "omit", referrerPolicy: "no-referrer" });
  const map = ((await response.json()) as { weight_map?: unknown }).weight_map;
  const names = typeof map === "object" && map !== null ? Object.values(map) : [];
  const plain = (name: unknown): name is string => typeof name === "string" && /^[^/\\\0]+\.safetensors$/.test(name);
  return [...new Set(names.filter(plain))].sort();
}

/** What the page ships with, under the names that the examples' recipes use. */
const exampleFiles = [
  "config.json",
  "generation_config.json",
  "model.safetensors",
  "special_tokens_map.json",
  "tokenizer.json",
  "tokenizer_config.json",
];
export const exampleNames = ["base", "ft-add", "ft-rev", "ft-sort"] as const;

export async function mountExamples(fetch: Fetch): Promise<Mount[]> {
  return Promise.all(
    exampleNames.map(async (name) => {
      const files = await Promise.all(
        exampleFiles.map(async (file): Promise<[string, MountedFile]> => {
          const response = await fetch(`./models/${name}/${file}`, {});
          if (!response.ok)
            fail("file-not-found", `Cannot load models/${name}/${file}: the server answered ${response.status}`);
          return [file, { kind: "blob", blob: await response.blob(), modified: 0 }];
        }),
      );
      return { name: `models/${name}`, files: new Map(files) };
    }),
  );
}
