// `braid sweep` as a user runs it: prompts and programs as evaluators, killed and started again.

import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inFolder, root, start } from "./braid.ts";

const recipe = join(root, "examples/task-arithmetic.yml");
/** Of 100 prompts each: enough to tell points apart. */
function somePrompts(folder: string): string {
  const text = readFileSync(join(root, "examples/models/tests/rev.jsonl"), "utf8");
  const file = join(folder, "rev.jsonl");
  writeFileSync(file, text.split("\n").slice(0, 60).join("\n"));
  return file;
}

describe("sweep", () => {
  test("by prompts: a table, the best, files for programs; a second run knows everything", () =>
    inFolder(async (folder) => {
      const prompts = somePrompts(folder);
      const args = ["sweep", recipe, "--over", "lambda=0.1,0.6", "--prompts", prompts, "--out", join(folder, "out")];
      const first = await start([...args, "--json"], { cwd: folder });
      expect([first.exit, first.err]).toEqual([0, ""]);
      const result = JSON.parse(first.out);
      expect(result.best).toBe(1);
      const [low, high] = result.points.map((p: { scores: { rev: number } }) => p.scores.rev);
      expect(low).toBeLessThan(0.5);
      expect(high).toBeGreaterThan(0.9);
      expect(readdirSync(join(folder, "out")).sort()).toEqual(["sweep.csv", "sweep.html", "sweep.json", "sweep.jsonl"]);
      const again = await start(args, { cwd: folder });
      expect(again.out).toContain("2 points, 2 known from");
      expect(again.out).toMatch(/\n +0.6 +\d[\d.]* % .*best, known\n/);
      expect(again.out).toContain("Best  lambda=0.6  ");
    }));

  test("by a program: its argument is one word whatever the folder is called, and no shell runs", () =>
    inFolder(async (folder) => {
      const script = join(folder, "score.sh");
      writeFileSync(script, '#!/bin/sh\necho "$#|$1" >> "$2"\n[ -f "$1/model.safetensors" ] && echo "score 7"\n');
      chmodSync(script, 0o755);
      const log = join(folder, "log");
      const out = join(folder, "a b; touch stolen $(touch stolen)");
      const command = `${script} {out} ${log}`;
      const { exit, err } = await start(["sweep", recipe, "--over", "lambda=1", "--eval", command, "--out", out], {
        cwd: folder,
      });
      expect([exit, err]).toEqual([0, ""]);
      expect(readFileSync(log, "utf8")).toBe(`2|${join(out, "001-lambda=1")}\n`);
      expect(existsSync(join(folder, "stolen"))).toBe(false);
    }));

  test("killed while it scores, it goes on with the point that was lost", () =>
    inFolder(async (folder) => {
      const script = join(folder, "score.sh");
      const log = join(folder, "log");
      writeFileSync(log, "");
      writeFileSync(
        script,
        `#!/bin/sh\necho x >> ${log}\n[ "$(wc -l < ${log})" = 3 ] && kill -9 $PPID && exit 1\nwc -l < ${log}\n`,
      );
      chmodSync(script, 0o755);
      const args = ["sweep", recipe, "--over", "lambda=0.5,0.75,1,1.25", "--eval", `${script} {out}`, "--out", "out"];
      const killed = await start(args, { cwd: folder });
      expect(killed.exit).not.toBe(0);
      expect(existsSync(join(folder, "out/sweep.csv"))).toBe(false);
      const rest = await start([...args, "--json"], { cwd: folder });
      expect(rest.exit).toBe(0);
      const points = JSON.parse(rest.out).points as { known: boolean; score: number }[];
      expect(points.map((p) => [p.known, p.score])).toEqual([
        [true, 1],
        [true, 2],
        [false, 4],
        [false, 5],
      ]);
      expect(readdirSync(join(folder, "out")).sort()).toEqual(["sweep.csv", "sweep.html", "sweep.json", "sweep.jsonl"]);
    }));

  test.each([
    ["node -e process.exit(3) {out}", [], 75, '"node" ended with 3'],
    ["echo no {out}/x", ["--score", "acc (\\d+)"], 75, 'printed no match of "acc (\\\\d+)"'],
    ["/nonexistent/program {out}", [], 75, "there is no such program"],
    ["sh -c 'sleep 60; true' {out}", ["--eval-timeout", "1"], 75, "SIGKILL after 1 s"],
    ["echo 1", [], 2, "it does not name {out}"],
    ["echo {out}", ["--score", "("], 2, "Cannot read --score"],
  ])("%s", (command, more, code, message) =>
    inFolder(async (folder) => {
      const args = ["sweep", recipe, "--over", "lambda=1", "--eval", command, ...more, "--out", join(folder, "out")];
      const { exit, err } = await start(args, { cwd: folder });
      expect(exit).toBe(code);
      expect(err).toContain(message.replaceAll("\\\\", "\\"));
    }),
  );

  test("wants something to vary and one evaluation", async () => {
    const message = async (...args: string[]) => (await start(["sweep", recipe, ...args])).err.split("\n")[0];
    expect(await message("--eval", "x {out}")).toBe("error: Cannot sweep: nothing varies");
    expect(await message("--over", "lambda=1")).toBe(
      "error: Cannot sweep without an evaluation: give --prompts FILE.jsonl or --eval COMMAND",
    );
    expect(await message("--over", "seed=1", "--seed", "2", "--eval", "x {out}")).toBe(
      "error: Cannot sweep over seeds with --seed: it would be the seed of every point",
    );
  });
});
