// Options about nodes: of `serve`, which is one, and of the commands that use some.

import { object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { multiple, optional, withDefault } from "@optique/core/modifiers";
import { integer, port, string, url, type ValueParser } from "@optique/core/valueparser";
import { path } from "@optique/run/valueparser";
import { copyFault } from "../remote/copies.ts";
import { option } from "./option.ts";

export const defaultPort = 7433;

export const nodeUrl = url({ allowedProtocols: ["http:", "https:"] });

export const listenAddress: ValueParser<"sync", { host: string; port: number }> = {
  mode: "sync",
  metavar: "ADDRESS",
  placeholder: { host: "127.0.0.1", port: 0 },
  parse(input) {
    const [, v6, name, digits] = /^(?:(?:\[([0-9a-f:]+)\]|([\w.-]+)):)?(\d{1,5})$/i.exec(input) ?? [];
    const number = Number(digits);
    if (digits === undefined || number > 65_535)
      return { success: false, error: message`${input} is neither a port nor address:port.` };
    return { success: true, value: { host: v6 ?? name ?? "127.0.0.1", port: number } };
  },
  format: ({ host, port: number }) => `${host.includes(":") ? `[${host}]` : host}:${number}`,
};

/** Where else the files of a model are. */
export interface InputUrl {
  readonly place: string;
  readonly url: URL;
}

export const inputUrl: ValueParser<"sync", InputUrl> = {
  mode: "sync",
  metavar: "PLACE=URL",
  placeholder: { place: "", url: new URL("https://host") },
  parse(input) {
    const [, place, address] = /^(.+?)=(\w+:\/\/.+)$/.exec(input) ?? [];
    if (place === undefined || !URL.canParse(address!))
      return { success: false, error: message`${input} is not PLACE=URL: a model, and the address of its files.` };
    const url = new URL(address!);
    const fault = copyFault(url);
    if (fault !== null) return { success: false, error: message`Cannot use ${address!}: ${text(fault)}.` };
    return { success: true, value: { place, url } };
  },
  format: ({ place, url }) => `${place}=${url.href}`,
};

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
  nodesFile: optional(
    option("--nodes-file", path({ metavar: "FILE", type: "file" }), {
      description: message`Nodes, an address a line; read again during the merge, so that they come and go.`,
    }),
  ),
  nodeTokenFile: nodeTokenOption,
  redundancy: withDefault(
    option("--redundancy", integer({ min: 1, max: 16, metavar: "N" }), {
      description: message`So many nodes must give the same answer before it counts: for nodes of strangers.`,
    }),
    1,
    { message: message`${text("1")}` },
  ),
  serveInputs: optional(
    option("--serve-inputs", listenAddress, {
      description: message`Let nodes that do not share this disk fetch what they need here (${text("serve --allow-coordinator")}): a port, or address:port.`,
    }),
  ),
  inputsUrl: optional(
    option("--inputs-url", nodeUrl, {
      description: message`Where nodes reach ${text("--serve-inputs")}, when that is another address.`,
    }),
  ),
  inputUrl: multiple(
    option("--input-url", inputUrl, {
      description: message`The files of the model PLACE, as the recipe spells it, are also at URL/NAME (https): nodes that may fetch from that host (${text("serve --allow-host")}) read them there. May be given several times.`,
    }),
  ),
  insecureHttp: option("--insecure-http", {
    description: message`Serve nodes and workers of a queue beyond this machine without TLS in front: what is merged can be read on the way.`,
  }),
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
  browserWorkers: option("--browser-workers", {
    description: message`Let browser tabs help: prints the address of a page whose tabs take tasks of this node.`,
  }),
  insecureHttp: option("--insecure-http", {
    description: message`Listen beyond this machine without TLS in front: what is merged can be read on the way.`,
  }),
});

/** Of commands that merge without nodes. */
export const noNodes = {
  nodes: [],
  nodesFile: undefined,
  nodeTokenFile: undefined,
  redundancy: 1,
  serveInputs: undefined,
  inputsUrl: undefined,
  inputUrl: [],
  insecureHttp: false,
};
