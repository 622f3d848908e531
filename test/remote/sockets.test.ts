// WebSockets of the server of nodes, over real connections.

import { afterEach, describe, expect, test } from "bun:test";
import { WebSocket } from "ws";
import { Refused } from "../../src/remote/refusal.ts";
import { client, endAll, open, serve, until } from "./listening.ts";

const MiB = 2 ** 20;

afterEach(endAll);

describe("a WebSocket", () => {
  const heard: (string | Uint8Array)[] = [];
  let ends = 0;
  const sockets = {
    path: "/socket",
    maxBytes: 65 * MiB,
    admit: (request: Request) => (request.url.endsWith("?no") ? new Refused(403, "denied", "not this one") : null),
    open: (socket: { send(data: string | Uint8Array<ArrayBuffer>): void; close(): void }) => {
      socket.send("hello");
      return {
        message(data: string | Uint8Array<ArrayBuffer>) {
          heard.push(data);
          if (data === "bye") socket.close();
          else socket.send(data);
        },
        closed: () => void ends++,
      };
    },
  };

  async function dial(port: number) {
    // Deno's own client takes no more than 64 MiB.
    const ws = new WebSocket(`ws://127.0.0.1:${port}/socket`);
    ws.binaryType = "arraybuffer";
    const got: unknown[] = [];
    const state = { closed: false };
    ws.onmessage = ({ data }) => got.push(data);
    ws.onerror = () => {};
    ws.onclose = () => {
      state.closed = true;
    };
    open.push({ end: () => ws.close() });
    await until(() => got.length > 0);
    expect(got.shift()).toBe("hello");
    return { ws, got, state };
  }

  test("carries texts and bytes both ways, as many as a task may have", async () => {
    const { port } = await serve({ sockets });
    const { ws, got, state } = await dial(port);
    const large = new Uint8Array(64 * MiB + 300 * 1024);
    large.set([1, 2, 3], large.length - 3);
    for (const data of ["text: ä", Uint8Array.of(1, 2, 3), large]) ws.send(data as Uint8Array<ArrayBuffer> | string);
    await until(() => got.length === 3);
    expect(got[0]).toBe("text: ä");
    expect([...new Uint8Array(got[1] as ArrayBuffer)]).toEqual([1, 2, 3]);
    expect(Buffer.compare(new Uint8Array(got[2] as ArrayBuffer), large)).toBe(0);
    const before = ends;
    ws.send("bye");
    await until(() => state.closed && ends === before + 1);
  });

  test("ends with a message that is too long", async () => {
    heard.length = 0;
    const { port } = await serve({ sockets: { ...sockets, maxBytes: 1000 } });
    const { ws, state } = await dial(port);
    const before = ends;
    ws.send(new Uint8Array(1001));
    await until(() => state.closed && ends === before + 1);
    expect(heard).toEqual([]);
  });

  const upgrade = (path: string) =>
    `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
  test.each([
    ["that is not admitted", "/socket?no", 403],
    ["elsewhere", "/other", 400],
  ])("%s is refused", async (_, path, status) => {
    const { port } = await serve({ sockets });
    const asking = client(port);
    asking.say(upgrade(path));
    await asking.closed();
    expect(asking.statuses()).toEqual([status]);
  });

  test("holds none of the places of requests, and ends with the server", async () => {
    const { port, stop } = await serve({ sockets, limits: { connections: 2 } });
    const all = [await dial(port), await dial(port), await dial(port)];
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
    expect(all.map(({ state }) => state.closed)).toEqual([false, false, false]);
    await stop();
    await until(() => all.every(({ state }) => state.closed));
  });
});
