// The charts of the page.

import { type LineChart, lineChart, standalone } from "../src/svg/index.ts";
import type { Groups, Row } from "./groups.ts";
import { fineTunes } from "./models.ts";
import { pytorch } from "./pytorch.ts";
import { byLabel, meanSpread } from "./statistics.ts";

const accuracy = { label: "accuracy, %", from: 0, to: 100 } as const;
const rate = { label: "drop rate p", kind: "even", format: String } as const;

type Point = LineChart["series"][number]["points"][number];

function pointAt(x: number, rows: readonly Row[]): Point {
  const { mean, low, high, runs } = meanSpread(rows);
  return { x, y: 100 * mean, ...(runs > 1 ? { low: 100 * low, high: 100 * high } : {}) };
}

function byRate(rows: readonly Row[]): Point[] {
  return [...new Set(rows.map((r) => r.p!))].map((p) =>
    pointAt(
      p,
      rows.filter((r) => r.p === p),
    ),
  );
}

function dropChart({ drop }: Groups, rescale: "exact" | "none"): string {
  const series = fineTunes.flatMap((model) => {
    const rows = drop.filter((r) => r.model === model && (r.label === rescale || r.p === 0));
    const other = pytorch.drop[model]![rescale === "exact" ? "rescale" : "no_rescale"];
    return [
      { name: model, points: byRate(rows) },
      { name: `${model}, PyTorch`, points: Object.entries(other).map(([p, v]) => ({ x: Number(p), y: 100 * v.mean })) },
    ];
  });
  const title =
    rescale === "exact" ? "Accuracy against drop rate, rescaled" : "Accuracy against drop rate, not rescaled";
  return lineChart({
    title,
    description: "Each fine-tune on its own task; the mean and range over five seeds, beside PyTorch's mean.",
    series,
    x: rate,
    y: accuracy,
  });
}

function mergeChart({ merges }: Groups): string {
  const several = byLabel(merges.filter((r) => r.p !== undefined));
  const once = (label: string) => 100 * meanSpread(merges.filter((r) => r.label === label)).mean;
  return lineChart({
    title: "Mean accuracy of merges of three fine-tunes",
    description: "With DARE at p = 0.5, 0.7 and 0.9, beside task arithmetic and TIES without it.",
    series: several.map(([name, rows]) => ({ name, points: byRate(rows) })),
    references: [
      { y: once("task arithmetic, lambda 0.6"), label: "task arithmetic, λ 0.6" },
      { y: once("linear average"), label: "linear average" },
    ],
    x: rate,
    y: accuracy,
  });
}

function maskChart({ masks }: Groups): string {
  return lineChart({
    title: "Own masks, disjoint masks, one mask for all",
    description: "Mean accuracy of the sum of three fine-tunes with λ 0.6; the mean and range over five seeds.",
    series: byLabel(masks).map(([name, rows]) => ({ name, points: byRate(rows) })),
    x: rate,
    y: accuracy,
  });
}

function qChart({ q }: Groups): string {
  return lineChart({
    title: "Dividing by q at p = 0.99 (DAREx)",
    description: "Accuracy of each fine-tune on its own task; 0.01 is DARE's own 1 − p.",
    series: fineTunes.map((model) => {
      const rows = q.filter((r) => r.model === model);
      return {
        name: model,
        points: [...new Set(rows.map((r) => r.q!))].map((x) =>
          pointAt(
            x,
            rows.filter((r) => r.q === x),
          ),
        ),
      };
    }),
    x: { label: "q", kind: "even", format: String },
    y: accuracy,
  });
}

function lawChart({ laws }: Groups): string {
  const names = [...new Set(laws.map((l) => l.law))].filter((n) => n.startsWith("variance"));
  return lineChart({
    title: "Variance of DARE, measured and by formula",
    description: "Squared error of the dropped delta over the delta's square. Measured and formula lie on each other.",
    series: names.flatMap((name) => {
      const rows = laws.filter((l) => l.law === name);
      return [
        {
          name: `${name.replace("variance ", "").replace("variance, ", "")}, measured`,
          points: rows.map((l) => ({ x: l.p, y: l.measured })),
        },
        { name: "formula", points: rows.map((l) => ({ x: l.p, y: l.theory })) },
      ];
    }),
    x: rate,
    y: { label: "variance / ‖δ‖²", kind: "log" },
  });
}

export function pictures(results: Groups): Record<string, string> {
  return {
    drop: standalone(dropChart(results, "exact")),
    "drop-none": standalone(dropChart(results, "none")),
    merges: standalone(mergeChart(results)),
    masks: standalone(maskChart(results)),
    q: standalone(qChart(results)),
    laws: standalone(lawChart(results)),
  };
}
