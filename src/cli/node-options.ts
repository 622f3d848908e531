// Options about nodes: of `serve`, which is one, and of the commands that use some.

import { object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { option } from "@optique/core/primitives";
import { integer, port, string, url } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";

export const defaultPort = 7433;

export const nodeUrl = url({ allowedProtocols: ["http:", "https:"] });

export const nodeTokenOption = optional(
  option("--node-token-file", path({ metavar: "FILE", type: "file" }), {
    description: message`Token of the nodes [${text("BRAID_TOKEN")} of the environment].`,
  }),
);

export const nodeOptions = object("Nodes", {
  nodes: multiple(
    option("--node", nodeUrl, {
      description: message`A node (${text("braid serve")}) that takes part; may be given several times. The result does not depend on it.`,
    }),
  ),
  nodeTokenFile: nodeTokenOption,
});

export const serveOptions = object("Serving", {
  host: withDefault(
    option("--host", string({ metavar: "ADDRESS" }), {
      description: message`Address to listen on. Any but this machine's own needs a token.`,
    }),
    "127.0.0.1",
    { message: message`${text("127.0.0.1")}` },
  ),
  port: withDefault(
    option("--port", port({ min: 0 }), { description: message`Port; 0 takes one that is free.` }),
    defaultPort,
  ),
  tokenFile: optional(
    option("--token-file", path({ metavar: "FILE", type: "file" }), {
      description: message`Requests must be signed with the token in this file, of at least 32 bytes [${text("BRAID_TOKEN")} of the environment].`,
    }),
  ),
  allowRoot: multiple(
    option("--allow-root", path({ metavar: "DIR", type: "directory" }), {
      description: message`Let the node read files below this folder that tasks name; may be given several times.`,
    }),
  ),
  allowWriteRoot: multiple(
    option("--allow-write-root", path({ metavar: "DIR", type: "directory" }), {
      description: message`Let the node write its slices into outputs below this folder, which it shares with the coordinator; may be given several times.`,
    }),
  ),
  allowHost: multiple(
    option("--allow-host", string({ metavar: "HOST" }), {
      description: message`Let the node fetch from this host by https; may be given several times.`,
    }),
  ),
  allowCoordinator: multiple(
    option("--allow-coordinator", nodeUrl, {
      description: message`Let the node fetch inputs from the coordinator at this address (${text("merge --serve-inputs")}); may be given several times.`,
    }),
  ),
  workers: optional(
    option("--workers", integer({ min: 1, max: 1024, metavar: "N" }), {
      description: message`Worker threads [all cores].`,
    }),
  ),
  insecureHttp: option("--insecure-http", {
    description: message`Listen beyond this machine without TLS in front: what is merged can be read on the way.`,
  }),
});
