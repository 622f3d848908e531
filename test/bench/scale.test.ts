// The simulation of docs/scale.md, on a small model: what it says depends on the seed only, and the scheduler keeps its bounds.

import { describe, expect, test } from "bun:test";
import { llamas } from "../../bench/scale/models.ts";
import { type Scene, simulate } from "../../bench/scale/simulate.ts";
import { Resource, World } from "../../bench/scale/world.ts";
import { carriedBytes } from "../../src/remote/attempts.ts";

const gigabit = 1.25e8;
const scene: Scene = {
  model: llamas.tiny,
  nodes: 4,
  coordinatorRate: 10 * gigabit,
  nodeRate: gigabit,
  nodeCores: 2,
  bytes: "read",
  elementNs: 10.36,
  latencyMs: 10,
  spread: 0.2,
  seed: 1,
  compute: false,
};

describe("virtual time", () => {
  test("passes in the order of what waits, and for one thing at a time", async () => {
    const world = new World();
    const link = new Resource(world);
    const seen: [string, number][] = [];
    const note = (name: string) => () => void seen.push([name, world.now()]);
    const stop = new AbortController();
    await world.run(
      Promise.all([
        world.wait(30).then(note("thirty")),
        link.use(10).then(note("first")),
        link.use(15).then(note("second")),
        world.wait(10).then(note("ten")),
        world.wait(5).then(() => stop.abort()),
        world.wait(1000, stop.signal).then(note("stopped")),
      ]),
    );
    expect(seen).toEqual([
      ["stopped", 5],
      ["first", 10],
      ["ten", 10],
      ["second", 25],
      ["thirty", 30],
    ]);
    expect([world.now(), link.busy]).toEqual([30, 25]);
  });

  test("ends with an error when nothing can ever go on", async () => {
    await expect(new World().run(new Promise(() => {}))).rejects.toThrow("Everything waits");
  });
});

/** Milliseconds: seconds of work, on machines that may have other things to do. */
const patience = 60_000;

describe("a simulated merge", () => {
  test(
    "of one seed is the same every time; of another seed it takes another time",
    async () => {
      const [a, b, c] = [await simulate(scene), await simulate(scene), await simulate({ ...scene, seed: 2 })];
      expect(b).toEqual(a);
      expect(c.seconds).not.toBe(a.seconds);
      expect(c.sha256).toBe(a.sha256);
    },
    patience,
  );

  test(
    "writes the same bytes however they travel, by kernels that compute",
    async () => {
      const outcomes = [];
      for (const bytes of ["sent", "read", "placed"] as const)
        outcomes.push(await simulate({ ...scene, bytes, compute: true, nodes: bytes === "read" ? 7 : 3 }));
      expect(new Set(outcomes.map((o) => o.sha256)).size).toBe(1);
      expect(outcomes.map((o) => o.fellBack)).toEqual([false, false, false]);
      for (const o of outcomes) expect(o.requests).toBeGreaterThanOrEqual(o.tasks);
    },
    patience,
  );

  test(
    "takes as long as a node's network when there is one node",
    async () => {
      const { seconds, tasks, nodesUsed } = await simulate({ ...scene, nodes: 1, spread: 0 });
      // Four bf16 inputs of 1 Mi elements are 8 MiB; small tensors take less.
      const network = (tasks * 8 * 2 ** 20) / gigabit;
      expect(seconds / network).toBeGreaterThan(0.8);
      expect(seconds / network).toBeLessThan(1.1);
      expect(nodesUsed).toBe(1);
    },
    patience,
  );

  test(
    "with 1,000 nodes is no slower than with 30, and holds no more than it may",
    async () => {
      const few = await simulate({ ...scene, nodes: 30 });
      const many = await simulate({ ...scene, nodes: 1000 });
      expect(many.seconds).toBeLessThan(1.25 * few.seconds);
      expect(many.heldBytes).toBeLessThanOrEqual(carriedBytes);
      // Every new node costs whole audits: most of the thousand are left alone.
      expect(many.nodesUsed).toBeLessThan(200);
      expect(many.sha256).toBe(few.sha256);
    },
    patience,
  );
});
