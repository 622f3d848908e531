// Copies of inputs on a hub: what is compared before one is used, and merges by nodes that read there.

import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FileSource } from "../../src/bytes/file.ts";
import { isBraidError } from "../../src/errors.ts";
import { fileOpener } from "../../src/exec/local.ts";
import type { Fetch } from "../../src/remote/client.ts";
import { type Copy, checkCopy, comparedBytes, copyFault, copyUrl } from "../../src/remote/copies.ts";
import { createInputs } from "../../src/remote/inputs.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import type { Reach } from "../../src/remote/locate.ts";
import { projectRoot, withTempFolder } from "../support/host.ts";
import { clock, testApp } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes, placedApp } from "./nodes.ts";

const models = ["base", "ft-add", "ft-rev", "ft-sort"];
const pathOf = (model: string) => join(projectRoot, "examples/models", model, "model.safetensors");
const baseOf = (model: string) => new URL(`https://hub.example/org/${model}/resolve/0a1b/`);
const base = readFileSync(pathOf("base"));

interface Wanted {
  readonly url: string;
  readonly headers: Record<string, string>;
}
type Spoil = (response: Response, wanted: Wanted) => Response | Promise<Response>;

/** A hub that has the example's models, under their ETags. */
function hub(spoil: Spoil = (response) => response) {
  const asked: Wanted[] = [];
  const fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const wanted = { url, headers: init.headers as Record<string, string> };
    asked.push(wanted);
    const [, model = ""] = /^https:\/\/hub\.example\/org\/([\w-]+)\/resolve\/0a1b\/model\.safetensors$/.exec(url) ?? [];
    if (!models.includes(model)) return new Response("no such file", { status: 404 });
    const bytes = readFileSync(pathOf(model));
    const etag = `"${model}-v1"`;
    if ((wanted.headers["if-match"] ?? etag) !== etag) return spoil(new Response(null, { status: 412 }), wanted);
    const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(wanted.headers.range ?? "") ?? [];
    const headers = { etag, "content-range": `bytes ${start}-${end}/${bytes.length}` };
    return spoil(new Response(bytes.subarray(Number(start), Number(end) + 1), { status: 206, headers }), wanted);
  };
  return { asked, fetch };
}

const check = async (fetch: Fetch, model = "base", url = copyUrl(baseOf(model), "model.safetensors")) => {
  const source = new FileSource(pathOf(model));
  try {
    const signal = new AbortController().signal;
    return await checkCopy(source, url, { place: `models/${model}`, fetch, clock, signal });
  } finally {
    await source.close();
  }
};

const withHeaders = (response: Response, changes: Record<string, string>, status = response.status) =>
  new Response(response.body, { status, headers: { ...Object.fromEntries(response.headers), ...changes } });

