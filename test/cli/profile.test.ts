// `braid merge --profile` from the outside, under both runtimes.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bunProgram, denoProgram, inFolder, root, start } from "./braid.ts";

const recipe = join(root, "examples/dare-ties.yml");
const programs = [["bun", bunProgram] as const, ["deno", denoProgram] as const].filter(([, p]) => existsSync(p[0]!));

interface Event {
  readonly ph: string;
  readonly name: string;
  readonly cat?: string;
  readonly ts: number;
  readonly dur: number;
  readonly tid: number;
}

describe("merge --profile", () => {
  test.each(programs)("%s: the same files, a summary with phases, and a trace on one clock", (_, program) =>
    inFolder(async (folder) => {
      const run = (out: string, ...options: string[]) =>
        start(["merge", recipe, out, "--workers", "2", "--slice", "4096", "--json", ...options], {
          cwd: folder,
          program,
        });
      const plain = JSON.parse((await run("plain")).out);
      const { exit, out, err } = await run("profiled", "--profile", "t.json");
      expect([exit, err]).toEqual([0, ""]);
      const { files, profile, trace } = JSON.parse(out);
      expect(files).toEqual(plain.files);
      expect(plain.profile).toBeUndefined();
      expect(trace).toEndWith("/t.json");
      expect(readdirSync(folder).sort()).toEqual(["plain", "profiled", "t.json"]);
      expect(profile.workers.map((w: { worker: number }) => w.worker)).toEqual([0, 1]);
      for (const { busy, phases, tasks } of profile.workers) {
        const sum = Object.values<number>(phases).reduce((a, b) => a + b, 0);
        expect(Math.abs(sum - busy)).toBeLessThan(0.02 * busy + 1e-3);
        expect(tasks).toBeGreaterThan(0);
      }

      const events: Event[] = JSON.parse(readFileSync(join(folder, "t.json"), "utf8")).traceEvents;
      for (const e of events) {
        expect(typeof e.ph + typeof e.ts + typeof e.dur + typeof e.tid).toBe("stringnumbernumbernumber");
      }
      const names = events.filter((e) => e.name === "thread_name").map((e) => (e as never as Named).args.name);
      for (const name of ["coordinator", "worker 0", "worker 1"]) expect(names).toContain(name);
      // Workers ran within the coordinator's step, by its clock.
      const step = events.find((e) => e.cat === "step" && e.name === "merge")!;
      const tasks = events.filter((e) => e.tid >= 10 && e.ph === "X");
      expect(tasks.length).toBeGreaterThan(100);
      for (const e of tasks) {
        expect(e.ts).toBeGreaterThanOrEqual(step.ts);
        expect(e.ts + e.dur).toBeLessThanOrEqual(step.ts + step.dur + 10);
      }
    }),
  );

  test("prints tables of phases and steps, and takes its default name before RECIPE too", () =>
    inFolder(async (folder) => {
      const { exit, out, err } = await start(["merge", "--profile", recipe, "out"], { cwd: folder });
      expect([exit, err]).toEqual([0, ""]);
      for (const part of [
        "Phases of ",
        "  mask  ",
        "merge (decode, elect, encode)",
        "~ estimated from every 64th tile",
        "  wait  ",
        "Steps of the coordinator",
        "  commit",
        "Trace: braid-trace.json (open it in https://ui.perfetto.dev)",
      ]) {
        expect(out).toContain(part);
      }
      expect(readdirSync(folder).sort()).toEqual(["braid-trace.json", "out"]);
    }));

  test("keeps a file that exists unless --overwrite is given, and merges nothing then", () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, "t.json"), "mine");
      const refused = await start(["merge", recipe, "out", "--profile=t.json"], { cwd: folder });
      expect(refused.exit).toBe(73);
      expect(refused.err).toContain("Cannot write the trace");
      expect(readdirSync(folder)).toEqual(["t.json"]);
      expect(readFileSync(join(folder, "t.json"), "utf8")).toBe("mine");
      const quiet = await start(["merge", recipe, "out", "--profile=t.json", "--overwrite", "-q"], { cwd: folder });
      expect(quiet).toEqual({ exit: 0, out: "", err: "" });
      expect(readFileSync(join(folder, "t.json"), "utf8")).toStartWith('{"displayTimeUnit"');
    }));

  test("that cannot be written stops before the merge; a merge that fails leaves no trace", () =>
    inFolder(async (folder) => {
      const nowhere = await start(["merge", recipe, "out", "--profile", "none/t.json"], { cwd: folder });
      expect(nowhere.exit).toBe(73);
      expect(nowhere.err).toContain("Cannot write the trace");
      writeFileSync(
        join(folder, "r.yml"),
        "merge_method: linear\nmodels: [{ model: nowhere, parameters: { weight: 1 } }]\n",
      );
      expect((await start(["merge", "r.yml", "out", "--profile"], { cwd: folder })).exit).toBe(66);
      expect(readdirSync(folder)).toEqual(["r.yml"]);
    }));

  test("is in the help", async () => {
    const { out } = await start(["merge", "--help"]);
    expect(out).toContain("--profile [FILE.json]");
    expect(out.replace(/\s+/g, " ")).toContain(
      "[braid-trace.json]. A file that exists is replaced only with --overwrite.",
    );
  });
});

interface Named {
  readonly args: { readonly name: string };
}
