// Starts the command line as a user would, and collects what it says.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const main = join(root, "src/cli/main.ts");

export interface Outcome {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export interface StartOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** Null: left open, without a word. */
  readonly stdin?: string | null;
  /** The program and what comes before the arguments; Bun from source by default. */
  readonly program?: readonly string[];
  /** Sent when standard output holds `after`, or at once when that is empty, and some milliseconds have passed. */
  readonly signal?: {
    readonly name: NodeJS.Signals;
    readonly after: string;
    readonly ms: number;
    readonly times?: number;
  };
}

export const bunProgram = [process.execPath, main];
export const denoProgram = [join(root, "node_modules/.bin/deno"), "run", "--no-prompt", "-A", main];

/** Nothing of the machine's own settings reaches the program. */
const cleanEnvironment = {
  PATH: process.env.PATH ?? "",
  HOME: "/nonexistent",
  DENO_DIR: process.env.DENO_DIR ?? join(process.env.HOME ?? tmpdir(), ".cache/deno"),
};

export function start(args: readonly string[], options: StartOptions = {}): Promise<Outcome> {
  const [program, ...first] = options.program ?? bunProgram;
  return new Promise((resolve, reject) => {
    const child = spawn(program!, [...first, ...args], {
      cwd: options.cwd ?? root,
      env: { ...cleanEnvironment, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let [out, err] = ["", ""];
    const { signal } = options;
    let signalled = false;
    const maybeSignal = () => {
      if (!signal || signalled || !out.includes(signal.after)) return;
      signalled = true;
      for (let i = 1; i <= (signal.times ?? 1); i++) setTimeout(() => child.kill(signal.name), i * signal.ms);
    };
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      maybeSignal();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ exit: code ?? -1, out, err }));
    child.stdin.on("error", () => {});
    if (options.stdin !== null) child.stdin.end(options.stdin ?? "");
    maybeSignal();
  });
}

/** A folder of one's own, for the length of `use`. */
export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "braid-cli-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
