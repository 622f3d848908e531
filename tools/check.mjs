// `check`: everything that can be said about the code without running it. One line a step; the first failure's output is shown.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { preferredRuntime, run } from "./runtimes.mjs";

/** Native tools of npm packages, started by their script so that no shell and no PATH is needed. */
function packageScript(name, bin) {
  const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
  const { bin: bins } = JSON.parse(readFileSync(manifest, "utf8"));
  return join(manifest, "..", typeof bins === "string" ? bins : bins[bin]);
}

export function check() {
  const runtime = preferredRuntime();
  const script = (path, args) =>
    run(process.execPath, typeof Deno === "undefined" ? [path, ...args] : ["run", "-A", path, ...args]);
  const steps = [
    ["types", () => script(packageScript("typescript", "tsc"), ["--noEmit", "-p", "."])],
    ["lint", () => script(packageScript("@biomejs/biome", "biome"), ["check", "--diagnostic-level=error"])],
    [
      "boundaries and error table",
      () =>
        run(runtime.path, [
          ...(runtime.name === "deno" ? ["test", "-A", "--no-check", "--quiet"] : ["test", "--only-failures"]),
          "./test/boundaries.test.ts",
          "./test/errors.test.ts",
        ]),
    ],
  ];
  let failed = 0;
  for (const [name, step] of steps) {
    const status = step();
    console.log(`${status === 0 ? "ok  " : "FAIL"}  ${name}`);
    if (status !== 0) failed++;
  }
  return failed === 0 ? 0 : 1;
}
