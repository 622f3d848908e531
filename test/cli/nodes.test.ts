// Real nodes, each a process of its own on Bun or Deno: the same bytes as without them, also when one is killed.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readEnvironment } from "../../src/cli/environment.ts";
import { bunProgram, denoProgram, inFolder, root, start } from "./braid.ts";

const token = "a token of at least thirty-two bytes";
const children: ChildProcess[] = [];
/** Nodes end with the tests, and a test that hangs does not keep them longer than this. */
const lifeMs = 100_000;

interface Node {
  readonly url: string;
  readonly child: ChildProcess;
}

function serve(program: readonly string[], args: readonly string[], env: Record<string, string> = {}): Promise<Node> {
  const [command, ...first] = program;
  const all = [...first, "serve", "--port", "0", "--workers", "1", "--json", "--quiet", ...args];
  const kept = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => ["PATH", "HOME", "DENO_DIR"].includes(name)),
  );
  const child = spawn(command!, all, {
    cwd: root,
    env: { ...kept, ...env } as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const life = setTimeout(() => child.kill("SIGKILL"), lifeMs);
  child.on("exit", () => clearTimeout(life));
  return new Promise((resolve, reject) => {
    let out = "";
    let err = "";
    child.stderr!.on("data", (text) => {
      err += text;
    });
    child.stdout!.on("data", (text) => {
      out += text;
      if (out.includes("\n")) resolve({ url: JSON.parse(out).url, child });
    });
    child.on("exit", (code) => reject(new Error(`the node ended with ${code}: ${err}`)));
  });
}

const ended = (child: ChildProcess) =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve(child.exitCode)
    : new Promise((resolve) => child.on("exit", (code) => resolve(code)));

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(children.map(ended));
});

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

const hash = (out: string) =>
  createHash("sha256")
    .update(readFileSync(join(out, "model.safetensors")))
    .digest("hex");
const merge = async (out: string, options: readonly string[], env: Record<string, string> = {}) => {
  const outcome = await start(["merge", "examples/dare-ties.yml", out, "--json", "--slice", "8192", ...options], {
    env,
  });
  const nodes =
    outcome.exit === 0 ? (JSON.parse(outcome.out).nodes as { url: string; state: string; tasks: number }[]) : [];
  return { ...outcome, nodes };
};

