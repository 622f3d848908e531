// A request and an answer of node:http as those of the web. Bodies are handed on in pieces as they come, and no faster than they are
// taken. docs/decisions.md says why it is not a library's.

import type { IncomingMessage, ServerResponse } from "node:http";

const plainHost = /^[\w.:[\]-]{1,255}$/;
/** Of a body that has come and that nobody has read yet. */
const heldBytes = 256 * 1024;

/** @throws TypeError when its target, host or method are none. `signal`: whoever asks has gone. */
export function toRequest(incoming: IncomingMessage, signal?: AbortSignal): Request {
  const { method = "GET", url = "", rawHeaders } = incoming;
  // Only HTTP/1.0 comes here without a host.
  const host = incoming.headers.host ?? "localhost";
  if (!plainHost.test(host)) throw new TypeError("the host is none");
  const headers = new Headers();
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
  const init: RequestInit & { duplex?: "half" } = { method, headers, ...(signal ? { signal } : {}) };
  const bodyless = method === "GET" || method === "HEAD";
  if (!bodyless && (headers.has("content-length") || headers.has("transfer-encoding"))) {
    init.body = bodyOf(incoming);
    init.duplex = "half";
  }
  return new Request(url.startsWith("/") ? `http://${host}${url}` : url, init);
}

function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  let over = false;
  const end = (how: () => void) => () => {
    if (over) return;
    over = true;
    how();
  };
  return new ReadableStream(
    {
      start(controller) {
        incoming.on("data", (piece: Buffer<ArrayBuffer>) => {
          if (over) return;
          controller.enqueue(piece);
          if (controller.desiredSize! <= 0) incoming.pause();
        });
        incoming.pause();
        const broken = end(() => controller.error(new Error("the connection broke off")));
        incoming.on(
          "end",
          end(() => controller.close()),
        );
        incoming.on("error", broken);
        incoming.on("close", broken);
      },
      pull: () => void incoming.resume(),
      // What still comes is thrown away, until the connection ends.
      cancel: end(() => incoming.resume()),
    },
    { highWaterMark: heldBytes, size: (piece) => piece?.length ?? 0 },
  );
}

/** Sends an answer, and stops asking for more of it when the client has gone. */
export async function send(response: Response, outgoing: ServerResponse, gone: AbortSignal): Promise<void> {
  const { status, headers, body } = response;
  outgoing.statusCode = status;
  for (const [name, value] of headers) outgoing.appendHeader(name, value);
  // Answers that do not say how long they are are small.
  if (!body || !headers.has("content-length")) {
    outgoing.end(new Uint8Array(await response.arrayBuffer()));
    return;
  }
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (gone.aborted) return;
      if (done) break;
      if (!outgoing.write(value)) await drained(outgoing, gone);
    }
    outgoing.end();
  } catch {
    // Whoever asked must not take a part for the whole.
    outgoing.destroy();
  } finally {
    await reader.cancel().catch(() => {});
  }
}

const drained = (outgoing: ServerResponse, gone: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const go = () => {
      outgoing.off("drain", go);
      gone.removeEventListener("abort", go);
      resolve();
    };
    if (gone.aborted) return resolve();
    outgoing.on("drain", go);
    gone.addEventListener("abort", go);
  });
