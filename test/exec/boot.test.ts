// Real boots: the pool under Bun, and under Deno with no more permissions than it needs.

import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** Deno: modules are read by static import without asking, but a worker's entry and all data must be allowed. */
const runtimes: Record<string, (folder: string) => string[]> = {
  bun: () => [],
  deno: (folder) => [
    "run",
    "--quiet",
    "--no-prompt",
    "--no-check",
    `--allow-read=${join(root, "src")},${folder}`,
    `--allow-write=${folder}`,
  ],
};

describe("a pool boots and merges", () => {
  let expected: unknown = null;
  for (const [name, options] of Object.entries(runtimes)) {
    const program = join(root, "node_modules", ".bin", name);
    test.skipIf(!existsSync(program))(`under ${name}`, () => {
      const folder = realpathSync(mkdtempSync(join(tmpdir(), "braid-boot-")));
      try {
        const args = [...options(folder), join(root, "test", "exec", "boot.ts"), folder, "2"];
        const { status, stdout, stderr } = spawnSync(program, args, { cwd: root, encoding: "utf8" });
        expect([status, stderr]).toEqual([0, ""]);
        const answer = JSON.parse(stdout);
        expect(answer.firstWrong).toBe(-1);
        expected ??= answer.receipts;
        expect(answer.receipts).toEqual(expected);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
});