describe("nodes in processes of their own", () => {
  let nodes: Node[] = [];
  let alone = "";
  beforeAll(async () => {
    const programs = [bunProgram, existsSync(denoProgram[0]!) ? denoProgram : bunProgram, bunProgram];
    nodes = await Promise.all(
      programs.map((p, i) =>
        serve(p, i === 2 ? ["--allow-root", root, "--allow-write-root", tmpdir()] : [], { BRAID_TOKEN: token }),
      ),
    );
    alone = await inFolder(async (folder) => {
      const { exit, err } = await merge(join(folder, "out"), []);
      expect([exit, err]).toEqual([0, expect.any(String)]);
      return hash(join(folder, "out"));
    });
  });
  const named = (count: number) => nodes.slice(0, count).flatMap(({ url }) => ["--node", url]);

  for (const [name, count, workers] of [
    ["one node and nothing else", 1, "0"],
    ["three nodes, one of which reads and writes the files itself", 3, "0"],
    ["three nodes beside a worker", 3, "1"],
  ] as const) {
    test(`${name} give the same bytes`, () =>
      inFolder(async (folder) => {
        const outcome = await merge(join(folder, "out"), ["--workers", workers, ...named(count)], {
          BRAID_TOKEN: token,
        });
        expect(outcome.exit).toBe(0);
        expect(hash(join(folder, "out"))).toBe(alone);
        if (workers === "0") {
          expect(outcome.nodes.map((n) => n.state)).toEqual(Array(count).fill("done"));
          expect(outcome.nodes.reduce((sum, n) => sum + n.tasks, 0)).toBeGreaterThan(50);
        }
      }));
  }

  test("nodes of a file that fetch inputs from the coordinator, two of which must agree, give the same bytes", () =>
    inFolder(async (folder) => {
      const port = await freePort();
      const coordinator = ["--allow-coordinator", `http://127.0.0.1:${port}`];
      const fetching = await Promise.all([0, 1].map(() => serve(bunProgram, coordinator, { BRAID_TOKEN: token })));
      const file = join(folder, "nodes");
      writeFileSync(file, `# two of them\n${fetching.map(({ url }) => `${url}  # fetches\n`).join("")}`);
      const options = ["--nodes-file", file, "--serve-inputs", `127.0.0.1:${port}`, "--redundancy", "2"];
      const outcome = await merge(join(folder, "out"), ["--workers", "0", ...options], { BRAID_TOKEN: token });
      expect(outcome.exit).toBe(0);
      expect(hash(join(folder, "out"))).toBe(alone);
      expect(outcome.nodes.map((n) => n.state)).toEqual(["done", "done"]);
      expect(outcome.nodes[0]!.tasks).toBeGreaterThan(50);
      const { nodeEvents } = JSON.parse(outcome.out) as {
        nodeEvents: { url: string; state: string; seconds: number }[];
      };
      expect(nodeEvents.map((e) => e.state)).toEqual(["ready", "ready", "done", "done"]);
      for (const { child } of fetching) child.kill("SIGTERM");
      expect(await Promise.all(fetching.map(({ child }) => ended(child)))).toEqual([0, 0]);
    }));

  test("braid nodes shows them, and says which one is not there", async () => {
    const urls = nodes.map(({ url }) => url);
    const well = await start(["nodes", ...urls, "--json"], { env: { BRAID_TOKEN: token } });
    expect([well.exit, well.err]).toEqual([0, ""]);
    const shown = JSON.parse(well.out).nodes as { about: { kernel: string; cores: number }; bytesPerSecond: number }[];
    expect(new Set(shown.map((n) => n.about.kernel)).size).toBe(1);
    for (const { about, bytesPerSecond } of shown) expect([about.cores, bytesPerSecond > 0]).toEqual([1, true]);
    const absent = await start(["nodes", urls[0]!, "http://127.0.0.1:9"], { env: { BRAID_TOKEN: token } });
    expect(absent.exit).toBe(69);
    expect(absent.out).toContain("does not answer");
  });

  test("without the token they do nothing, and the merge goes on without them", () =>
    inFolder(async (folder) => {
      const file = join(folder, "token");
      writeFileSync(file, `${token}x\n`);
      const outcome = await merge(join(folder, "out"), ["--workers", "0", "--node-token-file", file, ...named(1)]);
      expect([outcome.exit, hash(join(folder, "out"))]).toEqual([0, alone]);
      expect(outcome.nodes.map((n) => [n.state, n.tasks])).toEqual([["unfit", 0]]);
      expect(outcome.err).toContain("cannot take part: the signature is wrong (401)");
    }));

  test("one that is killed during the merge is done without", () =>
    inFolder(async (folder) => {
      const doomed = await serve(bunProgram, [], { BRAID_TOKEN: token });
      const running = merge(join(folder, "out"), ["--workers", "0", "--node", doomed.url, ...named(1)], {
        BRAID_TOKEN: token,
      });
      setTimeout(() => doomed.child.kill("SIGKILL"), 500);
      const outcome = await running;
      expect([outcome.exit, hash(join(folder, "out"))]).toEqual([0, alone]);
    }));

  test("SIGTERM ends a node in good order", async () => {
    const node = await serve(bunProgram, []);
    node.child.kill("SIGTERM");
    expect(await ended(node.child)).toBe(0);
  });
});

describe("braid serve refuses", () => {
  test.each([
    ["another address without a token", ["--host", "0.0.0.0"], {}, "without a token"],
    ["another address by plain HTTP", ["--host", "0.0.0.0"], { BRAID_TOKEN: token }, "--insecure-http"],
    ["to write where it may not read", ["--allow-write-root", root], {}, "without --allow-root"],
    ["a token that is too short", [], { BRAID_TOKEN: "short" }, "it has 5 bytes, the least is 32"],
  ] as const)("%s", async (_, args, env, text) => {
    const { exit, err } = await start(["serve", "--port", "0", ...args], { env });
    expect(exit).toBe(2);
    expect(err).toContain(text);
  });

  test("a folder that is not there", async () => {
    const { exit, err } = await start(["serve", "--port", "0", "--allow-root", "/no/such/folder"]);
    expect([exit, err.includes("/no/such/folder")]).toEqual([66, true]);
  });
});

test.each([
  ["an address that is none", "http://127.0.0.1:1\nnode2\n", ":2:1: error: Cannot use line 2"],
  ["no such file", null, "nodes"],
] as const)("a file of nodes with %s is refused", (_, text, says) =>
  inFolder(async (folder) => {
    const file = join(folder, "nodes");
    if (text !== null) writeFileSync(file, text);
    const { exit, err } = await start(["merge", "examples/dare-ties.yml", join(folder, "out"), "--nodes-file", file]);
    expect([exit > 0, err.includes(says), existsSync(join(folder, "out"))]).toEqual([true, true, false]);
  }),
);

test.each([
  [
    "inputs beyond this machine by plain HTTP",
    ["--node", "http://127.0.0.1:9", "--serve-inputs", "0.0.0.0:0"],
    "--insecure-http",
  ],
  ["inputs without nodes", ["--serve-inputs", "0"], "without --node"],
  ["agreement without nodes", ["--redundancy", "2"], "without --node"],
  [
    "an address that is none",
    ["--node", "http://127.0.0.1:9", "--serve-inputs", "a:b"],
    "neither a port nor address:port",
  ],
  ["a hub without nodes", ["--input-url", "models/base=https://hub.example/base"], "--input-url without --node"],
  [
    "a hub by http",
    ["--node", "http://127.0.0.1:9", "--input-url", "models/base=http://hub.example/base"],
    "https on port 443 only",
  ],
  [
    "a hub of no model",
    ["--node", "http://127.0.0.1:9", "--input-url", "https://hub.example/base"],
    "is not PLACE=URL",
  ],
] as const)("serving %s is refused", async (_, args, says) => {
  const { exit, err } = await start(["merge", "examples/dare-ties.yml", "/no/out", ...args]);
  expect([exit, err.includes(says)]).toEqual([2, true]);
});

test("--workers 0 without a node is refused", async () => {
  const { exit, err } = await start(["merge", "examples/dare-ties.yml", "/no/out", "--workers", "0"]);
  expect(exit).toBe(2);
  expect(err).toContain("there is no --node");
});

test("the token is among the variables that are asked for", () => {
  expect(Object.keys(readEnvironment())).toContain("BRAID_TOKEN");
});
