// Bars from left to right, so that long names can be read: a row a category, in it a bar a series.

import type { Axis } from "./axis.ts";
import { shorten, textWidth } from "./label.ts";
import { coordinate, element, escapeText, textElement } from "./markup.ts";
import { formatNumber } from "./numbers.ts";
import {
  bottomAxis,
  bottomMargin,
  legend,
  lineHeight,
  type PictureText,
  type Plot,
  picture,
  seriesClass,
} from "./picture.ts";
import { linearScale } from "./scale.ts";

export interface BarChart extends PictureText {
  readonly categories: readonly string[];
  /** A value for each category; null is no bar and a dash. */
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[];
  /** Of the values. The bars begin at zero. */
  readonly x?: Omit<Axis, "kind">;
  readonly width?: number;
}

const thickness = 14;
const gap = 10;
/** Of the width, for the names. */
const nameShare = 0.35;

/** The chart as markup, as high as its bars need. */
export function barChart(chart: BarChart): string {
  const { categories, series, x, width = 640 } = chart;
  const format = x?.format ?? ((value: number) => formatNumber(value, 3));
  const names = legend(series.length > 1 ? series.map((s) => s.name) : [], 4, width - 4, (_, at, line) =>
    element("rect", { class: "bar", x: at, y: line - 5, width: 24, height: 10, rx: 2 }),
  );
  const most = width * nameShare;
  const labels = categories.map((name) => shorten(name, most));
  const values = series.flatMap((s) => s.values.flatMap((v) => (v === null || !Number.isFinite(v) ? [] : [v])));
  const row = Math.max(series.length, 1) * (thickness + 1) + gap;
  const top = names.height + 4;
  const bottom = top + row * categories.length;
  const widest = Math.max(0, ...values.map((v) => textWidth(format(v))));
  const plot: Plot = {
    left: Math.ceil(Math.max(0, ...labels.map((l) => textWidth(l))) + 12),
    top,
    right: Math.floor(width - widest - 10),
    bottom,
  };
  const low = x?.from ?? values.reduce((a, b) => Math.min(a, b), 0);
  const high = x?.to ?? values.reduce((a, b) => Math.max(a, b), 0);
  // A bar below zero has its number on its left.
  const from = plot.left + (low < 0 ? widest + 6 : 0);
  const count = Math.max(2, Math.floor((plot.right - from) / 70));
  const ticks = x?.ticks ? { ticks: x.ticks } : {};
  const scale = linearScale(low, high, from, plot.right, { count, nice: x?.to === undefined, format, ...ticks });
  const zero = scale.at(0);
  const rows = categories.map((name, c) => {
    const y = top + c * row;
    const label = element("g", {}, [
      textElement(labels[c]!, { x: plot.left - 8, y: y + (row - gap) / 2 + 4, "text-anchor": "end" }),
      element("title", {}, escapeText(name)),
    ]);
    const bars = series.map((s, i) => {
      const value = s.values[c] ?? null;
      const at = y + i * (thickness + 1);
      const end = value === null || !Number.isFinite(value) ? zero : scale.at(value);
      const [start, length] = [Math.min(zero, end), Math.abs(end - zero)];
      const below = value !== null && value < 0;
      return element("g", { class: seriesClass(i) }, [
        ...(value === null
          ? []
          : [element("rect", { class: "bar", x: start, y: at, width: length, height: thickness, rx: 1 })]),
        textElement(value === null ? "–" : format(value), {
          x: below ? start - 4 : start + length + 4,
          y: at + thickness - 3,
          ...(below ? { "text-anchor": "end" } : {}),
        }),
        element("title", {}, escapeText(`${name}, ${s.name}: ${value === null ? "none" : format(value)}`)),
      ]);
    });
    return label + bars.join("");
  });
  const grid = scale.ticks.map((t) =>
    element("path", { class: t === 0 ? "axis" : "grid", d: `M${coordinate(scale.at(t))} ${top - 4}V${bottom}` }),
  );
  const height = bottom + (x?.label ? bottomMargin(x.label) : lineHeight + 6);
  return picture(width, height, chart, [...names.body, ...grid, ...rows, ...bottomAxis(scale, plot, x?.label)]);
}
