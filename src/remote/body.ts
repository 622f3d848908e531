// Bodies of requests and answers, streamed into memory that was set aside for them: a length that is said is believed only as an
// upper bound, and a body that trickles is not waited for.

import type { Clock } from "./clock.ts";
import type { NodeLimits } from "./limits.ts";

export class BodyError extends Error {
  readonly status: 400 | 408 | 411 | 413 | 415;
  constructor(status: BodyError["status"], message: string) {
    super(message);
    this.status = status;
  }
}

/** The length that the headers say, or null; throws when it is too large, missing where it must be there, or hidden by an encoding. */
export function declaredLength(headers: Headers, limit: number): number | null {
  const encoding = headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity")
    throw new BodyError(415, "content encodings are not taken: send the bytes as they are");
  const text = headers.get("content-length");
  if (text === null) return null;
  if (!/^\d{1,15}$/.test(text)) throw new BodyError(400, "Content-Length is no number");
  const length = Number(text);
  if (length > limit) throw new BodyError(413, `the body has ${length} bytes, the limit is ${limit}`);
  return length;
}

type BodyLimits = Pick<NodeLimits, "unsizedBytes" | "requestMs" | "bodyRate" | "slowAfterMs">;

/**
 * All bytes of a body of at most `limit`. Without a declared length it may have `unsizedBytes` (411 above); one that has another
 * length than declared is 400, one that comes too slowly 408. `into`: `limit` bytes that it is read into.
 */
export async function readBody(
  message: { readonly headers: Headers; readonly body: ReadableStream<Uint8Array> | null },
  limit: number,
  limits: BodyLimits,
  clock: Clock,
  into?: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const declared = declaredLength(message.headers, limit);
  if (!message.body) {
    if (declared) throw new BodyError(400, `the body has 0 bytes, Content-Length says ${declared}`);
    return new Uint8Array();
  }
  let bytes = into ?? new Uint8Array(declared ?? Math.min(limit, 64 * 1024));
  let done = 0;
  const started = clock.now();
  const reader = message.body.getReader();
  const over = new AbortController();
  const late = "late" as const;
  /** Sleeps until the time that is allowed for what has come: one timer now and then, not one for every piece. */
  const watch = async (): Promise<typeof late> => {
    for (;;) {
      const allowed = Math.min(limits.requestMs, limits.slowAfterMs + (done / limits.bodyRate) * 1000);
      const left = allowed - (clock.now() - started);
      if (left <= 0 || over.signal.aborted) return late;
      await clock.wait(left, over.signal);
    }
  };
  const tooLate = watch();
  try {
    for (;;) {
      const next = reader.read();
      // Whoever stops waiting must not leave a rejection behind.
      next.catch(() => {});
      const piece = await Promise.race([next, tooLate]);
      if (piece === late) throw new BodyError(408, `the body stopped after ${done} bytes, or comes too slowly`);
      if (piece.done) break;
      const end = done + piece.value.length;
      if (declared !== null && end > declared) throw new BodyError(400, `the body is longer than ${declared} bytes`);
      if (declared === null && end > Math.min(limit, limits.unsizedBytes))
        throw new BodyError(411, `a body of more than ${limits.unsizedBytes} bytes must say its length`);
      if (end > bytes.length) {
        const larger = new Uint8Array(Math.min(limit, limits.unsizedBytes, Math.max(end, 2 * bytes.length)));
        larger.set(bytes.subarray(0, done));
        bytes = larger;
      }
      bytes.set(piece.value, done);
      done = end;
    }
  } catch (e) {
    await reader.cancel().catch(() => {});
    throw e;
  } finally {
    over.abort();
  }
  if (declared !== null && done < declared)
    throw new BodyError(400, `the body has ${done} bytes, Content-Length says ${declared}`);
  return bytes.subarray(0, done);
}
