// The server of nodes and coordinators, over real connections: who may hold one, for how long, and how it ends.

import { afterEach, describe, expect, test } from "bun:test";
import { type Handler, listen } from "../../src/cli/listen.ts";
import type { BraidError } from "../../src/errors.ts";
import { readBody } from "../../src/remote/body.ts";
import { realClock } from "../../src/remote/clock.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { refuse } from "../../src/remote/refusal.ts";
import { client, endAll, serve, sleep, until } from "./listening.ts";

const MiB = 2 ** 20;
const clock = realClock(() => performance.now());

afterEach(endAll);

/** A header line without end, a byte at a time. */
async function dribble({ say, state }: ReturnType<typeof client>): Promise<void> {
  say("GET / HTTP/1.1\r\nhost: x\r\nname: ");
  while (!state.closed) {
    say("x");
    await sleep(20);
  }
}

describe("headers", () => {
  const limits = { headersMs: 200, idleMs: 60_000 };

  test.each([
    ["that do not come", async (c: ReturnType<typeof client>) => c.closed()],
    ["of which a byte comes now and then", dribble],
  ] as const)("%s are 408, and the connection is closed", async (_, speak) => {
    const { port } = await serve({ limits });
    const slow = client(port);
    await speak(slow);
    expect(slow.statuses()).toEqual([408]);
    expect(slow.state.text).toContain(
      '{"error":{"kind":"too-slow","message":"the headers were not there after 0.2 s"}}',
    );
  });

  test("of a second request are counted from its first byte, and a connection between requests is not slow", async () => {
    const { port } = await serve({ limits });
    const slow = client(port);
    slow.ask();
    expect(await slow.answers(1)).toEqual([200]);
    await sleep(3 * limits.headersMs);
    slow.ask();
    expect(await slow.answers(2)).toEqual([200, 200]);
    await dribble(slow);
    expect(slow.statuses()).toEqual([200, 200, 408]);
  });

  test("may be slower than a body or an answer", async () => {
    const { port, waiting } = await serve({ limits });
    const asking = client(port);
    asking.ask("/wait");
    await until(() => waiting.length === 1);
    await sleep(3 * limits.headersMs);
    waiting[0]!();
    expect(await asking.answers(1)).toEqual([200]);
  });

  const lines = (count: number) => Array.from({ length: count }, (_, i) => `name-${i}: 1\r\n`).join("");
  test.each([
    [200, "of 12 KiB", `a: ${"b".repeat(12 * 1024)}\r\n`],
    [431, "of 17 KiB", `a: ${"b".repeat(17 * 1024)}\r\n`],
    [200, "in 100 lines", lines(nodeLimits.headers - 1)],
    [431, "in 101 lines", lines(nodeLimits.headers)],
    [431, "in 500 lines", lines(500)],
  ])("%d: headers %s", async (status, _, text) => {
    const { port } = await serve();
    const asking = client(port);
    asking.say(`GET / HTTP/1.1\r\nhost: x\r\n${text}\r\n`);
    expect(await asking.answers(1)).toEqual([status]);
  });

  test.each([
    ["no request", "\u0016\u0003\u0001\r\n\r\n"],
    ["no host", "GET / HTTP/1.1\r\n\r\n"],
    ["a host that is none", "GET / HTTP/1.1\r\nhost: a/b?c\r\n\r\n"],
    ["two lengths", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na"],
    [
      "a length and chunks",
      "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
  ])("%s is 400", async (_, text) => {
    const { port } = await serve();
    const asking = client(port);
    asking.say(text);
    expect(await asking.answers(1)).toEqual([400]);
  });
});

describe("connections", () => {
  test("without a request are closed after their own time", async () => {
    const { port } = await serve({ limits: { idleMs: 100 } });
    const idle = client(port);
    idle.ask();
    expect(await idle.answers(1)).toEqual([200]);
    await idle.closed();
    expect(idle.statuses()).toEqual([200]);
  });

  test("on which nothing moves any more are closed when the time of a request is over", async () => {
    let gone = false;
    const handler: Handler = () =>
      new Response(
        new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(MiB)),
          cancel() {
            gone = true;
          },
        }),
        { headers: { "content-length": String(1024 * MiB) } },
      );
    const { port } = await serve({ limits: { requestMs: 300 } }, handler);
    const deaf = client(port);
    deaf.ask();
    deaf.socket.pause();
    await until(() => gone);
  });

  test("beyond the most that are open are told so while all others have requests", async () => {
    const { port, waiting } = await serve({ limits: { connections: 3 } });
    const asking = [0, 1, 2].map(() => client(port));
    for (const each of asking) each.ask("/wait");
    await until(() => waiting.length === 3);
    const late = client(port);
    late.ask();
    await late.closed();
    expect(late.statuses()).toEqual([503]);
    expect(late.state.text.toLowerCase()).toContain("retry-after: 1\r\n");
    expect(late.state.text).toContain('{"error":{"kind":"busy","message":"3 connections are open"}}');
    waiting[1]!();
    expect(await asking[1]!.answers(1)).toEqual([200]);
    const next = client(port);
    next.ask();
    expect(await next.answers(1)).toEqual([200]);
    for (const go of waiting) go();
    expect(await Promise.all([0, 2].map((i) => asking[i]!.answers(1)))).toEqual([[200], [200]]);
    await asking[1]!.closed();
  });

  test("without requests give way to new ones, the one that has been without for longest first", async () => {
    const { port } = await serve({ limits: { connections: 3 } });
    const [first, second] = [client(port), client(port)];
    for (const each of [first, second]) {
      each.ask();
      await each.answers(1);
    }
    // The first one is used again, so the second one goes before it.
    first.ask();
    await first.answers(2);
    const silent = Array.from({ length: 2 }, () => client(port));
    await second.closed();
    expect(second.statuses()).toEqual([200, 503]);
    expect([first.state.closed, silent.map((s) => s.state.closed)]).toEqual([false, [false, false]]);
    // However many come and say nothing, whoever asks is answered.
    for (let i = 0; i < 20; i++) client(port);
    for (let i = 0; i < 5; i++) {
      const asking = client(port);
      asking.ask();
      expect(await asking.answers(1)).toEqual([200]);
    }
  });

  test("that are gone leave their place to others", async () => {
    const { port, waiting } = await serve({ limits: { connections: 2 } });
    for (let i = 0; i < 10; i++) {
      const asking = client(port);
      asking.ask("/wait");
      await until(() => waiting.length === i + 1);
      asking.socket.destroy();
      await asking.closed();
      await sleep(10);
    }
    const asking = client(port);
    asking.ask();
    expect(await asking.answers(1)).toEqual([200]);
  });
});

