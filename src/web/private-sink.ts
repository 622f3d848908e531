// A file of the private file system as a sink: written straight out of a worker's memory, at once.

import type { ByteSink } from "../bytes/sink.ts";
import { fail, quote } from "../errors.ts";
import { reason, type SyncAccessHandle } from "./platform.ts";
import { openShared, privateFile } from "./private-stage.ts";

export async function openPrivateSink(path: string, shared: boolean): Promise<ByteSink> {
  let access: SyncAccessHandle;
  try {
    access = await openShared(await privateFile(path), shared);
  } catch (cause) {
    fail("io", `Cannot open ${quote(path)}: ${reason(cause)}`, { cause });
  }
  return {
    name: path,
    write(position, data) {
      const action = () => `Cannot write bytes ${position} to ${position + data.length} of ${quote(path)}`;
      let put: number;
      try {
        put = access.write(data, { at: position });
      } catch (cause) {
        fail((cause as Error).name === "QuotaExceededError" ? "no-space" : "io", `${action()}: ${reason(cause)}`, {
          cause,
        });
      }
      if (put !== data.length) fail("no-space", `${action()}: ${put} bytes were written`);
    },
    sync: () => access.flush(),
    close: () => access.close(),
  };
}
