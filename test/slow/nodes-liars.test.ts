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

/** The share of nodes with one wrong block in a hundred that are found within 100 slices; `whole`: by slices computed whole too. */
async function foundShare(seed: number, runs: number, whole: boolean): Promise<number> {
  const chance = seeded(seed);
  let looked: number[] = [];
  const noting: OwnKernels = {
    ...kernels,
    runOn: async (block) => {
      looked.push(block.first / 4096);
      return {} as never;
    },
  };
  const files = { read: () => {}, write: () => {}, readBack: async () => {} };
  const auditor = new Auditor({ files, kernels: noting, random: chance });
  const task: MergeTask = { ...goldenTask(1).task, count: 256 * 4096 };
  const result = { output: new Uint8Array(task.count * 2), receipt: {} as never };
  let found = 0;
  for (let run = 0; run < runs; run++) {
    for (let n = 0, caught = false; n < 100 && !caught; n++) {
      const wrong = new Set(Array.from({ length: 256 }, (_, b) => b).filter(() => chance() < 0.01));
      looked = [];
      if (whole && auditsWhole(task, n, chance)) caught = wrong.size > 0;
      else {
        await auditor.fault(task, result, false);
        caught = looked.some((b) => wrong.has(b));
      }
      if (caught) found++;
    }
  }
  return found / runs;
}

test("of nodes with one wrong block in a hundred at least 98 % are found within 100 slices", async () => {
  const all = await foundShare(11, 2000, true);
  const blocks = await foundShare(12, 2000, false);
  const percent = (share: number) => `${(share * 100).toFixed(2)} %`;
  console.log(
    `One wrong block in a hundred, ${auditBlocks} of 256 looked at, 2000 runs: ${percent(all)} found within 100 slices;`,
  );
  console.log(
    `by these blocks alone, as of a node that begins to lie late, ${percent(blocks)} (1 - 0.99^400 = 98.20 %).`,
  );
  expect(all).toBeGreaterThan(0.98);
  // Four places may be the same; three standard deviations of 2000 runs are 0.9 %.
  expect(blocks).toBeGreaterThan(0.97);
});
