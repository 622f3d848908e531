// npx bun test/slow/nodes-limits.ts [bun|deno]
//
// A real node with its default limits, and for each limit requests that are beyond it: how many were sent, how many were refused and
// with which status, and whether the node answers an honest task afterwards. (Each limit has its test in test/remote as well.)

import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { machine, runtimesOf } from "../../bench/measure.ts";
import { goldenTask } from "../../src/remote/audit.ts";
import { encodeFrame } from "../../src/remote/frame.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { headers, routes, type TaskMessage } from "../../src/remote/wire.ts";
import { kernels, type RequestChanges, requestOf } from "../remote/fixture.ts";
import { projectRoot as root } from "../support/host.ts";

const token = "a token of at least thirty-two bytes";
const runtime = runtimesOf(root, [process.argv[2] ?? "bun"])[0]!;

function serve(): Promise<{ url: string; child: ChildProcess }> {
  const more = ["serve", "--port", "0", "--workers", "1", "--json", "--quiet", "--allow-root", tmpdir()];
  const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", BRAID_TOKEN: token };
  const child = spawn(runtime.command, [...runtime.args, ...more], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((ready) => {
    child.stdout!.on("data", (text) => ready({ url: (JSON.parse(String(text)) as { url: string }).url, child }));
  });
}

/** The test merge as a message, of so many elements. */
function honest(count = 8229, changes: Partial<TaskMessage> = {}): TaskMessage {
  const { task, data } = goldenTask(count);
  return {
    protocol: "braid-node-1",
    job: "job",
    lease: 1,
    kernel: kernels.sha256,
    task,
    ranges: data.ranges,
    locators: [],
    inline: data.bytes as Uint8Array<ArrayBuffer>,
    ...changes,
  };
}

type Send = (url: string) => Promise<number>;
const send =
  (message: () => TaskMessage, changes: RequestChanges = {}): Send =>
  async (url) => {
    const init = await requestOf(routes.slice, message(), { token, ...changes });
    const { "content-length": _, ...given } = init.headers as Record<string, string>;
    const response = await fetch(url + routes.slice, { ...init, headers: given });
    await response.arrayBuffer();
    return response.status;
  };
const located = (locator: { path: string; version: string } | { url: string; version: null }) => () =>
  honest(8229, {
    locators: [0, 1, 2].map((file) => ({ file, ...locator })),
    inline: new Uint8Array(),
  });

/** A request as bytes on a socket: headers of an honest one with changes, and as much of a body as is given. Gives the status. */
const raw =
  (change: (given: Record<string, string>) => Record<string, string>, body: Uint8Array | string): Send =>
  async (url) => {
    const init = await requestOf(routes.slice, honest(), { token });
    const { port, host } = new URL(url);
    const lines = Object.entries(change(init.headers as Record<string, string>)).map(([k, v]) => `${k}: ${v}\r\n`);
    const socket = connect(Number(port), "127.0.0.1");
    socket.write(`POST ${routes.slice} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n${lines.join("")}\r\n`);
    socket.write(body);
    return new Promise((done) => {
      socket.on("data", (data) => {
        done(Number(/^HTTP\/1.1 (\d+)/.exec(String(data))?.[1] ?? 0));
        socket.destroy();
      });
      socket.on("error", () => done(0));
      socket.on("close", () => done(0));
    });
  };

/** Bytes on a socket, and then one every half second that ends nothing. Gives the status. */
const dribble =
  (text: string): Send =>
  (url) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    socket.write(text);
    const more = setInterval(() => socket.write("x"), 500);
    return new Promise((done) => {
      socket.on("data", (data) => done(Number(/^HTTP\/1.1 (\d+)/.exec(String(data))?.[1] ?? 0)));
      socket.on("error", () => done(0));
      socket.on("close", () => {
        clearInterval(more);
        done(0);
      });
    });
  };

interface Row {
  readonly limit: string;
  readonly request: string;
  readonly status: number;
  readonly count: number;
  readonly send: Send;
  /** Sent at the same time; the last ones are over the limit, and so many are not. */
  readonly together?: { readonly taken: number };
  /** Bun itself closes a connection that has not come to its first request after 8 to 12 s, and may be before us. */
  readonly orClosed?: boolean;
}

const MiB = 2 ** 20;
const withLength = (length: number) => (given: Record<string, string>) => ({
  ...given,
  "content-length": String(length),
});
const chunked = ({ "content-length": _, ...given }: Record<string, string>) => ({
  ...given,
  "transfer-encoding": "chunked",
});
const megabytes = (n: number) =>
  `${Array.from({ length: n }, () => `100000\r\n${"0".repeat(MiB)}\r\n`).join("")}0\r\n\r\n`;

