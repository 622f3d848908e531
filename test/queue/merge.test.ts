// Merges through a queue: the same bytes, whoever comes, goes, lies or keeps silent.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { type Clock, realClock } from "../../src/remote/clock.ts";
import type { NodeKernels, TaskResult } from "../../src/remote/kernels.ts";
import { groupOf, queueKey } from "../../src/remote/queue-wire.ts";
import { kernels, token } from "../remote/fixture.ts";
import { mergeAlone, now } from "../remote/nodes.ts";
import { projectRoot, withTempFolder } from "../support/host.ts";
import { asked, mergeByQueue, readsAll, startWorker, type Worker } from "./merges.ts";
import { noServer, type Server, startServer } from "./server.ts";

const ties = readFileSync(join(projectRoot, "examples/ties.yml"), "utf8").replaceAll("models/", "examples/models/");
/** Waits of a minute take a second. */
const hurried = realClock(now, 60);

describe.skipIf(noServer !== null)(`a queue${noServer ? ` (skipped: ${noServer})` : ""}`, () => {
  let server: Server;
  let alone = "";
  beforeAll(async () => {
    server = await startServer();
    alone = await withTempFolder((temp) => mergeAlone(join(temp, "out")));
  });
  afterAll(() => server?.stop());

  const withWorkers = async <T>(
    workers: readonly Promise<Worker>[],
    use: (all: Worker[]) => Promise<T>,
  ): Promise<T> => {
    const all = await Promise.all(workers);
    try {
      return await use(all);
    } finally {
      for (const worker of all) await worker.stop();
    }
  };

  test("gives the same bytes, with inputs from the coordinator and from a shared disk, and leaves nothing behind", () =>
    withTempFolder((temp) =>
      withWorkers([startWorker(server), startWorker(server, { reach: readsAll })], async (workers) => {
        asked.length = 0;
        const outcome = await mergeByQueue(join(temp, "out"), server);
        expect(outcome.sha256).toBe(alone);
        expect([outcome.fellBack, outcome.left]).toEqual([false, { tasks: 0, consumers: 0 }]);
        const done = workers.map((w) => w.report().tasks);
        expect(Math.min(...done)).toBeGreaterThan(0);
        const inputs = asked.filter((a) => a === "GET inputs").length;
        // The second worker reads the disk: it only asks whether it is still waited for.
        expect([inputs, asked.filter((a) => a === `GET ${workers[1]!.id}`).length]).toEqual([done[0]!, done[1]!]);
        const told = outcome.reports.filter((r) => r.state === "done").map((r) => r.tasks);
        expect(told.reduce((a, b) => a + b, 0)).toBe(done[0]! + done[1]!);
      }),
    ));

  test("serves surveys too", () =>
    withTempFolder((temp) =>
      withWorkers([startWorker(server)], async () => {
        const outcome = await mergeByQueue(join(temp, "out"), server, { recipe: ties });
        expect(outcome.sha256).toBe(await mergeAlone(join(temp, "alone"), ties));
        expect(outcome.fellBack).toBe(false);
      }),
    ));

  test("serves two merges at the same time, each by its own subjects", () =>
    withTempFolder((temp) =>
      withWorkers([startWorker(server), startWorker(server)], async () => {
        const [a, b] = await Promise.all([
          mergeByQueue(join(temp, "a"), server),
          mergeByQueue(join(temp, "b"), server, { recipe: ties }),
        ]);
        expect(a!.sha256).toBe(alone);
        expect(b!.sha256).toBe(await mergeAlone(join(temp, "alone"), ties));
        expect([a!.fellBack, b!.fellBack]).toEqual([false, false]);
      }),
    ));

  test("waits for workers that come late", () =>
    withTempFolder(async (temp) => {
      const running = mergeByQueue(join(temp, "out"), server);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await withWorkers([startWorker(server)], async (workers) => {
        const outcome = await running;
        expect([outcome.sha256, outcome.fellBack]).toEqual([alone, false]);
        expect(workers[0]!.report().tasks).toBeGreaterThan(20);
      });
    }));

  test("does without workers when none comes", () =>
    withTempFolder(async (temp) => {
      const outcome = await mergeByQueue(join(temp, "out"), server, { clock: hurried });
      expect([outcome.sha256, outcome.fellBack, outcome.left.tasks]).toEqual([alone, true, 0]);
      expect(outcome.reports.map((r) => r.url)).toContain("queue");
    }));

  test("goes on when the server is killed and started again", () =>
    withTempFolder((temp) =>
      withWorkers([startWorker(server), startWorker(server)], async (workers) => {
        const running = mergeByQueue(join(temp, "out"), server, { slice: 4096 });
        while (workers.every((w) => w.report().tasks < 5)) await new Promise((resolve) => setTimeout(resolve, 10));
        await server.restart(300);
        const outcome = await running;
        expect([outcome.sha256, outcome.fellBack, outcome.left.tasks]).toEqual([alone, false, 0]);
      }),
    ));

  test("gives the tasks of a silent worker to others", () =>
    withTempFolder((temp) => {
      // It takes what it can and never says a word again.
      const silent: NodeKernels = {
        ...kernels,
        run: (_task, _data, signal) =>
          new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
      };
      const real = realClock(now);
      const dead: Clock = {
        now,
        // The heart beats every third of a lease.
        wait: (ms, signal) => real.wait(ms < 400 ? 100_000 : ms, signal),
      };
      return withWorkers([startWorker(server, { kernels: silent, clock: dead })], async () => {
        await withWorkers([startWorker(server)], async () => {
          const outcome = await mergeByQueue(join(temp, "out"), server, { leaseMs: 1000 });
          expect([outcome.sha256, outcome.fellBack]).toEqual([alone, false]);
        });
      });
    }));

  test("does itself what was given out four times and never done", () =>
    withTempFolder(async (temp) => {
      // It cannot reach the coordinator.
      const cut = startWorker(server, { fetch: () => Promise.reject(new Error("no route to host")) });
      await withWorkers([cut], async ([worker]) => {
        const outcome = await mergeByQueue(join(temp, "out"), server, { slice: 2 ** 20 });
        expect([outcome.sha256, outcome.fellBack, outcome.left.tasks]).toEqual([alone, true, 0]);
        expect(outcome.reports.map((r) => r.message).join()).toContain("see --queue-listen");
        expect(worker!.report()).toMatchObject({ tasks: 0, problem: expect.stringContaining("no route to host") });
      });
    }));

  test("does so too when it does not hear from the server that they are not given out any more", () =>
    withTempFolder(async (temp) => {
      const clock = realClock(now, 10);
      const cut = startWorker(server, { clock, fetch: () => Promise.reject(new Error("no route to host")) });
      await withWorkers([cut], async () => {
        const outcome = await mergeByQueue(join(temp, "out"), server, { slice: 2 ** 20, deaf: true, clock });
        expect([outcome.sha256, outcome.fellBack, outcome.left.tasks]).toEqual([alone, true, 0]);
        expect(outcome.reports.map((r) => r.message).join()).toContain("see --queue-listen");
      });
    }));

  test("puts in again what somebody took out and never brought", () =>
    withTempFolder(async (temp) => {
      const connection = await connect({ servers: server.url });
      const name = `workers-${groupOf(queueKey(token), kernels.sha256)}`;
      let stolen = 0;
      const running = mergeByQueue(join(temp, "out"), server, { clock: realClock(now, 10) });
      while (stolen < 2) {
        const consumer = await jetstream(connection)
          .consumers.get("BRAID_TASKS", name)
          .catch(() => null);
        const message = await consumer?.next({ expires: 1000 });
        if (!message) continue;
        await message.ackAck();
        stolen++;
      }
      await withWorkers([startWorker(server)], async () => {
        const outcome = await running;
        expect([outcome.sha256, outcome.left.tasks]).toEqual([alone, 0]);
      });
      await connection.close();
    }));

  test("does not show its tasks to workers with another token", () =>
    withTempFolder((temp) =>
      withWorkers([startWorker(server, { token: token.replace("0", "1") })], async ([worker]) => {
        const outcome = await mergeByQueue(join(temp, "out"), server, { clock: hurried });
        expect([outcome.sha256, outcome.fellBack]).toEqual([alone, true]);
        expect(worker!.report()).toMatchObject({ tasks: 0, dropped: 0 });
      }),
    ));

  const changed = (truth: TaskResult, change: (output: Uint8Array) => void): TaskResult => {
    const output = truth.output.slice();
    change(output);
    return { ...truth, output };
  };
  const lies: Record<string, (truth: TaskResult, n: number) => TaskResult> = {
    zeros: (truth) => changed(truth, (o) => o.fill(0)),
    "one bit in one element": (truth, n) =>
      changed(truth, (o) => {
        o[((n * 7919) % (o.length / 2)) * 2]! ^= 1;
      }),
    "one wrong bit, from its fifth slice on": (truth, n) =>
      n < 4
        ? truth
        : changed(truth, (o) => {
            for (let i = 0; i < o.length; i += 2048) o[i]! ^= 1;
          }),
    "a receipt of fewer kept elements": (truth) =>
      truth.receipt.kind === "merge"
        ? { ...truth, receipt: { ...truth.receipt, kept: truth.receipt.kept.map((k) => Math.max(0, k - 1)) } }
        : truth,
  };
  for (const [name, lie] of Object.entries(lies)) {
    test(`bans a worker that answers with ${name}`, () =>
      withTempFolder((temp) => {
        let n = 0;
        const liar: NodeKernels = {
          ...kernels,
          run: async (...all) => lie(await kernels.run(...all), n++),
        };
        return withWorkers([startWorker(server)], async () => {
          const worker = await startWorker(server, { kernels: liar });
          const outcome = await mergeByQueue(join(temp, "out"), server);
          expect(outcome.sha256).toBe(alone);
          const banned = outcome.reports.filter((r) => r.state === "banned");
          expect(banned.map((r) => r.url.startsWith("queue:w"))).toEqual([true]);
          expect(banned[0]!.tasks).toBeLessThan(8);
          // It was told, and took no more tasks from the others.
          expect(String(await worker.stop())).toContain("wrong bytes");
        });
      }));
  }
});
