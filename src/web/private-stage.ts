// An output in the origin's private file system. Nothing but this page can see it, and the page takes a folder for an output only
// when braid.json is in it, which comes last: so an output is complete or not there, whatever stopped the merge.

import type { Stage, StageOptions } from "../bytes/stage.ts";
import { fail, quote } from "../errors.ts";
import { holdLock } from "./locks.ts";
import { type FileHandle, type FolderHandle, privateRoot, reason, type SyncAccessHandle } from "./platform.ts";

const rootName = "braid-outputs";
export const manifestName = "braid.json";
/** What follows the name of an output in the name of its folder: with it a new output can be made beside the one it replaces. */
const turn = /~(\d+)$/;

const removeTurns = 40;
const removeMs = 50;

export type PrivateStageOptions = Omit<StageOptions, "lockInfo">;

async function outputsRoot(): Promise<FolderHandle> {
  return (await (await privateRoot()).getDirectoryHandle(rootName, { create: true })) as FolderHandle;
}

const plain = (name: string) => name !== "" && name !== "." && name !== ".." && !/[/\\\0~]/.test(name);

/** An output's name as the name of a folder. */
function folderPart(out: string): string {
  const name = out.replace(/^\/+/, "").replaceAll("/", "+");
  if (!plain(name)) {
    fail("output-denied", `Cannot create ${quote(out)}: it is not a plain name`, {
      hint: "Choose a name without slashes, backslashes and ~.",
    });
  }
  return name;
}

interface Found {
  readonly name: string;
  readonly folder: string;
  readonly complete: boolean;
}

async function listAll(): Promise<Found[]> {
  const found: Found[] = [];
  const root = await outputsRoot();
  for await (const entry of root.values()) {
    if (entry.kind !== "directory") continue;
    const name = entry.name.replace(turn, "");
    const complete = await hasFile(entry as FolderHandle, manifestName);
    found.push({ name, folder: entry.name, complete });
  }
  return found.sort((a, b) => (a.folder < b.folder ? -1 : 1));
}

async function hasFile(folder: FolderHandle, name: string): Promise<boolean> {
  try {
    await folder.getFileHandle(name);
    return true;
  } catch {
    return false;
  }
}

export interface PrivateOutput {
  readonly name: string;
  readonly files: readonly File[];
}

/** The finished outputs, with their files. */
export async function listOutputs(): Promise<PrivateOutput[]> {
  const root = await outputsRoot();
  const outputs: PrivateOutput[] = [];
  for (const { name, folder, complete } of await listAll()) {
    if (!complete) continue;
    const handle = (await root.getDirectoryHandle(folder)) as FolderHandle;
    const files: File[] = [];
    for await (const entry of handle.values()) {
      if (entry.kind === "file") files.push(await (entry as FileHandle).getFile());
    }
    outputs.push({ name, files: files.sort((a, b) => (a.name < b.name ? -1 : 1)) });
  }
  return outputs;
}

/** Removes what merges left that were stopped with their tab. Those that another tab still writes hold their lock. */
export async function removeLeftovers(): Promise<void> {
  const root = await outputsRoot();
  for (const { name, folder, complete } of await listAll()) {
    if (complete) continue;
    const release = await holdLock(`output ${name}`);
    if (!release) continue;
    // It may have been finished since we looked.
    const handle = (await root.getDirectoryHandle(folder).catch(() => null)) as FolderHandle | null;
    if (handle && !(await hasFile(handle, manifestName)))
      await root.removeEntry(folder, { recursive: true }).catch(() => {});
    release();
  }
}

export async function removeOutput(out: string): Promise<void> {
  const name = folderPart(out);
  const root = await outputsRoot();
  for (const found of await listAll()) {
    if (found.name === name || found.name.startsWith(`${name}+`))
      await root.removeEntry(found.folder, { recursive: true });
  }
}

/** `opfs:FOLDER/FILE`, for workers. */
export const privateScheme = "opfs:";

export async function privateFile(path: string): Promise<FileHandle> {
  const [folder, file] = path.slice(privateScheme.length).split("/");
  const handle = await (await outputsRoot()).getDirectoryHandle(folder!);
  return (await handle.getFileHandle(file!)) as FileHandle;
}

/** Opens a file that others hold open too, where the browser can; else it must be the only one. */
export async function openShared(handle: FileHandle, shared: boolean): Promise<SyncAccessHandle> {
  return shared ? handle.createSyncAccessHandle({ mode: "readwrite-unsafe" }) : handle.createSyncAccessHandle();
}

let sharing: Promise<boolean> | null = null;

/** Whether several workers may hold one file open. A browser that does not know the mode locks the file. Asked once. */
export function canShare(): Promise<boolean> {
  sharing ??= probeSharing();
  return sharing;
}

