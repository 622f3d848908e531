// What the method was asked to drop or keep, and what it did.

import { formatCount } from "../../format.ts";
import { formatNumber, formatPercent } from "../../svg/index.ts";
import type { ReportFacts } from "../facts.ts";
import { type Content, name, p, type Section, table } from "../html.ts";
import type { Manifest } from "../manifest.ts";

const percent = (x: number | null) => (x === null ? "differs by tensor" : formatPercent(x, 6));

function points(asked: number | null, actual: number): string {
  if (asked === null) return "–";
  const difference = (actual - asked) * 100;
  const text = formatNumber(difference, 2);
  return `${difference > 0 ? "+" : ""}${text}`;
}

/** One standard deviation of the share that independent drops of p take from n elements, in percentage points. */
function spread(asked: number | null, elements: number): string {
  if (asked === null || elements === 0) return "–";
  return formatNumber(Math.sqrt((asked * (1 - asked)) / elements) * 100, 2);
}

function methodFacts({ methodFacts }: Manifest): Content {
  if (!methodFacts || methodFacts.length === 0) return null;
  return table({
    caption: "What the method found in its matrices",
    columns: [
      { title: "Fact" },
      { title: "Matrices", number: true },
      { title: "Mean", number: true },
      { title: "Least", number: true },
      { title: "in" },
      { title: "Most", number: true },
      { title: "in" },
    ],
    rows: methodFacts.map((f) => [
      f.fact,
      formatCount(f.tensors),
      formatNumber(f.mean),
      formatNumber(f.least.value),
      name(f.least.tensor),
      formatNumber(f.most.value),
      name(f.most.tensor),
    ]),
  });
}

/** Null where the method neither drops nor trims nor tells anything. */
export function ratesSection({ manifest }: ReportFacts): Section | null {
  const { dropRates, densities, parameters } = manifest;
  const facts = methodFacts(manifest);
  if (dropRates.length === 0 && densities.length === 0 && facts === null) return null;
  return {
    id: "rates",
    title: "Asked and done",
    body: [
      dropRates.length > 0
        ? [
            table({
              caption: "Drop rates",
              columns: [
                { title: "Model" },
                { title: "Asked", number: true },
                { title: "Actual", number: true },
                { title: "Difference (points)", number: true },
                { title: "One σ by chance", number: true },
              ],
              rows: dropRates.map((r) => [
                name(r.model),
                percent(r.asked),
                percent(r.actual),
                points(r.asked, r.actual),
                spread(r.asked, parameters),
              ]),
            }),
            p(
              "The mask of every model is drawn from the seed, the model's number, the tensor's name and the element's place. The last column is what the actual rate may be off by chance when every element is dropped by itself: differences of more than five times that are not chance.",
            ),
          ]
        : null,
      densities.length > 0
        ? [
            table({
              caption: "Densities",
              columns: [
                { title: "Model" },
                { title: "Asked", number: true },
                { title: "Kept", number: true },
                { title: "Difference (points)", number: true },
              ],
              rows: densities.map((r) => [
                name(r.model),
                percent(r.asked),
                percent(r.actual),
                points(r.asked, r.actual),
              ]),
            }),
            p(
              "Deltas of equal magnitude at the threshold all stay (unless the recipe says ties: exact), and deltas of bf16 models have many of them: more may be kept than was asked.",
            ),
          ]
        : null,
      facts,
    ],
  };
}
