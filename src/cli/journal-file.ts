// The journal of a sweep on disk.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { fail, quote } from "../errors.ts";
import type { JournalFile } from "../sweep/journal.ts";

function ioFail(action: string, path: string, cause: unknown): never {
  const { code, name } = cause as NodeJS.ErrnoException;
  if (name === "NotCapable") throw cause;
  const kind = code === "ENOSPC" || code === "EDQUOT" ? "no-space" : "output-denied";
  fail(kind, `Cannot ${action} ${quote(path, 4096)}: ${code ?? (cause as Error).message}`, { cause });
}

export function journalFile(path: string): JournalFile {
  return {
    read() {
      try {
        return existsSync(path) ? readFileSync(path, "utf8") : "";
      } catch (cause) {
        return ioFail("read", path, cause);
      }
    },
    async append(line) {
      try {
        mkdirSync(dirname(path), { recursive: true });
        const fd = openSync(path, "a");
        try {
          writeSync(fd, line);
          fsyncSync(fd);
        } finally {
          closeSync(fd);
        }
      } catch (cause) {
        ioFail("write", path, cause);
      }
    },
    truncate(byteLength) {
      try {
        truncateSync(path, byteLength);
      } catch (cause) {
        ioFail("cut", path, cause);
      }
    },
  };
}

/** Writes a small file beside its name first, so that it is old or new, never half. */
export async function writeWhole(path: string, text: string): Promise<void> {
  try {
    const part = `${path}.part`;
    const file = await open(part, "w");
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (cause) {
    ioFail("write", path, cause);
  }
}
