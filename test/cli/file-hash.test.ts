// The hash of an output that is put right after it was hashed.

import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ProgressiveHash, RestartingHash } from "../../src/cli/file-hash.ts";
import { inFolder } from "./braid.ts";

test("a hash that is told of a change is that of the changed file", () =>
  inFolder(async (folder) => {
    const path = join(folder, "file");
    const bytes = new Uint8Array(1 << 20).map((_, i) => i * 31);
    writeFileSync(path, bytes);
    const hash = new RestartingHash(() => new ProgressiveHash(path));
    hash.advance(bytes.length / 2);
    await new Promise((later) => setTimeout(later, 20));
    bytes[5]! ^= 1;
    writeFileSync(path, bytes);
    hash.restart();
    hash.advance(bytes.length);
    const want = createHash("sha256").update(bytes).digest("hex");
    expect(await hash.finish(new AbortController().signal)).toBe(want);
  }));
