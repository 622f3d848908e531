// Cloudflare's entry, bundled as it is deployed, in workerd.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Miniflare } from "miniflare";
import type { Fetch } from "../../src/remote/client.ts";
import { edgeLimits } from "../../src/remote/edge.ts";
import { routes } from "../../src/remote/wire.ts";
import { messageFor, refusalOf, requestOf } from "../remote/fixture.ts";
import { about, bundles, expectSameMerge, mergeRandom, token } from "./fixture.ts";

const { bundleFunction, compatibilityDate, kernelsPath } = bundles;
let code = "";
const running: Miniflare[] = [];

async function start(bindings: Record<string, string>): Promise<Fetch> {
  const worker = new Miniflare({
    modules: [
      { type: "ESModule", path: "worker.js", contents: code },
      { type: "CompiledWasm", path: "kernels.wasm", contents: readFileSync(kernelsPath) },
    ],
    compatibilityDate,
    bindings,
    host: "127.0.0.1",
    port: 0,
  });
  running.push(worker);
  const { origin } = await worker.ready;
  return (url, init) => fetch(origin + new URL(url).pathname, init);
}

let node: Fetch;
beforeAll(async () => {
  code = await bundleFunction("cloudflare");
  node = await start({ BRAID_TOKEN: token, BRAID_INSTANCES: "3" });
}, 60_000);
afterAll(async () => {
  for (const worker of running) await worker.dispose();
});

describe("in workerd", () => {
  test("the bundle has no module of Node, and no kernels as text", () => {
    const imports = [...code.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["'`]([^"'`]+)["'`]/g)].map(([, name]) => name);
    expect(imports).toEqual(["./kernels.wasm"]);
    expect(code).not.toContain(readFileSync(kernelsPath).subarray(0, 60).toString("base64"));
  });

  test("it says what it is and takes", async () => {
    const { runtime, cores, limits, roots } = await about(node);
    expect([runtime, cores, roots]).toEqual(["workerd", 3, []]);
    expect(limits.sliceBytes).toBe(edgeLimits.cloudflare.sliceBytes);
  });

  test("the demo recipe gives the same SHA-256", () => expectSameMerge(node), 60_000);

  test("a request of nearly 8 MiB is merged; a larger one is refused before it is read", async () => {
    const { sliceBytes } = edgeLimits.cloudflare;
    expect(await mergeRandom(node, Math.floor(sliceBytes / 6))).toBeGreaterThan(0.99 * sliceBytes);
    await expect(mergeRandom(node, sliceBytes / 2)).rejects.toThrow(/the limit is 8650816 \(413\)/);
  }, 60_000);

  test("without its secret it answers nothing but that", async () => {
    const open = await start({});
    await expect(about(open, null)).rejects.toThrow("this node has no token: set the secret BRAID_TOKEN");
    await expect(about(await start({ BRAID_TOKEN: "short" }), "short")).rejects.toThrow("of at least 32 bytes");
  }, 60_000);

  test("another token is refused, and so is an unsigned task", async () => {
    await expect(about(node, `${token}x`)).rejects.toThrow("the signature is wrong (401)");
    const task = { kind: "survey", id: 0, first: 0, count: 1, inputs: [], dtypes: [] } as never;
    const message = messageFor(task, [], { ranges: [] });
    const response = await node(`https://node0${routes.survey}`, await requestOf(routes.survey, message));
    expect(await refusalOf(response)).toBe("401 denied");
  });
});
