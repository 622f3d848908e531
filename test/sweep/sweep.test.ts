// A sweep merges what it does not know, scores it, and picks; what was done is not done again.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findScore, splitWords } from "../../src/cli/evaluator.ts";
import { isBraidError } from "../../src/errors.ts";
import { merge } from "../../src/merge.ts";
import { parseAxes } from "../../src/sweep/axes.ts";
import type { JournalFile } from "../../src/sweep/journal.ts";
import { type Evaluator, type SweepOptions, sweep } from "../../src/sweep/sweep.ts";
import { sweepCsv } from "../../src/sweep/table.ts";
import { requestFor, testHost, withTempFolder } from "../support/host.ts";

const recipe = `
merge_method: ties
base_model: examples/models/tied-base
models:
- {model: examples/models/tied-add}
- {model: examples/models/tied-rev}
parameters: {density: 0.5}
dtype: bfloat16
`;

/** Quick to merge. */
const soup = recipe.replace("merge_method: ties", "merge_method: task_arithmetic").replace("density: 0.5", "lambda: 1");

const fileJournal = (path: string): JournalFile => ({
  read: () => (existsSync(path) ? readFileSync(path, "utf8") : ""),
  append: async (line) => appendFileSync(path, line),
  truncate: (n) => truncateSync(path, n),
});
/** Of the tensors: the header names the recipe's text. */
function hashOf(out: string): string {
  const bytes = readFileSync(join(out, "model.safetensors"));
  return createHash("sha256")
    .update(bytes.subarray(8 + Number(bytes.readBigUInt64LE(0))))
    .digest("hex");
}

interface Setup {
  readonly options: SweepOptions;
  readonly seen: { out: string; sha256: string }[];
}

function setUp(folder: string, over: string[], change: Partial<SweepOptions> = {}, scores?: number[]): Setup {
  const seen: { out: string; sha256: string }[] = [];
  const evaluator: Evaluator = {
    identity: "test",
    async evaluate(out) {
      seen.push({ out, sha256: hashOf(out) });
      return { a: scores?.[seen.length - 1] ?? seen.length, b: 10 - seen.length };
    },
  };
  mkdirSync(folder, { recursive: true });
  return {
    seen,
    options: {
      axes: parseAxes(over),
      evaluator,
      by: "a",
      lowest: false,
      place: (index) => join(folder, `point-${index}`),
      keep: false,
      journal: fileJournal(join(folder, "sweep.jsonl")),
      journalName: "sweep.jsonl",
      report: () => {},
      ...change,
    },
  };
}

const run = ({ options }: Setup, text = soup) => sweep(requestFor(text), options, testHost());
const kindOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (e) => (isBraidError(e) ? `${e.kind}: ${e.message}` : String(e)),
  );

