// A node takes a task and gives what the runner gives; and each of its limits refuses what is beyond it.

import { describe, expect, test } from "bun:test";
import { memorySource } from "../../src/bytes/memory.ts";
import type { MergeTask, SurveyTask, Task } from "../../src/kernel/program.ts";
import { declaredLength } from "../../src/remote/body.ts";
import { realClock } from "../../src/remote/clock.ts";
import { decodeFrame, encodeFrame } from "../../src/remote/frame.ts";
import { createInlineKernels, type NodeKernels } from "../../src/remote/kernels.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { LocatorError, type Reach } from "../../src/remote/locate.ts";
import { answerSignature, deriveKey } from "../../src/remote/sign.ts";
import { type AnswerMessage, frameType, headers, receiptFault, routes } from "../../src/remote/wire.ts";
import { kernels, messageFor, module, refusalOf, requestOf, send, testApp, token } from "./fixture.ts";

const count = 10_000;
const files = [0, 1].map((f) => {
  const values = Float32Array.from({ length: count }, (_, i) => ((i * (f + 3)) % 1009) - 500);
  return new Uint8Array(values.buffer);
});
const merge: MergeTask = {
  kind: "merge",
  id: 3,
  first: 4096,
  count: 5000,
  inputs: [
    { file: 0, start: 0 },
    { file: 1, start: 0 },
  ],
  output: { file: 2, start: 24 },
  program: {
    op: "merge",
    inputs: ["F32", "F32"],
    out: "F32",
    base: null,
    terms: [0, 1].map((input) => ({ input, weight: (input + 1) / 4, scale: 1, keep: {} })),
    combine: { op: "sum" },
    lambda: 1,
  },
  policy: { nonFinite: "error", overflow: "error" },
};
const survey: SurveyTask = {
  kind: "survey",
  id: 4,
  first: 4096,
  count: 5000,
  inputs: merge.inputs,
  dtypes: ["F32", "F32"],
  round: { op: "norms", operands: [0, 1].map((input) => ({ input, base: null, keep: {} })) },
};
const answerOf = async (response: Response) =>
  decodeFrame(new Uint8Array(await response.arrayBuffer()), nodeLimits.descriptorBytes) as AnswerMessage;

describe("a node", () => {
  test("merges a slice, and answers with what it was asked", async () => {
    const response = await send(testApp(), messageFor(merge, files));
    expect([response.status, response.headers.get("content-type")]).toEqual([200, frameType]);
    const answer = await answerOf(response);
    const { job, lease, kernel, slice } = answer;
    expect({ job, lease, kernel, slice }).toEqual({
      job: "job",
      lease: 7,
      kernel: kernels.sha256,
      slice: { kind: "merge", first: 4096, count: 5000 },
    });
    const out = new Float32Array(answer.output.slice().buffer);
    // Exact in f32: multiples of a quarter below 1,000.
    const want = Float32Array.from({ length: 5000 }, (_, i) => {
      const at = 4096 + i;
      return 0.25 * (((at * 3) % 1009) - 500) + 0.5 * (((at * 4) % 1009) - 500);
    });
    expect([...out]).toEqual([...want]);
    expect(receiptFault(merge, answer.receipt)).toBe(null);
  });

  test("surveys a slice", async () => {
    const { receipt, output } = await answerOf(await send(testApp(), messageFor(survey, files)));
    expect(output.length).toBe(0);
    expect(receiptFault(survey, receipt)).toBe(null);
    if (receipt.kind !== "survey" || receipt.result.op !== "norms") throw new Error("not what was asked for");
    const sums = [0, 1].map((f) => {
      let sum = 0;
      for (let i = 4096; i < 9096; i++) sum += Math.abs(((i * (f + 3)) % 1009) - 500);
      return sum;
    });
    expect(receipt.result.l1.map((blocks) => blocks.reduce((a, b) => a + b))).toEqual(sums);
  });

  test("tells what it is, and describes every route that it has", async () => {
    const app = testApp();
    expect(await (await app.request(routes.health)).json()).toEqual({ ok: true });
    const about = (await (await app.request(routes.about)).json()) as Record<string, unknown>;
    expect(about).toMatchObject({ kernel: kernels.sha256, cores: 1, version: "test", limits: nodeLimits, roots: [] });
    const described = (await (await app.request(routes.openapi)).json()) as { paths: Record<string, object> };
    const paths = Object.entries(described.paths).map(([path, by]) => `${Object.keys(by)[0]!.toUpperCase()} ${path}`);
    const routed = app.routes.filter((r) => r.method !== "ALL").map((r) => `${r.method} ${r.path}`);
    expect(paths.sort()).toEqual(routed.sort());
    expect(await refusalOf(await app.request("/nowhere"))).toBe("404 not-found");
  });

  test("signs its answer when it has a token", async () => {
    const nonce = "ab".repeat(16);
    const response = await send(testApp({ token }), messageFor(merge, files), { token, nonce });
    expect(response.status).toBe(200);
    const hash = response.headers.get(headers.hash)!;
    expect(response.headers.get(headers.signature)).toBe(answerSignature(deriveKey(token), nonce, 200, hash));
  });
});

