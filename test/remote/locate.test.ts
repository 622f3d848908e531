// What a locator may name: https, port 443, an allowed host with public addresses only, and every redirect again.

import { describe, expect, test } from "bun:test";
import { realClock } from "../../src/remote/clock.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { checkAddress, isPublicAddress, LocatorError, type Reach, readRanges } from "../../src/remote/locate.ts";

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
const clock = realClock(() => performance.now());
const empty = new Uint8Array();
const names: Record<string, string[]> = {
  "hub.example": ["93.184.215.14"],
  "cdn.example": ["2606:2800:21f::1"],
  "inside.example": ["10.1.2.3"],
  "both.example": ["93.184.215.14", "169.254.169.254"],
  "none.example": [],
};

type Answer = (url: string, init: RequestInit) => Response | Promise<Response>;
function reachOf(answer: Answer, hosts = [...Object.keys(names), "169.254.169.254", "::1"]) {
  const asked: string[] = [];
  const reach: Reach = {
    roots: [],
    hosts,
    resolve: async (host) => names[host] ?? [],
    fetch: async (url, init) => {
      asked.push(url);
      return answer(url, init);
    },
  };
  return { asked, reach };
}

const range = { file: 0, start: 10, end: 20 };
const part = (init: ResponseInit = {}, body: Uint8Array<ArrayBuffer> = bytes.slice(10, 20)) =>
  new Response(body, { status: 206, ...init, headers: { "content-range": "bytes 10-19/100", ...init.headers } });

async function read(
  answer: Answer,
  url = "https://hub.example/a",
  version: string | null = null,
  hosts?: string[],
): Promise<{ asked: string[]; outcome: string | number }> {
  const { asked, reach } = reachOf(answer, hosts);
  try {
    const got = await readRanges([range], [{ file: 0, url, version }], empty, reach, nodeLimits, clock);
    return { asked, outcome: [...got].join() };
  } catch (e) {
    if (!(e instanceof LocatorError)) throw e;
    return { asked, outcome: e.status };
  }
}

test.each([
  ...["0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8"],
  ...["192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "255.255.255.255"],
  ...["::", "::1", "::ffff:10.0.0.1", "::ffff:a00:1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "64:ff9b::a00:1"],
  ...["2001::1", "2001:db8::1", "2002:a00:1::", "3fff::1", "1.2.3", "256.1.1.1", "a", "", "1::2::3", "12345::"],
])("%j is no public address", (address) => {
  expect(isPublicAddress(address)).toBe(false);
});

test.each(["93.184.215.14", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001:81b::200e"])(
  "%j is a public address",
  (address) => {
    expect(isPublicAddress(address)).toBe(true);
  },
);

describe("an address", () => {
  test.each([
    "http://hub.example/a",
    "https://hub.example:8443/a",
    "https://user@hub.example/a",
    "https://other.example/a",
    "https://inside.example/a",
    "https://both.example/a",
    "https://none.example/a",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/a",
    "https://2852039166/a",
    "file:///etc/passwd",
    "not an address",
  ])("%s is refused before anything is asked for", async (url) => {
    expect(await read(() => part(), url)).toEqual({ asked: [], outcome: 403 });
  });

  test("of an allowed host is read by range, with the version that was planned with", async () => {
    let sent: Record<string, string> = {};
    const answer: Answer = (_, init) => {
      sent = init.headers as Record<string, string>;
      return part({ headers: { etag: '"v1"' } });
    };
    expect((await read(answer, "https://hub.example/a", '"v1"')).outcome).toBe("10,11,12,13,14,15,16,17,18,19");
    expect(sent).toEqual({ range: "bytes=10-19", "accept-encoding": "identity", "if-match": '"v1"' });
  });

  test("needs names to be looked up", async () => {
    await expect(checkAddress("https://hub.example", { roots: [], hosts: ["hub.example"] })).rejects.toThrow("public");
  });
});

describe("redirects", () => {
  const to = (location: string) => new Response(null, { status: 302, headers: { location } });

  test("are followed to allowed hosts", async () => {
    const answer: Answer = (url) => (url.includes("hub") ? to("https://cdn.example/b") : part());
    const { asked, outcome } = await read(answer);
    expect(asked).toEqual(["https://hub.example/a", "https://cdn.example/b"]);
    expect(outcome).toBe("10,11,12,13,14,15,16,17,18,19");
  });

  test.each(["http://hub.example/", "https://169.254.169.254/", "https://inside.example/", "https://evil.example/"])(
    "to %s are refused",
    async (location) => {
      expect(await read(() => to(location))).toEqual({ asked: ["https://hub.example/a"], outcome: 403 });
    },
  );

  test("are followed five times", async () => {
    expect(nodeLimits.redirects).toBe(5);
    const { asked, outcome } = await read((url) => to(`${url}x`));
    expect([asked.length, outcome]).toEqual([6, 502]);
  });
});

test.each<[string, () => Response, number]>([
  ["the whole file instead of a range", () => part({ status: 200 }), 502],
  ["no Content-Range", () => new Response(bytes.slice(10, 20), { status: 206 }), 502],
  ["another range", () => part({ headers: { "content-range": "bytes 0-9/100" } }), 502],
  ["too few bytes", () => part({}, bytes.slice(10, 19)), 502],
  ["too many bytes", () => part({}, bytes.slice(10, 21)), 502],
  ["a content encoding", () => part({ headers: { "content-encoding": "gzip" } }), 502],
  ["that the file changed", () => part({ status: 412 }), 409],
  ["another version", () => part({ headers: { etag: '"v2"' } }), 409],
  ["an error", () => part({ status: 503 }), 502],
])("a server that answers with %s is not believed", async (_, answer, status) => {
  expect((await read(answer, "https://hub.example/a", '"v1"')).outcome).toBe(status);
});
