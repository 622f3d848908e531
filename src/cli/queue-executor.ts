// The executor of `braid merge --queue`: the workers of a queue beside this machine's threads.

import type { Hono } from "hono";
import type { Executor, Job } from "../exec/executor.ts";
import { fileOpener } from "../exec/local.ts";
import { realClock } from "../remote/clock.ts";
import { createInlineKernels } from "../remote/kernels.ts";
import type { NodeReport } from "../remote/member.ts";
import { createQueueExecutor } from "../remote/queue.ts";
import { checkInsecure, originOf } from "./bind.ts";
import type { Context } from "./main.ts";
import { connectQueue, type Queue } from "./queue-connect.ts";
import { readToken } from "./token.ts";

/** Nodes that a queue counts as when slices are planned: nobody knows who will come. */
export const queueNodes = 4;

export interface QueueTerms {
  readonly queue: Queue;
  readonly listen: { readonly host: string; readonly port: number };
  /** How workers reach it; null: as it is. */
  readonly url: URL | null;
  readonly leaseMs: number;
}

export interface QueueExecutorOptions extends QueueTerms {
  readonly module: WebAssembly.Module;
  readonly job: Job;
  /** Threads beside the queue; 0: only where no worker of the queue does it. */
  readonly workers: number;
  readonly pool: (workers: number) => Executor;
  readonly report: (report: NodeReport) => void;
  /** Bytes of this output changed after they were taken for final. */
  readonly changed: (path: string) => void;
}

/** What `braid merge` says of a queue. */
export interface QueueOptions {
  readonly queue: URL | undefined;
  readonly queueListen: { readonly host: string; readonly port: number };
  readonly queueUrl: URL | undefined;
  /** Seconds. */
  readonly queueLease: number;
}

/** Connects before the merge begins; null: there is no queue. */
export async function openQueue(
  options: QueueOptions & { readonly nodeTokenFile: string | undefined; readonly insecureHttp: boolean },
  env: Context["env"],
): Promise<QueueTerms | null> {
  const { queue: url, queueListen, queueUrl, queueLease, nodeTokenFile, insecureHttp } = options;
  if (!url) return null;
  checkInsecure(queueListen.host, insecureHttp);
  const queue = await connectQueue(url, readToken(nodeTokenFile, env));
  return { queue, listen: queueListen, url: queueUrl ?? null, leaseMs: queueLease * 1000 };
}

/** The address is there first, and its app later: nobody is told of it before. */
async function openDesk({ listen: { host, port }, url }: QueueExecutorOptions) {
  let desk: Hono | null = null;
  const { listen } = await import("./listen.ts");
  const purpose = "listen for workers";
  const listener = await listen(host, port, (request, caller) => desk!.fetch(request, caller), { purpose });
  return (app: Hono) => {
    desk = app;
    return { url: url?.origin ?? originOf(host, listener.port), stop: () => listener.stop() };
  };
}

export async function createQueueTasks(options: QueueExecutorOptions): Promise<Executor> {
  const { queue, module, job, workers, pool, leaseMs, report, changed } = options;
  const now = () => performance.now();
  const open = await openDesk(options);
  return createQueueExecutor({
    connection: queue.connection,
    manager: queue.manager,
    key: queue.key,
    leaseMs,
    open,
    job,
    opener: fileOpener,
    local: workers > 0 ? pool(workers) : null,
    fallback: () => pool(1),
    kernels: createInlineKernels({ module, workerBytes: job.workerBytes, now }),
    clock: realClock(now),
    today: () => Date.now(),
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
    report,
    changed: (file) => changed(job.files[file]!.path),
  });
}
