// Files behind addresses: hosts that are not as they should be cost an error, never a wrong byte.

import { describe, expect, test } from "bun:test";
import { mountUrl } from "../../src/web/intake.ts";
import { type Fetch, probeUrl, UrlSource } from "../../src/web/url-source.ts";

const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 10)) & 255);
const url = "https://host.test/model.safetensors";

/** A host with one file, as one should be; `change` makes it another. */
function host(
  change: (
    answer: { status: number; headers: Record<string, string>; body: Uint8Array<ArrayBuffer> },
    call: number,
  ) => unknown = () => {},
) {
  const asked: string[] = [];
  const fetch: Fetch = async (_, init) => {
    const range = (init.headers as { range: string }).range;
    asked.push(range);
    const [start, last] = /(\d+)-(\d+)/.exec(range)!.slice(1).map(Number) as [number, number];
    const end = Math.min(last + 1, bytes.length);
    const answer = {
      status: 206,
      headers: { "content-range": `bytes ${start}-${end - 1}/${bytes.length}`, etag: '"v1"' } as Record<string, string>,
      body: bytes.slice(start, end),
    };
    await change(answer, asked.length);
    return new Response(answer.body, { status: answer.status, headers: answer.headers });
  };
  return { fetch, asked };
}
const facts = { byteLength: bytes.length, etag: '"v1"' };
const read = async (fetch: Fetch, start = 100, length = 1_000) => {
  const target = new Uint8Array(length);
  await new UrlSource(url, facts, fetch).read(start, target);
  return target;
};

test("asks one byte for a file's length and tag", async () => {
  const { fetch, asked } = host();
  expect(await probeUrl(url, fetch)).toEqual(facts);
  expect(asked).toEqual(["bytes=0-0"]);
  expect(await probeUrl(url, async () => new Response(null, { status: 404 }))).toBeNull();
});

test("reads what is asked for, and what follows from the same answer", async () => {
  const { fetch, asked } = host();
  const source = new UrlSource(url, facts, fetch);
  for (const [start, length] of [
    [100, 1_000],
    [1_100, 5_000],
    [2_900_000, 100_000],
    [0, 3_000_000],
  ] as const) {
    const target = new Uint8Array(length);
    await source.read(start, target);
    expect(Buffer.compare(target, bytes.subarray(start, start + length))).toBe(0);
  }
  expect(asked).toHaveLength(3);
});

describe("refuses", () => {
  for (const [what, change, message] of [
    ["the whole file for a range", (a) => (a.status = 200), "does not answer ranges"],
    ["another range", (a) => (a.headers["content-range"] = "bytes 0-999/3000000"), "holds bytes 0 to 1000"],
    ["a range that is not said", (a) => delete a.headers["content-range"], "does not say which bytes"],
    [
      "another length",
      (a) => (a.headers["content-range"] = a.headers["content-range"]!.replace("3000000", "3000001")),
      "changed on the server",
    ],
    ["another tag", (a) => (a.headers.etag = '"v2"'), "changed on the server"],
    ["a precondition that failed", (a) => (a.status = 412), "changed on the server"],
    ["an encoded answer", (a) => (a.headers["content-encoding"] = "br"), "encoded"],
    ["a page that says no", (a) => (a.status = 403), "answered 403"],
  ] as const satisfies readonly (readonly [
    string,
    (a: { status: number; headers: Record<string, string> }) => unknown,
    string,
  ])[]) {
    test(what, async () => {
      await expect(read(host(change).fetch)).rejects.toThrow(message);
    });
  }
});

test("tries again when a server is busy, a connection breaks, or a body ends early", async () => {
  const { fetch, asked } = host((answer, call) => {
    if (call === 1) throw new TypeError("connection reset");
    if (call === 2) answer.status = 503;
    if (call === 3) answer.body = answer.body.slice(0, 10);
  });
  expect(await read(fetch)).toEqual(bytes.slice(100, 1_100));
  expect(asked).toHaveLength(4);
});

test("a folder's address becomes a model: index, shards and what lies beside them", async () => {
  const there: Record<string, string> = {
    "model.safetensors.index.json": JSON.stringify({
      weight_map: { a: "s-1.safetensors", b: "s-2.safetensors", c: "../x.safetensors" },
    }),
    "s-1.safetensors": "one",
    "s-2.safetensors": "two",
    "config.json": "{}",
  };
  const asked: string[] = [];
  const fetch: Fetch = async (address, init) => {
    const name = new URL(address).pathname.replace("/org/model/resolve/main/", "");
    asked.push(name);
    const text = there[name];
    if (text === undefined) return new Response(null, { status: 404 });
    if (!(init.headers as { range?: string } | undefined)?.range) return new Response(text);
    return new Response(text.slice(0, 1), { status: 206, headers: { "content-range": `bytes 0-0/${text.length}` } });
  };
  const mount = await mountUrl("https://host.test/org/model/resolve/main", "https://page.test/", fetch);
  expect(mount.name).toBe("model");
  expect([...mount.files.keys()]).toEqual([
    "model.safetensors.index.json",
    "s-1.safetensors",
    "s-2.safetensors",
    "config.json",
  ]);
  expect(asked.some((name) => name.includes(".."))).toBe(false);
  await expect(mountUrl("ftp://host.test/x", "https://page.test/", fetch)).rejects.toThrow("https://");
  await expect(mountUrl("https://host.test/none", "https://page.test/", fetch)).rejects.toThrow("there is no");
});

test("asks again where no answer comes, and where one stops coming", async () => {
  for (const silent of ["before", "within"] as const) {
    const { fetch, asked } = host();
    let calls = 0;
    const slow: Fetch = (address, init) => {
      if (++calls > 1) return fetch(address, init);
      if (silent === "before")
        return new Promise((_, reject) =>
          init.signal!.addEventListener("abort", () => reject(init.signal!.reason), { once: true }),
        );
      const body = new ReadableStream({ start: (c) => c.enqueue(bytes.slice(100, 600)) });
      const headers = { "content-range": `bytes 100-1048675/${bytes.length}`, etag: '"v1"' };
      return Promise.resolve(new Response(body, { status: 206, headers }));
    };
    const target = new Uint8Array(1_000);
    await new UrlSource(url, facts, slow, 50).read(100, target);
    expect(Buffer.compare(target, bytes.subarray(100, 1_100))).toBe(0);
    expect([calls, asked.length]).toEqual([2, 1]);
  }
});

test("gives up on a server that never answers, and says so", async () => {
  const never: Fetch = (_, init) =>
    new Promise((_, reject) =>
      init.signal!.addEventListener("abort", () => reject(init.signal!.reason), { once: true }),
    );
  const failure = await probeUrl(url, never, 10).catch((e: Error) => e);
  expect((failure as Error).message).toContain("it said nothing for 0.01 s");
});
