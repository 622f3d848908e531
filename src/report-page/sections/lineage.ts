// Where the weights come from: inputs, revisions, licences, and what tells them apart from other files of their names.

import { formatBytes, formatCount, plural } from "../../format.ts";
import { formatNumber } from "../../svg/index.ts";
import { type ReportFacts, take } from "../facts.ts";
import { type Content, code, details, name, p, type Section, table, tag } from "../html.ts";

const roles = { base: "base", reference: "model, stands for a base", model: "model" } as const;
/** Rows of the files' table; a model of more shards is told by their number. */
const fileRows = 400;

export function lineageSection(facts: ReportFacts): Section {
  const { manifest, inputs } = facts;
  const comparison = take(facts.comparison);
  const lineageOf = (reference: string) =>
    comparison?.analysis.lineage.models.find(
      ({ model }) => model !== comparison.output && comparison.analysis.models[model] === reference,
    );
  const rows = manifest.inputs.map((input, i): Content[] => {
    const seen = inputs[i]?.role === "model" ? lineageOf(input.model) : undefined;
    const bytes = input.files.reduce((sum, f) => sum + f.byteLength, 0);
    return [
      name(input.model),
      roles[inputs[i]?.role ?? "model"],
      input.revision ? code(input.revision.slice(0, 12)) : "–",
      inputs[i]?.license ?? "not declared",
      `${plural(input.files.length, "file")}, ${formatBytes(bytes)}`,
      seen ? `${formatNumber(seen.distance, 3)} (${seen.verdict})` : "–",
    ];
  });
  const files = manifest.inputs.flatMap((input) =>
    input.files.map((f): Content[] => [
      name(input.model),
      name(f.name),
      formatCount(f.byteLength),
      tag("code", { class: "hash" }, f.headerSha256),
    ]),
  );
  return {
    id: "lineage",
    title: "Lineage",
    body: [
      table({
        caption: "Inputs",
        columns: [
          { title: "Model" },
          { title: "Role" },
          { title: "Revision" },
          { title: "Licence" },
          { title: "Size" },
          { title: "Distance from the base" },
        ],
        rows,
      }),
      p(
        "The distance is ‖δ‖ ∕ ‖base‖ over the matrices; unrelated weights of one scale are 1.41 apart. The licence is what the model card declares. The revision is the commit in the local Hugging Face cache, where the model came from there.",
      ),
      details(
        `Files of the inputs (${formatCount(files.length)})`,
        table({
          caption: "Files of the inputs",
          columns: [
            { title: "Model" },
            { title: "File" },
            { title: "Bytes", number: true },
            { title: "SHA-256 of its header" },
          ],
          rows: files.slice(0, fileRows),
        }),
        files.length > fileRows ? p(`… and ${formatCount(files.length - fileRows)} more in braid.json.`) : null,
      ),
    ],
  };
}
