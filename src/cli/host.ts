// The Host of the command line: clock, environment, cores, memory, threads.

import { readFileSync } from "node:fs";
import { availableParallelism, homedir } from "node:os";
import { relative } from "node:path";
import type { Executor, Job } from "../exec/executor.ts";
import type { Host, MergeEvent } from "../host.ts";

/**
 * Every variable that Braid reads, and no other: each is asked for by name, so `deno run --allow-env=…` can be as narrow,
 * and one that is denied counts as not set.
 */
export const environmentNames = [
  "HOME",
  "USERPROFILE",
  "XDG_CACHE_HOME",
  "HF_HOME",
  "HF_HUB_CACHE",
  "HUGGINGFACE_HUB_CACHE",
  "NO_COLOR",
  "FORCE_COLOR",
  "TERM",
  "COLUMNS",
  "BRAID_DEBUG",
  "BRAID_COMMAND",
] as const;

function attempt<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch {
    return undefined;
  }
}

export function readEnvironment(): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(environmentNames.map((name) => [name, attempt(() => process.env[name])]));
}

/** Linux's high-water mark is exact; elsewhere, or where /proc may not be read, the runtime's own figure has to do. */
export function peakMemory(): number | null {
  const status = attempt(() => readFileSync("/proc/self/status", "utf8"));
  const line = status && /^VmHWM:\s*(\d+) kB/m.exec(status);
  if (line) return Number(line[1]) * 1024;
  const kilobytes = attempt(() => process.resourceUsage().maxRSS);
  return kilobytes ? kilobytes * 1024 : null;
}

export function runtimeName(): string {
  const { versions } = process;
  for (const name of ["bun", "deno", "node"] as const) if (versions[name]) return `${name} ${versions[name]}`;
  return "unknown";
}

/** How the user would start this program again: for the command to try next. BRAID_COMMAND is set by the project's tasks. */
export function programName(env: Host["env"]): string {
  if (env.BRAID_COMMAND) return env.BRAID_COMMAND;
  const script = process.argv[1] ?? "";
  if (!script.endsWith(".ts")) return "braid";
  const path = relative(process.cwd(), script);
  return runtimeName().startsWith("deno") ? `deno run -A ${path}` : `bun ${path}`;
}

export interface HostOptions {
  readonly env: Host["env"];
  readonly signal: AbortSignal;
  readonly report: (event: MergeEvent) => void;
  /** Only `merge` runs anything. */
  readonly createExecutor?: (job: Job, workers: number) => Executor;
}

export function createHost(options: HostOptions): Host {
  const { env, signal, report } = options;
  return {
    cwd: process.cwd(),
    env,
    home: env.HOME ?? env.USERPROFILE ?? attempt(homedir) ?? "",
    cores: attempt(availableParallelism) ?? 1,
    now: () => performance.now(),
    today: () => new Date(),
    runtime: runtimeName(),
    peakMemory,
    createExecutor:
      options.createExecutor ??
      (() => {
        throw new Error("this command runs no tasks");
      }),
    report,
    signal,
  };
}
