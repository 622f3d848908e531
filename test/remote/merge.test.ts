// One SHA-256: alone, with one node, with three, mixed, with a token, whatever the recipe asks of the nodes.

import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot, withTempFolder } from "../support/host.ts";
import { kernels, testApp, token } from "./fixture.ts";
import { appFetch, mergeAlone, mergeWithNodes, recipe } from "./nodes.ts";

let alone = "";
beforeAll(async () => {
  alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
});

describe("the demo recipe gives the same bytes", () => {
  for (const [name, nodes, local] of [
    ["with one node and nothing else", 1, false],
    ["with three nodes", 3, false],
    ["with two nodes beside local work", 2, true],
  ] as const) {
    test(name, () =>
      withTempFolder(async (temp) => {
        const apps = Array.from({ length: nodes }, () => testApp({ token }));
        const { sha256, reports, fellBack } = await mergeWithNodes(join(temp, "out"), {
          nodes,
          local,
          token,
          fetch: appFetch(apps),
        });
        expect(sha256).toBe(alone);
        expect(reports.filter((r) => r.state === "ready").length).toBe(nodes);
        const tasks = reports.filter((r) => r.state === "done").reduce((sum, r) => sum + r.tasks, 0);
        expect(tasks).toBeGreaterThan(local ? 0 : 50);
        // A node that is alone and held up has its straggler done locally.
        if (nodes > 1) expect(fellBack).toBe(false);
      }),
    );
  }

  test("without any node that answers", () =>
    withTempFolder(async (temp) => {
      const fetch = () => Promise.reject(new Error("connection refused"));
      const { sha256, reports, fellBack } = await mergeWithNodes(join(temp, "out"), { nodes: 2, fetch });
      expect([sha256, fellBack]).toEqual([alone, true]);
      expect(reports.map((r) => r.state).filter((s) => s !== "done")).toEqual(["away", "away"]);
    }));

  test("with a node that has other kernels, and one with another token", () =>
    withTempFolder(async (temp) => {
      const other = testApp({ kernels: { ...kernels, sha256: "0".repeat(64) }, token });
      const stranger = testApp({ token: `${token}x` });
      const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
        nodes: 2,
        token,
        fetch: appFetch([other, stranger]),
      });
      expect(sha256).toBe(alone);
      expect(reports.map((r) => r.state)).toEqual(["unfit", "unfit"]);
      expect(reports.map((r) => r.message).join()).toContain("its kernels are 000000000000…");
    }));
});

// Rows views (another vocabulary), adapters, thresholds, row ranks, dots with lines, copies: each has its own way over the wire.
describe("every kind of task gives the same bytes", () => {
  for (const name of [
    "lora",
    "ties",
    "della",
    "model-stock",
    "slerp",
    "nuslerp",
    "sce",
    "breadcrumbs",
    "karcher",
    "ram",
  ]) {
    test(name, () =>
      withTempFolder(async (temp) => {
        const text = readFileSync(join(projectRoot, `examples/${name}.yml`), "utf8");
        const local =
          text === recipe
            ? text
            : text.replaceAll("models/", "examples/models/").replaceAll("examples/examples/", "examples/");
        const want = await mergeAlone(join(temp, "alone"), local);
        const apps = [testApp(), testApp()];
        const { sha256, reports } = await mergeWithNodes(join(temp, "out"), {
          nodes: 2,
          recipe: local,
          fetch: appFetch(apps),
        });
        expect(sha256).toBe(want);
        expect(reports.map((r) => r.state)).toEqual(["ready", "ready", "done", "done"]);
        expect(reports.reduce((sum, r) => sum + r.tasks, 0)).toBeGreaterThan(30);
      }),
    );
  }
});
