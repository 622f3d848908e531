// WebSockets of the one path that is upgraded, as two functions each way.

import type { IncomingMessage } from "node:http";
import type { Socket as Connection } from "node:net";
import { WebSocketServer } from "ws";
import type { Caller } from "../remote/app.ts";
import { Refused } from "../remote/refusal.ts";
import { toRequest } from "./exchange.ts";

/** Who does not answer a ping before the next one has gone. */
const pingMs = 60_000;

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
  admit(request: Request, caller: Caller): Refused | null;
  open(socket: Socket): SocketEvents;
}

export interface Upgrades {
  /** The connection becomes a WebSocket, or a refusal says why not. */
  take(incoming: IncomingMessage, connection: Connection, head: Buffer): Refused | null;
  close(): void;
}

export function createUpgrades(sockets: Sockets): Upgrades {
  const server = new WebSocketServer({ noServer: true, maxPayload: sockets.maxBytes, perMessageDeflate: false });
  const notHere = () => new Refused(400, "bad-request", "this is no WebSocket");

  function refusal(incoming: IncomingMessage, client: string | undefined): Refused | null {
    let request: Request;
    try {
      request = toRequest(incoming);
    } catch {
      return notHere();
    }
    if (new URL(request.url).pathname !== sockets.path) return notHere();
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") return notHere();
    return sockets.admit(request, client === undefined ? {} : { client });
  }

  return {
    take(incoming, connection, head) {
      const refused = refusal(incoming, connection.remoteAddress);
      if (refused) return refused;
      server.handleUpgrade(incoming, connection, head, (ws) => {
        const events = sockets.open({ send: (data) => ws.send(data), close: () => ws.close() });
        let heard = true;
        const beat = setInterval(() => {
          if (!heard) return ws.terminate();
          heard = false;
          ws.ping();
        }, pingMs);
        ws.on("pong", () => {
          heard = true;
        });
        ws.on("error", () => ws.terminate());
        ws.on("close", () => {
          clearInterval(beat);
          events.closed();
        });
        ws.on("message", (data: Buffer<ArrayBuffer>, binary) => {
          events.message(binary ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : data.toString());
        });
      });
      return null;
    },
    close() {
      for (const ws of server.clients) ws.terminate();
      server.close();
    },
  };
}