describe("sweep", () => {
  test("every point is the merge of its own recipe, surveys shared or not", () =>
    withTempFolder(async (temp) => {
      const setup = setUp(join(temp, "sweep"), ["lambda=0.5,1", "density=0.2,0.5"]);
      const result = await run(setup, recipe);
      // λ does not change what is searched, and searches of other densities begin alike: half were answered before, and more.
      expect(result.surveys.shared).toBeGreaterThanOrEqual(result.surveys.run);
      expect(result.surveys.run).toBeGreaterThan(0);
      let index = 0;
      for (const lambda of [0.5, 1]) {
        for (const density of [0.2, 0.5]) {
          const out = join(temp, `alone-${index}`);
          const text = recipe.replace("density: 0.5", `density: ${density}, lambda: ${lambda}`);
          await merge(requestFor(text), out, { overwrite: false }, testHost());
          expect(setup.seen[index]!.sha256).toBe(hashOf(out));
          index++;
        }
      }
      expect(new Set(setup.seen.map((s) => s.sha256)).size).toBe(4);
      expect(setup.seen.map((s) => existsSync(s.out))).toEqual([false, false, false, false]);
    }));

  test("picks the best: highest or lowest, by one score or the mean, the first of equals", () =>
    withTempFolder(async (temp) => {
      const best = async (name: string, change: Partial<SweepOptions>) =>
        (await run(setUp(join(temp, name), ["lambda=0.5,1,1.5"], change, [2, 3, 3]))).best;
      expect(await best("a", {})).toBe(1);
      expect(await best("b", { lowest: true })).toBe(0);
      // Means: (2 + 9)/2, (3 + 8)/2, (3 + 7)/2.
      expect(await best("c", { by: null })).toBe(0);
      expect(await best("d", { by: "b" })).toBe(0);
      expect(await kindOf(run(setUp(join(temp, "e"), ["lambda=1"], { by: "c" })))).toBe(
        'sweep: Cannot choose by "c": the evaluator gave "a", "b"',
      );
    }));

  test("goes on where it was: after an error, with a line cut short, with more values", () =>
    withTempFolder(async (temp) => {
      const first = setUp(temp, ["lambda=0.5,1,1.5"]);
      const failing: Evaluator = {
        ...first.options.evaluator,
        async evaluate(out, signal) {
          if (first.seen.length === 2) throw new Error("power failure");
          return first.options.evaluator.evaluate(out, signal);
        },
      };
      expect(await kindOf(run({ ...first, options: { ...first.options, evaluator: failing } }))).toContain(
        "power failure",
      );
      const journal = join(temp, "sweep.jsonl");
      const complete = readFileSync(journal, "utf8");
      appendFileSync(journal, '{"format":"braid-sweep-1","key":"12');
      const second = setUp(temp, ["lambda=0.5,1,1.5,2"]);
      const result = await run(second);
      expect(result.points.map((p) => p.known)).toEqual([true, true, false, false]);
      expect(second.seen.length).toBe(2);
      expect(readFileSync(journal, "utf8").startsWith(complete)).toBe(true);
      const third = setUp(temp, ["lambda=2,0.5"]);
      expect((await run(third)).points.map((p) => p.scores.a)).toEqual([2, 1]);
      expect(third.seen).toEqual([]);
    }));

  test("another evaluator, seed or input is another point", () =>
    withTempFolder(async (temp) => {
      const dare = recipe.replace("merge_method: ties", "merge_method: dare_linear");
      await run(setUp(temp, ["seed=1"]), dare);
      const again = async (over: string[], text: string, identity = "test") => {
        const setup = setUp(temp, over);
        await run(
          { ...setup, options: { ...setup.options, evaluator: { ...setup.options.evaluator, identity } } },
          text,
        );
        return setup.seen.length;
      };
      expect(await again(["seed=1"], dare)).toBe(0);
      expect(await again(["seed=2"], dare)).toBe(1);
      expect(await again(["seed=1"], dare, "other")).toBe(1);
      expect(await again(["seed=1"], dare.replace("tied-rev", "tied-base"))).toBe(1);
    }));

  test("plans everything before it merges anything, and says which values are wrong", () =>
    withTempFolder(async (temp) => {
      const setup = setUp(temp, ["density=0.5,2"]);
      expect(await kindOf(run(setup, recipe))).toContain("recipe-parameter: With density=2: density must be in (0, 1]");
      expect(setup.seen).toEqual([]);
    }));

  test("keeps checkpoints when asked, and refuses a journal that is none", () =>
    withTempFolder(async (temp) => {
      const setup = setUp(temp, ["lambda=1"], { keep: true });
      await run(setup);
      expect(existsSync(join(setup.seen[0]!.out, "model.safetensors"))).toBe(true);
      writeFileSync(join(temp, "sweep.jsonl"), "a,b,c\n");
      expect(await kindOf(run(setUp(temp, ["lambda=1"])))).toContain(
        'sweep: Cannot go on with "sweep.jsonl": line 1 is not of a sweep',
      );
    }));

  test("a table for programs", () =>
    withTempFolder(async (temp) => {
      const result = await run(setUp(temp, ["density=[0.2,0.5],0.5"]), recipe);
      const rows = sweepCsv(result).split("\n");
      expect(rows[0]).toBe("density,a,b,score,best,merge_seconds,eval_seconds,plan_sha256");
      expect(rows[1]).toMatch(/^"\[0\.2,0\.5\]",1,9,1,0,\d+\.\d{3},\d+\.\d{3},[0-9a-f]{64}$/);
      expect(rows[2]).toMatch(/^0\.5,2,8,2,1,/);
    }));
});

describe("the command of an evaluator", () => {
  test.each([
    [
      "lm_eval --model hf  --model_args pretrained={out},dtype=float32",
      ["lm_eval", "--model", "hf", "--model_args", "pretrained={out},dtype=float32"],
    ],
    [`sh -c 'a "b" $c' "d 'e' \\" f" g\\ h ''`, ["sh", "-c", 'a "b" $c', `d 'e' " f`, "g h", ""]],
    ["a;b|c `d` $(e) > f", ["a;b|c", "`d`", "$(e)", ">", "f"]],
  ])("%s", (text, words) => {
    expect(splitWords(text)).toEqual(words);
  });
  test("a quote must be closed", () => {
    expect(() => splitWords("a 'b")).toThrow("a ' is not closed");
    expect(() => splitWords("  ")).toThrow("it is empty");
  });
  test.each([
    ["loading 12 files\nscore: 0.75\n", null, 0.75],
    ["|gsm8k|1|none|0|acc|↑|0.5512|±|0.0137|\n", /acc\s*\|.\s*\|\s*([\d.]+)/g, 0.5512],
    ["Final estimate: PPL = 5.9070 +/- 0.03300\n", /PPL = ([\d.]+)/g, 5.907],
    ["-1.5e-3", null, -0.0015],
    ["nothing", null, null],
    ["12", /score (\d+)/g, null],
  ])("%p", (printed, pattern, score) => {
    expect(findScore(printed, pattern)).toBe(score);
  });
});
