// A connection to the server of a queue, made or refused with one clear error.

import type { JetStreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { fail } from "../errors.ts";
import { kernelSha256 } from "../kernel/kernel.ts";
import { ensureStreams, openJetStream } from "../remote/queue-streams.ts";
import { queueKey } from "../remote/queue-wire.ts";
import type { Key } from "../remote/sign.ts";

const connectMs = 5_000;
/** A server that is away is tried again so often, for as long as it takes. */
const reconnectMs = 500;
const defaultQueuePort = 4222;

export interface Queue {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  /** Host and port: never the user or password that the address may hold. */
  readonly server: string;
  readonly key: Key;
  readonly kernel: string;
}

/** `url`: nats://[user:password@ or token@]host[:port], or tls://. */
export async function connectQueue(url: URL, token: string | null): Promise<Queue> {
  const server = `${url.hostname}:${url.port || defaultQueuePort}`;
  if (token === null) {
    fail(
      "usage",
      `Cannot use the queue at ${server} without a token: whoever reaches it could answer for its workers`,
      {
        hint: "Give the same token to merge and workers: --token-file for `worker`, --node-token-file for `merge`, or BRAID_TOKEN.",
      },
    );
  }
  const [user, pass] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  const who = user === "" ? {} : pass === "" ? { token: user } : { user, pass };
  let connection: NatsConnection;
  try {
    connection = await connect({
      ...who,
      servers: server,
      ...(url.protocol === "tls:" ? { tls: {} } : {}),
      name: "braid",
      timeout: connectMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: reconnectMs,
    });
  } catch (e) {
    const { message } = e as Error;
    const denied = /authorization|authentication/i.test(message);
    return fail(
      "node-unavailable",
      denied
        ? `Cannot use the queue at ${server}: it does not let this user in`
        : `Cannot reach the queue at ${server}: ${message}`,
      {
        hint: denied
          ? "Put user and password into the address: nats://USER:PASSWORD@HOST."
          : "It is a NATS server with JetStream: nats-server -js -sd FOLDER.",
      },
    );
  }
  try {
    const manager = await openJetStream(connection, server);
    await ensureStreams(manager);
    return { connection, manager, server, key: queueKey(token), kernel: kernelSha256 };
  } catch (e) {
    await connection.close();
    throw e;
  }
}
