// What the coordinator of a queue is given.

import type { JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import type { Hono } from "hono";
import type { Key } from "./sign.ts";
import type { CoordinatorTerms } from "./terms.ts";

export interface QueueOptions extends CoordinatorTerms {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly key: Key;
  readonly leaseMs: number;
  /** Makes the desk reachable: answers its origin, as workers see it. */
  readonly open: (desk: Hono) => { readonly url: string; stop(): Promise<void> };
  /** Bytes of an output changed that were taken for final. */
  readonly changed: (file: number) => void;
}
