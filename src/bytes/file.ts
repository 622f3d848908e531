// Local files, by positioned reads and writes. The one file of this folder that knows an operating system.

import * as fs from "node:fs";
import * as paths from "node:path";
import { type ErrorKind, fail, quote } from "../errors.ts";
import { claimBlocks } from "./blocks.ts";
import type { ByteSink } from "./sink.ts";
import type { ByteSource, FileIdentity, FileSystem, Folder } from "./source.ts";

/** Systems answer at most 2 GiB − 4 KiB at once, and runtimes refuse lengths of 2 GiB; a GiB costs nothing. */
const maxCallBytes = 2 ** 30;
const pathLimit = 4096;

const code = (e: unknown): string => String((e as { code?: unknown } | null)?.code ?? (e as Error)?.message ?? e);
const show = (path: string): string => quote(path, pathLimit);

/** What an error number means for the user, by action. Anything else is `io`. */
const readKinds: Record<string, ErrorKind> = { ENOENT: "file-not-found", ENOTDIR: "file-not-found" };
const writeKinds: Record<string, ErrorKind> = {
  ENOSPC: "no-space",
  EDQUOT: "no-space",
  EEXIST: "output-exists",
  EACCES: "output-denied",
  EPERM: "output-denied",
  EROFS: "output-denied",
  ENOENT: "output-denied",
  ENOTDIR: "output-denied",
};

function ioError(kinds: Record<string, ErrorKind>, action: string, cause: unknown): never {
  fail(kinds[code(cause)] ?? "io", `${action}: ${code(cause)}`, { cause });
}

function identityOf(stat: fs.BigIntStats): FileIdentity {
  return {
    dev: String(stat.dev),
    ino: String(stat.ino),
    size: Number(stat.size),
    mtimeNs: String(stat.mtimeNs),
    ctimeNs: String(stat.ctimeNs),
  };
}

/** What tells this state of a file from another; links are followed. */
export function fileIdentity(path: string): FileIdentity {
  try {
    return identityOf(fs.statSync(path, { bigint: true }));
  } catch (e) {
    ioError(readKinds, `Cannot look at ${show(path)}`, e);
  }
}

/** Throws `input-changed` when the file at `path` is not in the state `before`. */
export function assertUnchanged(path: string, before: FileIdentity): void {
  let after: FileIdentity;
  try {
    after = identityOf(fs.statSync(path, { bigint: true }));
  } catch (e) {
    fail("input-changed", `${show(path)} was there when the merge began: ${code(e)}`, { cause: e });
  }
  for (const key of ["size", "dev", "ino", "mtimeNs", "ctimeNs"] as const) {
    if (before[key] !== after[key]) {
      fail("input-changed", `${show(path)} changed while it was read: ${key} was ${before[key]}, is ${after[key]}`);
    }
  }
}

