// From what a recipe calls a model to the folder it is in: a path, or a model in the local Hugging Face cache.

import type { FileSystem, Folder } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { type Environment, findSnapshot, type HubId, hubCacheFolder, parseHubId } from "./hub-cache.ts";
import { pickleEndings, pickleHint } from "./pickle.ts";

export interface ModelPlaces {
  readonly cwd: string;
  /** The folder of the recipe, when it came from a file. */
  readonly recipeFolder?: string | undefined;
  readonly env: Environment;
  readonly home: string;
}

export interface ModelLocation {
  readonly folder: Folder;
  /** The one file that was named, when a file was. */
  readonly file?: string;
  /** For messages and the model card. */
  readonly display: string;
  /** `org/name`, when it came from the cache. */
  readonly repo?: string;
  /** The commit, when it came from the cache. */
  readonly revision?: string;
}

const pathLimit = 4096;

/**
 * Looks for a path from the working directory (as mergekit does), then from the recipe's folder, then for `org/name[@revision]`
 * in the cache. A path that exists is a path, even if it looks like a hub id.
 */
export async function resolveModel(reference: string, places: ModelPlaces, fs: FileSystem): Promise<ModelLocation> {
  if (reference === "") fail("model-not-found", "Cannot find a model: its path or hub id is empty");
  const path = /^~(?=$|[/\\])/.test(reference) ? fs.resolve(places.home, `.${reference.slice(1)}`) : reference;
  const looked: string[] = [];
  for (const from of new Set([places.cwd, places.recipeFolder ?? places.cwd])) {
    const full = fs.resolve(from, path);
    if (looked.includes(full)) continue;
    looked.push(full);
    const kind = fs.kind(full);
    if (kind === "folder") return { folder: fs.folder(full), display: reference };
    if (kind === "file") return namedFile(full, reference, fs);
  }
  const id = parseHubId(reference);
  if (id !== null) {
    const cache = hubCacheFolder(places.env, places.home, fs);
    const snapshot = findSnapshot(cache, id, fs);
    if ("path" in snapshot) {
      return { folder: fs.folder(snapshot.path), display: reference, repo: id.repo, revision: snapshot.commit };
    }
    looked.push(snapshot.missing);
  }
  const list = looked.map((place) => `\n  not found: ${quote(place, pathLimit)}`).join("");
  return fail("model-not-found", `Cannot find the model ${quote(reference, pathLimit)}${list}`, {
    hint: howToGet(reference, id, places, fs),
  });
}

function namedFile(full: string, reference: string, fs: FileSystem): ModelLocation {
  const { folder, file } = fs.split(full);
  if (file.endsWith(".safetensors")) return { folder: fs.folder(folder), file, display: reference };
  if (pickleEndings.some((ending) => file.endsWith(ending))) {
    fail("pickle-input", `Cannot open ${quote(full, pathLimit)}: it is a pickle, which can run code when it is read`, {
      hint: pickleHint(folder),
    });
  }
  return fail(
    "model-not-found",
    `Cannot open ${quote(full, pathLimit)}: it is not a folder and does not end in .safetensors`,
    {
      hint: "Name the model's folder, or one .safetensors file.",
    },
  );
}

function howToGet(reference: string, id: HubId | null, places: ModelPlaces, fs: FileSystem): string {
  if (id?.repo.includes("/")) {
    const revision = id.revision === "main" ? "" : ` --revision ${id.revision}`;
    return `If it is on the Hugging Face Hub, download it first: hf download ${id.repo}${revision} (huggingface-cli download in older versions)`;
  }
  const at = reference.indexOf("@");
  if (at > 0 && fs.kind(fs.resolve(places.cwd, reference.slice(0, at))) !== null) {
    return `${quote(reference.slice(0, at), pathLimit)} exists; a revision goes with a hub id only.`;
  }
  return "Check the spelling: it must be a folder, a .safetensors file, or a hub id (org/name) that was downloaded.";
}
