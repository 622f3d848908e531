// SHA-256 of outputs, in a worker of its own beside those that merge.

import { fail, quote } from "../errors.ts";
import type { FileHash } from "../host.ts";
import type { FromHasher, ToHasher } from "./hash-worker.ts";

/** Told no more often than this: each telling is a message. */
const advanceBytes = 4 << 20;
/**
 * A worker that has to finish a file and says nothing for so long is given up: on a starved machine one was seen, well otherwise, that
 * never answered. Another one is asked in its place.
 */
const silenceMs = 15_000;
const mostWorkers = 3;

export interface Hasher {
  /** `fileOf`: closes a file that nobody can read before, and answers it. Null: a private file. */
  hashFile(path: string, fileOf: ((path: string) => Promise<Blob>) | null, progressive: boolean): FileHash;
  end(): void;
}

/** `silence`: milliseconds after which a worker that says nothing is given up. */
export function createHasher(createWorker: () => Worker, silence = silenceMs): Hasher {
  let worker: Worker | null = null;
  /** When it last said anything, or was asked to finish. */
  let heard = 0;
  const waiting = new Map<string, PromiseWithResolvers<string>>();
  const start = (): Worker => {
    if (worker) return worker;
    worker = createWorker();
    worker.onmessage = ({ data }: MessageEvent<FromHasher>) => {
      heard = performance.now();
      if (data.type === "beat") return;
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
  /** Null once nothing was heard for `silence`. */
  const listen = (over: AbortSignal): Promise<null> =>
    new Promise((resolve) => {
      let timer: ReturnType<typeof setTimeout>;
      const look = () => {
        const left = heard + silence - performance.now();
        if (left <= 0) resolve(null);
        else timer = setTimeout(look, left);
      };
      heard = performance.now();
      look();
      over.addEventListener("abort", () => clearTimeout(timer), { once: true });
    });
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
            for (let workers = 0; workers < mostWorkers; workers++) {
              tell({ type: "finish", path, file, again: workers > 0 });
              const over = new AbortController();
              const digest = await Promise.race([answer.promise, aborted.promise, listen(over.signal)]).finally(() =>
                over.abort(),
              );
              if (digest !== null) return digest;
              end();
            }
            throw new Error(`the browser gave no sign of it for ${silence / 1000} s, ${mostWorkers} times`);
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
