// Bytes in memory as sources and folders: for tests, and for what a page was handed.

import { fail, quote } from "../errors.ts";
import type { ByteSource, Folder } from "./source.ts";

export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    byteLength: bytes.byteLength,
    read(start, target) {
      const end = start + target.byteLength;
      if (start < 0 || end > bytes.byteLength) {
        fail("io", `Cannot read bytes ${start} to ${end} of ${quote(name)}: it has ${bytes.byteLength}`);
      }
      target.set(bytes.subarray(start, end));
    },
    close() {},
  };
}

/** A file of which only the first bytes are known: what a plan says of a file that is not written yet. */
export function headSource(name: string, head: Uint8Array, byteLength: number): ByteSource {
  return { ...memorySource(name, head), byteLength };
}

export function memoryFolder(name: string, files: ReadonlyMap<string, Uint8Array>): Folder {
  return {
    name,
    list: async () => [...files.keys()].sort(),
    locate: (file) => `${name}/${file}`,
    async open(file) {
      const bytes = files.get(file);
      if (!bytes) fail("file-not-found", `Cannot open ${quote(file)} in ${quote(name)}: there is no such file`);
      return memorySource(`${name}/${file}`, bytes);
    },
  };
}
