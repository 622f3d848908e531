// The server of nodes and coordinators, over node:http on Bun and Deno alike: it can be told how long headers may take, which
// Bun.serve and Deno.serve cannot. What an answer is, the handler says; here is who may hold a connection, and for how long.

import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { AddressInfo, Socket as Connection } from "node:net";
import { fail } from "../errors.ts";
import type { Caller } from "../remote/app.ts";
import { type NodeLimits, nodeLimits } from "../remote/limits.ts";
import { busyRetrySeconds, Refused, refuse } from "../remote/refusal.ts";
import type { Refusal } from "../remote/wire.ts";
import { send, toRequest } from "./exchange.ts";
import type { Sockets } from "./sockets.ts";

/** A connection that is ended here is read from for so long, or its client might not see what it was told. */
const lingerMs = 500;
/** When the server stops, answers that are being sent have so long. */
const flushMs = 1_000;

export interface Listener {
  readonly port: number;
  stop(): Promise<void>;
}

export type Handler = (request: Request, caller: Caller) => Response | Promise<Response>;

export interface ListenOptions {
  /** What cannot be done when it cannot listen: "serve inputs". */
  readonly purpose?: string;
  readonly sockets?: Sockets | undefined;
  readonly limits?: Partial<NodeLimits>;
}

const unreadable = () => new Refused(400, "bad-request", "this is no request");
const crowded = (limits: NodeLimits) =>
  new Refused(431, "too-large", `headers have at most ${limits.headerBytes} bytes and ${limits.headers} lines`);

/** What the parser found wrong, in a node's words. */
function asRefused(code: string | undefined, limits: NodeLimits): Refused {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT")
    return new Refused(408, "too-slow", `the headers were not there after ${limits.headersMs / 1000} s`);
  return code === "HPE_HEADER_OVERFLOW" ? crowded(limits) : unreadable();
}

/**
 * Connections of which at most `most` are open. One that has no request under way gives way to a new one, the oldest first: idle ones
 * of honest clients, and those that never come to a request, keep nobody out.
 */
class Connections {
  private readonly most: number;
  private ending = false;
  /** Without a request, the longest so first. */
  private readonly spare = new Set<Connection>();
  /** With so many requests. */
  private readonly busy = new Map<Connection, number>();

  constructor(most: number) {
    this.most = most;
  }

  /** Which one there is no place for now: the oldest without a request, this one, or none. */
  add(connection: Connection): Connection | null {
    connection.on("close", () => this.forget(connection));
    this.spare.add(connection);
    if (this.spare.size + this.busy.size <= this.most) return null;
    const [oldest] = this.spare;
    this.spare.delete(oldest!);
    return oldest!;
  }

  /** It is another's, or gone. False: it was before. */
  forget(connection: Connection): boolean {
    return this.spare.delete(connection) || this.busy.delete(connection);
  }

  /** A request begins, if the connection is one of these. */
  begin(connection: Connection): boolean {
    const requests = this.busy.get(connection) ?? 0;
    if (requests === 0 && !this.spare.delete(connection)) return false;
    this.busy.set(connection, requests + 1);
    return true;
  }

  end(connection: Connection): void {
    const requests = this.busy.get(connection);
    if (requests === undefined) return;
    if (requests > 1) this.busy.set(connection, requests - 1);
    else if (this.busy.delete(connection)) {
      if (this.ending) connection.destroySoon();
      else this.spare.add(connection);
    }
  }

  isSpare(connection: Connection): boolean {
    return this.spare.has(connection);
  }

  /** Those without a request end now, the others when they have none any more. */
  close(): void {
    this.ending = true;
    for (const connection of this.spare) connection.destroy();
  }

  destroy(): void {
    for (const connection of [...this.spare, ...this.busy.keys()]) connection.destroy();
  }
}

