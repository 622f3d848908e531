// `braid bench` from the outside, on small sizes: complete, finite, and nothing left behind. No figure of speed is asserted.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { bunProgram, denoProgram, inFolder, start } from "./braid.ts";

/** The machine may be busy with other things. */
const timeout = 60_000;
const programs = [["bun", bunProgram] as const, ["deno", denoProgram] as const].filter(([, p]) => existsSync(p[0]!));
const methods = ["linear", "task_arithmetic", "dare_linear", "dare_ties", "ties", "slerp"];

describe("bench", () => {
  test.each(programs)(
    "%s: --json has every figure, positive and finite",
    (_, program) =>
      inFolder(async (folder) => {
        const options = [
          "--quick",
          "--json",
          "--workers",
          "2",
          "--models",
          "2",
          "--parameters",
          "350M",
          "--folder",
          ".",
        ];
        const { exit, out, err } = await start(["bench", ...options], { program, cwd: folder });
        expect([exit, err]).toEqual([0, ""]);
        expect(readdirSync(folder)).toEqual([]);
        const report = JSON.parse(out);
        expect(report).toMatchObject({ workers: 2, models: 2, parameters: 350e6 });
        const cases = report.kernels.map((k: { method: string; dtype: string }) => `${k.method} ${k.dtype}`);
        expect(cases).toEqual(methods.flatMap((m) => ["BF16", "F16", "F32"].map((d) => `${m} ${d}`)));
        expect(report.estimates.map((e: { method: string }) => e.method)).toEqual(methods);
        const figures = [
          report.mask,
          report.copy,
          report.sha256,
          report.disk.write,
          report.disk.read,
          ...report.kernels.flatMap((k: Record<string, number>) => [
            k.oneCore,
            k.allWorkers,
            k.bytesReadPerParameter,
            k.bytesWrittenPerParameter,
          ]),
          ...report.estimates.flatMap((e: Record<string, number>) => [e.seconds, e.processor, e.disk, e.hash]),
        ];
        expect(figures.length).toBe(5 + 18 * 4 + 6 * 4);
        for (const figure of figures) expect(Number.isFinite(figure) && figure > 0).toBe(true);
        expect(report.disk.bytes).toBeLessThanOrEqual(16 * 2 ** 20);
      }),
    timeout,
  );

  test(
    "prints tables, and a line for each method",
    async () => {
      const { exit, out, err } = await start(["bench", "--quick", "--no-disk", "--workers", "1"]);
      expect([exit, err]).toEqual([0, ""]);
      const lines = out.split("\n");
      expect(lines[0]).toBe("ns/parameter on one core");
      expect(lines[1]).toMatch(/^ +BF16 +F16 +F32$/);
      for (const method of methods) {
        const models = method === "slerp" ? 2 : 3;
        const [figures, line, ...rest] = lines.filter((l) => l.startsWith(`  ${method} of ${models} `));
        expect(figures).toMatch(/( +\d+\.\d\d){3}$/);
        expect(line).toMatch(/ about .* (the processor limits|hashing the output limits) \(no disk measured\)$/);
        expect(rest).toEqual([]);
      }
      for (const part of ["memory copy", "SHA-256", "A merge of 7.00 B parameters in bf16, 1 worker"]) {
        expect(out).toContain(part);
      }
      expect(out).not.toContain("synced");
    },
    timeout,
  );

  test(
    "refuses what it cannot do, and says so in the help",
    async () => {
      for (const wrong of [["--models", "9"], ["--models", "0"], ["--parameters", "many"], ["recipe.yml"]]) {
        expect((await start(["bench", ...wrong])).exit).toBe(2);
      }
      const nowhere = await start(["bench", "--quick", "--workers", "1", "--folder", "/nonexistent/folder"]);
      expect(nowhere.exit).toBe(73);
      expect(nowhere.err).toContain("Cannot measure the disk of");
      const { exit, out } = await start(["bench", "--help"]);
      expect(exit).toBe(0);
      for (const option of ["--models", "--workers", "--parameters", "--folder", "--no-disk", "--quick", "--json"]) {
        expect(out).toContain(option);
      }
      expect((await start(["--help"])).out).toContain("bench");
    },
    timeout,
  );
});
