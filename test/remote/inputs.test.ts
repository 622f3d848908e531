// A coordinator's inputs by signed addresses: what they give, what they refuse, and merges by nodes that fetch them.

import { beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Job } from "../../src/exec/executor.ts";
import { fileOpener } from "../../src/exec/local.ts";
import type { Fetch } from "../../src/remote/client.ts";
import { createInputs, inputMs } from "../../src/remote/inputs.ts";
import { type NodeLimits, nodeLimits } from "../../src/remote/limits.ts";
import { checkAddress, type Reach, readRanges } from "../../src/remote/locate.ts";
import { inputRoute } from "../../src/remote/wire.ts";
import { withTempFolder } from "../support/host.ts";
import { clock, testApp } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes } from "./nodes.ts";

const origin = "http://10.0.0.5:7500";
const key = new Uint8Array(32).fill(3);
const today = 1_790_000_000_000;
const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 37) >> 3);

let alone = "";
beforeAll(async () => {
  alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
});

const inputsOf = (job: Job, now = () => today, limits: NodeLimits = nodeLimits) =>
  createInputs({ job, jobId: "a1", opener: fileOpener, key, today: now, limits });

/** Two files, the second of which is an output. */
async function served<T>(
  use: (s: {
    path: string;
    ask: (url: string, headers?: Record<string, string>) => Promise<Response>;
    url: string;
  }) => Promise<T>,
  now = () => today,
): Promise<T> {
  return withTempFolder(async (temp) => {
    const path = join(temp, "model.safetensors");
    writeFileSync(path, bytes);
    const files = [
      { path, mode: "read" as const },
      { path: join(temp, "other"), mode: "read" as const },
      { path: join(temp, "out"), mode: "write" as const },
    ];
    const inputs = inputsOf({ files, workerBytes: 0 }, now);
    const { url } = await inputs.at(origin).locate(0);
    return use({
      path,
      url,
      ask: async (to, headers = {}) => inputs.app.request(to.slice(origin.length), { headers }),
    });
  });
}

describe("an address of an input", () => {
  test("gives the range that is asked for, and says which it is", () =>
    served(async ({ ask, url }) => {
      // More than a piece, from the middle of one to the middle of another.
      const response = await ask(url, { range: "bytes=1000-2500000" });
      expect([response.status, response.headers.get("content-range")]).toEqual([206, "bytes 1000-2500000/3000000"]);
      expect(Buffer.from(await response.arrayBuffer()).equals(bytes.slice(1000, 2_500_001))).toBe(true);
    }));

  test.each<[string, (url: string) => string, Record<string, string>, number]>([
    ["no range", (u) => u, {}, 416],
    ["several ranges", (u) => u, { range: "bytes=0-1,4-5" }, 416],
    ["a range without an end", (u) => u, { range: "bytes=5-" }, 416],
    ["a range beyond the end", (u) => u, { range: "bytes=2999999-3000000" }, 416],
    ["a range that is none", (u) => u, { range: "bytes=5-4" }, 416],
    ["more than a slice may have", (u) => u, { range: `bytes=0-${nodeLimits.sliceBytes}` }, 413],
    ["another version", (u) => u, { range: "bytes=0-9", "if-match": '"5-5"' }, 412],
    ["another file", (u) => u.replace("/a1/0", "/a1/1"), { range: "bytes=0-9" }, 403],
    ["an output", (u) => u.replace("/a1/0", "/a1/2"), { range: "bytes=0-9" }, 403],
    ["another job", (u) => u.replace("/a1/", "/a2/"), { range: "bytes=0-9" }, 403],
    ["a longer time", (u) => u.replace("until=1", "until=2"), { range: "bytes=0-9" }, 403],
    ["another state", (u) => u.replace("version=3", "version=4"), { range: "bytes=0-9" }, 403],
    ["another signature", (u) => u.slice(0, -1) + (u.endsWith("0") ? "1" : "0"), { range: "bytes=0-9" }, 403],
    ["no signature", (u) => u.replace(/signature=\w+/, ""), { range: "bytes=0-9" }, 403],
    ["a path", (u) => u.replace("/a1/0", "/a1/..%2f..%2fetc%2fpasswd"), { range: "bytes=0-9" }, 403],
    ["something else", () => `${origin}/about`, { range: "bytes=0-9" }, 404],
  ])("with %s is refused", (_, change, headers, status) =>
    served(async ({ ask, url }) => {
      expect((await ask(url, { range: "bytes=0-9" })).status).toBe(206);
      expect((await ask(change(url), headers)).status).toBe(status);
    }),
  );

  test("is good for ten minutes", async () => {
    expect(inputMs).toBe(600_000);
    let now = today;
    await served(
      async ({ ask, url }) => {
        now = today + inputMs - 1;
        expect((await ask(url, { range: "bytes=0-9" })).status).toBe(206);
        now = today + inputMs;
        expect((await ask(url, { range: "bytes=0-9" })).status).toBe(403);
      },
      () => now,
    );
  });

  test("is not good for a file that changed", () =>
    served(async ({ ask, url, path }) => {
      appendFileSync(path, "x");
      expect((await ask(url, { range: "bytes=0-9" })).status).toBe(412);
      writeFileSync(path, bytes);
      utimesSync(path, 5, 5);
      expect((await ask(url, { range: "bytes=0-9" })).status).toBe(412);
    }));

  test("is busy above the limit of ranges, and free again when they are over", async () => {
    await withTempFolder(async (temp) => {
      const path = join(temp, "in");
      writeFileSync(path, bytes);
      const job: Job = { files: [{ path, mode: "read" }], workerBytes: 0 };
      const inputs = inputsOf(job, () => today, { ...nodeLimits, connections: 2 });
      const { url } = await inputs.at(origin).locate(0);
      const ask = async () => inputs.app.request(url.slice(origin.length), { headers: { range: "bytes=0-2999999" } });
      const open = [await ask(), await ask()];
      expect((await ask()).status).toBe(503);
      await open[0]!.body!.cancel();
      const next = await ask();
      expect(next.status).toBe(206);
      expect((await next.arrayBuffer()).byteLength).toBe(3_000_000);
      expect((await ask()).status).toBe(206);
    });
  });
});