describe("a request", () => {
  const bytes = Uint8Array.from({ length: 3 * MiB + 17 }, (_, i) => (i * 7919) >>> 3);
  const echo: Handler = async (request) => {
    const body = await readBody(request, 64 * MiB, nodeLimits, clock);
    return new Response(body, { headers: { "content-length": String(body.length) } });
  };

  test("and its answer go through whole", async () => {
    const { port } = await serve({}, echo);
    for (const length of [0, 1, 65_536, bytes.length]) {
      const response = await fetch(`http://127.0.0.1:${port}/a?b=%20`, {
        method: "POST",
        body: bytes.slice(0, length),
      });
      expect(Buffer.compare(new Uint8Array(await response.arrayBuffer()), bytes.subarray(0, length))).toBe(0);
    }
  });

  test("in chunks goes through as well", async () => {
    const { port } = await serve({}, echo);
    const asking = client(port);
    asking.say("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    await until(() => asking.state.text.endsWith("abcde"));
  });

  test("says who sent it, and where", async () => {
    const { port } = await serve();
    const response = await fetch(`http://127.0.0.1:${port}/a?b=%20c`);
    expect(await response.json()).toEqual({
      caller: { client: "127.0.0.1" },
      url: `http://127.0.0.1:${port}/a?b=%20c`,
    });
  });

  test("by IPv6 is a request", async () => {
    const { port } = await serve({}, undefined, "::1");
    const response = await fetch(`http://[::1]:${port}/`);
    expect(await response.json()).toEqual({ caller: { client: "::1" }, url: `http://[::1]:${port}/` });
  });

  test("that the client gives up is told so", async () => {
    let aborted = false;
    const { port } = await serve({}, async ({ signal }) => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      aborted = true;
      return new Response();
    });
    const stop = new AbortController();
    const asking = fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: "x", signal: stop.signal });
    setTimeout(() => stop.abort(), 50);
    await asking.catch(() => {});
    await until(() => aborted);
  });

  test("whose body comes too slowly is 408", async () => {
    const slow = { ...nodeLimits, slowAfterMs: 100 };
    const { port } = await serve({}, async (request) => {
      try {
        return new Response(await readBody(request, MiB, slow, clock));
      } catch (e) {
        return refuse(e);
      }
    });
    const asking = client(port);
    asking.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc");
    await asking.closed();
    expect(asking.statuses()).toEqual([408]);
  });

  test("whose body nobody reads is answered while it comes, and is not listened to for long", async () => {
    const { port } = await serve({}, () => new Response("no", { status: 413 }));
    const asking = client(port);
    asking.say(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${1000 * MiB}\r\n\r\n`);
    while (!asking.state.closed) {
      asking.say(bytes.subarray(0, 65_536));
      await sleep(5);
    }
    expect(asking.statuses()).toEqual([413]);
  });

  test("whose body breaks off is not taken for whole", async () => {
    let error: unknown = null;
    const { port } = await serve({}, async (request) => {
      await request.arrayBuffer().catch((e) => {
        error = e;
      });
      return new Response();
    });
    const asking = client(port);
    asking.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc");
    await sleep(50);
    asking.socket.destroy();
    await until(() => error !== null);
  });
});

describe("an answer", () => {
  test("is made no faster than it is read, and no further when its reader leaves", async () => {
    let [made, cancelled] = [0, false];
    const { port } = await serve({}, () => {
      const body = new ReadableStream(
        {
          pull(controller) {
            made++;
            controller.enqueue(new Uint8Array(MiB));
          },
          cancel() {
            cancelled = true;
          },
        },
        { highWaterMark: 1 },
      );
      return new Response(body, { headers: { "content-length": String(1024 * MiB) } });
    });
    const deaf = client(port);
    deaf.ask();
    deaf.socket.pause();
    await until(() => made > 1);
    await sleep(300);
    // What the system holds of a connection, and a few pieces.
    expect(made).toBeLessThan(32);
    deaf.socket.destroy();
    await until(() => cancelled);
  });

  test("that cannot be gone on with breaks off, and is not taken for whole", async () => {
    let pieces = 0;
    const { port } = await serve({}, () => {
      const body = new ReadableStream({
        pull(controller) {
          if (pieces++ < 2) controller.enqueue(new Uint8Array(1000));
          else controller.error(new Error("the disk is gone"));
        },
      });
      return new Response(body, { headers: { "content-length": "5000" } });
    });
    const response = fetch(`http://127.0.0.1:${port}/`).then((r) => r.arrayBuffer());
    expect(
      await response.then(
        () => "whole",
        () => "broken",
      ),
    ).toBe("broken");
  });

  test("to HEAD is without its body", async () => {
    const { port } = await serve({}, () => new Response("12345", { headers: { "content-length": "5" } }));
    const asking = client(port);
    asking.say("HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    await asking.closed();
    expect([asking.statuses(), asking.state.text.endsWith("\r\n\r\n")]).toEqual([[200], true]);
  });
});

