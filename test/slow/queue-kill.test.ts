// 200 tasks and more through a queue, by three workers of which one is killed with tasks in its hands. Prints what was counted.
// Run by hand: npx bun test test/slow/queue-kill.test.ts

import { expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { type QueueResult, queueKey, unseal } from "../../src/remote/queue-wire.ts";
import { bunProgram, denoProgram, inFolder, root, start } from "../cli/braid.ts";
import { noServer, startServer } from "../queue/server.ts";

const token = "a token of at least thirty-two bytes";
const env = { BRAID_TOKEN: token };
const lifeMs = 100_000;
const recipe = ["merge", "examples/ties.yml"];
const slice = ["--json", "--slice", "4096"];

function work(program: readonly string[], url: string, name: string): Promise<ChildProcess> {
  const [command, ...first] = program;
  const kept = Object.fromEntries(
    Object.entries(process.env).filter(([key]) => ["PATH", "HOME", "DENO_DIR"].includes(key)),
  );
  const args = ["worker", "--workers", "1", "--json", "--quiet", "--queue", url, "--name", name];
  const child = spawn(command!, [...first, ...args], {
    cwd: root,
    env: { ...kept, ...env } as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const life = setTimeout(() => child.kill("SIGKILL"), lifeMs);
  child.on("exit", () => clearTimeout(life));
  return new Promise((resolve) => child.stdout!.once("data", () => resolve(child)));
}

const hash = (out: string) =>
  createHash("sha256")
    .update(readFileSync(join(out, "model.safetensors")))
    .digest("hex");

test.skipIf(noServer !== null)(
  "a worker that is killed costs time and nothing else",
  () =>
    inFolder(async (folder) => {
      const server = await startServer();
      const deno = existsSync(denoProgram[0]!) ? denoProgram : bunProgram;
      const children = await Promise.all([
        work(bunProgram, server.url, "one"),
        work(deno, server.url, "two"),
        work(bunProgram, server.url, "doomed"),
      ]);
      const connection = await connect({ servers: server.url });
      const manager = await jetstreamManager(connection);
      // Every result that is sent, as the server sees it.
      const results: QueueResult[] = [];
      connection.subscribe("braid.result.*", {
        callback: (_, message) => {
          const result = unseal(queueKey(token), "result", message.subject, message.data);
          if (result) results.push(result as QueueResult);
        },
      });
      try {
        await start([...recipe, join(folder, "alone"), ...slice]);
        const queued = ["--queue", server.url, "--workers", "0", "--queue-lease", "2"];
        const running = start([...recipe, join(folder, "out"), ...slice, ...queued], { env });
        const doomed = children[2]!;
        while (results.filter((r) => r.worker.name === "doomed").length < 10) await Bun.sleep(5);
        // It cannot finish what it has, nor give it back.
        doomed.kill("SIGSTOP");
        const [consumer] = await manager.consumers.list("BRAID_TASKS").next();
        const held = consumer!.num_ack_pending;
        doomed.kill("SIGKILL");
        const outcome = await running;
        expect(outcome.exit).toBe(0);
        expect(hash(join(folder, "out"))).toBe(hash(join(folder, "alone")));
        const left = (await manager.streams.info("BRAID_TASKS")).state.messages;
        const { nodes } = JSON.parse(outcome.out) as { nodes: { url: string; state: string; tasks: number }[] };
        const accepted = nodes.reduce((sum, n) => sum + n.tasks, 0);
        const again = results.filter((r) => r.delivery > 1);
        console.log(
          JSON.stringify({
            accepted,
            byWorker: nodes.map(({ url, tasks }) => [url, tasks]),
            underWayWhenKilled: held,
            results: results.length,
            leases: new Set(results.map((r) => r.lease)).size,
            givenOutAgain: again.length,
            byOthers: again.every((r) => r.worker.name !== "doomed"),
            left,
          }),
        );
        expect(accepted).toBeGreaterThanOrEqual(200);
        expect(again.length).toBeGreaterThan(0);
        expect(again.every((r) => r.worker.name !== "doomed")).toBe(true);
        expect(left).toBe(0);
      } finally {
        await connection.close();
        for (const child of children) child.kill("SIGKILL");
        await server.stop();
      }
    }),
  100_000,
);
