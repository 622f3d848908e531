// Runs whole processes and times them: the copy floor, and merges through the command line as a user starts them.

import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { MergeSummary } from "../src/host.ts";

export interface Finished {
  readonly seconds: number;
  readonly stdout: string;
}

/** Runs a command to its end; throws with what it said when it fails. */
export function runCommand(command: string, args: readonly string[], cwd?: string): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...(cwd ? { cwd } : {}) });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (d) => {
      stdout += d;
    });
    child.stderr.on("data", (d) => {
      stderr += d;
    });
    child.on("error", reject);
    child.on("close", (code) => {
      const seconds = (performance.now() - started) / 1000;
      if (code === 0) resolve({ seconds, stdout });
      else reject(new Error(`${command} ${args.join(" ")}: exit ${code}\n${stderr}${stdout}`));
    });
  });
}

/**
 * What no merge can beat: every input is read once and one output is written once, by `cat` and `cp` in two processes. The
 * last input is the one that is copied. The durable floor also does with the copy what a merge does by default: OpenSSL
 * hashes it (`sha256sum` may know no SHA instructions and take six times as long) while `sync` brings it to the disk.
 */
export async function copyFloor(
  inputs: readonly string[],
  scratch: string,
  kind: "copy" | "durable" = "copy",
): Promise<number> {
  const out = join(scratch, "floor.safetensors");
  rmSync(out, { force: true });
  const started = performance.now();
  await Promise.all([
    runCommand("sh", ["-c", 'cat "$@" > /dev/null', "sh", ...inputs.slice(0, -1)]),
    runCommand("cp", [inputs.at(-1)!, out]).then(async () => {
      if (kind === "copy") return;
      await Promise.all([runCommand("openssl", ["dgst", "-sha256", out]), runCommand("sync", [out])]);
    }),
  ]);
  const seconds = (performance.now() - started) / 1000;
  rmSync(out, { force: true });
  return seconds;
}

export interface Runtime {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

/** The command line under each runtime that `npm ci` brought; `binary` is what `npm run compile` made. */
export function runtimesOf(root: string, names: readonly string[]): Runtime[] {
  const main = join(root, "src/cli/main.ts");
  const binary = join(root, "dist/braid");
  return names.map((name) => {
    if (name !== "binary") {
      const args = name === "deno" ? ["run", "-A", "--no-check", main] : [main];
      return { name, command: join(root, "node_modules/.bin", name), args };
    }
    if (!existsSync(binary)) throw new Error(`Cannot find ${binary}: make it with npm run compile`);
    return { name, command: binary, args: [] };
  });
}

export interface MergeRun {
  readonly seconds: number;
  readonly summary: MergeSummary;
}

/** One merge as its own process, into a new folder that is removed again. */
export async function mergeOnce(
  runtime: Runtime,
  recipe: string,
  scratch: string,
  options: readonly string[],
): Promise<MergeRun> {
  const out = join(scratch, "merged");
  rmSync(out, { recursive: true, force: true });
  const { seconds, stdout } = await runCommand(runtime.command, [
    ...runtime.args,
    "merge",
    recipe,
    out,
    "--json",
    "--quiet",
    ...options,
  ]);
  rmSync(out, { recursive: true, force: true });
  return { seconds, summary: JSON.parse(stdout) as MergeSummary };
}

/** Fills the page cache with the inputs, after what earlier runs wrote is on the disk: nobody pays for another's output. */
export async function warm(inputs: readonly string[]): Promise<void> {
  await runCommand("sync", []);
  await runCommand("sh", ["-c", 'cat "$@" > /dev/null', "sh", ...inputs]);
}

/** Empties the page cache, for what a disk gives. Only root may, and only on Linux. */
export async function chill(): Promise<void> {
  await runCommand("sync", []);
  try {
    writeFileSync("/proc/sys/vm/drop_caches", "3");
  } catch (cause) {
    throw new Error("--cold must be run by root on Linux: it empties the page cache", { cause });
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const mid = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[mid]! : (sorted[mid - 1]! + sorted[mid]!) / 2;
}

/** Processor, cores and memory, as Linux tells them. */
export function machine(): string {
  const read = (path: string, pattern: RegExp) => {
    try {
      return pattern.exec(readFileSync(path, "utf8"))?.[1]?.trim();
    } catch {
      return undefined;
    }
  };
  const cpu = read("/proc/cpuinfo", /model name\s*:\s*(.*)/) ?? "unknown processor";
  const cores = readCount("/proc/cpuinfo", /^processor\s*:/gm);
  const memory = Number(read("/proc/meminfo", /MemTotal:\s*(\d+) kB/) ?? 0) / 1024 / 1024;
  return `${cpu}, ${cores} cores, ${memory.toFixed(0)} GiB`;
}

function readCount(path: string, pattern: RegExp): number {
  try {
    return readFileSync(path, "utf8").match(pattern)?.length ?? 0;
  } catch {
    return 0;
  }
}
