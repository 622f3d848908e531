// The grammar of `braid report`.

import { merge, object } from "@optique/core/constructs";
import { message, text } from "@optique/core/message";
import { optional } from "@optique/core/modifiers";
import { argument, command, constant } from "@optique/core/primitives";
import { path } from "@optique/run/valueparser";
import { lines } from "./help.ts";
import { option } from "./option.ts";
import { missing, reportMachineOptions, talkOptions } from "./options.ts";

const examples = [
  "Examples:",
  "  braid report ./merged",
  "  braid report ./merged report.html --inputs /models --overwrite",
  "  braid merge recipe.yml ./merged --json > summary.json && braid report ./merged --summary summary.json",
];

export const reportCommand = command(
  "report",
  merge(
    object({
      command: constant("report"),
      out: argument(path({ metavar: "OUT", type: "either" }), {
        description: message`The folder that ${text("braid merge")} wrote, or that of a sweep, or its sweep.json.`,
        errors: missing("OUT"),
      }),
      file: optional(
        argument(path({ metavar: "FILE.html", type: "file" }), {
          description: message`Where the report goes; ${text("-")} is standard output [beside OUT, as ${text("OUT.report.html")}; of a sweep in its folder, as sweep.html].`,
        }),
      ),
    }),
    object("Report", {
      inputs: optional(
        option("--inputs", path({ metavar: "DIR", type: "directory" }), {
          description: message`Where the recipe was: paths of models that are not found from here begin there [OUT].`,
        }),
      ),
      summary: optional(
        option("--summary", path({ metavar: "FILE.json", type: "file" }), {
          description: message`What ${text("braid merge --json")} printed, for the times.`,
        }),
      ),
      noDeltas: option("--no-deltas", {
        description: message`Read no tensor: recipe, lineage, rates and hashes only.`,
      }),
      noRounding: option("--no-rounding", {
        description: message`Do not merge again to count the changes that rounding took back.`,
      }),
      overwrite: option("--overwrite", { description: message`Replace FILE.html when it exists.` }),
    }),
    reportMachineOptions,
    talkOptions,
  ),
  {
    brief: message`Show what a merge or a sweep did, as one HTML file.`,
    description: message`Writes a page about a merge that needs no script and nothing from elsewhere: recipe, lineage, what was dropped, deltas before and after layer by layer, interference, losses and hashes. Where the inputs are still there it reads them again.`,
    usageLine: [
      { type: "argument", metavar: "OUT" },
      { type: "optional", terms: [{ type: "argument", metavar: "FILE.html" }] },
      { type: "literal", value: "[OPTIONS]" },
    ],
    footer: lines(...examples),
  },
);