describe("a node with a token refuses", () => {
  const cases: [string, string, object][] = [
    ["what is not signed", "401 denied", {}],
    ["another token", "401 denied", { token: token.replace("0", "1") }],
    ["a body of another hash than was signed", "400 bad-request", { token, body: undefined }],
    ["a lease that was not signed", "401 denied", { token, late: { [headers.lease]: "8" } }],
    ["a job that was not signed", "401 denied", { token, late: { [headers.job]: "other" } }],
    ["a hash that was not signed", "401 denied", { token, late: { [headers.hash]: "0".repeat(64) } }],
    ["a time before its own", "401 denied", { token, time: Date.now() - nodeLimits.clockSkewMs - 5_000 }],
    ["a time after its own", "401 denied", { token, time: Date.now() + nodeLimits.clockSkewMs + 5_000 }],
    ["a nonce that is none", "401 denied", { token, nonce: "x" }],
  ];
  test.each(cases)("%s", async (_, refusal, changes) => {
    const path = routes.slice;
    const message = messageFor(merge, files);
    const init = await requestOf(path, message, changes);
    if ("body" in changes) (init.body as Uint8Array)[200]! ^= 1;
    expect(await refusalOf(await testApp({ token }).request(path, init))).toBe(refusal);
  });

  test("a request that was made before, for ten minutes", async () => {
    let now = Date.now();
    const app = testApp({ token, today: () => now });
    const nonce = "cd".repeat(16);
    const ask = () => send(app, messageFor(merge, files), { token, nonce, time: now });
    expect((await ask()).status).toBe(200);
    expect(await refusalOf(await ask())).toBe("401 denied");
    now += nodeLimits.nonceMs - 1;
    expect(await refusalOf(await ask())).toBe("401 denied");
    now += 1;
    expect((await ask()).status).toBe(200);
  });

  test("more requests than it can remember", async () => {
    const app = testApp({ token, limits: { nonces: 2 } });
    const ask = () => send(app, messageFor(merge, files), { token });
    expect([(await ask()).status, (await ask()).status, await refusalOf(await ask())]).toEqual([200, 200, "503 busy"]);
  });

  test("a client after five failures within a minute, and no other client", async () => {
    let now = Date.now();
    const app = testApp({ token, today: () => now });
    const ask = (client: string, key?: string) =>
      send(app, messageFor(merge, files), { time: now, ...(key ? { token: key } : {}) }, { client });
    for (let i = 0; i < nodeLimits.failures; i++) expect((await ask("10.0.0.1")).status).toBe(401);
    const late = await ask("10.0.0.1", token);
    expect([late.status, late.headers.get("retry-after")]).toEqual([429, "60"]);
    expect((await ask("10.0.0.2", token)).status).toBe(200);
    now += nodeLimits.failureMs;
    expect((await ask("10.0.0.1", token)).status).toBe(200);
  });

  test("to say what it is", async () => {
    const app = testApp({ token });
    expect((await app.request(routes.about)).status).toBe(401);
    expect((await app.request(routes.health)).status).toBe(200);
  });
});

