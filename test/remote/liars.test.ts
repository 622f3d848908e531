// A node that lies is caught, and what it did is done again.

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Auditor, auditsWhole, goldenTask } from "../../src/remote/audit.ts";
import type { NodeKernels, OwnKernels } from "../../src/remote/kernels.ts";
import { routes } from "../../src/remote/wire.ts";
import { withTempFolder } from "../support/host.ts";
import { kernels, testApp } from "./fixture.ts";
import { flipFirst, type Lie, liar, lies, withOutput } from "./lies.ts";
import { appFetch, mergeAlone, mergeWithNodes, seeded } from "./nodes.ts";

let alone = "";
beforeAll(async () => {
  alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
});

describe("a node that answers with", () => {
  for (const [name, lie] of Object.entries(lies)) {
    test(`${name} is caught within two slices`, () =>
      withTempFolder(async (temp) => {
        const apps = [testApp({ kernels: liar(lie) }), testApp()];
        const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 2, fetch: appFetch(apps) });
        expect(sha256).toBe(alone);
        const [banned, ...others] = reports.filter((r) => r.state === "banned");
        expect([banned?.url, others.length]).toEqual(["http://node0", 0]);
        expect(banned!.tasks).toBeLessThan(2);
      }));
  }

  test("the right hash and a wrong body is not believed once", () =>
    withTempFolder(async (temp) => {
      const honest = appFetch([testApp(), testApp()]);
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 2,
        fetch: async (url, init) => {
          const response = await honest(url, init);
          if (!url.startsWith("http://node0") || url.endsWith(routes.about)) return response;
          const bytes = new Uint8Array(await response.arrayBuffer());
          bytes[bytes.length - 1]! ^= 1;
          return new Response(bytes, { headers: response.headers });
        },
      });
      expect(sha256).toBe(alone);
      expect(reports.filter((r) => r.url === "http://node0").map((r) => r.tasks)).toEqual(
        reports.filter((r) => r.url === "http://node0").map(() => 0),
      );
    }));

  test("other bytes to the test merge does not join", () =>
    withTempFolder(async (temp) => {
      const wrong: NodeKernels = {
        ...kernels,
        run: async (...all) => withOutput(await kernels.run(...all), (o) => flipFirst(o)),
      };
      const apps = [testApp({ kernels: wrong })];
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch: appFetch(apps) });
      expect(sha256).toBe(alone);
      expect(reports.map((r) => [r.state, r.tasks])).toEqual([["banned", 0]]);
    }));
});

describe("a node that lies later", () => {
  // In blocks that were not looked at the lie is written, and put right when the node is caught.
  test("has what it did unseen done again", () =>
    withTempFolder(async (temp) => {
      let lied = 0;
      const late: Lie = (task, truth, n) => {
        // One wrong tile of four: found where it is looked at.
        if (n < 2 || task.count < 16_384) return truth;
        lied++;
        return withOutput(truth, (o) => flipFirst(o));
      };
      const apps = [testApp({ kernels: liar(late) })];
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), { nodes: 1, fetch: appFetch(apps) });
      expect(sha256).toBe(alone);
      expect(reports.map((r) => r.state)).toEqual(["ready", "banned"]);
      expect(lied).toBeGreaterThan(0);
    }));

  test("about what is built upon stops the merge", () =>
    withTempFolder(async (temp) => {
      // Its receipts are wrong from the fourth slice on, and its bytes from the sixth.
      const late: Lie = (_, truth, n) => {
        if (n < 3 || truth.receipt.kind !== "merge") return truth;
        const receipt = { ...truth.receipt, kept: truth.receipt.kept.map((k) => Math.max(0, k - 1)) };
        return n < 5 ? { ...truth, receipt } : withOutput({ ...truth, receipt }, (o) => o.fill(0));
      };
      const apps = [testApp({ kernels: liar(late) })];
      const run = mergeWithNodes(join(temp, "out"), { nodes: 1, fetch: appFetch(apps) });
      await expect(run).rejects.toThrow("http://node0 told wrong things that the merge was built upon");
    }));
});

test("of a node with one wrong block in a hundred at least 98 % are caught within 100 slices", async () => {
  const chance = seeded(7);
  // Slices of 256 blocks, of which the auditor looks at what it would look at; no bytes are needed for that.
  let caught = 0;
  const runs = 200;
  for (let run = 0; run < runs; run++) {
    let found = false;
    for (let n = 0; n < 100 && !found; n++) {
      const looked: number[] = [];
      const task = { ...goldenTask(1).task, count: 256 * 4096 };
      const wrong = new Set(Array.from({ length: 256 }, (_, b) => b).filter(() => chance() < 0.01));
      const noting: OwnKernels = {
        ...kernels,
        runOn: async (block) => {
          looked.push(block.first / 4096);
          return {} as never;
        },
      };
      const files = { read: () => {}, write: () => {}, readBack: async () => {} };
      const auditor = new Auditor({ files, kernels: noting, random: chance });
      if (auditsWhole(task, n, chance)) found = wrong.size > 0;
      else {
        await auditor.fault(task, { output: new Uint8Array(task.count * 2), receipt: {} as never }, false);
        found = looked.some((b) => wrong.has(b));
      }
    }
    if (found) caught++;
  }
  expect(caught / runs).toBeGreaterThan(0.98);
});