describe("a node's owner who allows a coordinator", () => {
  const reach: Reach = { roots: [], hosts: ["hub.example"], origins: [origin], resolve: async () => ["1.1.1.1"] };
  const outcome = (url: string) =>
    checkAddress(url, reach).then(
      () => "allowed",
      () => "refused",
    );

  test.each([
    [`${origin}${inputRoute}a1/0?signature=x`, "allowed"],
    [`${origin}/about`, "refused"],
    [`${origin}${inputRoute}../../about`, "refused"],
    [`http://user@10.0.0.5:7500${inputRoute}a1/0`, "refused"],
    [`http://10.0.0.5${inputRoute}a1/0`, "refused"],
    [`http://10.0.0.5:7501${inputRoute}a1/0`, "refused"],
    [`https://10.0.0.5:7500${inputRoute}a1/0`, "refused"],
    [`http://10.0.0.6:7500${inputRoute}a1/0`, "refused"],
    [`http://127.0.0.1:7500${inputRoute}a1/0`, "refused"],
    [`http://169.254.169.254${inputRoute}a1/0`, "refused"],
  ])("%s is %s", async (url, want) => {
    expect(await outcome(url)).toBe(want);
  });

  test("does not allow redirects from it or to it", async () => {
    const asked: string[] = [];
    const redirecting = (from: string, to: string): Reach => ({
      ...reach,
      fetch: async (url) => {
        asked.push(url);
        if (url.startsWith(from)) return new Response(null, { status: 302, headers: { location: to } });
        return new Response("12", { status: 206, headers: { "content-range": "bytes 0-1/2" } });
      },
    });
    const read = (from: string, to: string) =>
      readRanges(
        [{ file: 0, start: 0, end: 2 }],
        [{ file: 0, url: from, version: null }],
        new Uint8Array(),
        redirecting(from, to),
        nodeLimits,
        clock,
      );
    const input = `${origin}${inputRoute}a1/0`;
    await expect(read(input, "https://hub.example/b")).rejects.toThrow("does not redirect");
    await expect(read("https://hub.example/a", input)).rejects.toThrow("only https");
    expect(asked).toEqual([input, "https://hub.example/a"]);
  });
});

describe("a merge by nodes that fetch inputs from the coordinator", () => {
  for (const [name, broken] of [
    ["", false],
    [", and one whose fetching breaks", true],
  ] as const) {
    test(`gives the same bytes${name}`, () =>
      withTempFolder(async (temp) => {
        let fetched = 0;
        let sent = 0;
        // The other node joins late: how many tasks would fall to the first is a matter of time otherwise.
        const enough = Promise.withResolvers<void>();
        let app: ReturnType<typeof createInputs>["app"] | null = null;
        const reach = (works: boolean): Reach => ({
          roots: [],
          hosts: [],
          origins: [origin],
          fetch: async (url, init) => {
            if (!works) throw new TypeError("connection refused");
            if (++fetched > 100) enough.resolve();
            return app!.request(url.slice(origin.length), init);
          },
        });
        const apps = [testApp({ reach: reach(true) }), ...(broken ? [testApp({ reach: reach(false) })] : [])];
        const counting: Fetch = async (url, init) => {
          if (url.includes("node1/v1/")) await enough.promise;
          if (url.includes("node0/v1/")) sent += (init.body as Uint8Array).length;
          return appFetch(apps)(url, init);
        };
        const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
          nodes: apps.length,
          fetch: counting,
          executor: (job) => {
            const inputs = inputsOf(job);
            app = inputs.app;
            return { served: inputs.at(origin) };
          },
        });
        expect(sha256).toBe(alone);
        const done = reports.filter((r) => r.state === "done");
        expect(done.length).toBe(apps.length);
        expect(Math.min(...done.map((r) => r.tasks))).toBeGreaterThan(0);
        expect(fetched).toBeGreaterThan(100);
        // Requests hold programs and addresses, no tensors.
        expect(sent).toBeLessThan(400_000);
      }));
  }
});
