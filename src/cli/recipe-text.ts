// Reads the recipe that the command line names: a file, or standard input for "-".

import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { fail, quote } from "../errors.ts";
import type { MergeRequest } from "../host.ts";

export type RecipeText = MergeRequest["recipe"];

/** Recipes are a page long; a larger file is a slip (a checkpoint, say), and YAML is not for that. */
const maxRecipeBytes = 1 << 20;

/** Standard input may never end; a signal does. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

export async function readRecipe(name: string, cwd: string, signal: AbortSignal): Promise<RecipeText> {
  if (name === "-")
    return { text: await Promise.race([text(process.stdin), aborted(signal)]), file: "<stdin>", folder: cwd };
  const path = resolve(cwd, name);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const { code, name: kind } = cause as NodeJS.ErrnoException;
    // Deno's missing permission is told by the entry, with the flag that gives it.
    if (kind === "NotCapable") throw cause;
    if (code === "ENOENT" || code === "ENOTDIR")
      fail("file-not-found", `Cannot read recipe ${quote(name)}: there is no such file`, { cause });
    if (code === "EISDIR")
      fail("usage", `Cannot read recipe ${quote(name)}: it is a folder, expected a YAML file`, { cause });
    fail("io", `Cannot read recipe ${quote(name)}: ${(cause as Error).message}`, { cause });
  }
  if (bytes.length > maxRecipeBytes) {
    fail(
      "recipe-syntax",
      `Cannot read recipe ${quote(name)}: it has ${bytes.length} bytes, the limit is ${maxRecipeBytes}`,
    );
  }
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), file: name, folder: dirname(path) };
  } catch (cause) {
    fail("recipe-syntax", `Cannot read recipe ${quote(name)}: it is not UTF-8 text`, { cause });
  }
}
