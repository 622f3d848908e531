// The compiled binary: one file, workers included, same bytes as from source.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, start } from "../cli/braid.ts";

const recipe = join(root, "examples/dare-ties.yml");
let folder = "";
let braid = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "braid-binary-"));
  braid = join(folder, "braid");
  const program = [process.execPath, join(root, "tools/task.mjs")];
  const { exit, err } = await start(["compile", `--out=${braid}`], {
    program,
    env: { npm_config_user_agent: "bun/1" },
  });
  if (exit !== 0) throw new Error(`compile ended with ${exit}: ${err}`);
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("is one executable file of less than 130 MB", () => {
  const { size, mode } = statSync(braid);
  expect(size).toBeLessThan(130e6);
  expect(mode & 0o111).toBeGreaterThan(0);
});

test("shows its help", async () => {
  const { exit, out } = await start(["--help"], { program: [braid], cwd: folder });
  expect(exit).toBe(0);
  expect(out).toContain("Usage: braid");
});

test("merges with several workers to the same bytes as the source, away from the project", async () => {
  const hash = async (program: string[] | undefined, out: string) => {
    const options = { cwd: folder, ...(program ? { program } : {}) };
    const { exit, out: text, err } = await start(["merge", recipe, out, "--workers", "3", "--json"], options);
    expect([exit, err]).toEqual([0, ""]);
    const summary = JSON.parse(text);
    expect(summary.workers).toBe(3);
    return summary.files.map((file: { sha256: string }) => file.sha256);
  };
  expect(await hash([braid], "binary")).toEqual(await hash(undefined, "source"));
});

test("measures with several workers", async () => {
  const options = ["--quick", "--no-disk", "--workers", "2", "--json"];
  const { exit, out, err } = await start(["bench", ...options], { program: [braid], cwd: folder });
  expect([exit, err]).toEqual([0, ""]);
  expect(JSON.parse(out).kernels.length).toBe(18);
}, 60_000);

test("does not read .env or bunfig.toml of the folder it is run in", async () => {
  writeFileSync(join(folder, ".env"), "FORCE_COLOR=1\n");
  writeFileSync(join(folder, "bunfig.toml"), 'preload = ["./nowhere.ts"]\n');
  const { exit, out } = await start(["check", recipe], { program: [braid], cwd: folder });
  expect(exit).toBe(0);
  expect(out).not.toContain("\u001b[");
});
