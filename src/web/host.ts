// The Host of a page: models are mounts, outputs lie in the browser's private files or in a folder that the user picked, tasks run in
// Web Workers. It lives in a worker itself, so that files can be read at once and the page stays free.

import type { Stage } from "../bytes/stage.ts";
import { fail, quote } from "../errors.ts";
import { createWebPool, type WebWorker } from "../exec/web.ts";
import type { Host, MergeEvent } from "../host.ts";
import { compileKernel } from "../kernel/kernel.ts";
import { type FolderStage, openFolderStage } from "./folder-stage.ts";
import { createHasher } from "./hashing.ts";
import type { MountMessage } from "./merge-worker.ts";
import { type Mount, type MountedFile, MountTable, mountedFiles } from "./mounts.ts";
import { openMounted } from "./open.ts";
import { type FolderHandle, readBlob, reason } from "./platform.ts";
import { canShare, openPrivateStage, privateFile, privateScheme, removeOutput } from "./private-stage.ts";

/** More workers than this wait for the browser's one process that reads and writes files. */
const maxWorkers = 4;

export interface WebHostOptions {
  readonly mounts: readonly Mount[];
  /** Where OUT appears; null: in the browser's private files. */
  readonly folder: FolderHandle | null;
  /** The folder of the recipe among the mounts, e.g. "/". */
  readonly report: (event: MergeEvent) => void;
  readonly signal: AbortSignal;
}

export interface WebHost extends Host {
  /** Ends what the merge started beside its workers. */
  end(): void;
}

/** "chromium 156", for the manifest. */
export function browserName(): string {
  const { userAgent } = navigator;
  const found = /(Firefox|Edg|Chrome|Version)\/(\d+)/.exec(userAgent);
  const names: Record<string, string> = { Firefox: "firefox", Edg: "edge", Chrome: "chromium", Version: "safari" };
  return found ? `${names[found[1]!]} ${found[2]}` : "browser";
}

export async function createWebHost({ mounts, folder, report, signal }: WebHostOptions): Promise<WebHost> {
  const shared = await canShare();
  const module = compileKernel();
  const hasher = createHasher(() => new Worker(new URL("./hash-worker.ts", import.meta.url), { type: "module" }));
  /** Outputs of earlier recipes of a file are models of later ones. */
  const all = [...mounts];
  let table = new MountTable(all, openMounted);
  const mount = (one: Mount) => {
    all.push(one);
    table = new MountTable(all, openMounted);
  };
  let picked: FolderStage | null = null;

  async function openStage(out: string, options: Parameters<Host["openStage"]>[1]): Promise<Stage> {
    // Steps on the way are private, wherever the last output goes.
    if (folder && !out.slice(1).includes("/")) {
      picked = await openFolderStage(folder, out, options);
      return picked;
    }
    const stage = await openPrivateStage(out, options);
    const names = options.files.map((file) => file.name);
    const small: string[] = [];
    return {
      ...stage,
      writeText(name, content) {
        small.push(name);
        return stage.writeText(name, content);
      },
      async commit() {
        await stage.commit();
        const files = new Map<string, MountedFile>();
        for (const name of [...names, ...small]) {
          const blob = await (await privateFile(stage.path(name))).getFile();
          files.set(name, { kind: "blob", blob, modified: 0 });
        }
        mount({ name: out.slice(1), files });
      },
    };
  }

  return {
    cwd: "/",
    env: {},
    home: "/",
    // Without shared files only one worker can write an output of the private file system.
    cores: shared || folder ? Math.max(1, Math.min(maxWorkers, navigator.hardwareConcurrency)) : 1,
    now: () => performance.now(),
    today: () => new Date(),
    runtime: browserName(),
    // Pages cannot ask for it.
    collect: () => {},
    peakMemory: () => null,
    fs: {
      ...mountedFiles(table),
      kind: (path) => table.kind(path),
      folder: (path) => table.folder(path),
    },
    openStage,
    assertUnchanged(path, before) {
      const file = table.find(path);
      if (file?.kind !== "blob") return;
      // The browser compares a file's length and time with those it had when it was picked.
      try {
        readBlob(file.blob.slice(Math.max(0, before.size - 1), before.size));
      } catch (cause) {
        fail("input-changed", `${quote(path)} changed while it was read: ${reason(cause)}`, { cause });
      }
    },
    hashFile: (path) =>
      path.startsWith(privateScheme)
        ? hasher.hashFile(path, null, shared)
        : hasher.hashFile(path, (name) => picked!.finish(name), false),
    flush: async () => {},
    removeFolder: (path) => removeOutput(path),
    readAhead: async () => {},
    diskBytes: () => null,
    createExecutor: (job, workers) =>
      createWebPool({
        module,
        workers,
        job,
        timeOrigin: performance.timeOrigin,
        createWorker() {
          const worker = new Worker(new URL("./merge-worker.ts", import.meta.url), { type: "module" });
          const { port1, port2 } = new MessageChannel();
          picked?.serve(port1);
          const message: MountMessage = { type: "mount", mounts: all, shared, writer: port2 };
          worker.postMessage(message, [port2]);
          return worker as unknown as WebWorker;
        },
      }),
    report,
    signal,
    end: () => hasher.end(),
  };
}
