// SHA-256 of outputs, in a worker of its own beside those that merge.

import { fail, quote } from "../errors.ts";
import type { FileHash } from "../host.ts";
import type { FromHasher, ToHasher } from "./hash-worker.ts";

/** Told no more often than this: each telling is a message. */
const advanceBytes = 4 << 20;

export interface Hasher {
  /** `fileOf`: closes a file that nobody can read before, and answers it. Null: a private file. */
  hashFile(path: string, fileOf: ((path: string) => Promise<Blob>) | null, progressive: boolean): FileHash;
  end(): void;
}

export function createHasher(createWorker: () => Worker): Hasher {
  let worker: Worker | null = null;
  const waiting = new Map<string, PromiseWithResolvers<string>>();
  const start = (): Worker => {
    if (worker) return worker;
    worker = createWorker();
    worker.onmessage = ({ data }: MessageEvent<FromHasher>) => {
      if (data.type === "digest") waiting.get(data.path)?.resolve(data.sha256);
      else waiting.get(data.path)?.reject(new Error(data.message));
    };
    worker.onerror = (event) => {
      for (const each of waiting.values()) each.reject(new Error(event.message || "its script cannot be loaded"));
    };
    return worker;
  };
  const tell = (message: ToHasher) => start().postMessage(message);
  const end = () => {
    worker?.terminate();
    worker = null;
  };
  return {
    hashFile(path, fileOf, progressive) {
      let told = 0;
      const answer = Promise.withResolvers<string>();
      answer.promise.catch(() => {});
      waiting.set(path, answer);
      return {
        advance(end) {
          if (!progressive || end - told < advanceBytes) return;
          told = end;
          tell({ type: "advance", path, end });
        },
        async finish(signal) {
          const aborted = Promise.withResolvers<never>();
          const onAbort = () => aborted.reject(signal.reason);
          signal.throwIfAborted();
          signal.addEventListener("abort", onAbort, { once: true });
          try {
            const file = fileOf ? await fileOf(path) : null;
            tell({ type: "finish", path, file });
            return await Promise.race([answer.promise, aborted.promise]);
          } catch (cause) {
            if (signal.aborted) throw signal.reason;
            return fail("io", `Cannot hash ${quote(path)}: ${(cause as Error).message}`, { cause });
          } finally {
            signal.removeEventListener("abort", onAbort);
          }
        },
        // The merge gives up: what is open would keep its files from being removed.
        close: end,
      };
    },
    end,
  };
}
