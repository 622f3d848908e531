// `--nodes-file`: the nodes of a merge, an address a line. It is read again while the merge goes on, so that nodes come and go.

import { readFileSync } from "node:fs";
import { fail, quote } from "../errors.ts";
import type { Clock } from "../remote/clock.ts";

/** Bytes of a file of nodes: some thousands of them. */
const maxBytes = 1 << 20;
/** How often it is looked at. */
const lookMs = 2_000;

/** The origins that a text names; `#` begins a comment. */
export function parseNodes(text: string, name: string): string[] {
  const nodes = new Set<string>();
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const address = line.replace(/#.*/, "").trim();
    if (address === "") continue;
    const url = URL.canParse(address) ? new URL(address) : null;
    if (!url || !["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") {
      fail("usage", `Cannot use line ${i + 1} of ${quote(name)}: it is no http or https address of a node`, {
        where: { file: name, line: i + 1, column: 1 },
        hint: "One address a line, as http://10.0.0.2:7433; # begins a comment.",
      });
    }
    nodes.add(url.origin);
  }
  return [...nodes];
}

export function readNodes(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (e) {
    fail("file-not-found", `Cannot read the nodes in ${quote(path)}: ${(e as { code?: string }).code ?? e}`);
  }
  if (text.length > maxBytes)
    fail("usage", `Cannot read the nodes in ${quote(path)}: it has more than ${maxBytes} bytes`);
  return parseNodes(text, path);
}

/**
 * Tells of every new list in the file until `over`. A file that is gone or wrong for a moment changes nothing: `problem` is told
 * once, and again when it became another.
 */
export async function watchNodes(
  path: string,
  clock: Clock,
  over: AbortSignal,
  changed: (nodes: readonly string[]) => void,
  problem: (error: unknown) => void,
): Promise<void> {
  let last = readNodes(path).join("\n");
  let told = "";
  for (;;) {
    await clock.wait(lookMs, over);
    if (over.aborted) return;
    try {
      const nodes = readNodes(path);
      told = "";
      if (nodes.join("\n") === last) continue;
      last = nodes.join("\n");
      changed(nodes);
    } catch (error) {
      if (String(error) !== told) problem(error);
      told = String(error);
    }
  }
}
