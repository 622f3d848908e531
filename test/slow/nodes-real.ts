// npx bun test/slow/nodes-real.ts [--parts sha,kill,slow] [--rounds N] [--seed N] [--shape small]
//
// Eight real nodes, processes of Bun and Deno in turn: some on the coordinator's disk, some that fetch inputs from it, some that are
// sent every byte. One SHA-256 with none, 1, 3 and 8 of them and mixed; while 1 to 7 of the 8 are killed with SIGKILL at random
// moments, by a network that is slow and breaks; and what a node at 1 % of the speed costs.
//
// The network: a namespace of its own, with `tc netem` where the kernel has it. Without netem a proxy in this process delays every
// piece and breaks connections; without the right to make a namespace all of it is on loopback. A line says which it is.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect as dial, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { benchShapes, makeCheckpoints } from "../../bench/checkpoints.ts";
import { machine, median, type Runtime, runtimesOf } from "../../bench/measure.ts";
import { benchRecipe } from "../../bench/recipes.ts";
import { projectRoot as root } from "../support/host.ts";
import { seeded } from "../support/seeded.ts";

const { values: options } = parseArgs({
  options: {
    parts: { type: "string", default: "sha,kill,slow" },
    rounds: { type: "string", default: "7" },
    seed: { type: "string", default: "1" },
    shape: { type: "string", default: "small" },
  },
});
const shape = benchShapes[options.shape as keyof typeof benchShapes];
const data = join(root, "bench/data");
const { path: recipe } = benchRecipe(data, shape.name, makeCheckpoints(data, shape, console.error), "dare_ties");
const scratch = mkdtempSync(join(tmpdir(), "braid-real-"));
const random = seeded(Number(options.seed));
const token = randomBytes(32).toString("hex");
const tokenFile = join(scratch, "token");
writeFileSync(tokenFile, token);
const runtimes = runtimesOf(root, ["bun", "deno"]);
/** Small, so that there are enough of them for something to happen to. */
const sliceElements = String(2 ** 18);
const wait = (ms: number) => new Promise((later) => setTimeout(later, ms));

// The network.

const space = `braid-${process.pid}`;
const [near, far] = ["10.213.77.1", "10.213.77.2"];
const delayMs = 5;
/** Of pieces: the proxy ends the connection. */
const breakShare = 0.002;

