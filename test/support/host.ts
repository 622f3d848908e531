// A Host for tests: real files, no threads, no console, a clock that is only a clock.

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { assertUnchanged, localFiles } from "../../src/bytes/file.ts";
import { openStage } from "../../src/bytes/stage.ts";
import { createInlineExecutor } from "../../src/exec/inline.ts";
import { fileOpener } from "../../src/exec/local.ts";
import { defaultRequest, type Host, type MergeEvent, type MergeRequest } from "../../src/host.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";

export const projectRoot = resolve(import.meta.dirname, "../..");

const module = compileKernel();

export function testHost(
  options: { events?: MergeEvent[]; signal?: AbortSignal; cwd?: string; env?: Record<string, string> } = {},
): Host {
  return {
    cwd: options.cwd ?? projectRoot,
    env: options.env ?? {},
    home: tmpdir(),
    cores: 1,
    now: () => performance.now(),
    today: () => new Date("2026-01-01T00:00:00Z"),
    runtime: "test",
    collect: () => {},
    peakMemory: () => null,
    fs: localFiles,
    openStage: (out, stage) =>
      openStage(out, {
        ...stage,
        lockInfo: { pid: process.pid, host: hostname(), started: "2026-01-01T00:00:00Z", isAlive: () => true },
      }),
    assertUnchanged,
    hashFile: (path) => ({
      advance: () => {},
      finish: async () => createHash("sha256").update(readFileSync(path)).digest("hex"),
      close: () => {},
    }),
    flush: async () => {},
    removeFolder: async (path) => rmSync(path, { recursive: true, force: true }),
    readAhead: async () => {},
    diskBytes: () => null,
    createExecutor: (job) => createInlineExecutor({ module, job, now: () => performance.now(), opener: fileOpener }),
    report: (event) => options.events?.push(event),
    signal: options.signal ?? new AbortController().signal,
  };
}

/** A request for a recipe given as text; relative models are looked up from the project's root. */
export function requestFor(text: string, overrides: Partial<MergeRequest> = {}): MergeRequest {
  return {
    ...defaultRequest,
    memoryBytes: 1 << 30,
    workers: 1,
    recipe: { text, file: "recipe.yml", folder: projectRoot },
    ...overrides,
  };
}

/** A folder that is gone after `use`. */
export async function withTempFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "braid-test-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
