// One merge by many nodes in virtual time. Real: the plan, the conductor, the executor with its dispatch, leases, heartbeats,
// copies and audits, the client and its frames. Modelled: how long things take, and the nodes' HTTP. docs/scale.md says with what.

import { createHash } from "node:crypto";
import { Conductor } from "../../src/exec/conduct.ts";
import { drive } from "../../src/exec/drive.ts";
import type { Job } from "../../src/exec/executor.ts";
import { defaultRequest, type Host } from "../../src/host.ts";
import { compileKernel, kernelSha256 } from "../../src/kernel/kernel.ts";
import type { MergeReceipt, Task } from "../../src/kernel/program.ts";
import { tileElements } from "../../src/kernel/program.ts";
import { prepare } from "../../src/prepare.ts";
import { carriedBytes } from "../../src/remote/attempts.ts";
import type { Fetch } from "../../src/remote/client.ts";
import { createNodesExecutor } from "../../src/remote/executor.ts";
import { decodeFrame, encodeFrame } from "../../src/remote/frame.ts";
import { createInlineKernels, type OwnKernels, sliceStart } from "../../src/remote/kernels.ts";
import { nodeLimits } from "../../src/remote/limits.ts";
import { readRanges } from "../../src/remote/locate.ts";
import type { NodeReport } from "../../src/remote/member.ts";
import { rangeBytes } from "../../src/remote/ranges.ts";
import { headers, outputBytes, protocol, routes, type TaskMessage } from "../../src/remote/wire.ts";
import { type Checkpoints, checkpoints, type Llama, root, scale, sliceElements } from "./models.ts";
import { Resource, World } from "./world.ts";

export interface Scene {
  readonly model: Llama;
  readonly nodes: number;
  /** Bytes a second, each way, of the coordinator's network. */
  readonly coordinatorRate: number;
  /** The same of each node. */
  readonly nodeRate: number;
  readonly nodeCores: number;
  /**
   * How bytes travel. `sent`: inputs in the request, outputs in the answer. `read`: nodes read inputs from storage by their own
   * network. `placed`: they write outputs there too.
   */
  readonly bytes: "sent" | "read" | "placed";
  /** Nanoseconds that a core takes for an element, reading and writing its memory included. */
  readonly elementNs: number;
  /** Half of a round trip. */
  readonly latencyMs: number;
  /** A node's speed is even between 1 − spread and 1 + spread. */
  readonly spread: number;
  readonly seed: number;
  /** Kernels compute; or everybody says zero, which costs the simulation less and the merge as much time. */
  readonly compute: boolean;
}

export interface Outcome {
  /** Virtual, from when all nodes have joined. */
  readonly seconds: number;
  readonly tasks: number;
  /** Answers that nobody waited for any more, by second copies. */
  readonly requests: number;
  readonly nodesUsed: number;
  /** Elements computed again, over all. */
  readonly audited: number;
  /** Shares of the time that each was busy. */
  readonly busy: { readonly thread: number; readonly down: number; readonly up: number; readonly nodes: number };
  /** The most bytes of requests and answers that the coordinator held at a time. */
  readonly heldBytes: number;
  readonly fellBack: boolean;
  readonly sha256: string;
}

/** Bytes a second of the coordinator's main thread: taking in a body (docs/scale.md), and writing to the page cache. */
const receiveRate = 2.231e9;
const sendRate = 1.765e9;
const writeRate = 4e9;
/** SHA-256, on other threads than the main one. */
const hashRate = 1.25e9;
const descriptorBytes = 2048;
const outRoot = "/out";

const ms = (bytes: number, rate: number) => (bytes / rate) * 1000;
/** What bytes here stand for: those of an audited block are as many as they are, twice, for slices here have half as many blocks
 * as are asked for. */
const full = (bytes: number, smallest: number) => (bytes <= smallest ? 2 * bytes : scale * bytes);
const blockBytes = 2 * tileElements;

