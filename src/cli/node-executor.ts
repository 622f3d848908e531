// The executor of `braid merge --node`: nodes beside this machine's threads.

import type { Executor, Job } from "../exec/executor.ts";
import { fileOpener } from "../exec/local.ts";
import type { FileHash } from "../host.ts";
import { realClock } from "../remote/clock.ts";
import { createNodesExecutor } from "../remote/executor.ts";
import { createInlineKernels } from "../remote/kernels.ts";
import type { NodeReport } from "../remote/member.ts";

/**
 * Elements of a slice when nodes take part and nobody says otherwise: 2 MiB of bf16 a stream, so that 15 models in f32 stay below
 * a node's limit, and a slice that is lost costs little.
 */
export const nodeSliceElements = 2 ** 20;

export interface NodeExecutorOptions {
  readonly urls: readonly URL[];
  readonly token: string | null;
  readonly module: WebAssembly.Module;
  readonly job: Job;
  /** Threads beside the nodes; 0: only where no node can do it. */
  readonly workers: number;
  readonly pool: (workers: number) => Executor;
  readonly report: (report: NodeReport) => void;
}

export function createNodeExecutor({ urls, token, module, job, workers, pool, report }: NodeExecutorOptions): Executor {
  const now = () => performance.now();
  return createNodesExecutor({
    nodes: urls.map(({ origin }) => ({ url: origin, token })),
    job,
    opener: fileOpener,
    local: workers > 0 ? pool(workers) : null,
    fallback: () => pool(1),
    kernels: createInlineKernels({ module, workerBytes: job.workerBytes, now }),
    fetch: (...all) => fetch(...all),
    clock: realClock(now),
    today: () => Date.now(),
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
    report,
  });
}

/** What a node wrote may be put right until the end of the merge: nothing is hashed before. */
export function hashAtTheEnd(hash: FileHash): FileHash {
  return { advance: () => {}, finish: (signal) => hash.finish(signal), close: () => hash.close() };
}
