// npx bun bench/nodes.ts [--shape small|base] [--method dare_ties] [--runs N] [--nodes 1,2,4] [--runtime bun|deno] [--how …] [--bare]
//
// A merge by N node processes of one worker each, and nobody else, beside the same merge by N local workers on the same cores.
// Nodes read and write the shared disk themselves (`placed`), only read it (`read`), or are sent every byte (`carried`).

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { benchShapes, makeCheckpoints } from "./checkpoints.ts";
import { machine, median, mergeOnce, type Runtime, runtimesOf, warm } from "./measure.ts";
import { benchRecipe } from "./recipes.ts";

const root = resolve(import.meta.dirname, "..");
const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "base" },
    method: { type: "string", default: "dare_ties" },
    runs: { type: "string", default: "3" },
    nodes: { type: "string", default: "1,2,4" },
    runtime: { type: "string", default: "bun" },
    how: { type: "string", default: "placed" },
    /** Without hash and sync of the output, which are the same with nodes and without. */
    bare: { type: "boolean", default: false },
  },
});

const shape = benchShapes[options.shape as keyof typeof benchShapes];
if (!shape) throw new Error(`--shape must be one of ${Object.keys(benchShapes).join(", ")}`);
const data = join(root, "bench/data");
const folders = makeCheckpoints(data, shape, console.error);
const { path, inputs } = benchRecipe(data, shape.name, folders, options.method);
const runtime = runtimesOf(root, [options.runtime])[0]!;

const roots: Record<string, readonly string[]> = {
  placed: ["--allow-root", data, "--allow-write-root", data],
  read: ["--allow-root", data],
  carried: [],
};

interface Node {
  readonly url: string;
  readonly child: ChildProcess;
}

function serve({ command, args }: Runtime, how: string): Promise<Node> {
  const all = [...args, "serve", "--port", "0", "--workers", "1", "--json", "--quiet", ...roots[how]!];
  const child = spawn(command, all, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((ready, failed) => {
    let out = "";
    child.stdout!.on("data", (text) => {
      out += text;
      if (out.includes("\n")) ready({ url: (JSON.parse(out) as { url: string }).url, child });
    });
    child.on("exit", (code) => failed(new Error(`the node ended with ${code}`)));
  });
}

/** Core-seconds of the children of this process that have ended, or of a process that runs. Elsewhere than on Linux: 0. */
function cpuSeconds(pid: number | "self"): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // utime and stime, or cutime and cstime, in hundredths.
    const at = pid === "self" ? 13 : 11;
    return (Number(fields[at]) + Number(fields[at + 1])) / 100;
  } catch {
    return 0;
  }
}

const bare = options.bare ? ["--no-checksum", "--no-sync"] : [];
const parameters = { count: 0 };
const hashes = new Set<string>();
interface Cost {
  readonly seconds: number;
  /** Of the merge and of all nodes. */
  readonly cpu: number;
}

async function merge(args: readonly string[], nodes: readonly Node[]): Promise<Cost> {
  await warm(inputs);
  const spent = () => cpuSeconds("self") + nodes.reduce((sum, { child }) => sum + cpuSeconds(child.pid!), 0);
  const before = spent();
  const { seconds, summary } = await mergeOnce(runtime, path, data, [...args, ...bare]);
  parameters.count = summary.parameters;
  const { sha256 } = summary.files[0]!;
  if (sha256 !== null) hashes.add(sha256);
  return { seconds, cpu: spent() - before };
}

console.log(
  `${machine()}; ${options.method}, ${shape.name}, ${runtime.name}${options.bare ? ", bare" : ""}, medians of ${options.runs}`,
);
console.log(
  "| processes | how | local workers: wall, core-seconds | nodes: wall, core-seconds | overhead in core-seconds, in the least wall time | walls |\n|---|---|---|---|---|---|",
);
for (const count of options.nodes.split(",").map(Number)) {
  for (const how of options.how.split(",")) {
    const nodes = await Promise.all(Array.from({ length: count }, () => serve(runtime, how)));
    const named = ["--workers", "0", ...nodes.flatMap(({ url }) => ["--node", url])];
    const [local, remote]: [Cost[], Cost[]] = [[], []];
    try {
      // A first merge, which nobody counts: nodes compile, files come into memory.
      await merge(named, nodes);
      for (let run = 0; run < Number(options.runs); run++) {
        local.push(await merge(["--workers", String(count), "--memory", "1GiB"], []));
        remote.push(await merge(named, nodes));
      }
    } finally {
      for (const { child } of nodes) child.kill("SIGKILL");
    }
    const walls = (costs: readonly Cost[]) => costs.map((c) => c.seconds);
    const cpu = (costs: readonly Cost[]) => median(costs.map((c) => c.cpu));
    const shown = (costs: readonly Cost[]) => `${median(walls(costs)).toFixed(2)} s, ${cpu(costs).toFixed(2)} s`;
    const over = (a: number, b: number) => `${((b / a - 1) * 100).toFixed(0)} %`;
    const all = [local, remote]
      .map((costs) =>
        walls(costs)
          .map((s) => s.toFixed(2))
          .join(" "),
      )
      .join(" / ");
    const overhead = `${over(cpu(local), cpu(remote))}, ${over(Math.min(...walls(local)), Math.min(...walls(remote)))}`;
    console.log(`| ${count} | ${how} | ${shown(local)} | ${shown(remote)} | ${overhead} | ${all} |`);
  }
}
if (!options.bare)
  console.log(`SHA-256 of the output: ${[...hashes].join(", ")} (${hashes.size === 1 ? "one" : "NOT ONE"})`);
