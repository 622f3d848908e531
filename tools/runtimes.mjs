// Which JavaScript runtimes are at hand: the one that started the task, those of the npm packages `bun` and `deno`, those on
// the PATH. Plain JavaScript that runs under Node 20+, Bun and Deno, with built-in modules only.

import { spawn, spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** "1.4.5", or null when the program cannot be run. */
export function versionOf(program) {
  const { status, stdout } = spawnSync(program, ["--version"], { encoding: "utf8", env: environment() });
  return status === 0 ? (/\d+\.\d+\.\d+/.exec(stdout)?.[0] ?? "unknown") : null;
}

/** Colour and version checks of child processes are switched by these and nothing else of ours. */
export function environment(extra = {}) {
  return { ...process.env, DENO_NO_UPDATE_CHECK: "1", ...extra };
}

/**
 * The runtime that the user asked for. `bun run x` and `deno task x` start this file with Node where there is one (and
 * with themselves where there is none), but say who they are; anything else is npm.
 */
export const launcher =
  /^(bun|deno)\//.exec(process.env.npm_config_user_agent ?? "")?.[1] ??
  (typeof Deno !== "undefined" ? "deno" : typeof Bun !== "undefined" ? "bun" : "node");

function ownPath(name) {
  if (name === "bun" && typeof Bun !== "undefined") return process.execPath;
  if (name === "deno" && typeof Deno !== "undefined") return Deno.execPath();
  if (name === launcher) return process.env.npm_execpath;
  return undefined;
}

const found = new Map();

/** `{ name, path, version }` of "bun" or "deno", or null. */
export function runtime(name) {
  if (!found.has(name)) {
    const suffix = process.platform === "win32" ? ".cmd" : "";
    const installed = join(root, "node_modules", ".bin", name + suffix);
    const candidates = [ownPath(name), ...(name === launcher ? [name, installed] : [installed, name])].filter(Boolean);
    let answer = null;
    for (const path of candidates) {
      const version = versionOf(path);
      if (version) {
        answer = { name, path, version };
        break;
      }
    }
    found.set(name, answer);
  }
  return found.get(name);
}

/** Bun or Deno for running the command line: the launcher when it is one of them, else Bun, else Deno. */
export function preferredRuntime() {
  return (launcher === "node" ? null : runtime(launcher)) ?? runtime("bun") ?? runtime("deno");
}

/** Runs a program with the terminal as it is; answers its exit code. */
export function run(program, args, { cwd = root, env } = {}) {
  const { status, signal, error } = spawnSync(program, args, { cwd, stdio: "inherit", env: environment(env) });
  if (error) throw new Error(`Cannot run ${program}: ${error.message}`);
  return status ?? (signal === "SIGINT" ? 130 : 143);
}

/** Runs a program beside others; answers its exit code (or the name of a signal) and all that it printed. */
export function capture(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], env: environment() });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => {
        output += text;
      });
    }
    child.on("error", (error) => reject(new Error(`Cannot run ${program}: ${error.message}`)));
    child.on("close", (status, signal) => resolve({ status: status ?? signal, output }));
  });
}
