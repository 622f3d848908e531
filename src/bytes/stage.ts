// An output folder in the making. It is built beside its final place under another name, and one rename of the folder makes
// it appear: whatever stops a merge, what is at OUT is the whole old output, the whole new one, or nothing.
//
//   OUT.part/        the stage: every file in it is called NAME.part, so that no loader takes it for a checkpoint
//   OUT.part.lock    who is writing; beside the stage, so that it never appears in OUT
//   OUT.old-N/       with `overwrite`: the old output, from just before the rename until it is deleted

import * as fs from "node:fs";
import * as paths from "node:path";
import { type Diagnostic, fail } from "../errors.ts";
import { FileSink } from "./file.ts";
import { acquireLock, type Lock, type LockInfo } from "./lock.ts";
import { listFolder, output, removeFolder, rename, show, syncFile, syncFolder } from "./output.ts";
import { assertApart, assertFree, assertPlainName, assertSpace, realTarget } from "./stage-checks.ts";

export type { LockInfo } from "./lock.ts";

export interface StageFile {
  /** Basename in the output folder. */
  readonly name: string;
  readonly byteLength: number;
  /** The first bytes of the file. */
  readonly header: Uint8Array;
}

export interface StageOptions {
  /** Replace an output that is there. */
  readonly overwrite: boolean;
  /** Made at their final length; workers fill them. */
  readonly files: readonly StageFile[];
  /** What the whole output will take, small files included. */
  readonly requiredBytes: number;
  readonly lockInfo: LockInfo;
  /** The input folders, which no output may touch. */
  readonly inputs: readonly string[];
  readonly planSha256: string;
  /** False: the files get their names without having been brought to stable storage. */
  readonly sync?: boolean;
}

export interface Stage {
  /** The staging folder. */
  readonly folder: string;
  /** Where the output will appear: the given path, with links resolved. */
  readonly out: string;
  /** E.g. that a dead merge's stage was cleared. Grows when something could not be deleted at the end. */
  readonly warnings: readonly Diagnostic[];
  /** Where a file of the output lies until the commit. */
  path(name: string): string;
  /** Writes a small file, and syncs it like the others. */
  writeText(name: string, content: string | Uint8Array): Promise<void>;
  /** Adds a line to the journal. */
  journal(line: string): void;
  /** Makes the output appear. If it throws, call `abort`. */
  commit(): Promise<void>;
  /** Removes the stage and never throws, so that it hides no other error. Does nothing after a commit. */
  abort(): Promise<void>;
}

const suffix = ".part";
const journalName = "journal.jsonl";

/**
 * Checks everything that can be checked, then locks and makes the stage; an error leaves nothing behind.
 *
 * @throws BraidError `output-exists`, `output-denied`, `output-locked`, `no-space`, `unsafe-path`, `io`
 */
export async function openStage(out: string, options: StageOptions): Promise<Stage> {
  const target = realTarget(out);
  const folder = target + suffix;
  const written = new Set(options.files.map((f) => f.name));
  for (const name of written) assertPlainName(name);
  for (const place of [target, folder]) assertApart(place, options.inputs);
  assertFree(target, options.overwrite, written);
  const parent = paths.dirname(target);
  const made = output(`Cannot create ${show(parent)}`, () => fs.mkdirSync(parent, { recursive: true }));
  try {
    const lock = output(`Cannot lock ${show(target)}`, () => acquireLock(`${folder}.lock`, options.lockInfo));
    try {
      const warnings = recover(target, folder, lock);
      assertFree(target, options.overwrite, written);
      assertSpace(target, parent, options.requiredBytes);
      return new FolderStage(target, folder, lock, warnings, made, options);
    } catch (e) {
      lock.release();
      throw e;
    }
  } catch (e) {
    removeParents(parent, made);
    throw e;
  }
}

class FolderStage implements Stage {
  readonly folder: string;
  readonly out: string;
  readonly warnings: Diagnostic[];
  private readonly lock: Lock;
  private readonly overwrite: boolean;
  private readonly sync: boolean;
  /** The first folder above `out` that did not exist. */
  private readonly madeParent: string | undefined;
  private state: "open" | "committed" | "aborted" = "open";

  constructor(
    out: string,
    folder: string,
    lock: Lock,
    warnings: Diagnostic[],
    madeParent: string | undefined,
    options: StageOptions,
  ) {
    this.out = out;
    this.folder = folder;
    this.lock = lock;
    this.warnings = warnings;
    this.madeParent = madeParent;
    this.overwrite = options.overwrite;
    this.sync = options.sync ?? true;
    output(`Cannot create ${show(folder)}`, () => fs.mkdirSync(folder));
    try {
      // First of all: it marks the folder as ours.
      this.journal(JSON.stringify({ format: "braid-journal-1", plan: options.planSha256 }));
      for (const file of options.files) this.preallocate(file);
    } catch (e) {
      removeFolder(folder);
      throw e;
    }
  }

