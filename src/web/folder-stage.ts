// An output in a folder that the user picked, by the File System Access API. What is written to a file there appears when its stream
// is closed, at once; until then the file is empty. No browser renames folders, so the files appear one after the other, those
// that a loader looks for last: an output is complete, absent, or refused by every loader.

import type { Stage, StageOptions } from "../bytes/stage.ts";
import { fail, quote } from "../errors.ts";
import { holdLock } from "./locks.ts";
import { type FileHandle, type FolderHandle, reason } from "./platform.ts";
import type { WriteMessage, WrittenMessage } from "./stream-sink.ts";

interface OpenFile {
  readonly handle: FileHandle;
  readonly stream: FileSystemWritableFileStream;
  closed: boolean;
}

export interface FolderStage extends Stage {
  /** Takes what a worker writes. */
  serve(port: MessagePort): void;
  /** Closes a file that is complete, and answers it: only then can it be read. */
  finish(path: string): Promise<File>;
}

/** The order in which files appear: the tensors first (without a config no loader takes them), what a loader looks for first last. */
function rank(name: string): number {
  if (name.endsWith(".index.json")) return 2;
  return name === "config.json" ? 3 : 1;
}

function denied(action: string, cause: unknown): never {
  const { name } = cause as Error;
  fail(name === "QuotaExceededError" ? "no-space" : "output-denied", `${action}: ${reason(cause)}`, { cause });
}

export async function openFolderStage(
  parent: FolderHandle,
  out: string,
  options: Omit<StageOptions, "lockInfo">,
): Promise<FolderStage> {
  const name = out.replace(/^\/+/, "");
  if (name === "" || /[/\\\0]/.test(name)) fail("output-denied", `Cannot create ${quote(out)}: it is not a plain name`);
  const release = await holdLock(`folder ${parent.name}/${name}`);
  if (!release) fail("output-locked", `Cannot create ${quote(name)}: another tab is merging into it`);
  const files = new Map<string, OpenFile>();
  const discard = async () => {
    for (const { stream, closed } of files.values()) if (!closed) await stream.abort().catch(() => {});
    await parent.removeEntry(name, { recursive: true }).catch(() => {});
    release();
  };
  try {
    await assertFree(parent, name);
  } catch (e) {
    release();
    throw e;
  }
  let folder: FolderHandle;
  try {
    folder = (await parent.getDirectoryHandle(name, { create: true })) as FolderHandle;
    for (const file of options.files) {
      const handle = (await folder.getFileHandle(file.name, { create: true })) as FileHandle;
      const stream = await handle.createWritable();
      files.set(file.name, { handle, stream, closed: false });
      await stream.truncate(file.byteLength);
      await stream.write({ type: "write", position: 0, data: file.header as Uint8Array<ArrayBuffer> });
    }
  } catch (cause) {
    await discard();
    denied(`Cannot create ${quote(name)} in ${quote(parent.name)}`, cause);
  }
  const small = new Map<string, Uint8Array>();
  let open = true;
  const finish = async (file: string): Promise<File> => {
    const found = files.get(file);
    if (!found) fail("io", `Cannot close ${quote(file)} in ${quote(name)}: it is not there`);
    try {
      if (!found.closed) await found.stream.close();
      found.closed = true;
      return await found.handle.getFile();
    } catch (cause) {
      denied(`Cannot close ${quote(file)} in ${quote(name)}`, cause);
    }
  };
  return {
    folder: name,
    out,
    warnings: [],
    path: (file) => file,
    async writeText(file, content) {
      small.set(file, typeof content === "string" ? new TextEncoder().encode(content) : content);
    },
    journal() {},
    serve(port) {
      port.onmessage = async ({ data }: MessageEvent<WriteMessage>) => {
        let error: WrittenMessage["error"] = null;
        try {
          await files.get(data.path)!.stream.write({ type: "write", position: data.position, data: data.data });
        } catch (cause) {
          error = { full: (cause as Error).name === "QuotaExceededError", message: reason(cause) };
        }
        port.postMessage({ id: data.id, error } satisfies WrittenMessage);
      };
    },
    finish,
    async commit() {
      for (const file of files.keys()) await finish(file);
      const names = [...small.keys()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
      for (const file of names) {
        try {
          const handle = await folder.getFileHandle(file, { create: true });
          const stream = await handle.createWritable();
          await stream.write(small.get(file)! as Uint8Array<ArrayBuffer>);
          await stream.close();
        } catch (cause) {
          denied(`Cannot write ${quote(file)} in ${quote(name)}`, cause);
        }
      }
      open = false;
      release();
    },
    async abort() {
      if (!open) return;
      open = false;
      await discard();
    },
  };
}

/** Nothing is there, or an empty folder. A page does not replace what is on a disk. */
async function assertFree(parent: FolderHandle, name: string): Promise<void> {
  let there: FolderHandle;
  try {
    there = (await parent.getDirectoryHandle(name)) as FolderHandle;
  } catch (cause) {
    if ((cause as Error).name === "NotFoundError") return;
    denied(`Cannot create ${quote(name)} in ${quote(parent.name)}`, cause);
  }
  for await (const _ of there.keys()) {
    fail("output-exists", `Cannot create ${quote(name)} in ${quote(parent.name)}: it exists`, {
      hint: "Choose another name, or move it away.",
    });
  }
}