/** Numbers in [0, 1) that depend on the seed only (Mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function hostOf({ fs }: Checkpoints): Host {
  const never = (): never => {
    throw new Error("a plan needs nothing else");
  };
  return {
    cwd: "/",
    env: {},
    home: "/",
    cores: 1,
    now: () => 0,
    today: () => new Date(0),
    runtime: "simulation",
    peakMemory: () => null,
    fs,
    openStage: never,
    assertUnchanged: () => {},
    hashFile: never,
    flush: async () => {},
    removeFolder: async () => {},
    readAhead: async () => {},
    diskBytes: () => null,
    collect: () => {},
    createExecutor: never,
    report: () => {},
    signal: new AbortController().signal,
  };
}

/** All answer zeros that want to be compared, not looked at. */
function emptyKernels(): OwnKernels {
  const receiptOf = (task: Task): MergeReceipt => {
    if (task.kind !== "merge" || task.program.op !== "merge") throw new TypeError("only merges are simulated");
    const nothing = { nonFinite: [], overflow: { count: 0, first: -1 }, kept: task.program.terms.map(() => 0) };
    return { kind: "merge", id: task.id, ...nothing, differs: -1, nanoseconds: { read: 0, compute: 0, write: 0 } };
  };
  return {
    sha256: kernelSha256,
    cores: 1,
    run: async (task) => ({ receipt: receiptOf(task), output: new Uint8Array(outputBytes(task)) }),
    async runOn(task, io) {
      if (task.kind !== "merge") throw new TypeError("only merges are simulated");
      const bytes = new Uint8Array(outputBytes(task));
      for (const input of task.inputs) await io.read(input, task.first * 2, bytes);
      await io.write(task.output, task.first * 2, bytes.fill(0));
      return receiptOf(task);
    },
  };
}

/** Digests at once: those of a thread pool would take time that is not the world's. */
async function withoutThreads<T>(run: () => Promise<T>): Promise<T> {
  const { subtle } = crypto;
  const real = subtle.digest;
  const digest = async (_: unknown, data: Uint8Array) => {
    const found = createHash("sha256").update(data).digest();
    return found.buffer.slice(found.byteOffset, found.byteOffset + found.length);
  };
  Object.defineProperty(subtle, "digest", { value: digest, configurable: true, writable: true });
  try {
    return await run();
  } finally {
    Object.defineProperty(subtle, "digest", { value: real, configurable: true, writable: true });
  }
}

