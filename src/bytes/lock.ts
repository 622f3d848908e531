// One writer an output: a lock file that names its owner, so that the lock of a process that is gone can be told from a live one.

import * as fs from "node:fs";
import * as paths from "node:path";
import process from "node:process";
import { fail, quote } from "../errors.ts";
import { errorCode, show } from "./output.ts";

/** The process that asks for a lock, as its entry knows it. */
export interface LockInfo {
  readonly pid: number;
  readonly host: string;
  /** ISO 8601, for messages. */
  readonly started: string;
  /** Whether a process of this host lives; null where that cannot be known (Deno without --allow-run). */
  isAlive(pid: number): boolean | null;
}

/** What a lock file says. */
export interface LockRecord {
  readonly pid: number;
  readonly host: string;
  readonly started: string;
  /** Where the old output was put while the new one takes its place. */
  readonly aside?: string;
}

export interface Lock {
  readonly path: string;
  /** The record of a dead process whose lock was taken over. */
  readonly previous: LockRecord | null;
  /** Notes, durably, where the old output is put. */
  noteAside(aside: string): void;
  release(): void;
}

/** Locks of this process. A lock with our own pid that is not here was left by a process of an earlier container. */
const held = new Set<string>();

/** By signal 0, which is never delivered. EPERM: it lives, and is somebody else's. */
export function processIsAlive(pid: number): boolean | null {
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    if (errorCode(e) === "ESRCH") return false;
    return errorCode(e) === "EPERM" ? true : null;
  }
}

/**
 * Takes the lock at `path`, or takes it over from a process of this host that is gone.
 *
 * @throws BraidError `output-locked` when its owner lives, or may live.
 */
export function acquireLock(path: string, info: LockInfo): Lock {
  const record: LockRecord = { pid: info.pid, host: info.host, started: info.started };
  const own = `${path}.${info.pid}`;
  let previous: LockRecord | null = null;
  // Each turn either ends or follows a change that another process made; more than a few are no race but a fault.
  for (let turn = 0; turn < 5; turn++) {
    if (create(path, own, record)) {
      held.add(path);
      sweep(path);
      return {
        path,
        previous,
        noteAside: (aside) => {
          write(own, { ...record, aside });
          fs.renameSync(own, path);
        },
        release: () => {
          held.delete(path);
          fs.rmSync(path, { force: true });
        },
      };
    }
    const found = read(path);
    if (found === null) continue;
    if (found === "unreadable" || isHeld(path, found, info)) locked(path, found);
    if (takeAway(path, own, found)) previous = found;
  }
  return locked(path, "unreadable");
}

/** A hard link appears with its content, so no kill can leave a lock that does not say whose it is. */
function create(path: string, own: string, record: LockRecord): boolean {
  try {
    write(own, record);
    return link(own, path) ?? createWithoutLinks(path, record);
  } finally {
    fs.rmSync(own, { force: true });
  }
}

/** False: the lock is there already, or another process swept our file. Null: no links here. */
function link(own: string, path: string): boolean | null {
  try {
    fs.linkSync(own, path);
    return true;
  } catch (e) {
    return errorCode(e) === "EEXIST" || errorCode(e) === "ENOENT" ? false : null;
  }
}

/** exFAT and some network drives have no hard links. */
function createWithoutLinks(path: string, record: LockRecord): boolean {
  try {
    fs.writeFileSync(path, JSON.stringify(record), { flag: "wx", flush: true });
    return true;
  } catch (e) {
    if (errorCode(e) === "EEXIST") return false;
    throw e;
  }
}

function write(path: string, record: LockRecord): void {
  fs.writeFileSync(path, JSON.stringify(record), { flush: true });
}

function read(path: string): LockRecord | "unreadable" | null {
  try {
    const found = JSON.parse(fs.readFileSync(path, "utf8")) as LockRecord;
    return Number.isInteger(found.pid) && typeof found.host === "string" ? found : "unreadable";
  } catch (e) {
    return errorCode(e) === "ENOENT" ? null : "unreadable";
  }
}

function isHeld(path: string, found: LockRecord, info: LockInfo): boolean {
  if (found.host !== info.host) return true;
  if (found.pid === info.pid) return held.has(path);
  return info.isAlive(found.pid) !== false;
}

/** Two processes may both see the same dead lock: what was moved away must still be that one, or goes back. */
function takeAway(path: string, own: string, dead: LockRecord): boolean {
  try {
    fs.renameSync(path, own);
  } catch (e) {
    if (errorCode(e) === "ENOENT") return false;
    throw e;
  }
  const moved = read(own);
  if (JSON.stringify(moved) === JSON.stringify(dead)) {
    fs.rmSync(own, { force: true });
    return true;
  }
  link(own, path);
  fs.rmSync(own, { force: true });
  return false;
}

/** Removes what killed processes left while they made their lock. A live one that loses its file tries again. */
function sweep(path: string): void {
  const folder = paths.dirname(path);
  const prefix = `${paths.basename(path)}.`;
  try {
    for (const name of fs.readdirSync(folder)) {
      if (name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length))) fs.rmSync(paths.join(folder, name));
    }
  } catch {
    // Litter only.
  }
}

function locked(path: string, owner: LockRecord | "unreadable"): never {
  const who =
    owner === "unreadable"
      ? "another merge"
      : `process ${owner.pid} on ${quote(String(owner.host))}, since ${quote(String(owner.started))},`;
  fail("output-locked", `Cannot write to ${show(path.replace(/\.part\.lock$/, ""))}: ${who} is writing there`, {
    hint: `Wait for it; if it is gone for good, delete ${show(path)}.`,
  });
}
