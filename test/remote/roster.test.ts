// Nodes that come and go while a merge goes on, and nodes of which several must agree: the bytes are the same.

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Fetch } from "../../src/remote/client.ts";
import { realClock } from "../../src/remote/clock.ts";
import type { NodesExecutor } from "../../src/remote/executor.ts";
import { decodeFrame } from "../../src/remote/frame.ts";
import type { NodeKernels } from "../../src/remote/kernels.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { routes, type TaskMessage } from "../../src/remote/wire.ts";
import { withTempFolder } from "../support/host.ts";
import { kernels, testApp } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes, now } from "./nodes.ts";

let alone = "";
beforeAll(async () => {
  alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
});

/** Calls `then` when so many tasks were sent. */
function after(count: number, fetch: Fetch, then: () => void): Fetch {
  let sent = 0;
  return (url, init) => {
    if (url.includes("/v1/") && ++sent === count) then();
    return fetch(url, init);
  };
}
const address = (i: number) => ({ url: `http://node${i}`, token: null });
const tasksOf = (reports: readonly { url: string; tasks: number }[], url: string) =>
  Math.max(0, ...reports.filter((r) => r.url === url).map((r) => r.tasks));

const messageOf = (url: string, { body }: { body?: unknown }) =>
  url.includes("/v1/") && body
    ? (decodeFrame(body as Uint8Array<ArrayBuffer>, nodeLimits.descriptorBytes) as TaskMessage)
    : null;
/** Above zero for a task of the merge, below it for the test that a node passes before. */
const leaseOf = (...request: Parameters<typeof messageOf>) => messageOf(...request)?.lease ?? 0;

describe("during a merge", () => {
  test("a node that was down comes up, and takes its share", () =>
    withTempFolder(async (temp) => {
      const apps = appFetch([testApp(), testApp()]);
      const sent = [0, 0];
      const share = Promise.withResolvers<void>();
      const fetch: Fetch = async (url, init) => {
        const node = url.startsWith("http://node1") ? 1 : 0;
        if (node === 1 && sent[0]! < 10) throw new Error("connection refused");
        if (leaseOf(url, init) > 0 && ++sent[node]! === 6 && node === 1) share.resolve();
        // Else it might have done everything before the other one is asked again.
        if (node === 0 && sent[0]! > 10) await share.promise;
        return apps(url, init);
      };
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 2, fetch });
      expect(sha256).toBe(alone);
      const states = reports.filter((r) => r.url === "http://node1").map((r) => r.state);
      expect(states).toEqual(["away", "ready", "done"]);
      expect(tasksOf(reports, "http://node1")).toBeGreaterThan(5);
    }));

  test("a node is listed that was not, and another is not listed any more", () =>
    withTempFolder(async (temp) => {
      let executor: NodesExecutor | null = null;
      const fetch = appFetch([testApp(), testApp()]);
      const { sha256, reports, fellBack } = await mergeWithNodes(join(temp, "out"), {
        nodes: 1,
        fetch: after(10, fetch, () => executor!.use([address(1)])),
        begun: (e) => {
          executor = e;
        },
      });
      expect([sha256, fellBack]).toEqual([alone, false]);
      expect(reports.filter((r) => r.state === "left").map((r) => r.url)).toEqual(["http://node0"]);
      // What it had it was allowed to finish.
      expect(tasksOf(reports, "http://node0")).toBeLessThan(15);
      expect(tasksOf(reports, "http://node1")).toBeGreaterThan(20);
      expect(executor!.nodes().map((n) => [n.url, n.state])).toEqual([
        ["http://node0", "left"],
        ["http://node1", "ready"],
      ]);
    }));

  test("a node that is told to end leaves in good order, and may come back", () =>
    withTempFolder(async (temp) => {
      const apps = [testApp(), testApp()];
      const returned = Promise.withResolvers<void>();
      let sent = 0;
      const fetch: Fetch = async (url, init) => {
        const first = url.startsWith("http://node0");
        if (leaseOf(url, init) > 0) {
          if (!first) await returned.promise;
          else if (++sent === 2) void apps[0]!.drain(1000);
          else if (sent === 3) returned.resolve();
        }
        const answer = await appFetch(apps)(url, init);
        if (!first || answer.status !== 503) return answer;
        // Another one is started in its place, and need not be waited for.
        apps[0] = testApp();
        answer.headers.set("retry-after", "0");
        return answer;
      };
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 2, fetch });
      expect(sha256).toBe(alone);
      const states = reports.filter((r) => r.url === "http://node0").map((r) => r.state);
      expect(states).toEqual(["ready", "left", "ready", "done"]);
    }));
});

