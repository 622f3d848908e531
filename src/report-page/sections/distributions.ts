// How large the changes are: before, model by model, and after.

import type { DeltaStats } from "../../analyze/analysis.ts";
import { formatCount } from "../../format.ts";
import { formatNumber, formatPercent, histogram } from "../../svg/index.ts";
import type { Comparison, ReportFacts } from "../facts.ts";
import { type Content, details, figure, gallery, name, p, type Section, table } from "../html.ts";
import { chartWidth, halfWidth, modelNames } from "../names.ts";

/** Ends of a histogram of fewer elements than this share are cut off. */
const faint = 1e-5;

/** Shares of |δ| between powers of two, of all models over the same bins; null where nothing changes. */
export function magnitudeBins(
  models: readonly (DeltaStats | null)[],
): { readonly edges: number[]; readonly shares: number[][] } | null {
  const bins = models.map((m) => {
    const counts = new Map<number, number>();
    for (const [i, count] of m?.magnitudes.counts.entries() ?? [])
      counts.set(m!.magnitudes.first + i, count / Math.max(m!.count, 1));
    return counts;
  });
  const seen = bins.flatMap((b) => [...b].filter(([, share]) => share >= faint).map(([e]) => e));
  if (seen.length === 0) return null;
  const first = seen.reduce((a, b) => Math.min(a, b));
  const last = seen.reduce((a, b) => Math.max(a, b));
  const exponents = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  return {
    edges: [...exponents, last + 1].map((e) => 2 ** e),
    shares: bins.map((b) => exponents.map((e) => b.get(e) ?? 0)),
  };
}

const percentTick = (value: number) => formatPercent(value, 2);

function magnitudes(comparison: Comparison): Content {
  const { whole } = comparison.analysis;
  const names = modelNames(comparison);
  const bins = magnitudeBins(whole.models);
  if (!bins) return p("No model changes anything.");
  const title = "Sizes of the changes, before and after";
  return figure(
    title,
    histogram({
      title,
      description: "Shares of the elements by the size of their change, in bins that double.",
      edges: bins.edges,
      series: bins.shares.map((counts, i) => ({ name: names[i]!, counts })),
      x: { label: "|δ|, each bin twice the one before", kind: "log" },
      y: { label: "share of all elements", format: percentTick },
      width: chartWidth,
      height: 300,
    }),
    "What rescaling moved to the right is larger than any change that went in; what is missing of an outline was exactly zero.",
  );
}

function signed(comparison: Comparison): Content {
  const names = modelNames(comparison);
  const figures = comparison.analysis.whole.models.flatMap((m, i) => {
    const { signed } = m ?? {};
    if (!m || !signed) return [];
    const edges = Array.from({ length: signed.counts.length + 1 }, (_, k) => -signed.range + k * signed.width);
    const changed = signed.negative + signed.positive;
    const beyond = signed.below + signed.above;
    const title = `δ of ${names[i]}`;
    const svg = histogram({
      title,
      description: `${formatCount(changed)} elements that are changed; the unit is the root of the mean square, ${formatNumber(m.rms, 3)}.`,
      edges,
      series: [{ name: names[i]!, counts: signed.counts.map((c) => c / Math.max(changed, 1)) }],
      x: { label: "δ ∕ rms" },
      y: { label: "share of changes", format: percentTick },
      width: halfWidth,
    });
    const tail = beyond > 0 ? ` ${formatPercent(beyond / Math.max(changed, 1))} lies beyond.` : "";
    return [
      figure(
        title,
        svg,
        `rms ${formatNumber(m.rms, 3)}, ${formatPercent(signed.positive / Math.max(changed, 1))} upward.${tail}`,
      ),
    ];
  });
  return figures.length > 0 ? gallery(figures) : null;
}

const columns = [
  { title: "Elements", number: true },
  { title: "Unchanged", number: true },
  { title: "Mean |δ|", number: true },
  { title: "Median |δ|", number: true },
  { title: "99 %", number: true },
  { title: "Max |δ|", number: true },
  { title: "rms", number: true },
  { title: "‖δ‖ ∕ ‖base‖", number: true },
  { title: "Near zero", number: true },
];

function statistics(m: DeltaStats | null): Content[] {
  if (!m) return columns.map(() => "–");
  const number = (x: number | null) => formatNumber(x, 3);
  return [
    formatCount(m.count),
    formatPercent(m.count > 0 ? m.zeros / m.count : null),
    number(m.mean),
    number(m.quantiles.p50),
    number(m.quantiles.p99),
    number(m.max),
    number(m.rms),
    number(m.ratio),
    formatPercent(m.nearZero.value),
  ];
}

export function distributionsSection({ comparison: maybe }: ReportFacts): Section {
  const id = "distributions";
  const title = "Deltas before and after";
  if ("missing" in maybe) return { id, title, body: p(maybe.missing) };
  const comparison = maybe.found;
  const { whole, kinds } = comparison.analysis;
  const names = modelNames(comparison);
  return {
    id,
    title,
    body: [
      table({
        caption: "Deltas of the whole model",
        columns: [{ title: "Model" }, ...columns],
        rows: names.map((n, i) => [name(n), ...statistics(whole.models[i] ?? null)]),
      }),
      p("Unchanged: exactly the base's. Near zero: |δ| below 1 % of the largest. Median and 99 % are ranks of |δ|."),
      magnitudes(comparison),
      signed(comparison),
      names.map((n, i) =>
        details(
          ["By kind of tensor: ", name(n)],
          table({
            caption: `Deltas by kind: ${n}`,
            columns: [{ title: "Kind" }, ...columns],
            rows: kinds.map((k) => [k.kind, ...statistics(k.models[i] ?? null)]),
          }),
        ),
      ),
    ],
  };
}