const rows: Row[] = [
  {
    limit: "protocol version",
    request: "another version",
    status: 409,
    count: 5,
    send: send(honest, { late: { [headers.protocol]: "braid-node-0" } }),
  },
  {
    limit: "kernels' SHA-256",
    request: "other kernels",
    status: 409,
    count: 5,
    send: send(honest, { headers: { [headers.kernel]: "0".repeat(64) } }),
  },
  {
    limit: "SHA-256 of the body",
    request: "another hash, signed",
    status: 400,
    count: 5,
    send: send(honest, { headers: { [headers.hash]: "0".repeat(64) } }),
  },
  {
    limit: "no content encodings",
    request: "content-encoding: gzip",
    status: 415,
    count: 5,
    send: send(honest, { late: { "content-encoding": "gzip" } }),
  },
  {
    limit: "one content type",
    request: "application/json",
    status: 415,
    count: 5,
    send: send(honest, { late: { "content-type": "application/json" } }),
  },
  {
    limit: "1 MiB without a length",
    request: "2 MiB in chunks",
    status: 411,
    count: 5,
    send: raw(chunked, megabytes(2)),
  },
  {
    limit: "64 MiB of body",
    request: "a length of 65 MiB",
    status: 413,
    count: 5,
    send: raw(withLength(65 * MiB), ""),
  },
  {
    limit: "64 MiB of inputs",
    request: "ranges of 66 MiB in a file",
    status: 413,
    count: 5,
    send: send(() =>
      honest(11 * MiB, {
        locators: [0, 1, 2].map((file) => ({ file, path: "/x", version: "1" })),
        inline: new Uint8Array(),
      }),
    ),
  },
  {
    limit: "256 KiB of descriptor",
    request: "300 KiB",
    status: 400,
    count: 5,
    send: send(honest, { body: encodeFrame({ x: "x".repeat(300 * 1024) }).bytes }),
  },
  {
    limit: "bounded tasks",
    request: "2^27 elements",
    status: 422,
    count: 5,
    send: send(() => honest(8229, { task: { ...honest().task, count: 2 ** 27 } })),
  },
  {
    limit: "--allow-root",
    request: "/etc/passwd",
    status: 403,
    count: 5,
    send: send(located({ path: "/etc/passwd", version: "1-1" })),
  },
  {
    limit: "--allow-root, links and ..",
    request: "a root's ../etc/passwd",
    status: 403,
    count: 5,
    send: send(located({ path: `${tmpdir()}/../etc/passwd`, version: "1-1" })),
  },
  {
    limit: "--allow-host",
    request: "https of another host",
    status: 403,
    count: 5,
    send: send(located({ url: "https://example.com/a", version: null })),
  },
  {
    limit: "https on 443 only",
    request: "http of the metadata address",
    status: 403,
    count: 5,
    send: send(located({ url: "http://169.254.169.254/latest/", version: null })),
  },
  {
    limit: "headers 10 s",
    request: "a byte of them every 500 ms",
    status: 408,
    count: 3,
    send: dribble("GET /health HTTP/1.1\r\nhost: x\r\nname: "),
    together: { taken: 0 },
    orClosed: true,
  },
  {
    limit: "headers 10 s",
    request: "100 connections that never come to a request",
    status: 408,
    count: 100,
    send: dribble("GET /"),
    // The oldest made way for others.
    together: { taken: 36 },
    orClosed: true,
  },
  {
    limit: "headers 16 KiB",
    request: "17 KiB",
    status: 431,
    count: 5,
    send: raw((given) => ({ ...given, name: "x".repeat(17 * 1024) }), ""),
  },
  {
    limit: "headers 100 lines",
    request: "101 lines",
    status: 431,
    count: 5,
    send: raw(
      (given) => ({ ...given, ...Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`name-${i}`, "x"])) }),
      "",
    ),
  },
  {
    limit: "64 KiB/s after 10 s",
    request: "a body that stops",
    status: 408,
    count: 3,
    send: raw((given) => given, "BRD1"),
    together: { taken: 0 },
  },
  {
    limit: "in flight 1, waiting 2",
    request: "12 tasks of 48 MiB at once",
    status: 503,
    count: 12,
    send: send(() => honest(8 * MiB)),
    together: { taken: 3 },
  },
  {
    limit: "64 connections",
    request: "70 at once, bodies that stop",
    status: 503,
    count: 70,
    send: raw((given) => given, "BRD1"),
    together: { taken: 64 },
  },
  {
    limit: "±300 s",
    request: "301 s early",
    status: 401,
    count: 1,
    send: send(honest, { time: Date.now() - 301_000 }),
  },
  { limit: "a token's HMAC", request: "not signed", status: 401, count: 1, send: send(honest, { token: "" }) },
  {
    limit: "a nonce once",
    request: "the same twice",
    status: 401,
    count: 2,
    send: send(honest, { nonce: "ab".repeat(16) }),
    together: { taken: 1 },
  },
  {
    limit: "a token's HMAC",
    request: "another token",
    status: 401,
    count: 2,
    send: send(honest, { token: "another token of thirty-two bytes" }),
  },
  { limit: "5 failures a minute", request: "an honest one after 5", status: 429, count: 5, send: send(honest) },
];

const { url, child } = await serve();
let wrong = 0;
try {
  console.log(`${machine()}; ${runtime.name}; limits ${JSON.stringify(nodeLimits)}\n`);
  console.log("| limit | request | sent | refused | with | honest task after it |\n|---|---|---|---|---|---|");
  for (const { limit, request, status, count, send: one, together, orClosed } of rows) {
    const got: number[] = [];
    if (together) got.push(...(await Promise.all(Array.from({ length: count }, () => one(url)))));
    else for (let i = 0; i < count; i++) got.push(await one(url));
    const refused = got.filter((s) => s === status || (orClosed && s === 0)).length;
    // Failures of this client add up to the last row.
    const after = status === 401 || status === 429 ? "-" : String(await send(honest)(url));
    const others = got.filter((s) => s !== status);
    // Of what was taken some bodies stop and are refused later, as too slow.
    const right =
      together && status === 503
        ? refused > 0 && refused <= count - together.taken
        : refused === count - (together?.taken ?? 0);
    if (!right || (after !== "-" && after !== "200")) wrong++;
    const counts = [...new Set(others)].map((s) => `${others.filter((o) => o === s).length} × ${s}`).join(", ");
    console.log(
      `| ${limit} | ${request} | ${count} | ${refused} | ${status} | ${after}${counts ? ` (others: ${counts})` : ""} |`,
    );
  }
  console.log(wrong === 0 ? "\nEvery limit held." : `\n${wrong} LIMITS DID NOT HOLD.`);
} finally {
  child.kill("SIGKILL");
}
process.exit(wrong === 0 ? 0 : 1);
