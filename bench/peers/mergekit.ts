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
    methods: {
      type: "string",
      default: "linear,task_arithmetic,slerp,dare_linear,dare_ties,ties,breadcrumbs,model_stock,della",
    },
    runtimes: { type: "string", default: "bun,deno,binary" },
    /** Keep the tables of this run apart. */
    name: { type: "string", default: "" },
  },
});
if (!options.python) throw new Error("--python names the bin folder of an environment with mergekit 0.1.5");
const shape = benchShapes[options.shape as keyof typeof benchShapes];
const data = join(root, "bench/data");
const folders = makeCheckpoints(data, shape, console.error);
/** As it comes, and bare: mergekit neither hashes its output nor waits for the disk. */
const variants = runtimesOf(root, options.runtimes.split(",")).flatMap((runtime) => [
  { runtime, name: runtime.name, args: [] as string[] },
  { runtime, name: `${runtime.name}, bare`, args: ["--no-checksum", "--no-sync"] },
]);

const lines: string[] = [];
const report: object[] = [];
for (const method of options.methods.split(",")) {
  const { path, inputs } = benchRecipe(data, shape.name, folders, method);
  const mergekit: number[] = [];
  const floor: number[] = [];
  const braid = variants.map(() => [] as number[]);
  for (let i = 0; i < Number(options.runs); i++) {
    await warm(inputs);
    floor.push(await copyFloor(inputs, data));
    for (const [v, { runtime, args }] of variants.entries()) {
      await warm(inputs);
      braid[v]!.push((await mergeOnce(runtime, path, data, ["--workers", "2", ...args])).seconds);
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
  report.push({ method, floor, mergekit, braid: Object.fromEntries(variants.map((v, i) => [v.name, braid[i]])) });
}
const date = new Date().toISOString().slice(0, 10);
const file = `${date}-mergekit-${shape.name}${options.name && `-${options.name}`}`;
const table = [
  `# Beside mergekit 0.1.5: ${date}`,
  "",
  `${machine()}. ${shape.name} checkpoints, warm page cache, whole processes, two workers, medians of ${options.runs}, seconds and ratios.`,
  "",
  `| method | copy floor | mergekit |${variants.map((v) => ` ${v.name} | × mergekit |`).join("")}`,
  `|---|---|---|${variants.map(() => "---|---|").join("")}`,
  ...lines,
  "",
].join("\n");
console.log(table);
mkdirSync(join(root, "bench/results"), { recursive: true });
writeFileSync(join(root, "bench/results", `${file}.md`), table);
writeFileSync(
  join(root, "bench/results", `${file}.json`),
  `${JSON.stringify({ date, machine: machine(), report }, null, 1)}\n`,
);
