// The little of the process that every command needs: environment, folders, the runtime's name.

import { homedir } from "node:os";
import { relative } from "node:path";
import type { Host } from "../host.ts";

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
  "BRAID_TOKEN",
] as const;

/** Undefined where a permission is missing or a figure cannot be had. */
export function attempt<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch {
    return undefined;
  }
}

export function readEnvironment(): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(environmentNames.map((name) => [name, attempt(() => process.env[name])]));
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

/** Where paths and the hub cache start from. */
export function readPlaces(env: Host["env"]): Pick<Host, "cwd" | "env" | "home"> {
  return { cwd: process.cwd(), env, home: env.HOME ?? env.USERPROFILE ?? attempt(homedir) ?? "" };
}