const attempt = (command: string, ...args: string[]): boolean => {
  try {
    execFileSync(command, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

interface Network {
  readonly says: string;
  readonly host: string;
  readonly prefix: readonly string[];
  readonly proxied: boolean;
}

function makeNetwork(): Network {
  const link = `bv${process.pid % 100_000}`;
  const made =
    attempt("ip", "netns", "add", space) &&
    attempt("ip", "link", "add", link, "type", "veth", "peer", "name", "far", "netns", space) &&
    attempt("ip", "addr", "add", `${near}/30`, "dev", link) &&
    attempt("ip", "link", "set", link, "up") &&
    attempt("ip", "-n", space, "addr", "add", `${far}/30`, "dev", "far") &&
    attempt("ip", "-n", space, "link", "set", "far", "up") &&
    attempt("ip", "-n", space, "link", "set", "lo", "up");
  if (!made) {
    attempt("ip", "netns", "del", space);
    return {
      says: "loopback (no right to make a namespace), delays and breaks by a proxy",
      host: "127.0.0.1",
      prefix: [],
      proxied: true,
    };
  }
  const prefix = ["ip", "netns", "exec", space];
  const netem = ["netem", "delay", `${delayMs}ms`, "2ms", "loss", "1%"];
  const shaped =
    attempt("tc", "qdisc", "add", "dev", link, "root", ...netem) &&
    attempt("tc", "-n", space, "qdisc", "add", "dev", "far", "root", ...netem);
  const says = shaped
    ? `a namespace with netem, ${delayMs} ms and 1 % loss each way`
    : `a namespace; this kernel has no netem, so a proxy delays every piece by ${delayMs} ms and breaks ${breakShare * 100} % of them`;
  return { says, host: far, prefix, proxied: !shaped };
}

/** Passes bytes on, late, and sometimes not at all. */
function proxy(
  host: string,
  port: number,
  chaos: { on: boolean; broken: number },
): Promise<{ port: number; server: Server }> {
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const node = dial(port, host);
    const end = () => {
      client.destroy();
      node.destroy();
      open.delete(client);
    };
    open.add(client);
    for (const [from, to] of [
      [client, node],
      [node, client],
    ] as const) {
      from.on("error", end);
      from.on("close", end);
      from.on("data", (piece) => {
        if (chaos.on && random() < breakShare) {
          chaos.broken++;
          end();
          return;
        }
        from.pause();
        setTimeout(
          () => {
            if (!to.destroyed) to.write(piece);
            from.resume();
          },
          chaos.on ? delayMs : 0,
        );
      });
    }
  });
  return new Promise((ready) => {
    server.listen(0, "127.0.0.1", () => ready({ port: (server.address() as { port: number }).port, server }));
  });
}

// Nodes.

interface Node {
  child: ChildProcess;
  port: number;
  readonly kind: string;
  start(): Promise<void>;
}

const kinds: Record<string, (inputs: string) => readonly string[]> = {
  "on the disk": () => ["--allow-root", data, "--allow-write-root", scratch],
  "fetches inputs": (inputs) => ["--allow-coordinator", inputs],
  "is sent bytes": () => [],
};

function serve(
  { command, args }: Runtime,
  prefix: readonly string[],
  host: string,
  port: number,
  more: readonly string[],
) {
  const bind = ["--host", host, "--port", String(port), "--insecure-http", "--token-file", tokenFile, "--workers", "1"];
  const [program, ...first] = [...prefix, command, ...args, "serve", ...bind, "--json", "--quiet", ...more] as [string];
  const child = spawn(program, first, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  return new Promise<{ child: ChildProcess; port: number }>((ready, failed) => {
    let out = "";
    child.stdout!.on("data", (text) => {
      out += text;
      if (out.includes("\n")) ready({ child, port: Number(new URL((JSON.parse(out) as { url: string }).url).port) });
    });
    child.on("exit", (code, signal) => failed(new Error(`the node ended with ${code ?? signal}`)));
  });
}

const started = new Set<ChildProcess>();
async function makeNode(i: number, network: Network, inputs: string): Promise<Node> {
  const kind = Object.keys(kinds)[i % 3]!;
  const begin = async (port: number) => {
    const made = await serve(runtimes[i % 2]!, network.prefix, network.host, port, kinds[kind]!(inputs));
    started.add(made.child);
    return made;
  };
  const made = await begin(0);
  const node: Node = {
    ...made,
    kind: `${kind}, ${runtimes[i % 2]!.name}`,
    async start() {
      node.child = (await begin(node.port)).child;
    },
  };
  return node;
}

// Merges.

interface Outcome {
  readonly sha256: string;
  readonly seconds: number;
  readonly nodes: readonly { url: string; state: string; tasks: number }[];
  readonly events: readonly { url: string; state: string; seconds: number }[];
}

async function merge(args: readonly string[]): Promise<Outcome> {
  const { command, args: first } = runtimes[0]!;
  const out = join(scratch, "merged");
  rmSync(out, { recursive: true, force: true });
  const began = performance.now();
  const all = [
    ...first,
    "merge",
    recipe,
    out,
    "--json",
    "--quiet",
    "--slice",
    sliceElements,
    "--node-token-file",
    tokenFile,
    ...args,
  ];
  const child = spawn(command, all, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let [text, err] = ["", ""];
  child.stdout.on("data", (piece) => {
    text += piece;
  });
  child.stderr.on("data", (piece) => {
    err += piece;
  });
  const code = await new Promise((done) => child.on("close", done));
  if (code !== 0) throw new Error(`the merge ended with ${code}\n${err}`);
  const summary = JSON.parse(text) as {
    files: { sha256: string }[];
    nodes?: Outcome["nodes"];
    nodeEvents?: Outcome["events"];
  };
  const seconds = (performance.now() - began) / 1000;
  return { sha256: summary.files[0]!.sha256, seconds, nodes: summary.nodes ?? [], events: summary.nodeEvents ?? [] };
}

const hashes = new Map<string, string>();
function note(what: string, { sha256, seconds, nodes }: Outcome, more = ""): void {
  hashes.set(what, sha256);
  const tasks = nodes.map((n) => n.tasks).join(" ");
  console.log(`| ${what} | ${sha256.slice(0, 16)}… | ${seconds.toFixed(1)} s | ${tasks || "-"} | ${more} |`);
}

const network = makeNetwork();
const servers: Server[] = [];
const chaos = { on: false, broken: 0 };
try {
  console.log(`${machine()}; dare_ties, ${shape.name}; ${network.says}.`);
  // Inputs are fetched across the network too: from its near end.
  const inputsHost = network.prefix.length > 0 ? near : "127.0.0.1";
  const inputsPort = 20_000 + (process.pid % 20_000);
  const inputs = `http://${inputsHost}:${inputsPort}`;
  const nodes = await Promise.all(Array.from({ length: 8 }, (_, i) => makeNode(i, network, inputs)));
  const urls = await Promise.all(
    nodes.map(async ({ port }) => {
      if (!network.proxied) return `http://${network.host}:${port}`;
      const made = await proxy(network.host, port, chaos);
      servers.push(made.server);
      return `http://127.0.0.1:${made.port}`;
    }),
  );
  console.log(`Nodes: ${nodes.map((n) => n.kind).join("; ")}.\n`);
  console.log("| merge | SHA-256 | time | tasks of each node | |\n|---|---|---|---|---|");
  const named = (count: number) => urls.slice(0, count).flatMap((url) => ["--node", url]);
  const serving = ["--serve-inputs", `${inputsHost}:${inputsPort}`, "--insecure-http"];
  const alone = await merge([]);
  note("local", alone);
  const parts = new Set(options.parts.split(","));
  if (parts.has("sha")) {
    for (const count of [1, 3, 8])
      note(`${count} node${count > 1 ? "s" : ""}`, await merge(["--workers", "0", ...named(count), ...serving]));
    note("8 nodes beside 2 workers", await merge(["--workers", "2", ...named(8), ...serving]));
    note("8 nodes, 2 must agree", await merge(["--workers", "0", "--redundancy", "2", ...named(8), ...serving]));
  }
  if (parts.has("kill")) {
    chaos.on = true;
    for (let round = 0; round < Number(options.rounds); round++) {
      const count = 1 + (round % 7);
      const doomed = nodes
        .map((node) => ({ node, at: random() }))
        .sort((a, b) => a.at - b.at)
        .slice(0, count);
      const before = chaos.broken;
      // With a local worker in every other round; without one, the last node or the fallback must do it.
      const running = merge([...(round % 2 === 0 ? ["--workers", "0"] : ["--workers", "1"]), ...named(8), ...serving]);
      const kills = doomed.map(async ({ node, at }) => {
        await wait(400 + at * 1500);
        node.child.kill("SIGKILL");
        // One in three comes back at once, on the same port.
        if (at < 1 / 3) await node.start();
      });
      const outcome = await running;
      await Promise.all(kills);
      const gone = outcome.events.filter((e) => e.state === "away").length;
      const banned = outcome.events.filter((e) => e.state === "banned").length;
      note(
        `${count} of 8 killed, round ${round + 1}`,
        outcome,
        `${gone} times away, ${chaos.broken - before} connections broken, ${banned} banned`,
      );
      for (const { node, at } of doomed) if (at >= 1 / 3) await node.start();
    }
    chaos.on = false;
  }
  if (parts.has("slow")) {
    const { child } = nodes[3]!;
    const [without, beside]: [number[], number[]] = [[], []];
    for (let round = 1; round <= 3; round++) {
      const three = await merge(["--workers", "0", ...named(3), ...serving]);
      note(`3 nodes, round ${round}`, three);
      const pulse = setInterval(() => {
        child.kill("SIGCONT");
        setTimeout(() => child.kill("SIGSTOP"), 1);
      }, 100);
      const slowed = await merge(["--workers", "0", ...named(4), ...serving]);
      clearInterval(pulse);
      await wait(10);
      child.kill("SIGCONT");
      const joined = slowed.events.find((e) => e.url === urls[3] && e.state === "ready");
      const says = joined
        ? `the slow one joined after ${joined.seconds.toFixed(1)} s`
        : "the slow one did not join in time";
      note(`and one that runs 1 ms of 100, round ${round}`, slowed, says);
      without.push(three.seconds);
      beside.push(slowed.seconds);
    }
    const ratio = (of: (values: readonly number[]) => number) => (of(beside) / of(without)).toFixed(2);
    console.log(`\nWith the slow node: ${ratio(median)} × (medians), ${ratio((v) => Math.min(...v))} × (least).`);
  }
  const all = new Set(hashes.values());
  console.log(`\n${hashes.size} merges, ${all.size} SHA-256${all.size === 1 ? `: ${[...all][0]}` : ": NOT ONE"}`);
  process.exitCode = all.size === 1 ? 0 : 1;
} finally {
  for (const server of servers) server.close();
  for (const child of started) {
    child.kill("SIGCONT");
    child.kill("SIGKILL");
  }
  await wait(100);
  attempt("ip", "netns", "del", space);
  rmSync(scratch, { recursive: true, force: true });
}
process.exit();
