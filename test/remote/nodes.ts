// Merges whose executor is nodes in this process, with what may go wrong between.

import { createHash } from "node:crypto";
import { readFileSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileSource } from "../../src/bytes/file.ts";
import type { Executor, Job } from "../../src/exec/executor.ts";
import { createInlineExecutor } from "../../src/exec/inline.ts";
import { fileOpener } from "../../src/exec/local.ts";
import type { MergeRequest, MergeSummary } from "../../src/host.ts";
import { merge } from "../../src/merge.ts";
import type { Fetch } from "../../src/remote/client.ts";
import { type Clock, realClock } from "../../src/remote/clock.ts";
import { createNodesExecutor, type NodesExecutor } from "../../src/remote/executor.ts";
import { createInlineKernels, type NodeKernels, writerInto } from "../../src/remote/kernels.ts";
import { LocatorError } from "../../src/remote/locate.ts";
import type { NodeReport } from "../../src/remote/member.ts";
import type { NodesOptions } from "../../src/remote/node-terms.ts";
import { openPlaces, type TaskPlaces } from "../../src/remote/places.ts";
import { outputBytes } from "../../src/remote/wire.ts";
import { projectRoot, requestFor, testHost } from "../support/host.ts";
import { seeded } from "../support/seeded.ts";
import { kernels, module, testApp } from "./fixture.ts";

export const recipe = readFileSync(join(projectRoot, "examples/dare-ties.yml"), "utf8")
  .replaceAll("models/", "examples/models/")
  .replaceAll("examples/examples/", "examples/");

export { seeded } from "../support/seeded.ts";

type App = ReturnType<typeof testApp>;

/** Runs tasks where their files are, in this thread. */
export const runPlaced: NonNullable<NodeKernels["runPlaced"]> = async (task, places: TaskPlaces) => {
  const output = new Uint8Array(places.output ? 0 : outputBytes(task));
  const { io, close } = await openPlaces(places, fileOpener, writerInto(task, output));
  try {
    const receipt = await kernels.runOn(task, io);
    return { receipt, output, ...(places.output ? { written: true } : {}) };
  } finally {
    await close();
  }
};

/** A node on the disk of this machine. Without `writeRoot` it sends its output. */
export function placedApp(writeRoot: string | null, own: Partial<NodeKernels> = {}): App {
  const writeRoots = writeRoot === null ? [] : [realpathSync(writeRoot)];
  const roots = [projectRoot, realpathSync(tmpdir())];
  return testApp({
    kernels: { ...kernels, runPlaced, ...own },
    reach: {
      roots,
      writeRoots,
      hosts: [],
      place(path, write) {
        const found = realpathSync(path);
        if ((write ? writeRoots : roots).some((root) => found.startsWith(`${root}/`))) return found;
        throw new LocatorError(403, "not there");
      },
      openPath: (path) => new FileSource(path),
    },
  });
}

/** Gives what is fetched to the app of the host's name: node0, node1, … */
export function appFetch(apps: readonly App[]): Fetch {
  return (url, init) => {
    const { hostname, pathname } = new URL(url);
    // In one process nothing would stop what nobody waits for any more.
    const answer = Promise.resolve(apps[Number(hostname.slice(4))]!.request(pathname, init));
    const { signal } = init;
    if (signal?.aborted) return Promise.reject(new Error("aborted"));
    return Promise.race([
      answer,
      new Promise<never>((_, reject) =>
        signal?.addEventListener("abort", () => reject(new Error("aborted")), { once: true }),
      ),
    ]);
  };
}

export interface MergeOptions {
  readonly fetch: Fetch;
  readonly nodes: number;
  readonly local?: boolean;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly token?: string;
  readonly request?: Partial<MergeRequest>;
  readonly recipe?: string;
  /** Told of the executor before anything runs. */
  readonly begun?: (executor: NodesExecutor) => void;
  readonly executor?: Partial<NodesOptions> | ((job: Job) => Partial<NodesOptions>);
}

export interface NodesOutcome {
  readonly summary: MergeSummary;
  readonly reports: readonly NodeReport[];
  readonly sha256: string;
  /** Whether the fallback ran. */
  readonly fellBack: boolean;
}

export const now = () => performance.now();

/** SHA-256 of all weights of a merge. */
export const weightsHash = (out: string, summary: MergeSummary) => {
  const hash = createHash("sha256");
  for (const { name } of summary.files.filter((f) => f.name.endsWith(".safetensors")))
    hash.update(readFileSync(join(out, name)));
  return hash.digest("hex");
};

/** In one thread, local work would leave the nodes no turn. */
function patient(executor: Executor): Executor {
  return {
    capacity: executor.capacity,
    run: (...all) => new Promise((resolve) => setTimeout(resolve, 20)).then(() => executor.run(...all)),
    close: () => executor.close(),
  };
}

export async function mergeWithNodes(out: string, options: MergeOptions): Promise<NodesOutcome> {
  const reports: NodeReport[] = [];
  let fellBack = false;
  const host = {
    ...testHost(),
    createExecutor: (job: Job) => {
      const inline = () => createInlineExecutor({ module, job, now, opener: fileOpener });
      const executor = createNodesExecutor({
        nodes: Array.from({ length: options.nodes }, (_, i) => ({
          url: `http://node${i}`,
          token: options.token ?? null,
        })),
        job,
        opener: fileOpener,
        local: options.local ? patient(inline()) : null,
        fallback: () => {
          fellBack = true;
          return inline();
        },
        kernels: createInlineKernels({ module, workerBytes: job.workerBytes, now }),
        fetch: options.fetch,
        clock: options.clock ?? realClock(now),
        today: () => Date.now(),
        random: options.random ?? seeded(1),
        report: (r) => reports.push(r),
        ...(typeof options.executor === "function" ? options.executor(job) : options.executor),
      });
      options.begun?.(executor);
      return executor;
    },
  };
  const request = requestFor(options.recipe ?? recipe, { sliceElements: 16_384, ...options.request });
  const summary = await merge(request, out, { overwrite: false }, host);
  return { summary, reports, sha256: weightsHash(out, summary), fellBack };
}

/** The same merge by the inline executor alone. */
export async function mergeAlone(out: string, text = recipe): Promise<string> {
  const summary = await merge(requestFor(text), out, { overwrite: false }, testHost());
  return weightsHash(out, summary);
}
