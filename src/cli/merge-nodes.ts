// The nodes of a `braid merge`: from its options to an executor, and what is told of them while it goes on and at the end.

import { localFiles } from "../bytes/file.ts";
import { fail } from "../errors.ts";
import type { Executor, Job } from "../exec/executor.ts";
import { fileOpener } from "../exec/local.ts";
import type { FileHash, Host, MergeRequest } from "../host.ts";
import { realClock } from "../remote/clock.ts";
import { type Copy, checkCopy, copyUrl } from "../remote/copies.ts";
import type { NodesExecutor } from "../remote/executor.ts";
import { createInputs } from "../remote/inputs.ts";
import { nodeLimits } from "../remote/limits.ts";
import type { NodeReport } from "../remote/member.ts";
import { openCheckpoint } from "../tensor/checkpoint.ts";
import { resolveModel } from "../tensor/locate.ts";
import { checkInsecure, originOf } from "./bind.ts";
import { readPlaces } from "./environment.ts";
import { RestartingHash } from "./file-hash.ts";
import { formatCount, plural, printable } from "./format.ts";
import type { Handler, Listener } from "./listen.ts";
import type { Context } from "./main.ts";
import { createNodeExecutor, elsewhereOf } from "./node-executor.ts";
import type { InputUrl } from "./node-options.ts";
import { readNodes, watchNodes } from "./nodes-file.ts";
import { createQueueTasks, type QueueTerms, queueNodes } from "./queue-executor.ts";
import type { Screen } from "./terminal.ts";
import { writeDiagnostic } from "./terminal.ts";
import { readToken } from "./token.ts";

/** What `braid merge` says of nodes. */
export interface NodeOptions {
  readonly nodes: readonly URL[];
  readonly nodesFile: string | undefined;
  readonly nodeTokenFile: string | undefined;
  readonly redundancy: number;
  readonly serveInputs: { readonly host: string; readonly port: number } | undefined;
  readonly inputsUrl: URL | undefined;
  readonly inputUrl: readonly InputUrl[];
  readonly insecureHttp: boolean;
  readonly workers: number | undefined;
  readonly quiet: boolean;
}

/** A node came, went, or is not believed any more; `seconds` after the merge began. */
export type NodeEvent = NodeReport & { readonly seconds: number };

/** A hub that says nothing for so long is not there. */
const copyMs = 30_000;

export interface MergeNodes {
  /** Compares what is said to be on a hub with the local files, before the merge; `folder` is the recipe's. */
  checkCopies(folder: string): Promise<void>;
  createExecutor(job: Job, workers: number, pool: (workers: number) => Executor): Promise<Executor>;
  /** What a node wrote may be put right after it was hashed. */
  hashFile(make: Host["hashFile"]): Host["hashFile"];
  request(asked: MergeRequest): MergeRequest;
  /** Every node in a few letters, for the progress line. */
  line(): string;
  /** What each node did, for the end. */
  rows(): string[][];
  /** The last word on each node. */
  readonly reports: ReadonlyMap<string, NodeReport>;
  readonly events: readonly NodeEvent[];
}

