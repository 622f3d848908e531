// npx bun bench/queue.ts [--shape small|base] [--method dare_ties] [--runs N] [--workers 1,2] [--runtime bun|deno]
//
// A merge by N worker processes of one thread each behind a NATS server on this machine, and nobody else, beside the same merge by
// N local workers. Workers read the shared disk themselves (`placed`) or get inputs from the coordinator (`carried`); outputs are brought by HTTP.

import { type ChildProcess, spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { noServer, startServer } from "../test/queue/server.ts";
import { benchShapes, makeCheckpoints } from "./checkpoints.ts";
import { machine, median, mergeOnce, type Runtime, runtimesOf, warm } from "./measure.ts";
import { benchRecipe } from "./recipes.ts";

const root = resolve(import.meta.dirname, "..");
const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "small" },
    method: { type: "string", default: "dare_ties" },
    runs: { type: "string", default: "3" },
    workers: { type: "string", default: "1,2" },
    runtime: { type: "string", default: "bun" },
  },
});

if (noServer) throw new Error(noServer);
const shape = benchShapes[options.shape as keyof typeof benchShapes];
if (!shape) throw new Error(`--shape must be one of ${Object.keys(benchShapes).join(", ")}`);
const data = join(root, "bench/data");
const folders = makeCheckpoints(data, shape, console.error);
const { path, inputs } = benchRecipe(data, shape.name, folders, options.method);
const runtime = runtimesOf(root, [options.runtime])[0]!;
// Merge and workers share it; both inherit it.
process.env.BRAID_TOKEN = [...crypto.getRandomValues(new Uint8Array(32))].map((b) => b.toString(16)).join("-");

function work({ command, args }: Runtime, url: string, how: string): Promise<ChildProcess> {
  const reads = how === "placed" ? ["--allow-root", data] : [];
  const all = [...args, "worker", "--workers", "1", "--json", "--quiet", "--queue", url, ...reads];
  const child = spawn(command, all, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((ready, failed) => {
    child.stdout!.once("data", () => ready(child));
    child.on("exit", (code) => failed(new Error(`the worker ended with ${code}`)));
  });
}

const hashes = new Set<string>();
async function merge(args: readonly string[]): Promise<number> {
  await warm(inputs);
  const { seconds, summary } = await mergeOnce(runtime, path, data, args);
  const { sha256 } = summary.files[0]!;
  if (sha256 !== null) hashes.add(sha256);
  return seconds;
}

console.log(`${machine()}; ${options.method}, ${shape.name}, ${runtime.name}, medians of ${options.runs}`);
console.log("| workers | inputs | local | queue | queue / local | all |\n|---|---|---|---|---|---|");
const server = await startServer();
try {
  for (const count of options.workers.split(",").map(Number)) {
    for (const how of ["placed", "carried"]) {
      const children = await Promise.all(Array.from({ length: count }, () => work(runtime, server.url, how)));
      const queued = ["--workers", "0", "--queue", server.url];
      const [local, queue]: [number[], number[]] = [[], []];
      try {
        // A first merge, which nobody counts: workers compile, files come into memory.
        await merge(queued);
        for (let run = 0; run < Number(options.runs); run++) {
          local.push(await merge(["--workers", String(count)]));
          queue.push(await merge(queued));
        }
      } finally {
        for (const child of children) child.kill("SIGKILL");
      }
      const [a, b] = [median(local), median(queue)];
      const all = [local, queue].map((walls) => walls.map((s) => s.toFixed(2)).join(" ")).join(" / ");
      console.log(`| ${count} | ${how} | ${a.toFixed(2)} s | ${b.toFixed(2)} s | ${(b / a).toFixed(2)} | ${all} |`);
    }
  }
} finally {
  await server.stop();
}
console.log(`SHA-256 of the output: ${[...hashes].join(", ")} (${hashes.size === 1 ? "one" : "NOT ONE"})`);
process.exit(0);
