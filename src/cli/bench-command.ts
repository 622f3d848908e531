// The grammar of `braid bench`.

import { merge, object } from "@optique/core/constructs";
import { message } from "@optique/core/message";
import { command, constant } from "@optique/core/primitives";
import { lines } from "./help.ts";
import { benchOptions, talkOptions } from "./options.ts";

export const benchCommand = command("bench", merge(object({ command: constant("bench") }), benchOptions, talkOptions), {
  brief: message`Measure what merges would take on this machine.`,
  description: message`Runs the kernels of every pattern on made-up models in memory, then memory, SHA-256 and a disk, and estimates merges of a model from it. About ten seconds.`,
  usageLine: [{ type: "literal", value: "[OPTIONS]" }],
  footer: lines(
    "Examples:",
    "  braid bench",
    "  braid bench --quick --models 5 --parameters 70B --folder /data",
    "  braid bench --json > machine.json",
  ),
});
