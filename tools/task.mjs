// The project's tasks: `npm run NAME`, `bun run NAME` and `deno task NAME` all come here. Every task prepares a fresh clone
// by itself (packages, kernels), then does its work with the runtime that was asked for.

import process from "node:process";
import { launcher, preferredRuntime, run } from "./runtimes.mjs";
import { setUp } from "./setup.mjs";

const tasks = {
  demo: { about: "merge the example models into out/demo", run: demo },
  test: { about: "run the tests under Bun and Deno", run: async (args) => (await import("./test.mjs")).runTests(args) },
  build: { about: "install packages and build the kernels", run: () => 0 },
  check: { about: "types, lint and boundaries", run: async () => (await import("./check.mjs")).check() },
  compile: { about: "make one binary, dist/braid", run: async (args) => (await import("./compile.mjs")).compile(args) },
  bench: { about: "measure", run: bench },
  experiments: { about: "merge and score the example models: docs/experiments", run: experiments },
  playground: {
    about: "the page that merges in a browser; --build makes it static, in dist/playground",
    run: async (args) => (await import("./playground.mjs")).playground(args),
  },
  functions: {
    about: "bundle the edge functions into dist/functions",
    run: async (args) => (await import("./functions.mjs")).buildFunctions(args),
  },
};

/**
 * All that a merge into out/ needs of Deno. yaml asks for its two LOG variables; without the host's name a lock that a killed
 * merge left behind is not recognised as one's own.
 */
const denoPermissions = [
  "--allow-read",
  "--allow-write=out",
  "--allow-env=HOME,HF_HOME,HF_HUB_CACHE,LOG_TOKENS,LOG_STREAM,NO_COLOR,FORCE_COLOR,TERM,COLUMNS,BRAID_COMMAND",
  "--allow-sys=hostname",
];

/** How the command line runs from source, and how its user would call it next. */
function cli(args) {
  const { name, path } = preferredRuntime();
  const again = { node: `npx ${name}`, bun: "bun", deno: "deno run -A" }[launcher];
  const flags = name === "deno" ? ["run", "--no-prompt", ...denoPermissions] : [];
  return run(path, [...flags, "src/cli/main.ts", ...args], { env: { BRAID_COMMAND: `${again} src/cli/main.ts` } });
}

function demo(args) {
  return cli(["merge", "examples/dare-ties.yml", "./out/demo", "--overwrite", ...args]);
}

function bench(args) {
  const { name, path } = preferredRuntime();
  return run(path, name === "deno" ? ["run", "-A", "bench/main.ts", ...args] : ["bench/main.ts", ...args]);
}

function experiments(args) {
  const { name, path } = preferredRuntime();
  return run(path, [...(name === "deno" ? ["run", "-A"] : []), "experiments/main.ts", ...args]);
}

async function main([name, ...args]) {
  const task = Object.hasOwn(tasks, name ?? "") ? tasks[name] : undefined;
  if (!task) {
    console.error(
      `Usage: task.mjs TASK\n${Object.entries(tasks)
        .map(([key, { about }]) => `  ${key.padEnd(12)} ${about}\n`)
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