/** Which nodes were asked for each task. */
function noted(fetch: Fetch) {
  const asked = new Map<number, Set<string>>();
  const note: Fetch = (url, init) => {
    const { task, lease } = messageOf(url, init) ?? { task: { id: 0 }, lease: 0 };
    if (lease > 0) asked.set(task.id, (asked.get(task.id) ?? new Set()).add(new URL(url).host));
    return fetch(url, init);
  };
  return { fetch: note, asked };
}

/** One wrong bit, in the same place whoever tells it. */
const oneBit: NodeKernels = {
  ...kernels,
  async run(task, data, signal) {
    const truth = await kernels.run(task, data, signal);
    if (task.kind !== "merge" || task.count < 4096 || task.count === 2 * 4096 + 37) return truth;
    const output = truth.output.slice();
    output[2 * (task.count >> 1)]! ^= 1;
    return { ...truth, output };
  },
};

describe("with two that must agree", () => {
  const redundancy = { executor: { redundancy: 2 } };

  test("every task is asked of two nodes, and honest ones agree", () =>
    withTempFolder(async (temp) => {
      const { fetch, asked } = noted(appFetch([testApp(), testApp(), testApp()]));
      const { sha256, reports, fellBack } = await mergeWithNodes(join(temp, "out"), { nodes: 3, fetch, ...redundancy });
      expect([sha256, fellBack]).toEqual([alone, false]);
      expect(asked.size).toBeGreaterThan(50);
      expect([...asked.values()].filter((hosts) => hosts.size < 2)).toEqual([]);
      expect(reports.filter((r) => r.state === "banned")).toEqual([]);
    }));

  test("a liar is found by the first slice on which the other one differs", () =>
    withTempFolder(async (temp) => {
      // It tells no lies about small tensors, and those may be what it is asked first.
      let honest = 0;
      const liar: NodeKernels = {
        ...oneBit,
        async run(task, data, signal) {
          if (task.kind !== "merge" || task.count < 4096) honest++;
          return oneBit.run(task, data, signal);
        },
      };
      const apps = [testApp({ kernels: liar }), testApp(), testApp()];
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 3,
        fetch: appFetch(apps),
        // Nothing is recomputed but the first slices.
        random: () => 0.999,
        ...redundancy,
      });
      expect(sha256).toBe(alone);
      const banned = reports.filter((r) => r.state === "banned");
      expect(banned.map((r) => r.url)).toEqual(["http://node0"]);
      expect(banned[0]!.tasks).toBeLessThanOrEqual(honest);
    }));

  test("a liar that begins late is found though nothing is recomputed", () =>
    withTempFolder(async (temp) => {
      let told = 0;
      const late: NodeKernels = { ...oneBit, run: (...all) => (++told > 20 ? oneBit : kernels).run(...all) };
      const apps = [testApp({ kernels: late }), testApp(), testApp()];
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 3,
        fetch: appFetch(apps),
        random: () => 0.999,
        ...redundancy,
      });
      expect(sha256).toBe(alone);
      expect(reports.filter((r) => r.state === "banned").map((r) => r.url)).toEqual(["http://node0"]);
    }));

  test("two liars who agree are found by the audits", () =>
    withTempFolder(async (temp) => {
      const apps = [testApp({ kernels: oneBit }), testApp({ kernels: oneBit }), testApp()];
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 3,
        fetch: appFetch(apps),
        ...redundancy,
      });
      expect(sha256).toBe(alone);
      const banned = reports.filter((r) => r.state === "banned").map((r) => r.url);
      expect(banned.sort()).toEqual(["http://node0", "http://node1"]);
    }));

  test("one node alone is not asked: this machine does it", () =>
    withTempFolder(async (temp) => {
      const { fetch, asked } = noted(appFetch([testApp()]));
      const { sha256, fellBack } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch, ...redundancy });
      expect([sha256, fellBack, asked.size]).toEqual([alone, true, 0]);
    }));

  test("a node that dies leaves its tasks to others", () =>
    withTempFolder(async (temp) => {
      let dead = false;
      const all = appFetch([testApp(), testApp(), testApp()]);
      const fetch: Fetch = (url, init) =>
        dead && url.startsWith("http://node0") ? Promise.reject(new Error("reset")) : all(url, init);
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 3,
        fetch: after(12, fetch, () => {
          dead = true;
        }),
        clock: realClock(now, 50),
        ...redundancy,
      });
      expect(sha256).toBe(alone);
      expect(reports.map((r) => r.state)).not.toContain("banned");
    }));
});

test("health is answered by a node that is about to end: it may have tasks to finish", async () => {
  const app = testApp();
  await app.drain(0);
  expect((await app.request(routes.health)).status).toBe(200);
});
