// The grammar of `braid serve`, `braid worker` and `braid nodes`.

import { merge, object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { multiple } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { lines } from "./help.ts";
import { nodeTokenOption, nodeUrl, serveOptions } from "./node-options.ts";
import { missing, talkOptions } from "./options.ts";
import { workerOptions } from "./queue-options.ts";

export const serveCommand = command("serve", merge(object({ command: constant("serve") }), serveOptions, talkOptions), {
  brief: message`Be a node: run slices of merges for others.`,
  description: message`Listens for tasks, runs this machine's own kernels on them and answers with the bytes. No code is taken, and nothing is read or fetched but what is allowed here.`,
  usageLine: [{ type: "literal", value: "[OPTIONS]" }],
  footer: lines(
    "Examples:",
    "  braid serve",
    "  braid serve --allow-root /models --workers 4",
    "  braid serve --host 0.0.0.0 --token-file token --insecure-http",
  ),
});

export const workerCommand = command(
  "worker",
  merge(object({ command: constant("worker") }), workerOptions, talkOptions),
  {
    brief: message`Take tasks of merges from a queue.`,
    description: message`Takes tasks from a NATS server, runs this machine's own kernels on them and brings the bytes to the merge they are of. Runs until it is stopped; merges come and go.`,
    usageLine: [
      { type: "literal", value: "--queue URL" },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines(
      "Examples:",
      "  braid worker --queue nats://10.0.0.1:4222 --token-file token",
      "  braid worker --queue nats://10.0.0.1 --allow-root /models --idle 600",
    ),
  },
);

export const nodesCommand = command(
  "nodes",
  merge(
    object({
      command: constant("nodes"),
      urls: multiple(argument(nodeUrl, { description: message`Address of a node.`, errors: missing("URL") }), {
        min: 1,
      }),
    }),
    object("Nodes", { nodeTokenFile: nodeTokenOption }),
    talkOptions,
  ),
  {
    brief: message`Show what nodes are, and how fast.`,
    description: message`Asks every node for its version, kernels and cores, and times a slice of 8 MiB. The exit code is 69 when one does not answer or has other kernels.`,
    usageLine: [
      { type: "argument", metavar: "URL" },
      { type: "literal", value: "... [OPTIONS]" },
    ],
    footer: lines("Example:", "  braid nodes http://10.0.0.2:7433 --node-token-file token"),
  },
);
