// What was written, and what proves it.

import { formatBytes, formatCount } from "../../format.ts";
import type { ReportFacts } from "../facts.ts";
import { code, facts as factList, markup, name, p, type Section, table, tag } from "../html.ts";

export function filesSection({ manifest, outputDtypes }: ReportFacts): Section {
  const hash = (text: string) => tag("code", { class: "hash" }, text);
  const hashed = manifest.files.filter((f) => f.sha256 !== null);
  return {
    id: "files",
    title: "Files and hashes",
    body: [
      table({
        caption: "Files of the output",
        columns: [{ title: "File" }, { title: "Bytes", number: true }, { title: "SHA-256" }],
        rows: manifest.files.map((f) => [
          name(f.name),
          formatCount(f.byteLength),
          f.sha256 === null ? "not taken (--no-checksum)" : hash(f.sha256),
        ]),
      }),
      hashed.length > 0
        ? [
            p("To check them, in the folder of the output:"),
            tag(
              "pre",
              { role: "group", tabindex: 0, "aria-label": "How to check the hashes" },
              tag(
                "code",
                {},
                markup(""),
                `sha256sum -c <<'EOF'`,
                markup("\n"),
                hashed.slice(0, 200).map((f) => [`${f.sha256}  ${f.name}`, markup("\n")]),
                "EOF",
              ),
            ),
          ]
        : null,
      outputDtypes.length > 0
        ? table({
            caption: "Dtypes of the output",
            columns: [{ title: "Dtype" }, { title: "Tensors", number: true }, { title: "Elements", number: true }],
            rows: outputDtypes.map((d) => [d.dtype, formatCount(d.tensors), formatCount(d.elements)]),
          })
        : null,
      factList([
        ["Size", formatBytes(manifest.files.reduce((sum, f) => sum + f.byteLength, 0))],
        ["Recipe", hash(manifest.recipeSha256)],
        ["Plan", hash(manifest.planSha256)],
        ["Kernels", hash(manifest.kernelSha256)],
        ["Braid", manifest.version],
        ["Compatible with", manifest.compat === "none" ? "the papers" : manifest.compat],
      ]),
      p(
        "The same recipe, inputs, seed and kernels give the same bytes, whatever the machine, the runtime and the number of workers. The plan's hash stands for all that decides them except the values in the inputs; ",
        code("braid.json"),
        " has all of these.",
      ),
    ],
  };
}
