// What must hold before an output is touched. Nothing here writes.

import * as fs from "node:fs";
import * as paths from "node:path";
import { fail, quote } from "../errors.ts";
import { errorCode, listFolder, outputFailed, show } from "./output.ts";

/** The place that `out` means: links are followed as far as there is something to follow. */
export function realTarget(out: string): string {
  const full = paths.resolve(out);
  const parent = paths.dirname(full);
  if (parent === full) fail("output-denied", `Cannot create ${show(full)}: it is a root folder`);
  let link = false;
  try {
    link = fs.lstatSync(full).isSymbolicLink();
    return fs.realpathSync(full);
  } catch (e) {
    if (link) fail("output-denied", `Cannot create ${show(full)}: it is a link to nothing`, { cause: e });
    if (errorCode(e) !== "ENOENT") outputFailed(`Cannot create ${show(full)}`, e);
  }
  return paths.join(paths.dirname(parent) === parent ? parent : realTarget(parent), paths.basename(full));
}

export function assertPlainName(name: string): void {
  if (name === "" || name === "." || name === ".." || /[/\\\0]/.test(name)) {
    fail("unsafe-path", `Cannot create ${quote(name)} in the output: it is not a plain file name`);
  }
}

/** An output is neither an input, nor inside of one, nor around one. `out` is a real path; links of inputs are followed. */
export function assertApart(out: string, inputs: readonly string[]): void {
  const within = (inner: string, outer: string) => inner === outer || inner.startsWith(paths.join(outer, paths.sep));
  for (const input of inputs.map(followed)) {
    if (!within(out, input) && !within(input, out)) continue;
    const relation = out === input ? "is" : within(out, input) ? "is inside" : "holds";
    fail("output-denied", `Cannot create ${show(out)}: it ${relation} the input ${show(input)}`, {
      hint: "Inputs are never written to: choose another output.",
    });
  }
}

function followed(path: string): string {
  try {
    return fs.realpathSync(path);
  } catch {
    return path;
  }
}

/** Nothing is there, or an empty folder, or with `overwrite` a checkpoint that may go. */
export function assertFree(out: string, overwrite: boolean, written: ReadonlySet<string>): void {
  const names = listFolder(out);
  if (names === null || names.length === 0) return;
  if (!overwrite) {
    fail("output-exists", `Cannot create ${show(out)}: it exists`, {
      hint: "Choose another output, or replace it with --overwrite.",
    });
  }
  assertReplaceable(out, names, written);
}

/** Beside the weights, what Braid and mergekit write into a merged model. */
const companions =
  /^(.+\.(json|jinja|model|tiktoken)|vocab\.txt|merges\.txt|README\.md|LICENSE(\.\w+)?|NOTICE(\.\w+)?|\.gitattributes|(mergekit_config|recipe|braid)\.ya?ml)$/;
const weights = /^([\w-]+_)?model(-\d+-of-\d+)?\.safetensors$/;

/**
 * --overwrite deletes a folder, so it must be sure of what it deletes: a merged model (braid.json, or config.json with
 * weights), flat, and nothing in it but what belongs to one. One stray file or sub-folder and it refuses.
 */
function assertReplaceable(out: string, names: readonly string[], written: ReadonlySet<string>): void {
  const refuse = (why: string): never =>
    fail("output-exists", `Cannot overwrite ${show(out)}: ${why}`, {
      hint: "Only a merged model is replaced; move other things away, or choose another output.",
    });
  const manifest = names.includes("braid.json") ? readManifest(out) : "";
  const known = (name: string) =>
    written.has(name) || companions.test(name) || weights.test(name) || manifest.includes(JSON.stringify(name));
  if (!manifest && !(names.includes("config.json") && names.some((n) => weights.test(n)))) {
    refuse("it is not a merged model (no braid.json, or config.json with its weights, is in it)");
  }
  for (const name of names) {
    const entry = fs.lstatSync(paths.join(out, name));
    if (!entry.isFile() && !entry.isSymbolicLink()) refuse(`${quote(name)} in it is not a plain file`);
    if (!known(name)) refuse(`${quote(name)} in it is no part of a merged model`);
  }
}

function readManifest(out: string): string {
  try {
    return fs.readFileSync(paths.join(out, "braid.json"), "utf8");
  } catch {
    return "";
  }
}

/** `needed` bytes fit into what is free beside `out`; `parent` exists. */
export function assertSpace(out: string, parent: string, needed: number): void {
  let free: number;
  try {
    const stat = fs.statfsSync(parent);
    free = stat.bavail * stat.bsize;
  } catch {
    // Deno without --allow-sys=statfs, or a drive that does not say: a full one will be noticed later.
    return;
  }
  if (needed <= free) return;
  fail("no-space", `Cannot create ${show(out)}: it needs ${size(needed)}, and ${size(free)} are free`, {
    hint: "The output may be on another drive than the inputs.",
  });
}

function size(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let n = bytes;
  while (n >= 999.5 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${unit === 0 ? n : Number(n.toPrecision(3))} ${units[unit]}`;
}