describe("a copy", () => {
  test("is asked for one byte and for its header, and keeps its ETag", async () => {
    const { asked, fetch } = hub();
    expect(await check(fetch)).toEqual({
      url: "https://hub.example/org/base/resolve/0a1b/model.safetensors",
      host: "hub.example",
      version: '"base-v1"',
    });
    expect(base.length).toBeGreaterThan(comparedBytes);
    expect(asked.map(({ headers }) => headers)).toEqual([
      { range: "bytes=0-0", "accept-encoding": "identity" },
      { range: `bytes=0-${comparedBytes - 1}`, "accept-encoding": "identity", "if-match": '"base-v1"' },
    ]);
  });

  test.each<[string, Spoil]>([
    ["a weak ETag", (r) => withHeaders(r, { etag: 'W/"base-v1"' })],
    [
      "an ETag that does not match itself",
      (r, { headers }) => (headers["if-match"] ? new Response(null, { status: 412 }) : r),
    ],
    ["another ETag each time", (r, { headers }) => withHeaders(r, { etag: `"${headers.range}"` })],
  ])("with %s is read without one", async (_, spoil) => {
    expect((await check(hub(spoil).fetch)).version).toBe(null);
  });

  test.each<[string, Spoil, string, string]>([
    [
      "has another length",
      (r) => withHeaders(r, { "content-range": "bytes 0-0/5" }),
      "input-changed",
      `it has 5 bytes, the local file ${base.length}`,
    ],
    [
      "has another byte",
      async (r, { headers }) => {
        if (headers.range === "bytes=0-0") return r;
        const bytes = new Uint8Array(await r.arrayBuffer());
        bytes[60_000]! ^= 1;
        return new Response(bytes, { status: 206, headers: r.headers });
      },
      "input-changed",
      `byte 60000 is ${base[60_000]! ^ 1}, that of the local file ${base[60_000]}`,
    ],
    ["ignores ranges", (r) => withHeaders(r, {}, 200), "file-not-found", "status 200, not 206"],
    ["hides its length", (r) => withHeaders(r, { "content-range": "bytes 0-0/*" }), "file-not-found", "the length"],
    ["breaks off", (r) => new Response(null, { status: 206, headers: r.headers }), "io", "a range has 0 bytes, not 1"],
    ["is not there", () => Promise.reject(new TypeError("refused")), "io", "nothing answers (TypeError)"],
  ])("that %s is refused", async (_, spoil, kind, says) => {
    const error = await check(hub(spoil).fetch).then(
      () => null,
      (e: unknown) => e,
    );
    if (!isBraidError(error)) throw error;
    expect(error.kind).toBe(kind as typeof error.kind);
    expect(error.message).toContain('"models/base" at "https://hub.example/org/base/resolve/0a1b/model.safetensors"');
    expect(error.message).toContain(says);
  });

  test("of another model is refused by its bytes, and one that is not there by its status", async () => {
    expect(readFileSync(pathOf("ft-add")).length).toBe(base.length);
    const { fetch } = hub();
    await expect(check(fetch, "base", copyUrl(baseOf("ft-add"), "model.safetensors"))).rejects.toThrow("byte ");
    await expect(check(fetch, "base", copyUrl(baseOf("none"), "model.safetensors"))).rejects.toThrow("status 404");
  });

  test.each([
    ["https://hub.example/org", null],
    ["https://hub.example:443/org", null],
    ["http://hub.example/org", "https"],
    ["https://hub.example:8443/org", "port 443"],
    ["https://me:secret@hub.example/org", "password"],
    ["https://hub.example/org?token=x", "query"],
  ])("at %s: %p", (url, says) => {
    const fault = copyFault(new URL(url));
    if (says === null) expect(fault).toBe(null);
    else expect(fault).toContain(says);
  });
});

