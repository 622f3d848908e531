// `merge --export-masks` and `apply` from the outside, in both runtimes.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bunProgram, denoProgram, inFolder, root, start } from "./braid.ts";

const models = join(root, "examples/models");

describe("an EMR export on the command line", () => {
  const programs = [bunProgram, ...(existsSync(denoProgram[0]!) ? [denoProgram] : [])];
  test.each(programs.map((program) => ({ program })))("is written, and applied ($program.0)", ({ program }) =>
    inFolder(async (folder) => {
      const made = await start(["merge", join(root, "examples/emr.yml"), "emr", "--export-masks"], {
        cwd: folder,
        program,
      });
      expect([made.exit, made.err]).toEqual([0, ""]);
      expect(made.out).toContain("Wrote 39 unified tensors (763,008 parameters) and masks of 3 models");
      expect(made.out).toMatch(
        / models +scale 0\.94736, 69\.02\d % of the unified delta {2}models\/ft-add → ft-add.safetensors/,
      );
      expect(made.out).toContain("apply models/base+emr/ft-add.safetensors ft-add");
      expect(readdirSync(join(folder, "emr")).sort()).toEqual([
        "braid.json",
        "emr.json",
        "ft-add.safetensors",
        "ft-rev.safetensors",
        "ft-sort.safetensors",
        "mergekit_config.yml",
        "unified.safetensors",
      ]);
      const args = ["apply", `${models}/base+emr/ft-add.safetensors`, "again", "--json"];
      const applied = await start(args, { cwd: folder, program });
      expect([applied.exit, applied.err]).toEqual([0, ""]);
      expect(JSON.parse(applied.out)).toMatchObject({ method: "passthrough", tensors: 39, parameters: 763008 });
      expect(readFileSync(join(folder, "again/mergekit_config.yml"), "utf8")).toContain("merge_method: passthrough");
    }),
  );

  test("says what does not go together", () =>
    inFolder(async (folder) => {
      const recipe = join(root, "examples/emr.yml");
      for (const [args, wanted] of [
        [["merge", recipe, "o", "--export-masks", "--as-adapter", "4"], "they write two things"],
        [["merge", recipe, "o", "--export-masks", "--profile"], "Cannot profile an export of masks"],
        [["merge", recipe, "o", "--export-masks", "--node", "http://127.0.0.1:1"], "nodes run merges only"],
        [["apply", "a+b+c", "o"], 'Cannot read the model "a+b+c": expected path[@revision][+adapter[@revision]]'],
      ] as const) {
        const { exit, err } = await start(args, { cwd: folder, env: { BRAID_TOKEN: "x".repeat(32) } });
        expect([exit, err]).toEqual([2, expect.stringContaining(wanted)]);
      }
      expect(readdirSync(folder)).toEqual([]);
    }));
});
