// What may go wrong between a coordinator and eight nodes, from one seed: the bytes are the same every time. Here 25 seeds, in
// test/slow/nodes-chaos.test.ts 500.

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { withTempFolder } from "../support/host.ts";
import { type Faults, faults, mergeInChaos } from "./chaos.ts";
import { mergeAlone } from "./nodes.ts";

const seeds = 25;
let alone = "";
beforeAll(async () => {
  alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
});

describe("chaos", () => {
  const all: Faults = {};
  for (let seed = 1; seed <= seeds; seed++) {
    test(`of seed ${seed} changes no byte`, () =>
      withTempFolder(async (temp) => {
        const { outcome, done } = await mergeInChaos(seed, temp);
        for (const [fault, n] of Object.entries(done))
          all[fault as keyof Faults] = (all[fault as keyof Faults] ?? 0) + n;
        expect({ seed, sha256: outcome.sha256 }).toEqual({ seed, sha256: alone });
        // Chaos is not lying: nobody is accused.
        expect(outcome.reports.filter((r) => r.state === "banned")).toEqual([]);
      }));
  }

  test("had every fault in it", () => {
    expect(Object.keys(all).sort()).toEqual([...faults, "death"].sort());
  });
});
