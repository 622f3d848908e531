// The coordinator's address: what workers may read and bring, and what is refused.

import { describe, expect, test } from "bun:test";
import { ask, NodeError, type Question } from "../../src/remote/ask.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { createDesk, maxTransfers } from "../../src/remote/queue-desk.ts";
import { leaseRoutes, queueKey } from "../../src/remote/queue-wire.ts";
import { clock, kernels, refusalOf, token } from "../remote/fixture.ts";

const key = queueKey(token);
const job = "ab".repeat(16);
const worker = "cd".repeat(16);
const file = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const ranges = [
  { file: 0, start: 10, end: 20 },
  { file: 0, start: 900, end: 1000 },
];

function testDesk(read?: () => Promise<void>) {
  const brought: { lease: number; worker: string; sha256: string; bytes: number[] }[] = [];
  const desk = createDesk({
    key,
    job,
    kernel: kernels.sha256,
    limits: nodeLimits,
    clock,
    today: () => Date.now(),
    lease: (lease) => (lease === 7 ? { ranges, uploadBytes: 16 } : null),
    banned: (id) => id === "e".repeat(32),
    read: ({ start, end }, target) => {
      target.set(file.subarray(start, end));
      return read?.();
    },
    brought: (lease, id, sha256, bytes) => brought.push({ lease, worker: id, sha256, bytes: [...bytes] }),
  });
  const never = new AbortController().signal;
  const to = (question: Partial<Question> & { route: string }, changes: { key?: Uint8Array; kernel?: string } = {}) =>
    ask(
      {
        // As a socket would have it.
        fetch: (url, init) => {
          const length = String((init.body as Uint8Array | undefined)?.length ?? 0);
          const sent = { ...(init.headers as Record<string, string>), "content-length": length };
          return desk.request(new URL(url).pathname, { ...init, headers: sent });
        },
        clock,
        today: () => Date.now(),
        key,
        kernel: kernels.sha256,
        limits: nodeLimits,
        ...changes,
      },
      { method: "GET", url: "http://desk", body: new Uint8Array(), job, lease: 7, limit: 1 << 20, ...question },
      never,
    );
  return { desk, brought, to };
}

const statusOf = (asked: Promise<unknown>) =>
  asked.then(
    () => 200,
    (e: unknown) => (e instanceof NodeError ? e.status : String(e)),
  );

describe("the desk", () => {
  test("gives the ranges of a lease, one after the other, signed", async () => {
    const { to } = testDesk();
    const got = await to({ route: leaseRoutes.inputs(7, worker) });
    expect([...got]).toEqual([...file.subarray(10, 20), ...file.subarray(900, 1000)]);
    expect((await to({ route: leaseRoutes.begin(7, worker) })).length).toBe(0);
  });

  test("takes what a worker brings, with its hash", async () => {
    const { to, brought } = testDesk();
    const body = Uint8Array.from({ length: 16 }, (_, i) => i);
    await to({ method: "PUT", route: leaseRoutes.output(7, worker), body });
    expect(brought).toEqual([
      { lease: 7, worker, sha256: expect.stringMatching(/^be45cb2605bf36be/), bytes: [...body] },
    ]);
  });

  const inputs = leaseRoutes.inputs(7, worker);
  const output = leaseRoutes.output(7, worker);
  test.each([
    ["another token", { route: inputs }, { key: queueKey(`${token}x`) }, 401],
    ["other kernels", { route: inputs }, { kernel: "0".repeat(64) }, 409],
    ["a banned worker", { route: leaseRoutes.inputs(7, "e".repeat(32)) }, {}, 403],
    ["a lease that nobody waits for", { route: leaseRoutes.inputs(8, worker), lease: 8 }, {}, 410],
    ["another job", { route: inputs, job: "0".repeat(32) }, {}, 410],
    ["a lease that is not the signed one", { route: leaseRoutes.inputs(8, worker) }, {}, 400],
    ["more than the slice has", { method: "PUT" as const, route: output, body: new Uint8Array(17) }, {}, 413],
    ["what is not there", { route: "/v1/files/0" }, {}, 404],
  ])("refuses %s", async (_, question, changes, status) => {
    expect(await statusOf(testDesk().to(question, changes))).toBe(status);
  });

  test("refuses what is not signed, and a path that was not", async () => {
    const { desk } = testDesk();
    expect(await refusalOf(await desk.request(inputs))).toBe("401 denied");
    let sent: RequestInit = {};
    const { desk: other } = testDesk();
    const options = { clock, today: () => Date.now(), key, kernel: kernels.sha256, limits: nodeLimits };
    const catching = {
      ...options,
      fetch: (_: string, init: RequestInit) => {
        sent = init;
        return Response.json({}, { status: 500 });
      },
    };
    const question = {
      method: "GET" as const,
      url: "http://desk",
      route: inputs,
      body: new Uint8Array(),
      job,
      lease: 7,
    };
    await ask(catching, { ...question, limit: 100 }, new AbortController().signal).catch(() => {});
    expect(await refusalOf(await other.request(leaseRoutes.begin(7, worker), sent))).toBe("401 denied");
    expect((await other.request(inputs, sent)).status).toBe(200);
  });

  test("has eight transfers under way, and asks others to come back", async () => {
    const gate = Promise.withResolvers<void>();
    const { to } = testDesk(() => gate.promise);
    const under = Array.from({ length: maxTransfers }, () => to({ route: inputs }));
    await new Promise((resolve) => setTimeout(resolve, 30));
    const refused = await to({ route: inputs }).catch((e: NodeError) => e);
    expect(refused).toMatchObject({ fault: "busy", status: 503, retryAfter: 1000 });
    gate.resolve();
    expect((await Promise.all(under)).map((b) => b.length)).toEqual(Array(maxTransfers).fill(110));
  });
});
