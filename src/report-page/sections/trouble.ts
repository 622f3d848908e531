// What was lost or odd on the way: values that are not finite, values too large to store, changes that rounding took back.

import { formatCount, plural } from "../../format.ts";
import { formatPercent } from "../../svg/index.ts";
import type { Absorbed, ReportFacts } from "../facts.ts";
import { type Content, details, name, p, type Section, table } from "../html.ts";

const nonFiniteRows = 200;
const worstRows = 20;

function absorbedBody(absorbed: Absorbed): Content {
  const sum = (of: (t: Absorbed["tensors"][number]) => number) => absorbed.tensors.reduce((s, t) => s + of(t), 0);
  const [elements, changed, lost] = [sum((t) => t.elements), sum((t) => t.changed), sum((t) => t.absorbed)];
  const share = (part: number, of: number) => formatPercent(of > 0 ? part / of : null);
  const worst = [...absorbed.tensors]
    .filter((t) => t.absorbed > 0)
    .sort((a, b) => b.absorbed / b.changed - a.absorbed / a.changed || (a.name < b.name ? -1 : 1))
    .slice(0, worstRows);
  return [
    p(
      `Of ${plural(elements, "element")} the merge changed ${formatCount(changed)} (${share(changed, elements)}) before they were stored. ${formatCount(lost)} of these (${share(lost, changed)}) were the base's again after rounding to the output dtype: the change was smaller than half a step.`,
    ),
    absorbed.every > 1 ? p(`Every ${absorbed.every}th slice of a tensor was merged again and counted.`) : null,
    absorbed.leftOut > 0
      ? p(
          `${plural(absorbed.leftOut, "tensor")} of methods on whole matrices, or copied, ${absorbed.leftOut === 1 ? "is" : "are"} not counted.`,
        )
      : null,
    worst.length > 0
      ? details(
          "Tensors that lost most",
          table({
            caption: "Changes lost to rounding",
            columns: [
              { title: "Tensor" },
              { title: "Elements", number: true },
              { title: "Changed", number: true },
              { title: "Lost", number: true },
              { title: "Share of the changes", number: true },
            ],
            rows: worst.map((t) => [
              name(t.name),
              formatCount(t.elements),
              formatCount(t.changed),
              formatCount(t.absorbed),
              share(t.absorbed, t.changed),
            ]),
          }),
        )
      : null,
  ];
}

export function troubleSection({ manifest, absorbed }: ReportFacts): Section {
  const { nonFinite, overflow } = manifest;
  return {
    id: "losses",
    title: "Lost on the way",
    body: [
      p(
        nonFinite.length === 0
          ? "No NaN and no infinity was found in the inputs."
          : `NaN or infinite elements were found in ${plural(nonFinite.length, "place")}:`,
      ),
      nonFinite.length > 0
        ? table({
            caption: "Elements that are not finite",
            columns: [
              { title: "Tensor" },
              { title: "Model" },
              { title: "Count", number: true },
              { title: "First at", number: true },
            ],
            rows: nonFinite
              .slice(0, nonFiniteRows)
              .map((n) => [name(n.tensor), name(n.model), formatCount(n.count), formatCount(n.first)]),
          })
        : null,
      nonFinite.length > nonFiniteRows
        ? p(`… and ${formatCount(nonFinite.length - nonFiniteRows)} more in braid.json.`)
        : null,
      p(
        overflow === 0
          ? "Every merged value fits the output dtype."
          : `${plural(overflow, "merged value")} did not fit the output dtype.`,
      ),
      "missing" in absorbed ? p(absorbed.missing) : absorbedBody(absorbed.found),
    ],
  };
}