describe("the server", () => {
  test.each([
    ["where somebody does", "127.0.0.1", /^Cannot serve inputs on 127\.0\.0\.1 port \d+: EADDRINUSE$/],
    [
      "at an address that is not this machine's",
      "192.0.2.1",
      /^Cannot serve inputs on 192\.0\.2\.1 port \d+: (EADDRNOTAVAIL|EINVAL)$/,
    ],
  ])("cannot listen %s", async (_, host, says) => {
    const { port } = await serve();
    const error = await listen(host, port, () => new Response(), { purpose: "serve inputs" }).then(
      () => null,
      (e) => e as BraidError,
    );
    expect([error?.kind, says.test(error?.message ?? "")]).toEqual(["io", true]);
  });

  test("that stops ends what is idle, lets an answer go out, and waits for nobody else", async () => {
    const started: (() => void)[] = [];
    const handler: Handler = async (request) => {
      if (request.url.endsWith("/idle")) return new Response();
      await new Promise<void>((resolve) => started.push(resolve));
      const body = new Uint8Array(MiB);
      return new Response(body, { headers: { "content-length": String(MiB) } });
    };
    const { port, stop } = await serve({}, handler);
    const [idle, asking, never] = [client(port), client(port), client(port)];
    idle.ask("/idle");
    expect(await idle.answers(1)).toEqual([200]);
    asking.ask();
    never.ask();
    await until(() => started.length === 2);
    const stopped = stop();
    await idle.closed();
    started[0]!();
    await stopped;
    await Promise.all([asking.closed(), never.closed()]);
    const sizes = [asking, never].map(({ state }) => state.bytes);
    expect([Math.max(...sizes) > MiB, Math.min(...sizes)]).toEqual([true, 0]);
  });
});
