// A listening server, and clients that say exactly what they are told to say.

import { connect } from "node:net";
import { type Handler, type Listener, type ListenOptions, listen } from "../../src/cli/listen.ts";

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
export const until = async (holds: () => boolean) => {
  while (!holds()) await sleep(5);
};

/** Ended after each test, the last first. */
export const open: { end(): unknown }[] = [];
export async function endAll(): Promise<void> {
  for (const { end } of open.splice(0).reverse()) await end();
}

/** Answers `/wait` only when the test says so, and all else at once. */
export async function serve(options: ListenOptions = {}, handler?: Handler, host = "127.0.0.1") {
  const waiting: (() => void)[] = [];
  const answer: Handler = async (request, caller) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/wait") await new Promise<void>((resolve) => waiting.push(resolve));
    return Response.json({ caller, url: request.url });
  };
  const listener: Listener = await listen(host, 0, handler ?? answer, options);
  open.push({ end: () => listener.stop() });
  return { ...listener, waiting };
}

/** A client that says exactly what it is told to say. */
export function client(port: number, host = "127.0.0.1") {
  const socket = connect(port, host);
  const state = { text: "", bytes: 0, closed: false };
  socket.on("data", (data: Buffer) => {
    state.bytes += data.length;
    if (state.text.length < 10_000) state.text += data.toString("latin1");
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    state.closed = true;
  });
  open.push({ end: () => socket.destroy() });
  return {
    socket,
    state,
    say: (text: string | Uint8Array) => void socket.write(text),
    ask: (path = "/") => void socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`),
    statuses: () => [...state.text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((m) => Number(m[1])),
    closed: () => until(() => state.closed),
    async answers(count: number) {
      await until(() => this.statuses().length >= count || state.closed);
      return this.statuses();
    },
  };
}
