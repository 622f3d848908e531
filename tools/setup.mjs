// Makes a fresh clone ready: npm packages, then kernels. Does nothing when both are there.

import { copyFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { launcher, root, run, runtime, versionOf } from "./runtimes.mjs";

const modules = join(root, "node_modules");

/** npm writes its file last; ours is written after any installer. */
const ownStamp = join(modules, ".braid-installed");
const stamps = [join(modules, ".package-lock.json"), ownStamp];

function packagesAreFresh() {
  const lock = statSync(join(root, "package-lock.json")).mtimeMs;
  return stamps.some((stamp) => existsSync(stamp) && statSync(stamp).mtimeMs >= lock);
}

/**
 * npm reads package-lock.json; so does Bun, which has no lock file of its own here. Deno reads neither, but what package.json
 * names is exact. So there is one lock file, and nothing to keep in step.
 */
const installers = {
  npm: () => npmVersion() && run(npm, ["ci", "--no-audit", "--no-fund"]),
  bun: () => runtime("bun") && run(runtime("bun").path, ["install", "--no-save"]),
  deno: () => runtime("deno") && installWithDeno(runtime("deno").path),
};

const npm = process.platform === "win32" ? "npm.cmd" : "npm";
const npmVersion = () => versionOf(npm);

/** Packages that only carry native programs. Deno alone needs none of them, and has no way to take one platform's only. */
const nativeTools = ["bun", "deno", "@biomejs/biome", "typescript"];

/** Installs into a folder elsewhere (below this one Deno would take this package.json too), then copies the result here. */
function installWithDeno(deno) {
  const folder = mkdtempSync(join(tmpdir(), "braid-packages-"));
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const name of nativeTools) delete manifest.devDependencies[name];
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
  writeFileSync(join(folder, "deno.json"), JSON.stringify({ nodeModulesDir: "manual", lock: false }));
  copyFileSync(join(root, ".npmrc"), join(folder, ".npmrc"));
  const status = run(deno, ["install", "--quiet"], { cwd: folder });
  if (status === 0) {
    rmSync(modules, { recursive: true, force: true });
    cpSync(join(folder, "node_modules"), modules, { recursive: true, verbatimSymlinks: true });
  }
  rmSync(folder, { recursive: true, force: true });
  return status;
}

/** The launcher's own installer first, unless npm is there, which alone checks every package against the lock file. */
function install() {
  for (const name of new Set(["npm", launcher, "bun", "deno"])) {
    const status = installers[name]?.();
    if (status === 0) return writeFileSync(ownStamp, "");
    if (typeof status === "number")
      throw new Error(`Cannot install the packages: ${name} ended with exit code ${status}`);
  }
  throw new Error("Cannot install the packages: npm, bun and deno are not on the PATH");
}

export async function setUp() {
  if (!packagesAreFresh()) {
    console.log("packages: installing");
    install();
    // In a process of its own: Deno looks for node_modules once, when it starts.
    for (const name of ["build-kernels.mjs", "build-tab.mjs"]) {
      const script = join("tools", name);
      const status = run(process.execPath, typeof Deno === "undefined" ? [script] : ["run", "-A", script]);
      if (status !== 0) throw new Error(`Cannot build: ${script} ended with exit code ${status}`);
    }
    return;
  }
  const { buildKernels } = await import("./build-kernels.mjs");
  if (await buildKernels()) console.log("kernels: built");
  const { buildTab } = await import("./build-tab.mjs");
  if (await buildTab()) console.log("browser workers: built");
}