  path(name: string): string {
    assertPlainName(name);
    return paths.join(this.folder, name + suffix);
  }

  async writeText(name: string, content: string | Uint8Array): Promise<void> {
    const path = this.path(name);
    output(`Cannot write ${show(path)}`, () => fs.writeFileSync(path, content, { flush: this.sync }));
  }

  journal(line: string): void {
    const path = paths.join(this.folder, journalName);
    output(`Cannot write ${show(path)}`, () => fs.appendFileSync(path, `${line}\n`));
  }

  async commit(): Promise<void> {
    if (this.state !== "open") throw new Error(`The stage was ${this.state}`);
    const { folder, out } = this;
    this.finishNames();
    const aside = this.putAside();
    try {
      rename(folder, out);
    } catch (e) {
      if (aside) rename(aside, out);
      throw e;
    }
    this.state = "committed";
    try {
      if (this.sync) syncFolder(paths.dirname(out));
      if (aside) this.discard(aside, "It is the old output: delete it.");
    } finally {
      this.lock.release();
    }
  }

  async abort(): Promise<void> {
    if (this.state !== "open") return;
    this.state = "aborted";
    this.discard(this.folder, "It is what was staged: delete it.");
    this.lock.release();
    removeParents(paths.dirname(this.out), this.madeParent);
  }

  private preallocate({ name, byteLength, header }: StageFile): void {
    const sink = new FileSink(this.path(name), "create");
    try {
      sink.write(0, header);
      sink.resize(byteLength);
    } finally {
      sink.close();
    }
  }

  /** Everything is synced, unless that was not wanted, before anything gets the name that a loader looks for. */
  private finishNames(): void {
    const { folder } = this;
    const names = (listFolder(folder) ?? []).filter((n) => n.endsWith(suffix)).map((n) => n.slice(0, -suffix.length));
    names.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    if (this.sync) for (const name of names) syncFile(this.path(name));
    for (const name of names) rename(this.path(name), paths.join(folder, name));
    output(`Cannot remove the journal of ${show(folder)}`, () => fs.rmSync(paths.join(folder, journalName)));
    if (this.sync) syncFolder(folder);
  }

  /** Moves the old output away. The lock says where to before it happens, so that `recover` can put it back. */
  private putAside(): string | null {
    const { out } = this;
    // An empty folder stays: rename(2) replaces it, and refuses one that was filled since we looked.
    if (!this.overwrite || !listFolder(out)?.length) return null;
    let n = 1;
    while (fs.existsSync(`${out}.old-${n}`)) n++;
    const aside = `${out}.old-${n}`;
    output(`Cannot write ${show(this.lock.path)}`, () => this.lock.noteAside(aside));
    rename(out, aside);
    return aside;
  }

  private discard(path: string, hint: string): void {
    try {
      removeFolder(path);
    } catch (e) {
      this.warnings.push({ kind: "io", message: (e as Error).message, hint });
    }
  }
}

/** The order in which names become final: what a loader looks for first comes last. */
function rank(name: string): number {
  if (name.endsWith(".safetensors")) return 0;
  if (name.endsWith(".index.json")) return 2;
  return name === "config.json" ? 3 : 1;
}

/** Undoes what a killed merge left, half a swap included. The lock is ours by now. */
function recover(out: string, folder: string, lock: Lock): Diagnostic[] {
  const warnings: Diagnostic[] = [];
  const warn = (message: string) => warnings.push({ kind: "output-locked", message });
  const aside = lock.previous?.aside;
  if (aside?.startsWith(`${out}.old-`) && listFolder(aside) !== null) {
    if (listFolder(out) === null) {
      rename(aside, out);
      warn(`Put the earlier output back to ${show(out)}: a merge was killed while it replaced it`);
    } else {
      removeFolder(aside);
    }
  }
  const left = listFolder(folder);
  if (left === null) return warnings;
  if (!lock.previous && left.length > 0 && !left.includes(journalName)) {
    fail("output-exists", `Cannot stage the output in ${show(folder)}: it exists, and Braid did not make it`, {
      hint: "Move it away, or choose another output.",
    });
  }
  removeFolder(folder);
  if (left.length > 0) warn(`Cleared ${show(folder)}, left by a merge that did not finish`);
  return warnings;
}

function removeParents(parent: string, made: string | undefined): void {
  if (made === undefined) return;
  try {
    for (let p = parent; p.startsWith(made); p = paths.dirname(p)) fs.rmdirSync(p);
  } catch {
    // Somebody else uses it by now.
  }
}
