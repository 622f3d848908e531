// What the coordinator of a queue is given.

import type { JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import type { Hono } from "hono";
import type { Executor, Job } from "../exec/executor.ts";
import type { Opener } from "../exec/files.ts";
import type { Clock } from "./clock.ts";
import type { OwnKernels } from "./kernels.ts";
import type { NodeLimits } from "./limits.ts";
import type { NodeReport } from "./member.ts";
import type { Key } from "./sign.ts";

export interface QueueOptions {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly key: Key;
  readonly leaseMs: number;
  /** Makes the desk reachable: answers its origin, as workers see it. */
  readonly open: (desk: Hono) => { readonly url: string; stop(): Promise<void> };
  readonly job: Job;
  readonly opener: Opener;
  /** Runs tasks beside the queue; null: the queue only. */
  readonly local: Executor | null;
  /** Called once, when there is no `local` and the queue does not do it. */
  readonly fallback: () => Executor;
  /** For audits. */
  readonly kernels: OwnKernels;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly today: () => number;
  /** In [0, 1): chooses what is audited. */
  readonly random: () => number;
  readonly report: (report: NodeReport) => void;
  /** Bytes of an output changed that were taken for final. */
  readonly changed: (file: number) => void;
  readonly limits?: Partial<NodeLimits>;
}
