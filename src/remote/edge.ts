// A node on a host that runs a function for each request: one kernel in one memory, no threads, no files, small bodies. The
// entries are in functions/; what fits each host is here, and docs/functions/ says why.

import { type AppOptions, createApp } from "./app.ts";
import { realClock } from "./clock.ts";
import { createInlineKernels } from "./kernels.ts";
import { type NodeLimits, nodeLimits } from "./limits.ts";
import { Refused, refuse } from "./refusal.ts";
import { resolveOverHttps } from "./resolve.ts";
import { tokenBytes } from "./sign.ts";

const MiB = 1024 * 1024;

/** That of package.json, which a bundle does not hold; a test compares them. */
export const version = "0.1.0";

interface EdgeLimits extends Partial<NodeLimits> {
  /** Requests at the same time that the host is trusted with, on as many instances as it likes. */
  readonly instances: number;
}

/**
 * What a request may hold on each host. A request takes its inputs, its output twice (as it is made, and in the frame) and the
 * kernels' memory; `queueFactor` others may wait with their inputs.
 */
export const edgeLimits = {
  /** 128 MB an isolate: 5 × 8 MiB of inputs, 2 × 8 MiB of output and 16 MiB of kernels are 72 MiB. */
  cloudflare: { sliceBytes: 8 * MiB, workerBytes: 16 * MiB, queueFactor: 4, connections: 16, instances: 4 },
  /** 512 MB: 9 × 16 MiB of inputs, 32 MiB of output and 32 MiB of kernels are 208 MiB. */
  denoDeploy: { sliceBytes: 16 * MiB, workerBytes: 32 * MiB, queueFactor: 8, connections: 16, instances: 4 },
  /** 6 MB of JSON each way: 4 MiB and a descriptor of 256 KiB are 5.94 MB in base64. One request an instance. */
  awsLambda: { sliceBytes: 4 * MiB, workerBytes: 32 * MiB, instances: 8 },
  /** 4.5 MB each way: 4 MiB and a descriptor of 256 KiB are 4.46 MB. Instances may share requests. */
  vercel: { sliceBytes: 4 * MiB, workerBytes: 32 * MiB, queueFactor: 8, instances: 8 },
} as const satisfies Record<string, EdgeLimits>;

export interface EdgeOptions {
  readonly module: WebAssembly.Module;
  readonly runtime: string;
  readonly limits: EdgeLimits;
  /** BRAID_TOKEN: the secret. BRAID_HOSTS: hosts that it may fetch from, by commas. BRAID_INSTANCES: instead of the limits'. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds. */
  readonly now: () => number;
  /** Milliseconds since 1970. */
  readonly today: () => number;
}

/** `client`: who sent it, as the host says. */
export type EdgeNode = (request: Request, client?: string | null) => Response | Promise<Response>;

/** Everybody can reach it, so without a token of 32 bytes it answers nothing but that. */
export function createEdgeNode({ module, runtime, limits, env, fetch, now, today }: EdgeOptions): EdgeNode {
  const token = env.BRAID_TOKEN?.trim() ?? "";
  if (new TextEncoder().encode(token).length < tokenBytes) {
    const message = `this node has no token: set the secret BRAID_TOKEN, of at least ${tokenBytes} bytes`;
    return () => refuse(new Refused(401, "denied", message));
  }
  const { instances, ...lower } = limits;
  const asked = Number(env.BRAID_INSTANCES);
  const hosts = (env.BRAID_HOSTS ?? "").split(",").map((host) => host.trim().toLowerCase());
  const options: AppOptions = {
    kernels: createInlineKernels({ module, workerBytes: limits.workerBytes ?? nodeLimits.workerBytes, now }),
    instances: Number.isSafeInteger(asked) && asked > 0 ? asked : instances,
    limits: lower,
    token,
    reach: { roots: [], hosts: hosts.filter(Boolean), fetch, resolve: resolveOverHttps(fetch) },
    version,
    runtime,
    clock: realClock(now),
    today,
  };
  const app = createApp(options);
  return (request, client) => app.fetch(request, client ? { client } : {});
}
