// The Host of the command line: clock, environment, cores, memory, threads.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { availableParallelism, hostname } from "node:os";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assertUnchanged, localFiles } from "../bytes/file.ts";
import { processIsAlive } from "../bytes/lock.ts";
import { openStage } from "../bytes/stage.ts";
import type { Host, MergeEvent } from "../host.ts";
import { readAheadBytes, readAheadLanes } from "../plan/memory.ts";
import { attempt, readPlaces, runtimeName } from "./environment.ts";
import { ProgressiveHash } from "./file-hash.ts";

/** Cores that this process may use. */
export const availableCores = (): number => attempt(availableParallelism) ?? 1;

/** Linux's high-water mark is exact; elsewhere, or where /proc may not be read, the runtime's own figure has to do. */
export function peakMemory(): number | null {
  const status = attempt(() => readFileSync("/proc/self/status", "utf8"));
  const line = status && /^VmHWM:\s*(\d+) kB/m.exec(status);
  if (line) return Number(line[1]) * 1024;
  const kilobytes = attempt(() => process.resourceUsage().maxRSS);
  return kilobytes ? kilobytes * 1024 : null;
}

/**
 * Engines let garbage lie until their heap has doubled, which no budget counts. Bun has a call for it; V8 has one behind a flag
 * that may be set while it runs.
 */
function collect(): void {
  if (typeof Bun !== "undefined") Bun.gc(true);
  else collectWithV8();
}

let collectWithV8 = (): void => {
  const found = attempt(() => {
    setFlagsFromString("--expose-gc");
    return runInNewContext("gc") as () => void;
  });
  collectWithV8 = found ?? (() => {});
  collectWithV8();
};

/** fdatasync in the runtime's own thread pool, so that neither workers nor the event loop wait for the disk. */
async function flush(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

const scratch: Uint8Array[] = [];

/** Linux counts in units of 512 bytes; others count calls, or nothing. */
function diskBytes(): number | null {
  if (process.platform !== "linux") return null;
  const units = attempt(() => process.resourceUsage().fsRead);
  return units === undefined ? null : units * 512;
}

/** By the runtime's own thread pool, like `flush`. What was read is thrown away. */
async function readAhead(path: string, start: number, end: number, signal: AbortSignal): Promise<void> {
  const piece = scratch.pop() ?? new Uint8Array(readAheadBytes / readAheadLanes);
  try {
    const file = await open(path, "r");
    try {
      for (let at = start; at < end && !signal.aborted; ) {
        const { bytesRead } = await file.read(piece, 0, Math.min(piece.length, end - at), at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  } finally {
    scratch.push(piece);
  }
}

export interface HostOptions {
  readonly env: Host["env"];
  readonly signal: AbortSignal;
  readonly report: (event: MergeEvent) => void;
  /** Only `merge` runs anything. */
  readonly createExecutor?: Host["createExecutor"];
}

export function createHost(options: HostOptions): Host {
  const { env, signal, report } = options;
  const lockInfo = {
    pid: process.pid,
    // A name that is nobody's: then a lock that is left behind is never taken for one of this machine's.
    host: attempt(hostname) || `unknown-${randomUUID()}`,
    started: new Date().toISOString(),
    isAlive: processIsAlive,
  };
  return {
    fs: localFiles,
    openStage: (out, stage) => openStage(out, { ...stage, lockInfo }),
    assertUnchanged,
    hashFile: (path, worked) => new ProgressiveHash(path, worked),
    flush,
    removeFolder: (path) => rm(path, { recursive: true, force: true }),
    readAhead,
    diskBytes,
    ...readPlaces(env),
    cores: availableCores(),
    now: () => performance.now(),
    today: () => new Date(),
    runtime: runtimeName(),
    collect,
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
