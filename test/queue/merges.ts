// Merges through a real server, with coordinator and workers in this process and no sockets between those.

import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import type { Hono } from "hono";
import { FileSource } from "../../src/bytes/file.ts";
import type { Executor } from "../../src/exec/executor.ts";
import { createInlineExecutor } from "../../src/exec/inline.ts";
import { fileOpener } from "../../src/exec/local.ts";
import { merge } from "../../src/merge.ts";
import type { Fetch } from "../../src/remote/ask.ts";
import { type Clock, realClock } from "../../src/remote/clock.ts";
import { createInlineKernels, type NodeKernels } from "../../src/remote/kernels.ts";
import { noReach, type Reach } from "../../src/remote/locate.ts";
import type { NodeReport } from "../../src/remote/member.ts";
import { createQueueExecutor } from "../../src/remote/queue.ts";
import { queueKey } from "../../src/remote/queue-wire.ts";
import { runQueueWorker, type WorkerReport } from "../../src/remote/queue-worker.ts";
import { kernels, module, token } from "../remote/fixture.ts";
import { now, recipe, seeded, weightsHash } from "../remote/nodes.ts";
import { requestFor, testHost } from "../support/host.ts";
import type { Server } from "./server.ts";

/** Reads whatever it is shown: what `--allow-root /` would be. */
export const readsAll: Reach = { ...noReach, roots: ["/"], openPath: (path) => new FileSource(path) };

/** Desks of the coordinators in this process, by host name. */
const desks = new Map<string, Hono>();
/** What workers asked the desks for. */
export const asked: string[] = [];

const deskFetch: Fetch = (url, init) => {
  const { hostname, pathname } = new URL(url);
  asked.push(`${init.method} ${pathname.split("/").at(-1)}`);
  const desk = desks.get(hostname);
  return desk ? desk.request(pathname, init) : Promise.reject(new Error("nobody is there"));
};

async function open(server: Server) {
  const connection = await connect({ servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
  return { connection, manager: await jetstreamManager(connection) };
}

export interface WorkerTerms {
  readonly kernels?: NodeKernels;
  readonly reach?: Reach;
  readonly token?: string;
  readonly fetch?: Fetch;
  readonly clock?: Clock;
}

export interface Worker {
  readonly id: string;
  readonly report: () => WorkerReport;
  /** Resolves with why it ended, if that was an error. */
  stop(): Promise<unknown>;
}

let numbers = 0;

export async function startWorker(server: Server, terms: WorkerTerms = {}): Promise<Worker> {
  const { connection, manager } = await open(server);
  const id = (++numbers).toString(16).padStart(32, "0");
  const over = new AbortController();
  let report: WorkerReport = { tasks: 0, bytes: 0, dropped: 0, problem: null };
  const running = runQueueWorker(
    {
      connection,
      manager,
      key: queueKey(terms.token ?? token),
      kernels: terms.kernels ?? kernels,
      worker: { id, name: `w${numbers}` },
      version: "test",
      runtime: "test",
      reach: terms.reach ?? noReach,
      fetch: terms.fetch ?? deskFetch,
      clock: terms.clock ?? realClock(now),
      today: () => Date.now(),
      report: (r) => {
        report = r;
      },
      idleMs: null,
    },
    over.signal,
  ).then(
    () => null,
    (error: unknown) => error,
  );
  return {
    id,
    report: () => report,
    async stop() {
      over.abort();
      const ended = await running;
      await connection.close();
      return ended;
    },
  };
}

export interface QueueMergeTerms {
  readonly leaseMs?: number;
  readonly clock?: Clock;
  readonly recipe?: string;
  readonly slice?: number;
  readonly fallback?: () => Executor;
  readonly token?: string;
  /** What the server tells of its consumers, once and to whoever hears it, does not arrive. */
  readonly deaf?: boolean;
}

function withoutAdvisories(connection: NatsConnection): NatsConnection {
  const subscribe: NatsConnection["subscribe"] = (subject, options) =>
    connection.subscribe(subject.startsWith("$JS.EVENT.ADVISORY.") ? "nothing.at.all" : subject, options);
  return new Proxy(connection, {
    get(target, name) {
      if (name === "subscribe") return subscribe;
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

export interface QueueOutcome {
  readonly sha256: string;
  readonly reports: readonly NodeReport[];
  readonly fellBack: boolean;
  /** Tasks and consumers of results that are left at the server. */
  readonly left: { readonly tasks: number; readonly consumers: number };
}

/** A merge whose tasks all go through the queue, unless nobody takes them. */
export async function mergeByQueue(out: string, server: Server, terms: QueueMergeTerms = {}): Promise<QueueOutcome> {
  const { connection, manager } = await open(server);
  const heard = terms.deaf ? withoutAdvisories(connection) : connection;
  const reports: NodeReport[] = [];
  let fellBack = false;
  const host = {
    ...testHost(),
    createExecutor: (job: Parameters<typeof createInlineExecutor>[0]["job"]) =>
      createQueueExecutor({
        connection: heard,
        manager,
        key: queueKey(terms.token ?? token),
        leaseMs: terms.leaseMs ?? 2000,
        open: (desk) => {
          const name = `desk${++numbers}`;
          desks.set(name, desk);
          return { url: `http://${name}`, stop: async () => void desks.delete(name) };
        },
        job,
        opener: fileOpener,
        local: null,
        fallback: () => {
          fellBack = true;
          return createInlineExecutor({ module, job, now, opener: fileOpener });
        },
        kernels: createInlineKernels({ module, workerBytes: job.workerBytes, now }),
        clock: terms.clock ?? realClock(now),
        today: () => Date.now(),
        random: seeded(1),
        report: (r) => reports.push(r),
        changed: () => {},
      }),
  };
  try {
    const request = requestFor(terms.recipe ?? recipe, { sliceElements: terms.slice ?? 16_384 });
    const summary = await merge(request, out, { overwrite: false }, host);
    const states = await Promise.all(["BRAID_TASKS", "BRAID_RESULTS"].map((name) => manager.streams.info(name)));
    const left = { tasks: states[0]!.state.messages, consumers: states[1]!.state.consumer_count };
    return { sha256: weightsHash(out, summary), reports, fellBack, left };
  } finally {
    await connection.close();
  }
}
