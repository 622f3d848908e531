// Makes a fresh clone ready: npm packages, then kernels. Does nothing when both are there.

import { existsSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { launcher, root, run, runtime, versionOf } from "./runtimes.mjs";

const modules = join(root, "node_modules");

/** npm writes this file last; the other installers get theirs touched by us. */
const stamps = [join(modules, ".package-lock.json"), join(modules, ".braid-installed")];

function packagesAreFresh() {
  const lock = statSync(join(root, "package-lock.json")).mtimeMs;
  return stamps.some((stamp) => existsSync(stamp) && statSync(stamp).mtimeMs >= lock);
}

/** One line each: how the packages can be installed, best first. Only package-lock.json pins what lies below package.json. */
function installer() {
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  const ways = {
    npm: () => versionOf(npm) && [npm, ["ci", "--no-audit", "--no-fund"]],
    // Without a bun.lock of its own, Bun takes the versions of package-lock.json.
    bun: () => runtime("bun") && [runtime("bun").path, ["install", "--no-save"]],
    deno: () => runtime("deno") && [runtime("deno").path, ["install", "--quiet"]],
  };
  const order = launcher === "node" ? ["npm", "bun", "deno"] : ["npm", launcher, "bun", "deno"];
  for (const name of order) {
    const way = ways[name]();
    if (way) return way;
  }
  throw new Error("Cannot install the packages: npm, bun and deno are not on the PATH");
}

export async function setUp() {
  if (!existsSync(modules) || !packagesAreFresh()) {
    const [program, args] = installer();
    console.log(`packages: ${program} ${args.join(" ")}`);
    const status = run(program, args);
    if (status !== 0) throw new Error(`Cannot install the packages: ${program} ${args.join(" ")} ended with ${status}`);
    stamp();
  }
  const { buildKernels } = await import("./build-kernels.mjs");
  const built = await buildKernels();
  if (built) console.log("kernels: built");
}

async function stamp() {
  const { writeFileSync } = await import("node:fs");
  writeFileSync(stamps[1], "");
  utimesSync(stamps[1], new Date(), new Date());
}