describe("a node refuses", () => {
  const message = messageFor(merge, files);
  const small = { sliceBytes: 1000, descriptorBytes: 4096 };
  const cases: [string, string, object, object][] = [
    ["a content encoding", "415 unsupported", {}, { late: { "content-encoding": "gzip" } }],
    ["another content type", "415 unsupported", {}, { late: { "content-type": "application/json" } }],
    ["other kernels", "409 kernel-mismatch", {}, { late: { [headers.kernel]: "0".repeat(64) } }],
    ["another version", "409 protocol", {}, { late: { [headers.protocol]: "braid-node-0" } }],
    ["a body of another hash", "400 bad-request", {}, { late: { [headers.hash]: "0".repeat(64) } }],
    ["a lease that is not the message's", "400 bad-request", {}, { late: { [headers.lease]: "8" } }],
    [
      "a body above the limit, by its length",
      "413 too-large",
      { limits: { sliceBytes: 10 } },
      { late: { "content-length": String(2 ** 20) } },
    ],
    ["a length that is no number", "400 bad-request", {}, { late: { "content-length": "1e3" } }],
    ["a body that is shorter than its length", "400 bad-request", {}, { late: { "content-length": "70000" } }],
    ["a body that is longer than its length", "400 bad-request", {}, { late: { "content-length": "100" } }],
    ["a frame that is none", "400 bad-request", {}, { body: new Uint8Array(100) }],
    ["a descriptor above the limit", "400 bad-request", { limits: { descriptorBytes: 100 } }, {}],
    [
      "an output above the limit",
      "413 too-large",
      { limits: small },
      { body: encodeFrame({ ...message, ranges: [], inline: new Uint8Array() }).bytes },
    ],
  ];
  test.each(cases)("%s", async (_, refusal, options, changes) => {
    expect(await refusalOf(await send(testApp(options), message, changes))).toBe(refusal);
  });

  test("inputs above the limit", async () => {
    const app = testApp({ limits: { sliceBytes: 39_999 } });
    expect(await refusalOf(await send(app, message))).toBe("413 too-large");
    expect((await send(testApp({ limits: { sliceBytes: 40_000 } }), message)).status).toBe(200);
  });

  const streamed = async (
    app: ReturnType<typeof testApp>,
    pieces: Iterable<Uint8Array>,
    late: Record<string, string> = {},
  ) => {
    const init = await requestOf(routes.slice, message);
    const { "content-length": _, ...rest } = init.headers as Record<string, string>;
    const iterator = pieces[Symbol.iterator]();
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const next = iterator.next();
        if (next.done) controller.close();
        else if (next.value.length > 0) controller.enqueue(next.value);
        else return new Promise(() => {}); // and then nothing more
      },
      cancel() {
        cancelled = true;
      },
    });
    const response = await app.request(
      new Request(`http://node${routes.slice}`, {
        method: "POST",
        headers: { ...rest, ...late },
        body,
        duplex: "half",
      } as RequestInit),
    );
    return { response, cancelled: () => cancelled };
  };
  const zeros = (bytes: number, piece = 1 << 16) => Array.from({ length: bytes / piece }, () => new Uint8Array(piece));

  test("a body above 1 MiB that does not say its length", async () => {
    expect(nodeLimits.unsizedBytes).toBe(2 ** 20);
    const at = await streamed(testApp(), zeros(2 ** 20));
    expect(await refusalOf(at.response)).toBe("400 bad-request"); // its hash: the body as such was taken
    const above = await streamed(testApp(), zeros(2 ** 22));
    expect(await refusalOf(above.response)).toBe("411 length-required");
    expect(above.cancelled()).toBe(true);
  });

  test("a body that stops, and one that trickles", async () => {
    // A second of this clock is a millisecond.
    const fast = realClock(() => performance.now(), 1000);
    const stopped = await streamed(testApp({ clock: fast }), [new Uint8Array(100), new Uint8Array()]);
    expect(await refusalOf(stopped.response)).toBe("408 too-slow");
    expect(stopped.cancelled()).toBe(true);
  });

  test.each([
    ["no slice", { count: 0 }],
    ["half a slice", { first: 0.5 }],
    ["a slice of 2^53", { count: 2 ** 53 }],
    ["an input that is none", { inputs: [{ file: 0 }] }],
    [
      "a term without an input",
      { program: { ...merge.program, terms: [{ input: 2, weight: 1, scale: 1, keep: {} }] } },
    ],
    ["an unknown program", { program: { op: "shell" } }],
    ["a whole matrix", { program: { op: "matrix" } }],
    ["an unknown dtype", { program: { ...merge.program, inputs: ["F32", "I64"] } }],
    [
      "rows without columns",
      {
        program: {
          ...merge.program,
          terms: [{ input: 0, weight: 1, scale: 1, keep: { rows: { columns: 0, rule: {} } } }],
        },
      },
    ],
    ["no policy", { policy: null }],
    ["a survey", { ...survey }],
  ] as const)("a task with %s", async (_, changes) => {
    const { inline, ranges } = message;
    const bad = { ...message, inline, ranges, task: { ...merge, ...changes } as unknown as Task };
    const init = await requestOf(routes.slice, bad);
    expect(await refusalOf(await testApp().request(routes.slice, init))).toBe("422 bad-task");
  });

  test("a task whose ranges do not hold what it reads", async () => {
    const ranges = message.ranges.map((r) => ({ ...r, end: r.end - 4 }));
    const bad = messageFor(merge, files, { ranges });
    expect(await refusalOf(await send(testApp(), bad))).toBe("422 bad-task");
    expect(await refusalOf(await send(testApp(), { ...message, inline: new Uint8Array(8) }))).toBe("422 bad-task");
  });

  test("a task that does not fit a worker's memory", async () => {
    const keep = {
      rows: { columns: 2 ** 22, rule: { op: "rank", key: [0, 0], density: 0.5, epsilon: 0.1, rescale: true } },
    };
    const terms = [{ input: 0, weight: 1, scale: 1, keep }];
    const large = { ...merge, first: 0, program: { ...merge.program, terms } } as MergeTask;
    const tiny = createInlineKernels({ module, workerBytes: 1000, now: () => 0 });
    expect(await refusalOf(await send(testApp({ kernels: tiny }), messageFor(large, files)))).toBe("422 bad-task");
  });

  test("more tasks than cores and twice as many that wait", async () => {
    const gate = Promise.withResolvers<void>();
    let most = 0;
    let running = 0;
    const slow: NodeKernels = {
      ...kernels,
      cores: 2,
      async run(task, data, signal) {
        most = Math.max(most, ++running);
        await gate.promise;
        running--;
        return kernels.run(task, data, signal);
      },
    };
    const app = testApp({ kernels: slow });
    const asked = Array.from({ length: 6 }, () => send(app, message));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const refused = await send(app, message);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
    gate.resolve();
    expect((await Promise.all(asked)).map((r) => r.status)).toEqual([200, 200, 200, 200, 200, 200]);
    expect(most).toBe(2);
    expect((await send(app, message)).status).toBe(200);
  });

  test("more requests than connections", async () => {
    const gate = Promise.withResolvers<void>();
    const slow: NodeKernels = { ...kernels, cores: 9, run: (...all) => gate.promise.then(() => kernels.run(...all)) };
    const app = testApp({ kernels: slow, limits: { connections: 2 } });
    const asked = [send(app, message), send(app, message)];
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await app.request(routes.health)).status).toBe(503);
    gate.resolve();
    await Promise.all(asked);
    expect((await app.request(routes.health)).status).toBe(200);
  });

  test("lengths and encodings by the headers alone", () => {
    const of = (headers: Record<string, string>) => () => declaredLength(new Headers(headers), 10);
    expect(of({ "content-length": "10" })()).toBe(10);
    expect(of({})()).toBe(null);
    expect(of({ "content-length": "11" })).toThrow("limit is 10");
    expect(of({ "content-encoding": "br" })).toThrow("content encodings");
  });
});

