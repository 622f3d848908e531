// The executor of `braid merge --node`: nodes beside this machine's threads.

import type { Executor, Job } from "../exec/executor.ts";
import { fileOpener } from "../exec/local.ts";
import type { Elsewhere } from "../plan/memory.ts";
import type { NodeAddress } from "../remote/client.ts";
import { realClock } from "../remote/clock.ts";
import type { Copies } from "../remote/copies.ts";
import { createNodesExecutor, type NodesExecutor } from "../remote/executor.ts";
import { createInlineKernels } from "../remote/kernels.ts";
import { nodeLimits } from "../remote/limits.ts";
import type { NodeReport } from "../remote/member.ts";
import type { ServedInputs } from "../remote/pointers.ts";

/** Workers that a node is taken to have before it has said so. */
const workersPerNode = 2;

/** Slices for nodes: enough of them, and none beyond what a node takes. Views and rows may take a little more than their bytes. */
export const elsewhereOf = (nodes: number): Elsewhere => ({
  workers: nodes * workersPerNode,
  sliceBytes: nodeLimits.sliceBytes * 0.9,
});

export interface NodeExecutorOptions {
  readonly nodes: readonly NodeAddress[];
  readonly module: WebAssembly.Module;
  readonly job: Job;
  readonly jobId: string;
  /** Threads beside the nodes; 0: only where no node can do it. */
  readonly workers: number;
  readonly pool: (workers: number) => Executor;
  readonly redundancy: number;
  readonly served?: ServedInputs;
  readonly copies: Copies;
  readonly report: (report: NodeReport) => void;
  /** Bytes of this output changed after they were taken for final. */
  readonly changed: (path: string) => void;
}

export function createNodeExecutor(options: NodeExecutorOptions): NodesExecutor {
  const { module, workers, pool, changed, ...rest } = options;
  const { job } = rest;
  const now = () => performance.now();
  return createNodesExecutor({
    ...rest,
    opener: fileOpener,
    local: workers > 0 ? pool(workers) : null,
    fallback: () => pool(1),
    kernels: createInlineKernels({ module, workerBytes: job.workerBytes, now }),
    fetch: (...all) => fetch(...all),
    clock: realClock(now),
    today: () => Date.now(),
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
    changed: (file) => changed(job.files[file]!.path),
  });
}