/** An answer whose body is there at once; a Response would hand it on by the machine's time. */
function answer(bytes: Uint8Array<ArrayBuffer>, given: Record<string, string>): Response {
  let left: Uint8Array<ArrayBuffer> | null = bytes;
  const reader = {
    read: async () => {
      const value = left;
      left = null;
      return value ? { done: false, value } : { done: true, value: undefined };
    },
    cancel: async () => {},
  };
  const all = new Headers({ "content-length": String(bytes.length), ...given });
  const body = { getReader: () => reader, cancel: async () => {} };
  return { status: 200, ok: true, headers: all, body } as unknown as Response;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

export async function simulate(scene: Scene): Promise<Outcome> {
  const files = checkpoints(scene.model);
  const { plan, method } = await prepare(
    {
      ...defaultRequest,
      recipe: { text: files.recipe, file: "scale.yml", folder: "/" },
      workers: 1,
      memoryBytes: 2 ** 40,
      sliceElements,
    },
    hostOf(files),
  );
  const random = seeded(scene.seed);
  const world = new World();
  const coordinator = {
    thread: new Resource(world),
    hash: new Resource(world, 2),
    down: new Resource(world),
    up: new Resource(world),
  };
  const speeds = Array.from({ length: scene.nodes }, () => 1 + scene.spread * (2 * random() - 1));
  const machines = speeds.map((speed) => ({
    speed,
    cores: new Resource(world, scene.nodeCores),
    down: new Resource(world),
    up: new Resource(world),
  }));
  const truth = scene.compute
    ? createInlineKernels({ module: compileKernel(), workerBytes: 16 << 20, now: () => 0 })
    : emptyKernels();
  const figures = { requests: 0, audited: 0, held: 0, most: 0 };
  const hold = (bytes: number) => {
    figures.held += bytes;
    figures.most = Math.max(figures.most, figures.held);
  };

  /** Elements that a task stands for. Test merges of joining are as large as they are. */
  const standsFor = (task: Task, joins: boolean) =>
    joins ? task.count : task.count <= tileElements ? 2 * task.count : scale * task.count;

  const bill = (task: Task) => {
    const joins = task.inputs.length === 3; // the simulated merge has four
    const elements = standsFor(task, joins);
    figures.audited += joins ? 0 : elements;
    return coordinator.thread.use((elements * scene.elementNs) / 1e6);
  };
  const kernels: OwnKernels = {
    sha256: kernelSha256,
    cores: 1,
    async run(task, data, signal) {
      await bill(task);
      return truth.run(task, data, signal);
    },
    async runOn(task, io) {
      await bill(task);
      return truth.runOn(task, io);
    },
  };

  const about = new TextEncoder().encode(
    JSON.stringify({
      protocol,
      version: "simulation",
      runtime: "simulation",
      cores: scene.nodeCores,
      kernel: kernelSha256,
      limits: nodeLimits,
      roots: scene.bytes === "sent" ? [] : [root],
      writeRoots: scene.bytes === "placed" ? [outRoot] : [],
      hosts: [],
    }),
  );

  /** What is written: the digest of the last bytes at each place. */
  const written = new Map<string, string>();
  const record = (path: string, position: number, data: Uint8Array) => {
    written.set(`${path} ${String(position).padStart(16, "0")}`, sha256(data));
  };
  /** What nodes wrote themselves and nobody has looked at, by task. */
  const stored = new Map<number, { readonly start: number; readonly bytes: Uint8Array }>();
  const readStored = (start: number, target: Uint8Array) => {
    for (const s of stored.values())
      if (s.start <= start && start + target.length <= s.start + s.bytes.length)
        return void target.set(s.bytes.subarray(start - s.start, start - s.start + target.length));
    target.fill(0);
  };

  async function runTask(i: number, body: Uint8Array<ArrayBuffer>): Promise<Response> {
    const node = machines[i]!;
    figures.requests++;
    const message = decodeFrame(body, nodeLimits.descriptorBytes) as TaskMessage;
    const { task, ranges, locators, inline, job, lease, target } = message;
    const joins = lease < 0;
    const inlineBytes = joins ? inline.length : full(inline.length, 0);
    const readBytes = joins ? 0 : full(rangeBytes(ranges) - inline.length, 0);
    const outBytes = joins ? outputBytes(task) : full(outputBytes(task), 0);
    const sentBytes = target ? 0 : outBytes;
    hold(inlineBytes);
    if (inlineBytes > 0) {
      await coordinator.hash.use(ms(inlineBytes, hashRate));
      await coordinator.thread.use(ms(inlineBytes, sendRate));
    }
    await coordinator.up.use(ms(inlineBytes + descriptorBytes, scene.coordinatorRate));
    await world.wait(scene.latencyMs);
    await node.down.use(ms(inlineBytes + readBytes, scene.nodeRate * node.speed));
    const reach = { roots: [root], hosts: [], openPath: files.source };
    const bytes = await readRanges(ranges, locators, inline, reach, nodeLimits, world);
    const result = await truth.run(task, { ranges, bytes }, new AbortController().signal);
    const elements = joins ? task.count : scale * task.count;
    const computeMs = (elements * scene.elementNs) / 1e6 / node.speed;
    await node.cores.use(computeMs);
    // A node is believed to be as fast as its test merge was; that is told by elements, which are fewer here.
    const joinMs = 2 * scene.latencyMs + computeMs + ms(inlineBytes + outBytes, scene.nodeRate * node.speed);
    if (joins) await world.wait((scale - 1) * joinMs);
    await node.up.use(ms(outBytes, scene.nodeRate * node.speed));
    await world.wait(scene.latencyMs);
    hold(sentBytes - inlineBytes);
    await coordinator.down.use(ms(sentBytes + descriptorBytes, scene.coordinatorRate));
    await coordinator.thread.use(ms(sentBytes, receiveRate));
    await coordinator.hash.use(ms(sentBytes, hashRate));
    hold(-sentBytes);
    if (target) {
      record(target.path, sliceStart(task), result.output);
      if (scene.compute) stored.set(task.id, { start: sliceStart(task), bytes: result.output });
    }
    const slice = { kind: task.kind, first: task.first, count: task.count };
    const output = target ? new Uint8Array() : result.output;
    const said = {
      protocol,
      job,
      lease,
      kernel: kernelSha256,
      slice,
      receipt: result.receipt,
      output,
      written: !!target,
    };
    const frame = encodeFrame(said).bytes;
    return answer(frame, { [headers.hash]: sha256(frame) });
  }

  const fetch: Fetch = (url, init) => {
    const { hostname, pathname } = new URL(url);
    const work = async () => {
      if (pathname === routes.health || pathname === routes.about) {
        await world.wait(2 * scene.latencyMs);
        const bytes = pathname === routes.about ? about : new Uint8Array();
        return answer(bytes, { [headers.hash]: sha256(bytes) });
      }
      return runTask(Number(hostname.slice(4)), init.body as Uint8Array<ArrayBuffer>);
    };
    const { signal } = init;
    return new Promise<Response>((resolve, reject) => {
      const stop = () => reject(new Error("aborted"));
      signal?.addEventListener("abort", stop, { once: true });
      work()
        .then(resolve, reject)
        .finally(() => signal?.removeEventListener("abort", stop));
    });
  };

  let tasks = 0;
  let ready = 0;
  const joined = Promise.withResolvers<void>();
  const job: Job = {
    files: [
      ...plan.inputFiles.map((f) => ({ path: f.location, mode: "read" as const })),
      ...plan.outputs.map((f) => ({ path: `${outRoot}/${f.name}`, mode: "write" as const })),
    ],
    workerBytes: plan.memory.workerBytes,
    sync: false,
  };
  const reports: NodeReport[] = [];
  let fellBack = false;

  return withoutThreads(async () => {
    const executor = createNodesExecutor({
      nodes: machines.map((_, i) => ({ url: `http://node${i}`, token: null })),
      job,
      opener: {
        source: (path) => ({
          ...(path.startsWith(outRoot) ? { name: path, byteLength: 0, close() {} } : files.source(path)),
          // The coordinator reads what it audits from where the inputs are.
          async read(start, target) {
            if (path.startsWith(outRoot)) readStored(start, target);
            else files.read(path, start, target);
            const bytes = full(target.length, blockBytes);
            if (scene.bytes !== "sent") await coordinator.down.use(ms(bytes, scene.coordinatorRate));
            else await coordinator.thread.use(ms(bytes, writeRate));
          },
        }),
        sink: (path) => ({
          name: path,
          async write(position, data) {
            record(path, position, data);
            await coordinator.thread.use(ms(full(data.length, 0), writeRate));
          },
          sync() {},
          close() {},
        }),
      },
      local: null,
      fallback: () => {
        fellBack = true;
        return {
          capacity: 1,
          run: () => Promise.reject(new Error("nothing is to be done locally")),
          close: async () => {},
        };
      },
      kernels,
      fetch,
      clock: world,
      carriedBytes: carriedBytes / scale,
      today: () => world.now(),
      random,
      report: (report) => {
        reports.push(report);
        if (report.state === "ready" && ++ready === scene.nodes) joined.resolve();
      },
    });
    const conductor = new Conductor(plan, method, {
      outcome: () => {},
      kept: () => {},
      beat: () => {},
      progress: (_bytes, _tensor, task) => {
        tasks++;
        stored.delete(task.id);
      },
    });
    let started = 0;
    await world.run(
      (async () => {
        await joined.promise;
        started = world.now();
        figures.requests = 0;
        for (const r of [coordinator.thread, coordinator.down, coordinator.up]) r.busy = 0;
        for (const m of machines) m.cores.busy = 0;
        await drive(conductor, executor, new AbortController().signal);
        await executor.close();
      })(),
    );
    const seconds = (world.now() - started) / 1000;
    const share = (r: Resource, lanes = 1) => r.busy / 1000 / seconds / lanes;
    const used = reports.filter((r) => r.state === "done" && r.tasks > 0).length;
    return {
      seconds,
      tasks,
      requests: figures.requests,
      nodesUsed: used,
      audited: figures.audited / (plan.parameters * scale),
      busy: {
        thread: share(coordinator.thread),
        down: share(coordinator.down),
        up: share(coordinator.up),
        nodes: machines.reduce((sum, m) => sum + share(m.cores, scene.nodeCores), 0) / machines.length,
      },
      heldBytes: figures.most,
      fellBack,
      sha256: sha256(
        new TextEncoder().encode(
          [...written]
            .map((pair) => pair.join(" "))
            .sort()
            .join("\n"),
        ),
      ),
    };
  });
}
