// `braid check` from the outside: its tables, its document, and what --deep adds. Exit codes are in merge.test.ts.

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { bunProgram, denoProgram, root, start } from "./braid.ts";

const recipe = join(root, "examples/dare-ties.yml");

describe("check", () => {
  const programs = [bunProgram, ...(existsSync(denoProgram[0]!) ? [denoProgram] : [])];
  test.each(programs.map((program) => ({ program })))(
    "shows models beside the base ($program.0)",
    async ({ program }) => {
      const { exit, out, err } = await start(["check", recipe, "--deep"], { program });
      expect([exit, err]).toEqual([0, ""]);
      expect(out).toMatch(/^ {2}models\/ft-add +1 +1\.53 MB +763 k +39 +BF16 +96 +96, [0-9a-f]{8} +–$/m);
      expect(out).toContain("Beside models/base\n");
      expect(out).toMatch(/^ {2}models\/ft-rev +100 % +100 % +39 +[\d.]+ % +0\.0\d+ +\d\.\d+ % +\S+ \([\d.]+ %\)$/m);
      expect(out).toContain("ok     tokenizers: all equal\n");
      expect(out).toMatch(/^ok {5}work: 6\.10 MB to read, 1\.53 MB to write; about .* not measured here/m);
      expect(out).not.toContain("\u001b");
    },
  );

  test("--json has what the tables have, and more", async () => {
    const document = JSON.parse((await start(["check", recipe, "--json"])).out);
    expect(document).toMatchObject({ exitCode: 0, errors: 0, warnings: 0 });
    const [one] = document.recipes;
    expect(one).toMatchObject({ name: null, method: "dare_ties" });
    expect(one.models.map((m: { parameters: number }) => m.parameters)).toEqual([763008, 763008, 763008, 763008]);
    expect(one.lineage).toMatchObject({ from: "models/base", distances: null });
    expect(one.lineage.shares.length).toBe(6);
    expect(one.plan).toMatchObject({ tensors: 39, parameters: 763008, dtypes: { BF16: 39 } });
    expect(one.plan.assumedSeconds * one.plan.assumedBytesPerSecond * one.plan.memory.workers).toBeCloseTo(
      one.plan.bytesRead + one.plan.bytesWritten,
      3,
    );
    expect(one.config.find((k: { key: string }) => k.key === "rope theta").values).toEqual(Array(4).fill("10000"));
  });

  test("--quiet has warnings and errors only", async () => {
    expect(await start(["check", recipe, "--quiet"])).toEqual({ exit: 0, out: "", err: "" });
  });
});
