// Options about a queue: of `worker`, which takes tasks from it, and of `merge`, which puts them in.

import { object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { integer, string, url } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { defaultLeaseMs, leaseBounds } from "../remote/queue-wire.ts";
import { listenAddress } from "./node-options.ts";
import { option } from "./option.ts";

const queueUrl = url({ allowedProtocols: ["nats:", "tls:"] });
const seconds = (ms: number) => ms / 1000;

export const queueOptions = object("Queue", {
  queue: optional(
    option("--queue", queueUrl, {
      description: message`A NATS server with JetStream whose workers (${text("braid worker")}) take part. Needs a token. The result does not depend on it.`,
    }),
  ),
  queueListen: withDefault(
    option("--queue-listen", listenAddress, {
      description: message`Where workers read inputs and bring outputs; a port (0: one that is free), or address:port. Workers on other machines need another address than this machine's own.`,
    }),
    { host: "127.0.0.1", port: 0 },
    { message: message`${text("127.0.0.1:0")}` },
  ),
  queueUrl: optional(
    option("--queue-url", url({ allowedProtocols: ["http:", "https:"] }), {
      description: message`How workers reach that address, where it is another one for them (a proxy with TLS).`,
    }),
  ),
  queueLease: withDefault(
    option(
      "--queue-lease",
      integer({ min: seconds(leaseBounds.least), max: seconds(leaseBounds.most), metavar: "S" }),
      {
        description: message`Seconds after which a worker that says nothing has lost its task.`,
      },
    ),
    seconds(defaultLeaseMs),
  ),
});

export const workerOptions = object("Working", {
  queue: option("--queue", queueUrl, { description: message`A NATS server with JetStream.` }),
  tokenFile: optional(
    option("--token-file", path({ metavar: "FILE", type: "file" }), {
      description: message`The token that the merges use, of at least 32 bytes [${text("BRAID_TOKEN")} of the environment].`,
    }),
  ),
  allowRoot: multiple(
    option("--allow-root", path({ metavar: "DIR", type: "directory" }), {
      description: message`Read files below this folder here instead of from the coordinator, when they are the same; may be given several times.`,
    }),
  ),
  workers: optional(
    option("--workers", integer({ min: 1, max: 1024, metavar: "N" }), {
      description: message`Worker threads [all cores].`,
    }),
  ),
  name: optional(
    option("--name", string({ metavar: "NAME" }), {
      description: message`How merges call this worker [the machine's name].`,
    }),
  ),
  idle: optional(
    option("--idle", integer({ min: 1, metavar: "S" }), {
      description: message`End when no task came for so many seconds [never].`,
    }),
  ),
});
