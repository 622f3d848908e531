// Lambda's entry, asked as function URLs and HTTP APIs ask: events as AWS documents them (payload format 2.0).

import { beforeAll, describe, expect, test } from "bun:test";
import type { Fetch } from "../../src/remote/client.ts";
import { edgeLimits } from "../../src/remote/edge.ts";
import { about, expectSameMerge, mergeRandom, withToken } from "./fixture.ts";

interface Answer {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: string;
  readonly isBase64Encoded: boolean;
}
type Handler = (event: never, context: never) => Promise<Answer>;

/** Of a request or an answer: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const payloadLimit = 6 * 1024 * 1024;

let handler: Handler;
beforeAll(async () => {
  ({ handler } = (await withToken(() => import("../../functions/aws-lambda.ts"))) as unknown as { handler: Handler });
});

const base64 = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");

/** What is the same in both kinds of event. */
function eventOf(url: string, init: RequestInit, domainName: string, context: object) {
  const { pathname } = new URL(url);
  const sent = init.body instanceof Uint8Array ? init.body : null;
  const headers: Record<string, string> = {
    ...(init.headers as Record<string, string>),
    host: domainName,
    "user-agent": "node",
    "x-amzn-trace-id": "Root=1-5bdb40ca-556d8b0c50dc66f0511bf520",
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-port": "443",
    "x-forwarded-proto": "https",
    ...(sent ? { "content-length": String(sent.length) } : {}),
  };
  return {
    version: "2.0",
    rawPath: pathname,
    rawQueryString: "",
    headers,
    requestContext: {
      apiId: "abcdefghij",
      domainName,
      domainPrefix: domainName.split(".")[0],
      http: {
        method: init.method ?? "GET",
        path: pathname,
        protocol: "HTTP/1.1",
        sourceIp: "203.0.113.7",
        userAgent: "node",
      },
      requestId: "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
      stage: "$default",
      time: "26/Nov/2026:19:03:58 +0000",
      timeEpoch: 1795719838000,
      ...context,
    },
    ...(sent ? { body: base64(sent), isBase64Encoded: true } : { isBase64Encoded: false }),
  };
}

const functionUrl = (url: string, init: RequestInit) => ({
  ...eventOf(url, init, "abcdefghij.lambda-url.eu-central-1.on.aws", { accountId: "anonymous", routeKey: "$default" }),
  routeKey: "$default",
});

const httpApi = (url: string, init: RequestInit) => ({
  ...eventOf(url, init, "abcdefghij.execute-api.eu-central-1.amazonaws.com", {
    accountId: "123456789012",
    routeKey: "ANY /{proxy+}",
  }),
  routeKey: "ANY /{proxy+}",
  pathParameters: { proxy: new URL(url).pathname.slice(1) },
});

const largest = { event: 0, answer: 0 };

/** As AWS does it: the event and the answer travel as JSON and are refused above the limit. */
const invoke =
  (event: typeof functionUrl): Fetch =>
  async (url, init) => {
    const asked = JSON.stringify(event(url, init));
    largest.event = Math.max(largest.event, asked.length);
    if (asked.length > payloadLimit) return new Response("Request Too Long", { status: 413 });
    const answered = JSON.stringify(await handler(JSON.parse(asked) as never, {} as never));
    largest.answer = Math.max(largest.answer, answered.length);
    if (answered.length > payloadLimit) return new Response("Internal Server Error", { status: 502 });
    const { statusCode, headers, body, isBase64Encoded } = JSON.parse(answered) as Answer;
    return new Response(isBase64Encoded ? Buffer.from(body, "base64") : body, { status: statusCode, headers });
  };

describe("on Lambda", () => {
  for (const [name, event] of [
    ["a function URL", functionUrl],
    ["an HTTP API", httpApi],
  ] as const) {
    test(`${name}: it says what it is, and the demo recipe gives the same SHA-256`, async () => {
      const { runtime, cores, limits } = await about(invoke(event));
      expect(runtime).toMatch(/^lambda v\d/);
      expect([cores, limits.sliceBytes]).toEqual([edgeLimits.awsLambda.instances, 4 * 1024 * 1024]);
      await expectSameMerge(invoke(event));
    }, 60_000);
  }

  test("the largest slice fits the payload of 6 MB, both ways", async () => {
    const { sliceBytes } = edgeLimits.awsLambda;
    expect(await mergeRandom(invoke(functionUrl), Math.floor(sliceBytes / 6))).toBeGreaterThan(0.99 * sliceBytes);
    expect(largest.event).toBeGreaterThan(5.5e6);
    expect(largest.event).toBeLessThan(payloadLimit);
    // With the longest descriptor, in base64, and the headers of an event.
    expect(Math.ceil((sliceBytes + 256 * 1024 + 64) / 3) * 4 + 8192).toBeLessThan(payloadLimit);
    await expect(mergeRandom(invoke(functionUrl), sliceBytes / 2)).rejects.toThrow("413");
  }, 60_000);
});
