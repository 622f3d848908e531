// bun bench/bounds.ts [--shape base] [--runs N] [--name NAME]
//
// How near bare merges of the binary are to what they cannot do without, least of N in one run: the same bytes read and written
// by two threads with no arithmetic between (io-alone.ts), the start (`braid plan`), and the workers' own computing, which one worker
// tells with a core for itself, on two cores. Beside it the copy floor, and what it leaves. Writes a table to bench/results/.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { benchShapes, makeCheckpoints } from "./checkpoints.ts";
import { copyFloor, machine, mergeOnce, runCommand, runtimesOf, warm } from "./measure.ts";
import { benchRecipe } from "./recipes.ts";

/** Times the copy floor that a bare merge may take. */
const asked = { linear: 1.2, task_arithmetic: 1.3, slerp: 1.5, dare_linear: 1.5, dare_ties: 2, ties: 2.5 } as const;

const root = resolve(import.meta.dirname, "..");
const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "base" },
    runs: { type: "string", default: "5" },
    name: { type: "string", default: "" },
  },
});
const shape = benchShapes[options.shape as keyof typeof benchShapes];
if (!shape) throw new Error(`--shape must be one of ${Object.keys(benchShapes).join(", ")}`);
const data = join(root, "bench/data");
const folders = makeCheckpoints(data, shape, console.error);
const [binary, bun] = runtimesOf(root, ["binary", "bun"]);
const scratch = join(data, "alone.safetensors");
const bare = ["--no-checksum", "--no-sync"];

const rows: string[] = [];
for (const [method, times] of Object.entries(asked)) {
  const { path, inputs } = benchRecipe(data, shape.name, folders, method);
  const best = { floor: Infinity, io: Infinity, start: Infinity, computing: Infinity, merge: Infinity };
  const keep = (what: keyof typeof best, seconds: number) => {
    best[what] = Math.min(best[what], seconds);
  };
  for (let i = 0; i < Number(options.runs); i++) {
    await warm(inputs);
    keep("floor", await copyFloor(inputs, data));
    await warm(inputs);
    keep("io", (await runCommand(bun!.command, [join(root, "bench/io-alone.ts"), scratch, ...inputs])).seconds);
    rmSync(scratch, { force: true });
    keep("start", (await runCommand(binary!.command, ["plan", path])).seconds);
    await warm(inputs);
    const one = await mergeOnce(binary!, path, data, ["--workers", "1", ...bare]);
    keep("computing", one.summary.workerSeconds.compute);
    await warm(inputs);
    keep("merge", (await mergeOnce(binary!, path, data, ["--workers", "2", ...bare])).seconds);
  }
  const { floor, io, start, computing, merge } = best;
  const least = io + start + computing / 2;
  const s = (seconds: number) => seconds.toFixed(2);
  rows.push(
    `| ${[method, s(floor), `${times} × = ${s(times * floor)}`, s(io), s(start), s(computing / 2), s(least), s(merge), `${s(least / floor)} ×`, `${s(merge / floor)} ×`].join(" | ")} |`,
  );
  console.error(rows.at(-1));
}

const date = new Date().toISOString().slice(0, 10);
const text = `# Bounds of bare merges: ${date}

${machine()}. Warm page cache, least of ${options.runs}, whole processes; \`bun bench/bounds.ts --runs ${options.runs}\`.

Seconds. "Read and written" is the same bytes by two threads of Bun that do nothing else, their start included; "start" is \`braid plan\`;
"computing" is what one worker spends between reading and writing, on two cores. Their sum is what a merge could take that lost nothing.

| method | copy floor | asked | read and written | start | computing | sum | bare merge | sum × floor | merge × floor |
|---|---|---|---|---|---|---|---|---|---|
${rows.join("\n")}
`;
mkdirSync(join(root, "bench/results"), { recursive: true });
const name = ["bounds", options.name].filter(Boolean).join("-");
writeFileSync(join(root, "bench/results", `${date}-${name}.md`), text);
console.log(text);