/** Null: no node takes part. `clear` takes the progress line away. */
export function createMergeNodes(
  options: NodeOptions,
  context: Context,
  module: WebAssembly.Module,
  clear: () => void,
  queue: QueueTerms | null = null,
): MergeNodes | null {
  const { nodesFile, workers, quiet, redundancy, serveInputs, inputsUrl } = options;
  const listed = () => [
    ...new Set([
      ...options.nodes.map(({ origin }) => origin),
      ...(nodesFile === undefined ? [] : readNodes(nodesFile)),
    ]),
  ];
  const named = options.nodes.length > 0 || nodesFile !== undefined;
  if (!named) {
    if (workers === 0 && !queue) {
      fail("usage", "Cannot merge with --workers 0: there is no --node that could do it", {
        hint: "Leave --workers out, or name nodes or a queue.",
      });
    }
    const needy = serveInputs ? "--serve-inputs" : redundancy > 1 ? "--redundancy" : "--input-url";
    if (serveInputs || redundancy > 1 || options.inputUrl.length > 0)
      fail("usage", `Cannot use ${needy} without --node or --nodes-file`);
    if (!queue) return null;
  }
  if (queue && options.inputUrl.length > 0)
    fail("usage", "Cannot use --input-url with --queue: workers of a queue fetch from the coordinator");
  if (serveInputs) checkInsecure(serveInputs.host, options.insecureHttp);
  const first = listed();
  const token = named ? readToken(options.nodeTokenFile, context.env) : null;
  const { err } = context.terminal;
  const started = performance.now();
  const clock = realClock(() => performance.now());
  const reports = new Map<string, NodeReport>();
  const events: NodeEvent[] = [];
  const hashes = new Map<string, RestartingHash>();
  const copies = new Map<string, Copy>();
  let current: NodesExecutor | null = null;
  const hear = (report: NodeReport): void => {
    reports.set(report.url, report);
    events.push({ seconds: (performance.now() - started) / 1000, ...report });
    clear();
    if (!quiet || !["ready", "left"].includes(report.state)) writeNode(err, report);
  };
  const addresses = (urls: readonly string[]) => urls.map((url) => ({ url, token }));

  async function createExecutor(job: Job, all: number, pool: (workers: number) => Executor): Promise<Executor> {
    const local = workers === 0 ? 0 : all;
    const changed = (path: string) => hashes.get(path)?.restart();
    if (!queue) return withNodes(job, local, pool, changed);
    const queued = await createQueueTasks({ ...queue, module, job, workers: local, pool, report: hear, changed });
    // Nodes stand before the queue: what they do not take goes there.
    return named ? withNodes(job, 1, () => queued, changed) : queued;
  }

  async function withNodes(
    job: Job,
    local: number,
    pool: (workers: number) => Executor,
    changed: (path: string) => void,
  ): Promise<Executor> {
    const over = new AbortController();
    const jobId = hex(crypto.getRandomValues(new Uint8Array(16)));
    const inputs = serveInputs
      ? createInputs({
          job,
          jobId,
          opener: fileOpener,
          key: crypto.getRandomValues(new Uint8Array(32)),
          today: () => Date.now(),
          limits: nodeLimits,
        })
      : null;
    const listener = inputs ? await listenFor(serveInputs!, (request) => inputs.app.fetch(request)) : null;
    const origin = listener && (inputsUrl?.origin ?? originOf(serveInputs!.host, listener.port));
    const executor = createNodeExecutor({
      nodes: addresses(first),
      module,
      job,
      jobId,
      workers: local,
      pool,
      redundancy,
      report: hear,
      changed,
      copies,
      ...(inputs && origin ? { served: inputs.at(origin) } : {}),
    });
    current = executor;
    if (nodesFile !== undefined) {
      const problem = (error: unknown) => {
        clear();
        writeDiagnostic(err, "warning", { kind: "usage", message: (error as Error).message });
      };
      const use = () => executor.use(addresses(listed()));
      void watchNodes(nodesFile, clock, over.signal, use, problem).catch(problem);
    }
    let closing: Promise<void> | null = null;
    const end = async () => {
      over.abort();
      try {
        await executor.close();
      } finally {
        await listener?.stop();
      }
    };
    return {
      get capacity() {
        return executor.capacity;
      },
      ...(executor.firstTasks === undefined ? {} : { firstTasks: executor.firstTasks }),
      run: (...task) => executor.run(...task),
      close: () => {
        closing ??= end();
        return closing;
      },
    };
  }

  async function checkCopies(recipeFolder: string): Promise<void> {
    const { signal } = context;
    const impatient = (url: string, init: RequestInit) =>
      fetch(url, { ...init, signal: AbortSignal.any([signal, AbortSignal.timeout(copyMs)]) });
    for (const { place, url } of options.inputUrl) {
      const { folder, file } = await resolveModel(place, { ...readPlaces(context.env), recipeFolder }, localFiles);
      for (const { name, location } of (await openCheckpoint(place, folder, { file })).files) {
        const local = await folder.open(name);
        try {
          copies.set(location, await checkCopy(local, copyUrl(url, name), { place, fetch: impatient, clock, signal }));
        } finally {
          await local.close();
        }
      }
    }
  }

  return {
    checkCopies,
    createExecutor,
    hashFile: (make) => (path, worked) => {
      const hash = new RestartingHash((): FileHash => make(path, worked));
      hashes.set(path, hash);
      return hash;
    },
    request: (asked) => ({ ...asked, elsewhere: elsewhereOf(first.length + (queue ? queueNodes : 0)) }),
    line: () => (current ? nodesLine(current.nodes()) : ""),
    reports,
    events,
    rows: () => [...reports.values()].map(nodeRow),
  };
}

const hex = (bytes: Uint8Array) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");

async function listenFor({ host, port }: { host: string; port: number }, handler: Handler): Promise<Listener> {
  // Only who serves inputs waits for a server to be loaded.
  const { listen } = await import("./listen.ts");
  return listen(host, port, handler, { purpose: "serve inputs" });
}

/** `10.0.0.2:7433 61 %  10.0.0.3:7433 39 %  10.0.0.4:7433 away`: what each did of what nodes did. */
export function nodesLine(nodes: readonly NodeReport[]): string {
  const all = nodes.reduce((sum, n) => sum + n.bytes, 0);
  return nodes
    .map(({ url, state, bytes }) => {
      const share = all > 0 ? `${Math.round((bytes / all) * 100)} %` : "0 %";
      return `${url.replace(/^https?:\/\//, "")} ${state === "ready" || state === "done" ? share : state}`;
    })
    .join("  ");
}

const nodeRow = ({ url, tasks, bytes, state }: NodeReport): string[] => [
  url,
  `${plural(tasks, "task")}, ${formatCount(Math.round(bytes / 1e6))} MB${state === "done" ? "" : `, ${state}`}`,
];

function writeNode(screen: Screen, { url, state, message }: NodeReport): void {
  if (state === "ready") screen.write(`note: node ${url} joined: ${printable(message)}\n`);
  else if (state === "left") screen.write(`note: node ${url} left: ${printable(message)}\n`);
  else if (state !== "done") {
    const does = { away: "does not answer", unfit: "cannot take part", banned: "is not believed any more" }[state];
    const kind = state === "banned" ? "node-answer" : "node-unavailable";
    writeDiagnostic(screen, "warning", { kind, message: `Node ${url} ${does}: ${printable(message)}` });
  }
}
