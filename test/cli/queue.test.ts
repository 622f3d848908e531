// A queue for real: a server, workers in processes of their own on Bun and Deno, one killed with tasks in its hands.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, noServer, type Server, startServer } from "../queue/server.ts";
import { bunProgram, denoProgram, inFolder, root, start } from "./braid.ts";

const token = "a token of at least thirty-two bytes";
const env = { BRAID_TOKEN: token };
const children: ChildProcess[] = [];
/** Workers end with the tests, and a test that hangs does not keep them longer than this. */
const lifeMs = 100_000;

interface Worker {
  readonly child: ChildProcess;
  /** Its last words, when it ended by itself. */
  readonly told: Promise<{ tasks: number; dropped: number } | null>;
}

function work(program: readonly string[], args: readonly string[]): Promise<Worker> {
  const [command, ...first] = program;
  const kept = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => ["PATH", "HOME", "DENO_DIR"].includes(name)),
  );
  const child = spawn(command!, [...first, "worker", "--workers", "1", "--json", "--quiet", ...args], {
    cwd: root,
    env: { ...kept, ...env } as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const life = setTimeout(() => child.kill("SIGKILL"), lifeMs);
  let [out, err] = ["", ""];
  child.stderr!.on("data", (text) => {
    err += text;
  });
  const told = new Promise<{ tasks: number; dropped: number } | null>((resolve) =>
    child.on("close", () => {
      clearTimeout(life);
      const [, last] = out.split("\n");
      resolve(last ? JSON.parse(last) : null);
    }),
  );
  return new Promise((resolve, reject) => {
    child.stdout!.on("data", (text) => {
      out += text;
      if (out.includes("\n")) resolve({ child, told });
    });
    child.on("exit", (code) => reject(new Error(`the worker ended with ${code}: ${err}`)));
  });
}

const hash = (out: string) =>
  createHash("sha256")
    .update(readFileSync(join(out, "model.safetensors")))
    .digest("hex");
const merge = (out: string, args: readonly string[] = []) =>
  start(["merge", "examples/dare-ties.yml", out, "--json", "--slice", "4096", ...args], { env });

describe.skipIf(noServer !== null)(
  `a queue with workers in processes of their own${noServer ? ` (skipped: ${noServer})` : ""}`,
  () => {
    let server: Server;
    let workers: Worker[] = [];
    let alone = "";
    const queue = () => ["--queue", server.url, "--workers", "0"];
    beforeAll(async () => {
      server = await startServer();
      const deno = existsSync(denoProgram[0]!) ? denoProgram : bunProgram;
      workers = await Promise.all([
        work(bunProgram, ["--queue", server.url, "--name", "one"]),
        work(deno, ["--queue", server.url, "--name", "two", "--allow-root", root]),
      ]);
      alone = await inFolder(async (folder) => {
        expect((await merge(join(folder, "out"))).exit).toBe(0);
        return hash(join(folder, "out"));
      });
    });
    afterAll(async () => {
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(workers.map(({ told }) => told));
      await server?.stop();
    });

    test("gives the same bytes, and both do their share", () =>
      inFolder(async (folder) => {
        const outcome = await merge(join(folder, "out"), queue());
        expect([outcome.exit, hash(join(folder, "out"))]).toEqual([0, alone]);
        const { nodes } = JSON.parse(outcome.out) as { nodes: { url: string; state: string; tasks: number }[] };
        expect(nodes.map((n) => [n.url.replace(/-.*/, ""), n.state]).sort()).toEqual([
          ["queue:one", "done"],
          ["queue:two", "done"],
        ]);
        expect(Math.min(...nodes.map((n) => n.tasks))).toBeGreaterThan(0);
        expect(nodes.reduce((sum, n) => sum + n.tasks, 0)).toBeGreaterThanOrEqual(190);
      }));

    test("goes on when a worker is killed with tasks in its hands", () =>
      inFolder(async (folder) => {
        const doomed = await work(bunProgram, ["--queue", server.url, "--name", "doomed"]);
        const running = merge(join(folder, "out"), [...queue(), "--queue-lease", "1"]);
        // Stopped first: whatever it has taken by then, it can neither finish nor give back.
        setTimeout(() => doomed.child.kill("SIGSTOP"), 700);
        setTimeout(() => doomed.child.kill("SIGKILL"), 1000);
        const outcome = await running;
        expect([outcome.exit, hash(join(folder, "out"))]).toEqual([0, alone]);
      }));

    test("SIGTERM ends a worker in good order, and so does a time without tasks", async () => {
      const [stopped, idle] = await Promise.all([
        work(bunProgram, ["--queue", server.url]),
        work(bunProgram, ["--queue", server.url, "--idle", "1"]),
      ]);
      stopped!.child.kill("SIGTERM");
      for (const { child, told } of [stopped!, idle!]) {
        expect(await told).toMatchObject({ tasks: 0, dropped: 0 });
        expect(child.exitCode).toBe(0);
      }
    });

    test("another server without JetStream is refused", async () => {
      const plain = await startServer([]);
      try {
        for (const args of [["worker"], ["merge", "examples/dare-ties.yml", "/no/out"]]) {
          const { exit, err } = await start([...args, "--queue", plain.url], { env });
          expect([exit, err]).toEqual([69, expect.stringContaining("the server runs without JetStream")]);
        }
      } finally {
        await plain.stop();
      }
    });

    test("a server that wants a password says so, and no password is shown", async () => {
      const closed = await startServer(["-js", "--user", "braid", "--pass", "secret"]);
      try {
        const with_ = (who: string) => closed.url.replace("nats://", `nats://${who}@`);
        const wrong = await start(["worker", "--queue", with_("braid:mistaken")], { env });
        expect([wrong.exit, wrong.err]).toEqual([69, expect.stringContaining("it does not let this user in")]);
        expect(wrong.err + wrong.out).not.toContain("mistaken");
        const right = await start(["worker", "--queue", with_("braid:secret"), "--idle", "1"], { env });
        expect([right.exit, right.out.includes("secret")]).toEqual([0, false]);
      } finally {
        await closed.stop();
      }
    });
  },
);

describe("a queue is refused", () => {
  test("when nobody answers there", async () => {
    const port = await freePort();
    const { exit, err } = await start(["worker", "--queue", `nats://127.0.0.1:${port}`], { env });
    expect([exit, err]).toEqual([69, expect.stringContaining(`Cannot reach the queue at 127.0.0.1:${port}`)]);
  });

  test.each([
    ["without a token", ["worker", "--queue", "nats://127.0.0.1:9"], {}, "without a token"],
    ["by another protocol", ["worker", "--queue", "http://127.0.0.1:9"], env, "nats:"],
    ["without an address", ["worker"], env, "--queue"],
    [
      "with a desk for other machines by plain HTTP",
      ["merge", "examples/dare-ties.yml", "/no/out", "--queue", "nats://127.0.0.1:9", "--queue-listen", "0.0.0.0:0"],
      env,
      "--insecure-http",
    ],
  ] as const)("%s", async (_, args, environment, text) => {
    const { exit, err } = await start(args, { env: environment });
    expect([exit, err]).toEqual([2, expect.stringContaining(text)]);
  });
});
