// Distributions: counts or shares over bins, several outlines in one plot.

import { type Axis, axisScale } from "./axis.ts";
import { coordinate, element, escapeText } from "./markup.ts";
import { formatNumber } from "./numbers.ts";
import {
  bottomAxis,
  bottomMargin,
  leftAxis,
  leftMargin,
  legend,
  type PictureText,
  type Plot,
  picture,
  rightMargin,
  seriesClass,
  seriesDash,
} from "./picture.ts";

export interface Histogram extends PictureText {
  /** Ends of the bins, rising: one more than there are bins. */
  readonly edges: readonly number[];
  /** A number for each bin. */
  readonly series: readonly { readonly name: string; readonly counts: readonly number[] }[];
  readonly x?: Omit<Axis, "kind"> & { readonly kind?: "linear" | "log" };
  /** With `log`, bins of nothing have no height. */
  readonly y?: Omit<Axis, "kind"> & { readonly kind?: "linear" | "log" };
  readonly width?: number;
  readonly height?: number;
}

/** The chart as markup. One series is filled; of several, each has an outline of its own. */
export function histogram(chart: Histogram): string {
  const { edges, series, x, y, width = 360, height = 220 } = chart;
  const counts = series.flatMap((s) => s.counts);
  const floor = y?.from ?? (y?.kind === "log" ? smallest(counts) : 0);
  const upright = (top: number, bottom: number) => axisScale({ ...y, from: floor }, counts, bottom, top, true, 4);
  const several = series.length > 1;
  const names = legend(several ? series.map((s) => s.name) : [], 4, width - 4, (i, at, line) =>
    element("path", {
      class: "line",
      d: `M${coordinate(at)} ${coordinate(line)}h24`,
      "stroke-dasharray": seriesDash(i),
    }),
  );
  const top = names.height + 6;
  const bottom = height - bottomMargin(x?.label);
  const yScale = upright(top, bottom);
  const left = Math.ceil(leftMargin(yScale, y?.label));
  const flat = (right: number) => axisScale(x, edges, left, right, false, Math.max(2, Math.floor((width - left) / 60)));
  const plot: Plot = { left, top, right: Math.floor(width - rightMargin(flat(width))), bottom };
  const xScale = flat(plot.right);
  const outlines = series.map((s, i) => {
    const steps = s.counts.map((count, bin) => {
      const [from, to] = [xScale.at(edges[bin]!), xScale.at(edges[bin + 1]!)];
      const level = count > 0 ? yScale.at(count) : plot.bottom;
      return `${bin === 0 ? `M${coordinate(from)} ${plot.bottom}` : ""}V${coordinate(level)}H${coordinate(to)}`;
    });
    const d = `${steps.join("")}V${plot.bottom}`;
    return element("g", { class: seriesClass(i) }, [
      element("path", { class: "area", d }),
      element("path", { class: "line", d, "stroke-dasharray": seriesDash(i) }),
      element("title", {}, escapeText(`${s.name}: highest ${formatNumber(Math.max(0, ...s.counts))}`)),
    ]);
  });
  return picture(width, height, chart, [
    ...names.body,
    ...leftAxis(yScale, plot, y?.label),
    ...outlines,
    ...bottomAxis(xScale, plot, x?.label),
  ]);
}

function smallest(counts: readonly number[]): number {
  const least = counts.reduce((a, b) => (b > 0 && b < a ? b : a), Number.POSITIVE_INFINITY);
  return Number.isFinite(least) ? least : 1;
}
