// How the models' changes meet: directions, signs, and whose is left in the output.

import type { PairStats } from "../../analyze/analysis.ts";
import { formatNumber, formatPercent, heatMap } from "../../svg/index.ts";
import type { Comparison, ReportFacts } from "../facts.ts";
import { type Content, facts as factList, figure, name, p, type Section, table } from "../html.ts";
import { chartWidth, inputIndices, modelNames } from "../names.ts";

/** As narrow as a cell. */
function twoDecimals(value: number): string {
  const text = value.toFixed(2);
  return Number(text) === 0 ? "0.00" : text.replace("-", "−");
}

function cosines(comparison: Comparison): Content {
  const { pairs } = comparison.analysis.whole;
  const names = modelNames(comparison);
  const cosine = (a: number, b: number) =>
    a === b ? 1 : (pairs.find((p) => p.a === Math.min(a, b) && p.b === Math.max(a, b))?.cosine ?? null);
  const title = "Cosine of the deltas";
  return figure(
    title,
    heatMap({
      title,
      description: names
        .flatMap((a, i) => names.slice(i + 1).map((b, j) => `${a} and ${b}: ${formatNumber(cosine(i, i + 1 + j), 3)}`))
        .join("; "),
      rows: names,
      columns: names,
      values: names.map((_, a) => names.map((_, b) => cosine(a, b))),
      scale: { from: -1, to: 1, kind: "diverging", label: "cosine" },
      numbers: true,
      format: twoDecimals,
      width: chartWidth,
    }),
    "Near 0: the models change different things. Near 1: the same. Below 0: they undo one another. The output's row says how much of each model's direction it has.",
  );
}

function pairTable(pairs: readonly PairStats[], names: readonly string[], caption: string): Content {
  const number = (x: number | null) => formatNumber(x, 3);
  const signed = (x: number | null) => (x !== null && x > 0 ? `+${formatPercent(x)}` : formatPercent(x));
  return table({
    caption,
    columns: [
      { title: "One" },
      { title: "Other" },
      { title: "Cosine", number: true },
      { title: "Sign conflict", number: true },
      { title: "Above chance", number: true },
      { title: "Overlap", number: true },
      { title: "Above chance", number: true },
    ],
    rows: pairs.map((p) => [
      name(names[p.a]!),
      name(names[p.b]!),
      number(p.cosine),
      formatPercent(p.conflict),
      signed(p.conflictExcess),
      formatPercent(p.overlap),
      signed(p.overlapExcess),
    ]),
  });
}

function shares(comparison: Comparison): Content {
  const { whole } = comparison.analysis;
  const inputs = inputIndices(comparison);
  const names = modelNames(comparison);
  const squares = inputs.map((i) => (whole.models[i]?.norm ?? 0) ** 2);
  const sum = squares.reduce((a, b) => a + b, 0);
  const out = whole.models[comparison.output]?.norm ?? 0;
  const mean = inputs.reduce((a, i) => a + (whole.models[i]?.norm ?? 0), 0) / Math.max(inputs.length, 1);
  return [
    table({
      caption: "Share of all change",
      columns: [{ title: "Model" }, { title: "‖δ‖", number: true }, { title: "Share of ‖δ‖²", number: true }],
      rows: inputs.map((i, k) => [
        name(names[i]!),
        formatNumber(whole.models[i]?.norm ?? null, 4),
        formatPercent(sum > 0 ? squares[k]! / sum : null),
      ]),
    }),
    factList([
      ["‖Δ‖ of the output", formatNumber(out, 4)],
      ["against the mean ‖δ‖", mean > 0 ? formatNumber(out / mean, 3) : "–"],
    ]),
  ];
}

export function interferenceSection({ comparison: maybe }: ReportFacts): Section {
  const id = "interference";
  const title = "Interference";
  if ("missing" in maybe) return { id, title, body: p(maybe.missing) };
  const comparison = maybe.found;
  const { whole, topShare } = comparison.analysis;
  const names = modelNames(comparison);
  const isOutput = (pair: PairStats) => pair.a === comparison.output || pair.b === comparison.output;
  const between = whole.pairs.filter((pair) => !isOutput(pair));
  const { inputsTogether: together } = comparison;
  return {
    id,
    title,
    body: [
      cosines(comparison),
      between.length > 0 ? pairTable(between, names, "Models with one another") : null,
      pairTable(
        whole.pairs.filter(isOutput).map((pair) => ({ ...pair })),
        names,
        "Models with the output",
      ),
      p(
        `Sign conflict: of the elements that both change, the share that they move in opposite directions; chance is what Gaussian deltas of the same cosine have. Overlap: of the ${formatPercent(topShare)} largest changes of either, the share that is among those of both.`,
      ),
      together
        ? factList([
            ["Sign agreement", formatNumber(together.signAgreement, 3)],
            ["Elements with both signs", formatPercent(together.mixed)],
            ["Mass agreement", formatNumber(together.massAgreement, 3)],
            ["Interference", formatPercent(together.interference)],
          ])
        : null,
      together
        ? p(
            "Sign agreement is the mean of |n₊ − n₋| ∕ (n₊ + n₋) over the elements. Mass agreement is what is left of all |δ| when the deltas are added; interference is what cancels.",
          )
        : null,
      shares(comparison),
    ],
  };
}
