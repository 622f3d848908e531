// A table of numbers as colours: depth from left to right, a row a kind of tensor; or models against models.

import { shorten, textWidth } from "./label.ts";
import { coordinate, element, escapeText, textElement } from "./markup.ts";
import { formatNumber } from "./numbers.ts";
import { bottomTitle, lineHeight, type PictureText, type Plot, picture } from "./picture.ts";
import { niceStep } from "./scale.ts";

export interface HeatMap extends PictureText {
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** A row of numbers for each of `rows`; null, NaN and what is missing have no colour. */
  readonly values: readonly (readonly (number | null)[])[];
  readonly columnsLabel?: string;
  readonly scale: {
    /** The numbers of no and of full colour; beyond them it does not change. */
    readonly from: number;
    readonly to: number;
    /** `diverging`: from −to to to, zero without colour, one colour for each sign. */
    readonly kind?: "linear" | "log" | "diverging";
    readonly label?: string;
  };
  /** Write the numbers into the cells where they fit. */
  readonly numbers?: boolean;
  readonly format?: (value: number) => string;
  readonly width?: number;
}

const cellHeight = 18;
const largestCell = 56;
const smallestCell = 5;
const rampSteps = 20;
/** A cell of the least value is still seen to be a cell. */
const faintest = 0.05;

/** How strong the colour is, 0 to 1. */
export function intensity(value: number, { from, to, kind = "linear" }: HeatMap["scale"]): number {
  const part =
    kind === "diverging"
      ? Math.abs(value) / to
      : kind === "log"
        ? Math.log(Math.max(value, from) / from) / Math.log(to / from)
        : (value - from) / (to - from);
  return Math.min(Math.max(Number.isNaN(part) ? 0 : part, 0), 1);
}

const opacity = (part: number) => coordinate(faintest + (1 - faintest) * part);
const known = (value: number | null | undefined): value is number =>
  value !== null && value !== undefined && !Number.isNaN(value);

/** The chart as markup. Cells are as wide as the room allows, but never narrower than can be seen: then the picture is wider. */
export function heatMap(chart: HeatMap): string {
  const { rows, columns, values, scale, columnsLabel, numbers = false, width = 680 } = chart;
  const format = chart.format ?? ((value: number) => formatNumber(value, 3));
  const labels = rows.map((row) => shorten(row, width * 0.32));
  const left = Math.ceil(Math.max(20, ...labels.map((l) => textWidth(l))) + 8);
  const room = (width - left - 8) / Math.max(columns.length, 1);
  const cell = Math.min(largestCell, Math.max(smallestCell, room >= 1 ? Math.floor(room) : room));
  const across = columns.map((c) => textWidth(c));
  const needed = (Math.max(0, ...across) + 4) / cell;
  const every = needed <= 1 ? 1 : niceStep(needed, 1);
  // Numbers of layers may be left out between; names are written upright instead.
  const upright = every > 1 && !columns.every((c) => /^\d+$/.test(c));
  const names = columns.map((c) => (upright ? shorten(c, 110) : c));
  const head = upright ? Math.ceil(Math.max(0, ...names.map((n) => textWidth(n))) + 8) : 0;
  const plot: Plot = {
    left,
    top: head + 2,
    right: left + cell * columns.length,
    bottom: head + 2 + cellHeight * rows.length,
  };
  const inset = cell > 8 ? 1 : 0.5;

  const cells = rows.flatMap((row, r) => {
    const y = plot.top + r * cellHeight;
    return columns.map((column, c) => {
      const value = values[r]?.[c];
      const x = plot.left + c * cell;
      const place = { x, y, width: cell - inset, height: cellHeight - 1 };
      if (!known(value)) {
        const d = `M${coordinate(x + 1)} ${coordinate(y + cellHeight - 2)}L${coordinate(x + cell - inset - 1)} ${coordinate(y + 1)}`;
        return element(
          "path",
          { class: "missing", d },
          element("title", {}, escapeText(`${row}, ${column}: no value`)),
        );
      }
      const part = intensity(value, scale);
      const said = format(value);
      const rect = element(
        "rect",
        {
          ...place,
          "fill-opacity": opacity(part),
          ...(scale.kind === "diverging" && value < 0 ? { class: "negative" } : {}),
        },
        element("title", {}, escapeText(`${row}, ${column}: ${said}`)),
      );
      if (!numbers || textWidth(said) > cell - 2) return rect;
      const where = { x: x + cell / 2, y: y + cellHeight / 2 + 3.5, "text-anchor": "middle" };
      return rect + textElement(said, { class: part > 0.5 ? "on-heat" : "", ...where });
    });
  });
  const sides = rows.map((row, r) =>
    element("g", {}, [
      textElement(labels[r]!, { x: plot.left - 6, y: plot.top + (r + 0.5) * cellHeight + 3.5, "text-anchor": "end" }),
      element("title", {}, escapeText(row)),
    ]),
  );
  const heads = columns.flatMap((column, c) => {
    const x = plot.left + (c + 0.5) * cell;
    if (upright) {
      const transform = `translate(${coordinate(x + 4)} ${coordinate(plot.top - 6)}) rotate(-90)`;
      return [
        element("g", {}, [
          textElement(names[c]!, { class: "muted", transform }),
          element("title", {}, escapeText(column)),
        ]),
      ];
    }
    const below = { class: "muted", x, y: plot.bottom + lineHeight - 2, "text-anchor": "middle" };
    return c % every === 0 ? [textElement(column, below)] : [];
  });
  const axisHeight = (upright ? 4 : lineHeight) + (columnsLabel ? lineHeight : 0);
  const title = columnsLabel
    ? [bottomTitle(columnsLabel, { ...plot, bottom: plot.bottom - (upright ? lineHeight : 0) })]
    : [];
  const key = ramp(scale, format, plot.left, plot.bottom + axisHeight + 10);
  return picture(
    Math.max(plot.right + 8, key.right, columnsLabel ? plot.left + textWidth(columnsLabel) : 0),
    plot.bottom + axisHeight + 30,
    chart,
    [element("g", { class: "heat" }, cells), ...sides, ...heads, ...title, ...key.body],
  );
}

/** The colours and the numbers at their ends. */
function ramp(scale: HeatMap["scale"], format: (value: number) => string, left: number, y: number) {
  const diverging = scale.kind === "diverging";
  const low = format(diverging ? -scale.to : scale.from);
  const high = format(scale.to);
  const start = left + textWidth(low) + 6;
  const step = 5;
  const steps = Array.from({ length: rampSteps }, (_, i) => {
    const part = (i + 0.5) / rampSteps;
    const strength = diverging ? Math.abs(2 * part - 1) : part;
    return element("rect", {
      ...(diverging && part < 0.5 ? { class: "negative" } : {}),
      x: start + i * step,
      y,
      width: step,
      height: 10,
      "fill-opacity": opacity(strength),
    });
  });
  const end = start + rampSteps * step + 6;
  const label = scale.label ? `${high}  ${scale.label}` : high;
  return {
    right: end + textWidth(label) + 8,
    body: [
      textElement(low, { class: "muted", x: left, y: y + 9 }),
      element("g", { class: "heat" }, steps),
      textElement(label, { class: "muted", x: end, y: y + 9 }),
    ],
  };
}
