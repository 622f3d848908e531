// File-system steps on the way to an output, with errors that say what was tried, on what, and the system's reason.

import * as fs from "node:fs";
import { type ErrorKind, fail, quote } from "../errors.ts";
import { FileSink } from "./file.ts";

const kinds: Record<string, ErrorKind> = {
  EACCES: "output-denied",
  EPERM: "output-denied",
  EROFS: "output-denied",
  ENOTDIR: "output-denied",
  ENOENT: "output-denied",
  ENAMETOOLONG: "output-denied",
  ELOOP: "output-denied",
  EEXIST: "output-exists",
  ENOTEMPTY: "output-exists",
  ENOSPC: "no-space",
  EDQUOT: "no-space",
};

/** A path as messages show it: whole, since a path cut short helps nobody. */
export const show = (path: string): string => quote(path, 4096);

/** ENOENT, EACCES, …; or the name of the error (Deno's NotCapable has no code). */
export function errorCode(e: unknown): string {
  const { code, name } = e as { code?: unknown; name?: unknown };
  return String(code ?? name ?? e);
}

export function outputFailed(action: string, cause: unknown): never {
  if (cause instanceof Error && cause.name === "BraidError") throw cause;
  if (cause instanceof Error && cause.name === "NotCapable") {
    fail("output-denied", `${action}: ${cause.message}`, { cause });
  }
  fail(kinds[errorCode(cause)] ?? "io", `${action}: ${errorCode(cause)}`, { cause });
}

/** Does one step; what it throws becomes a BraidError. */
export function output<T>(action: string, step: () => T): T {
  try {
    return step();
  } catch (e) {
    outputFailed(action, e);
  }
}

/** Names in a folder, or null when nothing is there. Anything but a folder is an error. */
export function listFolder(path: string): string[] | null {
  try {
    return fs.readdirSync(path);
  } catch (e) {
    if (errorCode(e) === "ENOENT") return null;
    if (errorCode(e) === "ENOTDIR" && fs.existsSync(path)) {
      fail("output-exists", `Cannot create the folder ${show(path)}: a file has that name`);
    }
    outputFailed(`Cannot look at ${show(path)}`, e);
  }
}

export function rename(from: string, to: string): void {
  output(`Cannot rename ${show(from)} to ${show(to)}`, () => fs.renameSync(from, to));
}

export function removeFolder(path: string): void {
  output(`Cannot delete ${show(path)}`, () => fs.rmSync(path, { recursive: true, force: true }));
}

export function syncFile(path: string): void {
  const sink = new FileSink(path, "existing");
  try {
    sink.sync();
  } finally {
    sink.close();
  }
}

/** Makes the names in a folder durable. Not every system can: only the errors of the drive itself count. */
export function syncFolder(path: string): void {
  let fd: number | null = null;
  try {
    fd = fs.openSync(path, "r");
    fs.fsyncSync(fd);
  } catch (e) {
    if (["EIO", "ENOSPC", "EDQUOT"].includes(errorCode(e))) outputFailed(`Cannot sync ${show(path)}`, e);
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}