describe("a merge by nodes that may fetch from a hub", () => {
  let alone = "";
  let copies: Map<string, Copy>;
  beforeAll(async () => {
    alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
    copies = new Map();
    for (const model of models) copies.set(pathOf(model), await check(hub().fetch, model));
  });

  const reachOf = (fetch: Reach["fetch"] & {}, more: Partial<Reach> = {}): Reach => ({
    roots: [],
    hosts: ["hub.example"],
    resolve: async () => ["93.184.215.14"],
    fetch,
    ...more,
  });
  /** Counts what a node is sent. */
  function sending(apps: Parameters<typeof appFetch>[0]) {
    const sent = { bytes: 0 };
    const fetch: Fetch = (url, init) => {
      if (url.includes("node0/v1/")) sent.bytes += (init.body as Uint8Array).length;
      return appFetch(apps)(url, init);
    };
    return { sent, fetch };
  }
  /** Of requests that hold programs and addresses, no tensors: those are 6 MB. */
  const little = 500_000;

  test("gives the same bytes, and sends them none", () =>
    withTempFolder(async (temp) => {
      const { asked, fetch: get } = hub();
      const { sent, fetch } = sending([testApp({ reach: reachOf(get) })]);
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch, executor: { copies } });
      expect([sha256, reports.map((r) => r.state)]).toEqual([alone, ["ready", "done"]]);
      expect(asked.length).toBeGreaterThan(100);
      expect(new Set(asked.map(({ headers }) => headers["if-match"]))).toEqual(
        new Set(models.map((model) => `"${model}-v1"`)),
      );
      expect(sent.bytes).toBeLessThan(little);
    }));

  test("sends bytes of models that are not there, and to nodes that may not fetch", () =>
    withTempFolder(async (temp) => {
      const [one, other] = [hub(), hub()];
      const some = new Map([...copies].filter(([path]) => path !== pathOf("base")));
      const apps = [
        testApp({ reach: reachOf(one.fetch) }),
        testApp({ reach: reachOf(other.fetch, { hosts: ["b.example"] }) }),
      ];
      const { sent, fetch } = sending(apps);
      const { sha256 } = await mergeWithNodes(join(temp, "out"), { nodes: 2, fetch, executor: { copies: some } });
      expect(sha256).toBe(alone);
      expect(one.asked.length).toBeGreaterThan(0);
      expect(one.asked.some(({ url }) => url.includes("/base/"))).toBe(false);
      expect(sent.bytes).toBeGreaterThan(little);
      expect(other.asked).toEqual([]);
    }));

  test("asks the coordinator when the hub has them no more, and does not name it for ever", () =>
    withTempFolder(async (temp) => {
      const origin = "http://10.0.0.5:7500";
      const gone = hub((r, { headers }) => (headers.range ? new Response(null, { status: 412 }) : r));
      let own = 0;
      let app: ReturnType<typeof createInputs>["app"] | null = null;
      const get = async (url: string, init: RequestInit) => {
        if (!url.startsWith(origin)) return gone.fetch(url, init);
        own++;
        return app!.request(url.slice(origin.length), init);
      };
      const { sent, fetch } = sending([testApp({ reach: reachOf(get, { origins: [origin] }) })]);
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 1,
        fetch,
        executor: (job) => {
          const key = new Uint8Array(32).fill(3);
          const inputs = createInputs({
            job,
            jobId: "a1",
            opener: fileOpener,
            key,
            today: () => Date.now(),
            limits: nodeLimits,
          });
          app = inputs.app;
          return { copies, served: inputs.at(origin) };
        },
      });
      expect([sha256, reports.map((r) => r.state)]).toEqual([alone, ["ready", "done"]]);
      expect(gone.asked.length).toBeGreaterThan(0);
      expect(gone.asked.length).toBeLessThan(own);
      expect(own).toBeGreaterThan(100);
      expect(sent.bytes).toBeLessThan(little);
    }));

  test("sends bytes when the hub has them no more and nobody else does", () =>
    withTempFolder(async (temp) => {
      const gone = hub(() => new Response(null, { status: 412 }));
      const { sent, fetch } = sending([testApp({ reach: reachOf(gone.fetch) })]);
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch, executor: { copies } });
      expect([sha256, reports.map((r) => r.state)]).toEqual([alone, ["ready", "done"]]);
      expect(gone.asked.length).toBeGreaterThan(0);
      expect(sent.bytes).toBeGreaterThan(little);
    }));

  test("prefers a disk that it shares", () =>
    withTempFolder(async (temp) => {
      const placed = placedApp(temp);
      const boast: Fetch = async (url, init) => {
        const response = await appFetch([placed])(url, init);
        if (!url.endsWith("/about")) return response;
        const bytes = new TextEncoder().encode(
          JSON.stringify({ ...((await response.json()) as object), hosts: ["hub.example"] }),
        );
        const { createHash } = await import("node:crypto");
        return new Response(bytes, { headers: { "braid-sha256": createHash("sha256").update(bytes).digest("hex") } });
      };
      // Its reach has no hosts: it would refuse every address, and be sent bytes.
      let sent = 0;
      const fetch: Fetch = (url, init) => {
        if (url.includes("/v1/")) sent += (init.body as Uint8Array).length;
        return boast(url, init);
      };
      const { sha256 } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch, executor: { copies } });
      expect(sha256).toBe(alone);
      expect(sent).toBeLessThan(little);
    }));
});
