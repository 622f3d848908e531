// The adapters of Bun's and Deno's servers: requests and who sent them, and WebSockets as two functions each way.

import { fail } from "../errors.ts";
import type { Caller } from "../remote/app.ts";
import { frameOverhead, nodeLimits } from "../remote/limits.ts";

/** Seconds that a connection may be silent: as long as a request may take. Bun's own default ends slow answers after ten. */
const idleSeconds = nodeLimits.requestMs / 1000;

export interface Listener {
  readonly port: number;
  stop(): Promise<void>;
}

export type Handler = (request: Request, caller: Caller) => Response | Promise<Response>;

/** Our end of a WebSocket. */
export interface Socket {
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(): void;
}

export interface SocketEvents {
  message(data: string | Uint8Array<ArrayBuffer>): void;
  /** Once, whoever closed it. */
  closed(): void;
}

export interface Sockets {
  /** The one path that is upgraded. */
  readonly path: string;
  /** A longer message ends its socket. */
  readonly maxBytes: number;
  /** A refusal, or null: the request may become a socket. */
  admit(request: Request, caller: Caller): Response | null;
  open(socket: Socket): SocketEvents;
}

interface DenoServer {
  readonly addr: { readonly port: number };
  shutdown(): Promise<void>;
}
interface DenoNamespace {
  serve(
    options: { hostname: string; port: number; onListen: () => void },
    handler: (request: Request, info: { remoteAddr: { hostname: string } }) => Response | Promise<Response>,
  ): DenoServer;
  upgradeWebSocket(request: Request, options: { idleTimeout: number }): { socket: WebSocket; response: Response };
}

const isUpgrade = (request: Request, sockets: Sockets | undefined): sockets is Sockets =>
  sockets !== undefined &&
  request.headers.get("upgrade")?.toLowerCase() === "websocket" &&
  new URL(request.url).pathname === sockets.path;

export function listen(hostname: string, port: number, handler: Handler, sockets?: Sockets): Listener {
  const { Deno: deno } = globalThis as unknown as { Deno?: DenoNamespace };
  if (deno) return listenOnDeno(deno, hostname, port, handler, sockets);
  if (!("Bun" in globalThis)) fail("usage", "Cannot listen here: braid listens on Bun and Deno");
  return listenOnBun(hostname, port, handler, sockets);
}

function listenOnDeno(
  deno: DenoNamespace,
  hostname: string,
  port: number,
  handler: Handler,
  sockets: Sockets | undefined,
): Listener {
  const open = new Set<WebSocket>();
  const upgrade = (request: Request, caller: Caller, by: Sockets): Response => {
    const refused = by.admit(request, caller);
    if (refused) return refused;
    const { socket, response } = deno.upgradeWebSocket(request, { idleTimeout: idleSeconds });
    socket.binaryType = "arraybuffer";
    let events: SocketEvents | null = null;
    const end = () => {
      open.delete(socket);
      events?.closed();
      events = null;
    };
    socket.onopen = () => {
      open.add(socket);
      events = by.open({
        send: (data) => socket.readyState === socket.OPEN && socket.send(data),
        close: () => socket.close(),
      });
    };
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      if ((typeof data === "string" ? data.length : data.byteLength) > by.maxBytes) socket.close();
      else events?.message(typeof data === "string" ? data : new Uint8Array(data));
    };
    socket.onclose = end;
    socket.onerror = end;
    return response;
  };
  const server = deno.serve({ hostname, port, onListen: () => {} }, (request, { remoteAddr }) => {
    const caller = { client: remoteAddr.hostname };
    return isUpgrade(request, sockets) ? upgrade(request, caller, sockets) : handler(request, caller);
  });
  return {
    port: server.addr.port,
    async stop() {
      for (const socket of open) socket.close();
      await server.shutdown();
    },
  };
}

function listenOnBun(hostname: string, port: number, handler: Handler, sockets: Sockets | undefined): Listener {
  const server = Bun.serve<{ events: SocketEvents | null }>({
    hostname,
    port,
    idleTimeout: idleSeconds,
    maxRequestBodySize: nodeLimits.sliceBytes + frameOverhead(nodeLimits),
    fetch(request, self) {
      const client = self.requestIP(request)?.address;
      const caller = client === undefined ? {} : { client };
      if (!isUpgrade(request, sockets)) return handler(request, caller);
      const refused = sockets.admit(request, caller);
      if (refused) return refused;
      if (self.upgrade(request, { data: { events: null } })) return undefined;
      return new Response("this is no WebSocket", { status: 400 });
    },
    websocket: {
      idleTimeout: idleSeconds,
      maxPayloadLength: sockets?.maxBytes ?? 0,
      // All that a socket may have under way is a few tasks; one that does not read them is closed when their time is over.
      backpressureLimit: 2 ** 30,
      open(ws) {
        ws.data.events = sockets!.open({ send: (data) => void ws.send(data), close: () => ws.close() });
      },
      message(ws, data) {
        const { buffer, byteOffset, byteLength } = data as Buffer<ArrayBuffer>;
        ws.data.events?.message(typeof data === "string" ? data : new Uint8Array(buffer, byteOffset, byteLength));
      },
      close(ws) {
        ws.data.events?.closed();
        ws.data.events = null;
      },
    },
  });
  return { port: server.port ?? port, stop: () => server.stop(true) };
}

const loopback = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/;

/** Beyond this machine only with a token, and with TLS in front or by the user's own word. */
export function checkBind(host: string, token: string | null, insecure: boolean): void {
  if (loopback.test(host)) return;
  if (token === null) {
    fail("usage", `Cannot listen on ${host} without a token: whoever reaches it could use this machine`, {
      hint: "Give --token-file or BRAID_TOKEN.",
    });
  }
  checkInsecure(host, insecure);
}

/** Beyond this machine plain HTTP is for those who say that they want it. */
export function checkInsecure(host: string, insecure: boolean): void {
  if (loopback.test(host) || insecure) return;
  fail(
    "usage",
    `Cannot listen on ${host} by plain HTTP: requests are signed, but what they carry can be read on the way`,
    {
      hint: "Put a proxy with TLS in front of 127.0.0.1, or give --insecure-http.",
    },
  );
}

export const originOf = (host: string, port: number): string =>
  `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
