// What is the same for all entries; and Vercel's and Deno Deploy's, which are a fetch.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Fetch } from "../../src/remote/client.ts";
import { createEdgeNode, edgeLimits, version } from "../../src/remote/edge.ts";
import { frameOverhead, nodeLimits } from "../../src/remote/limits.ts";
import { resolveOverHttps } from "../../src/remote/resolve.ts";
import { module } from "../remote/fixture.ts";
import { projectRoot } from "../support/host.ts";
import { about, bundles, expectSameMerge, mergeRandom, token, withToken } from "./fixture.ts";

const { hostNames } = bundles;
type Handler = (request: Request, info: { remoteAddr: { hostname: string } }) => Response | Promise<Response>;

const entries = readdirSync(join(projectRoot, "functions")).filter((f) => f.endsWith(".ts") && !f.endsWith(".d.ts"));

describe("entries", () => {
  test("there is one for every host that is bundled, and a page", () => {
    expect(entries.map((f) => f.slice(0, -3)).sort()).toEqual([...hostNames].sort());
    const pages = readdirSync(join(projectRoot, "docs/functions"));
    expect(pages.filter((p) => p !== "README.md").sort()).toEqual([...hostNames].sort().map((n) => `${n}.md`));
  });

  test("each has fewer than 20 lines", () => {
    const lines = entries.map(
      (f) =>
        readFileSync(join(projectRoot, "functions", f), "utf8")
          .trimEnd()
          .split("\n").length,
    );
    expect(Math.max(...lines)).toBeLessThan(20);
    expect(Math.min(...lines)).toBeGreaterThan(5);
  });

  test("the version is the package's", () => {
    const manifest = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8")) as { version: string };
    expect(version).toBe(manifest.version);
  });

  test("bodies fit Vercel's 4.5 MB, and what an isolate of 128 MB holds", () => {
    const { sliceBytes } = edgeLimits.vercel;
    expect(sliceBytes + frameOverhead(nodeLimits)).toBeLessThan(4_500_000);
    const cf = edgeLimits.cloudflare;
    expect((cf.queueFactor + 1 + 2) * cf.sliceBytes + cf.workerBytes).toBeLessThan(96 * 1024 * 1024);
  });
});

const asFetch =
  (handler: (request: Request) => Response | Promise<Response>): Fetch =>
  (url, init) =>
    handler(new Request(url, { ...init, headers: { ...(init.headers as object), ...lengthOf(init) } }));

const lengthOf = ({ body }: RequestInit) =>
  body instanceof Uint8Array ? { "content-length": String(body.length) } : {};

test("Vercel: the demo recipe gives the same SHA-256, and a slice of 4 MiB is merged", async () => {
  const entry = await withToken(() => import("../../functions/vercel.ts"));
  const node = asFetch(entry.default.fetch);
  expect((await about(node)).runtime).toMatch(/^vercel v\d/);
  await expectSameMerge(node);
  const { sliceBytes } = edgeLimits.vercel;
  expect(await mergeRandom(node, Math.floor(sliceBytes / 6))).toBeGreaterThan(0.99 * sliceBytes);
}, 60_000);

test("Deno Deploy: the demo recipe gives the same SHA-256, and a slice of 16 MiB is merged", async () => {
  const served: Handler[] = [];
  const serve = (handler: Handler) => void served.push(handler);
  const world = globalThis as unknown as { Deno?: { serve: unknown } };
  const real = world.Deno?.serve;
  // Under Deno only the listening is taken away; elsewhere there is nothing else of it either.
  if (world.Deno) world.Deno.serve = serve;
  else Object.assign(world, { Deno: { version: { deno: "2.9.6" }, env: { toObject: () => process.env }, serve } });
  try {
    await withToken(() => import("../../functions/deno-deploy.ts"));
  } finally {
    if (real) world.Deno!.serve = real;
    else delete world.Deno;
  }
  expect(served.length).toBe(1);
  const node = asFetch((request) => served[0]!(request, { remoteAddr: { hostname: "203.0.113.7" } }));
  expect((await about(node)).runtime).toMatch(/^deno \d/);
  await expectSameMerge(node);
  const { sliceBytes } = edgeLimits.denoDeploy;
  expect(await mergeRandom(node, Math.floor(sliceBytes / 6))).toBeGreaterThan(0.99 * sliceBytes);
}, 60_000);

describe("a node on the edge", () => {
  const edge = (env: Record<string, string>, fetch = () => Promise.reject(new Error("no network"))) =>
    createEdgeNode({
      module,
      runtime: "test",
      limits: edgeLimits.vercel,
      env,
      fetch,
      now: () => performance.now(),
      today: () => Date.now(),
    });

  test("locks out who signs wrongly five times, and nobody else", async () => {
    const node = edge({ BRAID_TOKEN: token });
    const from = (client: string) => asFetch((request) => node(request, client));
    for (let i = 0; i < 5; i++) await expect(about(from("198.51.100.1"), `${token}x`)).rejects.toThrow("(401)");
    await expect(about(from("198.51.100.1"))).rejects.toThrow("(429)");
    expect((await about(from("198.51.100.2"))).version).toBe(version);
  });

  test("takes hosts and instances from its environment", async () => {
    const said = await about(
      asFetch(edge({ BRAID_TOKEN: token, BRAID_HOSTS: "huggingface.co, CDN.example", BRAID_INSTANCES: "20" })),
    );
    expect([said.hosts, said.cores]).toEqual([["huggingface.co", "cdn.example"], 20]);
    const plain = await about(asFetch(edge({ BRAID_TOKEN: token, BRAID_INSTANCES: "many" })));
    expect([plain.hosts, plain.cores]).toEqual([[], edgeLimits.vercel.instances]);
  });

  test("asks for addresses by https, of both kinds", async () => {
    const asked: string[] = [];
    const resolve = resolveOverHttps((url) => {
      asked.push(url);
      const answers = url.endsWith("AAAA")
        ? [{ type: 28, data: "2606:4700::6810:84e5" }]
        : [
            { type: 5, data: "alias.example." },
            { type: 1, data: "104.16.132.229" },
          ];
      return Promise.resolve(Response.json({ Status: 0, Answer: answers }));
    });
    expect(await resolve("huggingface.co")).toEqual(["104.16.132.229", "2606:4700::6810:84e5"]);
    expect(asked).toEqual([
      "https://cloudflare-dns.com/dns-query?name=huggingface.co&type=A",
      "https://cloudflare-dns.com/dns-query?name=huggingface.co&type=AAAA",
    ]);
    const unknown = resolveOverHttps(() => Promise.resolve(Response.json({ Status: 3 })));
    expect(await unknown("nowhere.example")).toEqual([]);
    const broken = resolveOverHttps(() => Promise.resolve(new Response("", { status: 500 })));
    await expect(broken("huggingface.co")).rejects.toThrow("status 500");
  });
});
