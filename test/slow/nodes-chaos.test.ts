// npx bun test --timeout 600000 test/slow/nodes-chaos.test.ts
//
// 500 seeds of chaos (BRAID_CHAOS_SEEDS, BRAID_CHAOS_FIRST), and a table of what happened in them.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { type Faults, faults, mergeInChaos } from "../remote/chaos.ts";
import { mergeAlone } from "../remote/nodes.ts";
import { withTempFolder } from "../support/host.ts";

const seeds = Number(process.env.BRAID_CHAOS_SEEDS ?? 500);
const first = Number(process.env.BRAID_CHAOS_FIRST ?? 1);

test(`${seeds} seeds of chaos change no byte`, async () => {
  const alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
  const all: Faults = {};
  const runsWith: Faults = {};
  const killed = new Map<number, number>();
  const wrong: number[] = [];
  let [tasks, fellBack] = [0, 0];
  for (let seed = first; seed < first + seeds; seed++) {
    await withTempFolder(async (temp) => {
      const run = await mergeInChaos(seed, temp);
      for (const [fault, n] of Object.entries(run.done) as [keyof Faults, number][]) {
        all[fault] = (all[fault] ?? 0) + n;
        runsWith[fault] = (runsWith[fault] ?? 0) + 1;
      }
      killed.set(run.killed, (killed.get(run.killed) ?? 0) + 1);
      if (run.outcome.sha256 !== alone || run.outcome.reports.some((r) => r.state === "banned")) wrong.push(seed);
      const last = new Map(run.outcome.reports.map((r) => [r.url, r.tasks]));
      tasks += [...last.values()].reduce((sum, n) => sum + n, 0);
      if (run.outcome.fellBack) fellBack++;
    });
  }
  console.log(`| fault | times | in runs |\n|---|---|---|`);
  for (const fault of [...faults, "death"] as const)
    console.log(`| ${fault} | ${all[fault] ?? 0} | ${runsWith[fault] ?? 0} |`);
  const deaths = [...killed].sort(([a], [b]) => a - b).map(([n, runs]) => `${n} in ${runs}`);
  console.log(`\nNodes of 8 that died: ${deaths.join(", ")} runs.`);
  console.log(
    `${tasks} tasks by nodes; the local fallback had to help in ${fellBack} runs; ${wrong.length} runs wrong.`,
  );
  expect(wrong).toEqual([]);
});