/** Tells a connection that has no request yet why it is ended: at once, before the runtime closes it without a word. */
function dismiss(connection: Connection, { status, kind, message, retryAfter }: Refused): void {
  const body = JSON.stringify({ error: { kind, message } } satisfies Refusal);
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(body)}`,
    ...(retryAfter === undefined ? [] : [`retry-after: ${retryAfter}`]),
    "connection: close",
  ];
  connection.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
  const timer = setTimeout(() => connection.destroy(), lingerMs);
  connection.once("close", () => clearTimeout(timer));
}

/** @throws BraidError `io` when the system does not let it listen there. */
export async function listen(
  hostname: string,
  port: number,
  handler: Handler,
  { purpose = "listen", sockets, limits: lowered }: ListenOptions = {},
): Promise<Listener> {
  const limits = { ...nodeLimits, ...lowered };
  const connections = new Connections(limits.connections);

  async function exchange(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { socket } = incoming;
    // Of one that was dismissed.
    if (!connections.begin(socket)) return;
    const gone = new AbortController();
    outgoing.on("error", () => {});
    outgoing.on("close", () => {
      connections.end(socket);
      if (!outgoing.writableFinished) gone.abort(new Error("the client has gone"));
    });
    // A body that was refused may still be coming.
    outgoing.on("finish", () => {
      if (incoming.complete) return;
      const timer = setTimeout(() => socket.destroy(), lingerMs);
      incoming.on("close", () => clearTimeout(timer));
      incoming.resume();
    });
    await send(await answer(incoming, gone.signal), outgoing, gone.signal);
  }

  function answer(incoming: IncomingMessage, gone: AbortSignal): Response | Promise<Response> {
    if (incoming.rawHeaders.length > 2 * limits.headers) return refuse(crowded(limits));
    let request: Request;
    try {
      request = toRequest(incoming, gone);
    } catch {
      return refuse(unreadable());
    }
    const client = incoming.socket.remoteAddress;
    return handler(request, client === undefined ? {} : { client });
  }

  const server = createServer(
    {
      headersTimeout: limits.headersMs,
      // The app says it in its own words when a body is too slow; this is for bodies that it does not read.
      requestTimeout: limits.headersMs + limits.requestMs,
      keepAliveTimeout: limits.idleMs,
      connectionsCheckingInterval: Math.min(1000, limits.headersMs / 4),
      maxHeaderSize: limits.headerBytes,
      highWaterMark: 1 << 20,
    },
    (incoming, outgoing) => void exchange(incoming, outgoing).catch(() => outgoing.destroy()),
  );
  server.maxHeadersCount = limits.headers + 1;
  // For so long nothing comes, and nothing of an answer is taken.
  server.timeout = limits.requestMs;
  server.on("connection", (connection: Connection) => {
    connection.on("error", () => {});
    const superfluous = connections.add(connection);
    if (!superfluous) return;
    // A request may be on its way: who sends it must know that it may come again.
    const message = `${limits.connections} connections are open`;
    dismiss(superfluous, new Refused(503, "busy", message, busyRetrySeconds));
  });
  server.on("clientError", (error: { code?: string }, connection: Connection) => {
    const spare = connections.isSpare(connection);
    // One that was dismissed is none of them any more: what it still says is not listened to.
    if (!connections.forget(connection)) return;
    if (spare && connection.writable) dismiss(connection, asRefused(error.code, limits));
    else connection.destroy();
  });
  const upgrades = sockets ? (await import("./sockets.ts")).createUpgrades(sockets) : null;
  if (upgrades) {
    server.on("upgrade", (incoming: IncomingMessage, connection: Connection, head: Buffer) => {
      connections.forget(connection);
      const refused = upgrades.take(incoming, connection, head);
      if (refused) dismiss(connection, refused);
    });
  }

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, hostname, () => {
      server.off("error", reject);
      // A connection that could not be accepted is its client's loss.
      server.on("error", () => {});
      resolve();
    });
  }).catch(({ code, message }: { code?: string; message: string }) =>
    fail("io", `Cannot ${purpose} on ${hostname} port ${port}: ${code ?? message}`),
  );
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      upgrades?.close();
      connections.close();
      const timer = setTimeout(() => connections.destroy(), flushMs);
      await closed;
      clearTimeout(timer);
    },
  };
}
