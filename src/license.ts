// The licence that a checkpoint's model card declares.

import { readWhole } from "./bytes/source.ts";
import type { Host } from "./host.ts";
import type { Checkpoint } from "./tensor/checkpoint.ts";

/** Cards are text for people; one that is longer than this declares nothing. */
const maxCardBytes = 1_000_000;

/** `license` of README.md's front matter, as the hub reads it; undefined where the card or the line is missing. */
export async function declaredLicense(checkpoint: Checkpoint, host: Host): Promise<string | undefined> {
  const folder = host.fs.folder(checkpoint.folder);
  if (!(await folder.list()).includes("README.md")) return undefined;
  const source = await folder.open("README.md");
  try {
    if (source.byteLength > maxCardBytes) return undefined;
    const bytes = await readWhole(source, maxCardBytes, () => {
      throw new RangeError("measured above");
    });
    const front = /^---\r?\n([\s\S]*?)\r?\n---/.exec(new TextDecoder().decode(bytes))?.[1];
    return front && /^license:[ \t]*["']?([A-Za-z0-9._-]+)["']?[ \t]*$/m.exec(front)?.[1];
  } finally {
    await source.close();
  }
}
