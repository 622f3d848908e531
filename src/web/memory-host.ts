// A Host whose outputs stay in memory and whose tasks run here: for models small enough to look at while a slider moves.

import type { Stage, StageOptions } from "../bytes/stage.ts";
import { createInlineExecutor } from "../exec/inline.ts";
import { defaultRequest, type Host } from "../host.ts";
import { merge } from "../merge.ts";
import { type Mount, MountTable, mountedFiles, type OpenMounted } from "./mounts.ts";

export interface MemoryMerge {
  readonly text: string;
  readonly mounts: readonly Mount[];
  readonly module: WebAssembly.Module;
  readonly open: OpenMounted;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

/** The most bytes of tensors that are merged so: it all lies in memory. */
export const maxMemoryBytes = 64 * 1024 * 1024;

/** Merges by the recipe's text; answers the files of the output. */
export async function mergeInMemory(order: MemoryMerge): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const { mounts, module, open, now, signal } = order;
  const table = new MountTable(mounts, open);
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const host: Host = {
    cwd: "/",
    env: {},
    home: "/",
    cores: 1,
    now,
    today: () => new Date(0),
    runtime: "browser",
    peakMemory: () => null,
    collect: () => {},
    fs: mountedFiles(table),
    openStage: async (out, options) => memoryStage(out, options, files),
    assertUnchanged: () => {},
    hashFile: () => ({ advance() {}, finish: async () => "", close() {} }),
    flush: async () => {},
    removeFolder: async () => {},
    readAhead: async () => {},
    diskBytes: () => null,
    createExecutor: (job) =>
      createInlineExecutor({
        module,
        job,
        now,
        opener: {
          source: (path) => table.open(path),
          sink: (path) => ({
            name: path,
            write: (position, data) => files.get(path)!.set(data, position),
            sync() {},
            close() {},
          }),
        },
      }),
    report: () => {},
    signal,
  };
  const request = { ...defaultRequest, checksum: false, sync: false, workers: 1, nonFinite: "keep" as const };
  const recipe = { text: order.text, file: "recipe.yml", folder: "/" };
  await merge({ ...request, recipe }, "/merged", { overwrite: true }, host);
  return files;
}

function memoryStage(
  out: string,
  options: Omit<StageOptions, "lockInfo">,
  files: Map<string, Uint8Array<ArrayBuffer>>,
): Stage {
  for (const { name, byteLength, header } of options.files) {
    const bytes = new Uint8Array(byteLength);
    bytes.set(header);
    files.set(name, bytes);
  }
  return {
    folder: out,
    out,
    warnings: [],
    path: (name) => name,
    async writeText(name, content) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      files.set(name, new Uint8Array(bytes));
    },
    journal() {},
    async commit() {},
    async abort() {},
  };
}
