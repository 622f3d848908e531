// The two streams of a JetStream server that all merges share: tasks, each taken by one worker, and results, each for one
// coordinator.

import {
  AckPolicy,
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { fail } from "../errors.ts";
import { defaultLeaseMs, maxDeliver, streams, subjects } from "./queue-wire.ts";

/** What nobody took for so long is of a merge that is no more. */
const taskAgeMs = 24 * 3_600_000;
const resultAgeMs = 3_600_000;
/** A message that is sent again within this time, because nobody knew whether it had arrived, is one. */
const duplicateMs = 120_000;
/** What a group of workers has taken and not finished, all together. */
const maxUnderWay = 4096;
/** A group that nobody belongs to any more is forgotten. */
const groupIdleMs = 7 * 24 * 3_600_000;
/** The results of a coordinator that is gone. */
const jobIdleMs = 600_000;
/** For the answer of the server. */
const timeoutMs = 5_000;

const nanoseconds = (ms: number) => ms * 1e6;

/**
 * The server's manager of streams.
 *
 * @throws BraidError `node-unavailable` when the server has no JetStream, or none for this user.
 */
export async function openJetStream(connection: NatsConnection, server: string): Promise<JetStreamManager> {
  try {
    return await jetstreamManager(connection, { timeout: timeoutMs });
  } catch (e) {
    const none = /jetstream|no responders|503/i.test(String(e));
    return fail(
      "node-unavailable",
      none
        ? `Cannot use the queue at ${server}: the server runs without JetStream, or this user may not use it`
        : `Cannot use the queue at ${server}: ${(e as Error).message}`,
      none ? { hint: "Start it with nats-server -js -sd FOLDER, or switch JetStream on for the account." } : {},
    );
  }
}

async function ensureStream(
  manager: JetStreamManager,
  config: Partial<StreamConfig> & { name: string },
): Promise<void> {
  let found: Pick<StreamConfig, "retention">;
  try {
    found = (await manager.streams.info(config.name)).config;
  } catch (e) {
    if (!/not found/i.test(String(e))) throw e;
    try {
      await manager.streams.add(config);
    } catch (again) {
      // Somebody else made it at the same time.
      if (!/in use|exist/i.test(String(again))) throw again;
    }
    return;
  }
  if (found.retention !== RetentionPolicy.Workqueue) {
    fail("node-unavailable", `Cannot use the stream ${config.name}: it keeps messages that were taken`, {
      hint: `Remove it, or make it a work queue: braid makes its own when there is none.`,
    });
  }
}

/** Makes what is missing; what is there, with other replicas or limits, is left as it is. */
export async function ensureStreams(manager: JetStreamManager): Promise<void> {
  const common = {
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    duplicate_window: nanoseconds(duplicateMs),
  };
  await ensureStream(manager, {
    ...common,
    name: streams.tasks,
    subjects: ["braid.task.>"],
    max_age: nanoseconds(taskAgeMs),
  });
  await ensureStream(manager, {
    ...common,
    name: streams.results,
    subjects: ["braid.result.>"],
    max_age: nanoseconds(resultAgeMs),
  });
}

export const taskConsumer = (group: string) => `workers-${group}`;

/** The one consumer of a group's tasks, by its name. A coordinator sets the lease; a worker takes it as it is. */
export async function ensureTaskConsumer(manager: JetStreamManager, group: string, leaseMs?: number): Promise<string> {
  const name = taskConsumer(group);
  let wait: number | null = null;
  try {
    wait = (await manager.consumers.info(streams.tasks, name)).config.ack_wait ?? null;
  } catch (e) {
    if (!/not found/i.test(String(e))) throw e;
  }
  if (wait === null) {
    await manager.consumers.add(streams.tasks, {
      durable_name: name,
      filter_subject: subjects.tasks(group),
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanoseconds(leaseMs ?? defaultLeaseMs),
      max_deliver: maxDeliver,
      max_ack_pending: maxUnderWay,
      inactive_threshold: nanoseconds(groupIdleMs),
    });
  } else if (leaseMs !== undefined && wait !== nanoseconds(leaseMs)) {
    await manager.consumers.update(streams.tasks, name, { ack_wait: nanoseconds(leaseMs) });
  }
  return name;
}

/** The consumer of a job's results, by its name. */
export async function ensureResultConsumer(manager: JetStreamManager, job: string): Promise<string> {
  const name = `job-${job}`;
  await manager.consumers.add(streams.results, {
    durable_name: name,
    filter_subject: subjects.result(job),
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanoseconds(defaultLeaseMs),
    inactive_threshold: nanoseconds(jobIdleMs),
  });
  return name;
}