async function probeSharing(): Promise<boolean> {
  const root = await privateRoot();
  const name = `.braid-probe-${crypto.randomUUID()}`;
  const handle = (await root.getFileHandle(name, { create: true })) as FileHandle;
  const open: SyncAccessHandle[] = [];
  try {
    open.push(await openShared(handle, true));
    open.push(await openShared(handle, true));
    return true;
  } catch {
    return false;
  } finally {
    for (const one of open) one.close();
    await root.removeEntry(name).catch(() => {});
  }
}

/**
 * Makes the files at their length; workers fill them by `stage.path`. Leftovers of merges that were stopped are removed first.
 *
 * @throws BraidError `output-exists`, `output-denied`, `output-locked`, `no-space`
 */
export async function openPrivateStage(out: string, options: PrivateStageOptions): Promise<Stage> {
  const name = folderPart(out);
  const release = await holdLock(`output ${name}`);
  if (!release) fail("output-locked", `Cannot create ${quote(out)}: another tab is merging into it`);
  try {
    const root = await outputsRoot();
    const all = (await listAll()).filter((found) => found.name === name);
    for (const left of all.filter(({ complete }) => !complete))
      await root.removeEntry(left.folder, { recursive: true });
    const old = all.filter(({ complete }) => complete);
    if (old.length > 0 && !options.overwrite) {
      fail("output-exists", `Cannot create ${quote(out)}: it exists`, {
        hint: "Choose another name, or delete the output that has it.",
      });
    }
    await assertRoom(out, options.requiredBytes);
    const next = Math.max(0, ...all.map(({ folder }) => Number(turn.exec(folder)?.[1] ?? 0))) + 1;
    return await makeStage(root, out, `${name}~${next}`, old, options, release);
  } catch (e) {
    release();
    throw e;
  }
}

async function assertRoom(out: string, needed: number): Promise<void> {
  const { quota, usage } = await navigator.storage.estimate();
  const free = (quota ?? Number.POSITIVE_INFINITY) - (usage ?? 0);
  if (needed <= free) return;
  const mega = (n: number) => `${Math.ceil(n / 1e6)} MB`;
  fail(
    "no-space",
    `Cannot create ${quote(out)}: it needs ${mega(needed)}, and the browser gives this page ${mega(free)} more`,
    {
      hint: "Delete outputs that are kept here, or write into a folder of your own.",
    },
  );
}

/** A worker that was ended gives its files back a little later. What is left after all is removed when the page is opened again. */
async function removeWhole(root: FolderHandle, folder: string): Promise<void> {
  for (let turn = 0; turn < removeTurns; turn++) {
    try {
      return await root.removeEntry(folder, { recursive: true });
    } catch (e) {
      if ((e as Error).name === "NotFoundError") return;
      await new Promise((resolve) => setTimeout(resolve, removeMs));
    }
  }
}

async function makeStage(
  root: FolderHandle,
  out: string,
  folderName: string,
  old: readonly Found[],
  options: PrivateStageOptions,
  release: () => void,
): Promise<Stage> {
  const folder = (await root.getDirectoryHandle(folderName, { create: true })) as FolderHandle;
  const small = new Map<string, Uint8Array>();
  const discard = () => removeWhole(root, folderName);
  const create = async (name: string, content: Uint8Array, byteLength: number): Promise<void> => {
    try {
      const handle = (await folder.getFileHandle(name, { create: true })) as FileHandle;
      const access = await handle.createSyncAccessHandle();
      try {
        access.truncate(byteLength);
        writeAll(access, content);
        access.flush();
      } finally {
        access.close();
      }
    } catch (cause) {
      const full = (cause as Error).name === "QuotaExceededError";
      fail(full ? "no-space" : "io", `Cannot create ${quote(name)} in ${quote(out)}: ${reason(cause)}`, { cause });
    }
  };
  try {
    for (const file of options.files) await create(file.name, file.header, file.byteLength);
  } catch (e) {
    await discard();
    throw e;
  }
  let open = true;
  return {
    folder: folderName,
    out,
    warnings: [],
    path: (name) => `${privateScheme}${folderName}/${name}`,
    async writeText(name, content) {
      small.set(name, typeof content === "string" ? new TextEncoder().encode(content) : content);
    },
    journal() {},
    async commit() {
      const manifest = small.get(manifestName);
      for (const [name, content] of small) if (name !== manifestName) await create(name, content, content.length);
      const name = `${manifestName}.part`;
      await create(name, manifest!, manifest!.length);
      const handle = (await folder.getFileHandle(name)) as FileHandle;
      if (handle.move) await handle.move(manifestName);
      else {
        await create(manifestName, manifest!, manifest!.length);
        await folder.removeEntry(name);
      }
      open = false;
      for (const { folder: replaced } of old) await root.removeEntry(replaced, { recursive: true }).catch(() => {});
      release();
    },
    async abort() {
      if (!open) return;
      open = false;
      await discard();
      release();
    },
  };
}

export function writeAll(access: SyncAccessHandle, data: Uint8Array, at = 0): void {
  const put = access.write(data, { at });
  if (put !== data.length) throw new Error(`${put} of ${data.length} bytes were written`);
}
