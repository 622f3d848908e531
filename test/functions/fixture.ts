// What the tests of every host share: the demo merge through a node that is nothing but a fetch.

import { expect } from "bun:test";
import { join } from "node:path";

import { goldenTask } from "../../src/remote/audit.ts";
import { type Fetch, NodeClient } from "../../src/remote/client.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import type { About } from "../../src/remote/wire.ts";
import { clock, kernels } from "../remote/fixture.ts";
import { mergeAlone, mergeWithNodes } from "../remote/nodes.ts";
import { projectRoot, withTempFolder } from "../support/host.ts";

export const token = "an edge node's secret of 32 bytes";

/** Runs `load` while the environment holds the secret, as the entries find it when they are loaded. */
export async function withToken<T>(load: () => Promise<T>, value: string | undefined = token): Promise<T> {
  const before = process.env.BRAID_TOKEN;
  if (value === undefined) delete process.env.BRAID_TOKEN;
  else process.env.BRAID_TOKEN = value;
  try {
    return await load();
  } finally {
    if (before === undefined) delete process.env.BRAID_TOKEN;
    else process.env.BRAID_TOKEN = before;
  }
}

export const clientOf = (fetch: Fetch, secret: string | null = token) =>
  new NodeClient(
    { url: "https://node0", token: secret },
    { fetch, clock, today: () => Date.now(), job: "job", kernel: kernels.sha256, limits: nodeLimits },
  );

export const about = (fetch: Fetch, secret: string | null = token): Promise<About> =>
  clientOf(fetch, secret).about(new AbortController().signal);

/** Sends a DARE merge of `count` elements of three bf16 inputs, and checks what comes back; returns the size of its inputs. */
export async function mergeRandom(fetch: Fetch, count: number): Promise<number> {
  const { task, data } = goldenTask(count);
  let at = 0;
  const fill = ({ start, end }: { start: number; end: number }, target: Uint8Array) => {
    target.set(data.bytes.subarray(at, at + end - start));
    at += end - start;
  };
  const { signal } = new AbortController();
  const got = await clientOf(fetch).run({ task, ranges: data.ranges, locators: [], fill, target: null }, 1, signal);
  const want = await kernels.run(task, data, signal);
  expect(got.output.length).toBe(2 * count);
  expect(Buffer.from(got.output).equals(Buffer.from(want.output))).toBe(true);
  return data.bytes.length;
}

/** tools/ is plain JavaScript. */
export const bundles = (await import(join(projectRoot, "tools/functions.mjs"))) as {
  bundleFunction(name: string): Promise<string>;
  readonly compatibilityDate: string;
  readonly hostNames: readonly string[];
  readonly kernelsPath: string;
};

let alone: Promise<string> | undefined;

/** The demo recipe with this node and nothing else, against the same recipe without nodes. */
export async function expectSameMerge(fetch: Fetch, least = 50): Promise<void> {
  alone ??= withTempFolder((temp) => mergeAlone(join(temp, "out")));
  const want = await alone;
  await withTempFolder(async (temp) => {
    const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 1, token, fetch });
    expect(sha256).toBe(want);
    expect(reports.map((r) => r.state)).toEqual(["ready", "done"]);
    expect(reports.at(-1)!.tasks).toBeGreaterThan(least);
  });
}
