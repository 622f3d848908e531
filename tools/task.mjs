// The project's tasks: `npm run NAME`, `bun run NAME` and `deno task NAME` all come here. Every task prepares a fresh clone
// by itself (packages, kernels), then does its work with the runtime that was asked for.

import process from "node:process";
import { preferredRuntime, run } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

const tasks = {
  demo: { about: "merge the example models into out/demo", run: demo },
  test: { about: "run the tests under Bun and Deno", run: async (args) => (await import("./test.mjs")).runTests(args) },
  build: { about: "install packages and build the kernels", run: () => 0 },
  check: { about: "types, lint and boundaries", run: async () => (await import("./check.mjs")).check() },
  compile: { about: "make one binary, dist/braid", run: async (args) => (await import("./compile.mjs")).compile(args) },
  bench: { about: "measure", run: bench },
};

/** How the command line runs from source. Deno gets the permissions that a merge into out/ needs, and no others. */
function cli(args) {
  const { name, path } = preferredRuntime();
  const denoFlags = ["--allow-read", "--allow-write=out", "--allow-env", "--allow-sys"];
  return run(path, name === "deno" ? ["run", ...denoFlags, "src/cli/main.ts", ...args] : ["src/cli/main.ts", ...args]);
}

function demo(args) {
  return cli(["merge", "examples/dare-ties.yml", "./out/demo", "--overwrite", ...args]);
}

function bench(args) {
  const { name, path } = preferredRuntime();
  return run(path, name === "deno" ? ["run", "-A", "bench/main.ts", ...args] : ["bench/main.ts", ...args]);
}

async function main([name, ...args]) {
  const task = Object.hasOwn(tasks, name ?? "") ? tasks[name] : undefined;
  if (!task) {
    console.error(
      `Usage: task.mjs TASK\n${Object.entries(tasks)
        .map(([key, { about }]) => `  ${key.padEnd(8)} ${about}\n`)
        .join("")}`,
    );
    return 2;
  }
  try {
    await setUp();
    return await task.run(args);
  } catch (error) {
    console.error(`error: ${error.message}`);
    return 1;
  }
}

process.exit(await main(process.argv.slice(2)));
