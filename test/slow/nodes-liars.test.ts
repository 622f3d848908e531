// npx bun test --timeout 600000 test/slow/nodes-liars.test.ts
//
// The table of lying nodes: how many slices of each were accepted before it was found, over many seeds of the auditor; and what
// becomes of a node with one wrong block in a hundred.

import { expect, test } from "bun:test";
import { join } from "node:path";
import type { MergeTask } from "../../src/kernel/program.ts";
import { Auditor, auditBlocks, auditsWhole, goldenTask } from "../../src/remote/audit.ts";
import type { Fetch } from "../../src/remote/client.ts";
import type { OwnKernels } from "../../src/remote/kernels.ts";
import { routes } from "../../src/remote/wire.ts";
import { kernels, testApp } from "../remote/fixture.ts";
import { liar, lies } from "../remote/lies.ts";
import { appFetch, mergeAlone, mergeWithNodes } from "../remote/nodes.ts";
import { withTempFolder } from "../support/host.ts";
import { seeded } from "../support/seeded.ts";

const runs = 20;

/** The right hash, and a body in which the last byte differs. */
const wrongBody: Fetch = async (url, init) => {
  const response = await appFetch([testApp(), testApp()])(url, init);
  if (!url.startsWith("http://node0") || url.endsWith(routes.about)) return response;
  const bytes = new Uint8Array(await response.arrayBuffer());
  bytes[bytes.length - 1]! ^= 1;
  return new Response(bytes, { headers: response.headers });
};

test("lies are found within two slices, and the bytes are the same", async () => {
  const alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
  console.log("| answers with | found | slices accepted before, at most | same SHA-256 |\n|---|---|---|---|");
  const cases = [
    ...Object.entries(lies).map(
      ([name, lie]) => [name, () => appFetch([testApp({ kernels: liar(lie) }), testApp()])] as const,
    ),
    ["the right hash and a wrong body", () => wrongBody] as const,
  ];
  for (const [name, fetch] of cases) {
    let [found, most, same] = [0, 0, 0];
    for (let seed = 1; seed <= runs; seed++) {
      await withTempFolder(async (temp) => {
        const options = { nodes: 2, fetch: fetch(), random: seeded(seed) };
        const { sha256, reports } = await mergeWithNodes(join(temp, "out"), options);
        const own = reports.filter((r) => r.url === "http://node0");
        if (own.some((r) => r.state === "banned") || own.every((r) => r.tasks === 0)) found++;
        most = Math.max(most, ...own.map((r) => r.tasks));
        if (sha256 === alone) same++;
      });
    }
    console.log(`| ${name} | ${found} of ${runs} | ${most} | ${same} of ${runs} |`);
    expect([name, found, most < 2, same]).toEqual([name, runs, true, runs]);
  }
});

test("of nodes with one wrong block in a hundred at least 98 % are found within 100 slices", async () => {
  const chance = seeded(11);
  const simulated = 2000;
  let found = 0;
  for (let run = 0; run < simulated; run++) {
    for (let n = 0, caught = false; n < 100 && !caught; n++) {
      const looked: number[] = [];
      const task: MergeTask = { ...goldenTask(1).task, count: 256 * 4096 };
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
      if (auditsWhole(task, n, chance)) caught = wrong.size > 0;
      else {
        await auditor.fault(task, { output: new Uint8Array(task.count * 2), receipt: {} as never }, false);
        caught = looked.some((b) => wrong.has(b));
      }
      if (caught) found++;
    }
  }
  console.log(
    `1 % wrong blocks, ${auditBlocks} of 256 looked at: found within 100 slices in ${((found / simulated) * 100).toFixed(2)} % of ${simulated} runs.`,
  );
  expect(found / simulated).toBeGreaterThan(0.98);
});
