// Lines over numbers: accuracy against drop rate, a norm against depth.

import { type Axis, axisScale } from "./axis.ts";
import { coordinate, element, textElement } from "./markup.ts";
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
  seriesMark,
} from "./picture.ts";

export interface LineChart extends PictureText {
  readonly series: readonly {
    readonly name: string;
    /** In any order of x. A y of null is a gap; `low` and `high` are drawn as a range, e.g. over seeds. */
    readonly points: readonly {
      readonly x: number;
      readonly y: number | null;
      readonly low?: number;
      readonly high?: number;
    }[];
  }[];
  readonly x?: Axis;
  readonly y?: Omit<Axis, "kind"> & { readonly kind?: "linear" | "log" };
  /** Values to compare with, as lines across: what the base scores. */
  readonly references?: readonly { readonly y: number; readonly label: string }[];
  readonly width?: number;
  readonly height?: number;
}

/** Of a line with more points, every second, third … has a mark. */
const mostMarks = 40;

/** The chart as markup. */
export function lineChart(chart: LineChart): string {
  const { series, x, y, references = [], width = 640, height = 320 } = chart;
  const points = series.map((s) => [...s.points].sort((a, b) => a.x - b.x));
  const ys = points.flatMap((list) => list.flatMap((p) => (p.y === null ? [] : [p.y, p.low ?? p.y, p.high ?? p.y])));
  const upright = (top: number, bottom: number) =>
    axisScale(y, [...ys, ...references.map((r) => r.y)], bottom, top, true, 6);
  const names = legend(
    series.map((s) => s.name),
    4,
    width - 4,
    (i, at, line) =>
      element("path", {
        class: "line",
        d: `M${coordinate(at)} ${coordinate(line)}h24`,
        "stroke-dasharray": seriesDash(i),
      }) + seriesMark(i, at + 12, line),
  );
  const top = names.height + 6;
  const bottom = height - bottomMargin(x?.label);
  const yScale = upright(top, bottom);
  const left = Math.ceil(leftMargin(yScale, y?.label));
  const xs = points.flatMap((list) => list.map((p) => p.x));
  const flat = (right: number) => axisScale(x, xs, left, right, false, Math.max(2, Math.floor((width - left) / 70)));
  const plot: Plot = { left, top, right: Math.floor(width - rightMargin(flat(width))), bottom };
  const xScale = flat(plot.right);
  const lines = series.map(({ name }, i) => {
    const runs: string[] = [];
    let pen = "M";
    const every = Math.max(1, Math.ceil(points[i]!.length / mostMarks));
    const marks = points[i]!.map(({ x: px, y: py, low, high }, at) => {
      if (py === null || !Number.isFinite(py)) {
        pen = "M";
        return "";
      }
      const [cx, cy] = [xScale.at(px), yScale.at(py)];
      runs.push(`${pen}${coordinate(cx)} ${coordinate(cy)}`);
      pen = "L";
      const range =
        low === undefined || high === undefined
          ? ""
          : element("path", {
              class: "range",
              d: `M${coordinate(cx)} ${coordinate(yScale.at(low))}V${coordinate(yScale.at(high))}`,
            });
      if (at % every !== 0) return range;
      return range + seriesMark(i, cx, cy, `${name}: ${yScale.format(py)} at ${xScale.format(px)}`);
    });
    return element("g", { class: seriesClass(i) }, [
      element("path", { class: "line", d: runs.join(""), "stroke-dasharray": seriesDash(i) }),
      ...marks,
    ]);
  });
  const compared = references.map(({ y: at, label }) =>
    [
      element("path", {
        class: "axis",
        d: `M${plot.left} ${coordinate(yScale.at(at))}H${plot.right}`,
        "stroke-dasharray": "3 3",
      }),
      textElement(label, { class: "muted", x: plot.right, y: yScale.at(at) - 4, "text-anchor": "end" }),
    ].join(""),
  );
  return picture(width, height, chart, [
    ...names.body,
    ...leftAxis(yScale, plot, y?.label),
    ...bottomAxis(xScale, plot, x?.label),
    ...compared,
    ...lines,
  ]);
}
