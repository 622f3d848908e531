// The models of a page as a file system: what was dropped, picked, named by address or shipped, under the names that recipes use.
// Plain data, so that every worker can be given it; the bytes stay where they are.

import type { ByteSource, FileSystem, Folder } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import { readBlob } from "./platform.ts";

/** Where the bytes of a file are. A `File` crosses to a worker as a reference, whatever its size. */
export type MountedFile =
  | {
      readonly kind: "blob";
      readonly blob: Blob /** When it changed last, of a file on a disk. */;
      readonly modified: number;
    }
  | { readonly kind: "url"; readonly url: string; readonly byteLength: number; readonly etag: string | null };

/** One model: its name in recipes, like `models/base`, and its files. */
export interface Mount {
  readonly name: string;
  readonly files: ReadonlyMap<string, MountedFile>;
}

export const byteLengthOf = (file: MountedFile): number => (file.kind === "blob" ? file.blob.size : file.byteLength);

/** An absolute path without `.` and `..`. */
export function resolvePath(from: string, path: string): string {
  const parts: string[] = [];
  for (const part of (path.startsWith("/") ? path : `${from}/${path}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

function splitPath(path: string): { folder: string; file: string } {
  const at = path.lastIndexOf("/");
  return { folder: path.slice(0, at) || "/", file: path.slice(at + 1) };
}

/** How a file becomes something to read from. */
export type OpenMounted = (path: string, file: MountedFile) => ByteSource;

/** Mounts by path. `open` is given what it is to open; names that are not mounted are refused as files that are not there. */
export class MountTable {
  private readonly folders = new Map<string, ReadonlyMap<string, MountedFile>>();
  private readonly openFile: OpenMounted;

  constructor(mounts: readonly Mount[], openFile: OpenMounted) {
    this.openFile = openFile;
    for (const { name, files } of mounts) this.folders.set(resolvePath("/", name), files);
  }

  find(path: string): MountedFile | undefined {
    const { folder, file } = splitPath(path);
    return this.folders.get(folder)?.get(file);
  }

  open(path: string): ByteSource {
    const file = this.find(path);
    if (!file)
      fail("file-not-found", `Cannot open ${quote(path)}: there is no such file among the models of this page`);
    return this.openFile(path, file);
  }

  kind(path: string): "file" | "folder" | null {
    if (this.find(path)) return "file";
    const inside = path === "/" ? path : `${path}/`;
    for (const folder of this.folders.keys()) if (folder === path || folder.startsWith(inside)) return "folder";
    return null;
  }

  /** By a path, or by the name that messages show of one. */
  folder(name: string): Folder {
    const path = resolvePath("/", name);
    return {
      name: path.slice(1) || "/",
      list: async () => [...(this.folders.get(path)?.keys() ?? [])].sort(),
      open: async (file) => this.open(`${path}/${file}`),
      locate: (file) => `${path}/${file}`,
    };
  }
}

/** A file system of the mounts in `table`. */
export function mountedFiles(table: MountTable): FileSystem {
  return {
    kind: (path) => table.kind(path),
    readText(path, limit) {
      const file = table.find(path);
      if (file?.kind !== "blob") fail("io", `Cannot read ${quote(path)} at once: add the file itself, not its address`);
      if (file.blob.size > limit) {
        fail("io", `Cannot read ${quote(path)}: it has ${file.blob.size} bytes, the limit is ${limit}`);
      }
      return new TextDecoder().decode(readBlob(file.blob));
    },
    resolve: resolvePath,
    split: splitPath,
    folder: (path) => table.folder(path),
  };
}