describe("what a node reads itself", () => {
  const path = { file: 0, path: "/models/a", version: "40000" };
  const located = messageFor(merge, files, { locators: [path] });
  const reach: Reach = {
    roots: ["/models"],
    hosts: [],
    openPath(name) {
      if (name !== "/models/a") throw new LocatorError(403, "outside");
      return memorySource(name, files[0]!);
    },
  };

  test("is a file below a root, and the rest is inline", async () => {
    const answer = await answerOf(await send(testApp({ reach }), located));
    const inline = await answerOf(await send(testApp(), messageFor(merge, files)));
    expect(answer.output).toEqual(inline.output);
  });

  test("is nothing unless it is told so", async () => {
    expect(await refusalOf(await send(testApp(), located))).toBe("403 denied");
  });

  test("is not a file that changed, or lies elsewhere", async () => {
    const changed = messageFor(merge, files, { locators: [{ ...path, version: "1" }] });
    expect(await refusalOf(await send(testApp({ reach }), changed))).toBe("409 changed");
    const outside = messageFor(merge, files, { locators: [{ ...path, path: "/models/../etc/passwd" }] });
    expect(await refusalOf(await send(testApp({ reach }), outside))).toBe("403 denied");
  });
});

describe("a node that is told to end", () => {
  test("answers what was begun, refuses what comes, and says so", async () => {
    const begun = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const slow: NodeKernels = {
      ...kernels,
      async run(...all) {
        begun.resolve();
        await go.promise;
        return kernels.run(...all);
      },
    };
    const app = testApp({ kernels: slow });
    const first = send(app, messageFor(merge, files));
    await begun.promise;
    let ended = false;
    const drained = app.drain(60_000).then(() => {
      ended = true;
    });
    const late = await send(app, messageFor(merge, files));
    expect([late.headers.get("retry-after"), await refusalOf(late)]).toEqual(["30", "503 draining"]);
    expect((await app.request(routes.about)).status).toBe(503);
    expect((await app.request(routes.health)).status).toBe(200);
    expect(ended).toBe(false);
    go.resolve();
    expect((await first).status).toBe(200);
    await drained;
  });

  test("waits no longer than it is allowed to", async () => {
    const app = testApp({ kernels: { ...kernels, run: () => new Promise(() => {}) } });
    void send(app, messageFor(merge, files));
    await new Promise((later) => setTimeout(later, 5));
    await app.drain(10);
  });
});
