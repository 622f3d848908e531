// Times mergekit-yaml, Braid and the copy floor on the same recipes, turn by turn. See README.md.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { benchShapes, makeCheckpoints } from "../checkpoints.ts";
import { copyFloor, machine, median, mergeOnce, runCommand, runtimesOf, warm } from "../measure.ts";
import { benchRecipe } from "../recipes.ts";

const root = resolve(import.meta.dirname, "../..");
const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    shape: { type: "string", default: "base" },
    runs: { type: "string", default: "3" },
    methods: { type: "string", default: "linear,task_arithmetic,slerp,dare_linear,dare_ties,ties" },
    runtimes: { type: "string", default: "bun,deno" },
  },
});
if (!options.python) throw new Error("--python names the bin folder of an environment with mergekit 0.1.5");
const shape = benchShapes[options.shape as keyof typeof benchShapes];
const data = join(root, "bench/data");
const folders = makeCheckpoints(data, shape, console.error);
const runtimes = runtimesOf(root, options.runtimes.split(","));

const lines: string[] = [];
const report: object[] = [];
for (const method of options.methods.split(",")) {
  const { path, inputs } = benchRecipe(data, shape.name, folders, method);
  const mergekit: number[] = [];
  const floor: number[] = [];
  const braid = runtimes.map(() => [] as number[]);
  for (let i = 0; i < Number(options.runs); i++) {
    await warm(inputs);
    floor.push(await copyFloor(inputs, data));
    for (const [r, runtime] of runtimes.entries()) {
      await warm(inputs);
      braid[r]!.push((await mergeOnce(runtime, path, data, ["--workers", "2"])).seconds);
    }
    await warm(inputs);
    const out = join(data, "mergekit-out");
    rmSync(out, { recursive: true, force: true });
    mergekit.push(
      (
        await runCommand(join(options.python, "mergekit-yaml"), [
          path,
          out,
          "--lazy-unpickle",
          "--no-copy-tokenizer",
          "--random-seed",
          "42",
        ])
      ).seconds,
    );
    rmSync(out, { recursive: true, force: true });
  }
  const theirs = median(mergekit);
  const cells = braid.map((b) => `${median(b).toFixed(2)} | ${(theirs / median(b)).toFixed(1)}`);
  lines.push(`| ${method} | ${median(floor).toFixed(2)} | ${theirs.toFixed(1)} | ${cells.join(" | ")} |`);
  console.error(lines.at(-1));
  report.push({ method, floor, mergekit, braid: Object.fromEntries(runtimes.map((r, i) => [r.name, braid[i]])) });
}
const date = new Date().toISOString().slice(0, 10);
const table = [
  `# Beside mergekit 0.1.5: ${date}`,
  "",
  `${machine()}. ${shape.name} checkpoints, warm page cache, whole processes, two workers, medians of ${options.runs}, seconds and ratios.`,
  "",
  `| method | copy floor | mergekit |${runtimes.map((r) => ` ${r.name} | × mergekit |`).join("")}`,
  `|---|---|---|${runtimes.map(() => "---|---|").join("")}`,
  ...lines,
  "",
].join("\n");
console.log(table);
mkdirSync(join(root, "bench/results"), { recursive: true });
writeFileSync(join(root, "bench/results", `${date}-mergekit-${shape.name}.md`), table);
writeFileSync(
  join(root, "bench/results", `${date}-mergekit-${shape.name}.json`),
  `${JSON.stringify({ date, machine: machine(), report }, null, 1)}\n`,
);