/** An open input file. */
export class FileSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly identity: FileIdentity;
  #fd: number | null;

  constructor(path: string) {
    this.name = path;
    let plain: boolean;
    try {
      // Before opening: a pipe would block, a folder opens and fails later.
      plain = fs.statSync(path).isFile();
      this.#fd = plain ? fs.openSync(path, "r") : null;
    } catch (e) {
      ioError(readKinds, `Cannot open ${show(path)}`, e);
    }
    if (this.#fd === null) fail("io", `Cannot open ${show(path)}: it is not a plain file`);
    this.identity = identityOf(fs.fstatSync(this.#fd, { bigint: true }));
    this.byteLength = this.identity.size;
  }

  read(start: number, target: Uint8Array): void {
    const end = start + target.byteLength;
    const action = () => `Cannot read bytes ${start} to ${end} of ${show(this.name)}`;
    if (this.#fd === null) fail("io", `${action()}: it was closed`);
    if (!(start >= 0) || end > this.byteLength) fail("io", `${action()}: it has ${this.byteLength}`);
    let done = 0;
    while (done < target.byteLength) {
      let got: number;
      try {
        got = fs.readSync(this.#fd, target, done, Math.min(target.byteLength - done, maxCallBytes), start + done);
      } catch (e) {
        if (code(e) === "EINTR") continue;
        ioError(readKinds, action(), e);
      }
      if (got === 0)
        fail("input-changed", `${action()}: it ends at ${start + done}, and had ${this.byteLength} when opened`);
      done += got;
    }
  }

  close(): void {
    if (this.#fd === null) return;
    const fd = this.#fd;
    this.#fd = null;
    fs.closeSync(fd);
  }
}

/** An open output file. `create` makes it and fails if it exists; otherwise it must exist. Modes follow the umask. */
export class FileSink implements ByteSink {
  readonly name: string;
  #fd: number | null;

  constructor(path: string, mode: "create" | "existing" = "create") {
    this.name = path;
    try {
      this.#fd = fs.openSync(path, mode === "create" ? "wx" : "r+");
    } catch (e) {
      ioError(writeKinds, `Cannot ${mode === "create" ? "create" : "open"} ${show(path)}`, e);
    }
  }

  #open(action: string | (() => string)): number {
    return this.#fd ?? fail("io", `${typeof action === "string" ? action : action()}: it was closed`);
  }

  write(position: number, data: Uint8Array): void {
    const action = () => `Cannot write bytes ${position} to ${position + data.byteLength} of ${show(this.name)}`;
    const fd = this.#open(action);
    let done = 0;
    while (done < data.byteLength) {
      let put: number;
      try {
        put = fs.writeSync(fd, data, done, Math.min(data.byteLength - done, maxCallBytes), position + done);
      } catch (e) {
        if (code(e) === "EINTR") continue;
        ioError(writeKinds, action(), e);
      }
      if (put === 0) fail("io", `${action()}: nothing was written at ${position + done}`);
      done += put;
    }
  }

  /** Sets the length; what is new reads as zeros, and has its blocks where they can be claimed. */
  resize(byteLength: number): void {
    const action = `Cannot set the length of ${show(this.name)} to ${byteLength}`;
    const fd = this.#open(action);
    try {
      fs.ftruncateSync(fd, byteLength);
    } catch (e) {
      ioError(writeKinds, action, e);
    }
    const refused = claimBlocks(fd, byteLength);
    if (refused) ioError(writeKinds, action, { code: refused });
  }

  /** A failure is final: after one, the kernel may have dropped the pages, and a second sync would lie. */
  sync(): void {
    const action = `Cannot sync ${show(this.name)}`;
    const fd = this.#open(action);
    try {
      fs.fsyncSync(fd);
    } catch (e) {
      this.#fd = null;
      fs.closeSync(fd);
      ioError(writeKinds, action, e);
    }
  }

  close(): void {
    if (this.#fd === null) return;
    const fd = this.#fd;
    this.#fd = null;
    try {
      fs.closeSync(fd);
    } catch (e) {
      ioError(writeKinds, `Cannot close ${show(this.name)}`, e);
    }
  }
}

function kind(path: string): "file" | "folder" | null {
  if (path.includes("\0")) return null;
  let stat: fs.Stats;
  try {
    stat = fs.statSync(path);
  } catch (e) {
    if (["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EINVAL"].includes(code(e))) return null;
    ioError(readKinds, `Cannot look at ${show(path)}`, e);
  }
  return stat.isFile() ? "file" : stat.isDirectory() ? "folder" : null;
}

/** A folder on this machine. Links are followed: a hub cache keeps its files as links into a store of blobs. */
export function localFolder(path: string): Folder {
  const locate = (file: string): string => {
    if (/[/\\\0]/.test(file) || file === "" || file === "." || file === "..") {
      fail("unsafe-path", `Cannot open ${quote(file)} in ${show(path)}: it is not a plain file name`);
    }
    return paths.join(path, file);
  };
  return {
    name: path,
    locate,
    async list() {
      let names: string[];
      try {
        names = fs.readdirSync(path);
      } catch (e) {
        ioError(readKinds, `Cannot list ${show(path)}`, e);
      }
      return names.filter((name) => kind(paths.join(path, name)) === "file").sort();
    },
    open: async (file) => new FileSource(locate(file)),
  };
}

export const localFiles: FileSystem = {
  kind,
  readText(path, limit) {
    const source = new FileSource(path);
    try {
      if (source.byteLength > limit)
        fail("io", `Cannot read ${show(path)}: it has ${source.byteLength} bytes, the limit is ${limit}`);
      const bytes = new Uint8Array(source.byteLength);
      source.read(0, bytes);
      return new TextDecoder().decode(bytes);
    } finally {
      source.close();
    }
  },
  resolve: (from, path) => paths.resolve(from, path),
  split: (path) => ({ folder: paths.dirname(path), file: paths.basename(path) }),
  folder: localFolder,
};
