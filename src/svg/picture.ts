// What all charts share: the outermost element with its accessible name, axes and legends.

import { shorten, textWidth } from "./label.ts";
import { coordinate, element, escapeText, textElement } from "./markup.ts";
import type { Scale } from "./scale.ts";
import { chartColours, chartRules, seriesColours } from "./theme.ts";

export interface PictureText {
  /** The accessible name. */
  readonly title: string;
  /** What can be seen, for those who do not. */
  readonly description?: string;
}

/** The part of a picture between its axes. */
export interface Plot {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Of the labels of axes and legends, in pixels. */
export const lineHeight = 16;

/** Charts up to this width are shown whole on a telephone, a little smaller; others are moved aside. */
const smallWidth = 420;

export function picture(
  width: number,
  height: number,
  { title, description }: PictureText,
  body: readonly string[],
): string {
  return element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      class: width <= smallWidth ? "chart small" : "chart",
      role: "img",
      "aria-label": title,
      viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`,
      width: Math.ceil(width),
      height: Math.ceil(height),
    },
    [
      element("title", {}, escapeText(title)),
      description === undefined ? "" : element("desc", {}, escapeText(description)),
      ...body,
    ],
  );
}

/** A picture as a file of its own: with its colours, for light and dark. */
export function standalone(svg: string): string {
  const style = `<style>${chartColours(".chart")}\n${chartRules}\n.chart{background:var(--chart-surface)}</style>`;
  return `${svg.replace(/^<svg [^>]*>/, (open) => `${open}${style}`)}\n`;
}

/** Room that the labels of an upright axis need, with its title. */
export function leftMargin(scale: Scale, label: string | undefined): number {
  const widest = Math.max(0, ...scale.ticks.map((tick) => textWidth(scale.format(tick))));
  return widest + 10 + (label ? lineHeight : 0);
}

/** Room right of a plot, so that the last number of the axis below is whole; `scale` may have other coordinates yet. */
export function rightMargin(scale: Scale): number {
  const last = scale.ticks.at(-1);
  return Math.max(12, last === undefined ? 0 : textWidth(scale.format(last)) / 2 + 3);
}

/** Lines across the plot at each tick, numbers to the left. */
export function leftAxis(scale: Scale, plot: Plot, label?: string): string[] {
  const middle = (plot.top + plot.bottom) / 2;
  const marks = scale.ticks.map((tick) => {
    const y = scale.at(tick);
    return (
      element("path", { class: "grid", d: `M${plot.left} ${coordinate(y)}H${plot.right}` }) +
      textElement(scale.format(tick), { class: "muted", x: plot.left - 6, y: y + 4, "text-anchor": "end" })
    );
  });
  const title = label
    ? [
        textElement(shorten(label, plot.bottom - plot.top + 20), {
          class: "muted",
          "text-anchor": "middle",
          transform: `translate(11 ${coordinate(middle)}) rotate(-90)`,
        }),
      ]
    : [];
  return [...marks, ...title];
}

/** Numbers below the plot; where they would touch, some are left out. */
export function bottomAxis(scale: Scale, plot: Plot, label?: string): string[] {
  let end = Number.NEGATIVE_INFINITY;
  const numbers = scale.ticks.map((tick) => {
    const x = scale.at(tick);
    const text = scale.format(tick);
    const half = textWidth(text) / 2;
    const line = element("path", { class: "axis", d: `M${coordinate(x)} ${plot.bottom}v4` });
    if (x - half < end + 4) return line;
    end = x + half;
    return line + textElement(text, { class: "muted", x, y: plot.bottom + lineHeight, "text-anchor": "middle" });
  });
  return [
    element("path", { class: "axis", d: `M${plot.left} ${plot.bottom}H${plot.right}` }),
    ...numbers,
    ...(label ? [bottomTitle(label, plot)] : []),
  ];
}

export function bottomTitle(label: string, plot: Plot): string {
  return textElement(shorten(label, plot.right), {
    class: "muted",
    x: (plot.left + plot.right) / 2,
    y: plot.bottom + 2 * lineHeight,
    "text-anchor": "middle",
  });
}

/** Height below a plot for its axis. */
export const bottomMargin = (label: string | undefined) => (label ? 2 : 1) * lineHeight + 6;

export const seriesClass = (index: number) => `s${(index % seriesColours) + 1}`;

const dashes = [undefined, "7 4", "2 4", "9 3 2 3", "12 4", "4 2"];
/** Another rhythm for each series, and for those whose colour is there already. */
export function seriesDash(index: number): string | undefined {
  return dashes[(index + Math.floor(index / seriesColours)) % dashes.length];
}

/** A circle, square, triangle or diamond around a point, by turns. */
export function seriesMark(index: number, x: number, y: number, title?: string): string {
  const inside = title === undefined ? "" : element("title", {}, escapeText(title));
  const [shape, at] = [index % 4, `M${coordinate(x)} ${coordinate(y)}`];
  if (shape === 0) return element("circle", { class: "mark", cx: x, cy: y, r: 3.5 }, inside);
  const path = ["m-3.2-3.2h6.4v6.4h-6.4z", "m0-4.4 4.2 7.4h-8.4z", "m0-4.6 4.6 4.6-4.6 4.6-4.6-4.6z"][shape - 1];
  return element("path", { class: "mark", d: `${at}${path}` }, inside);
}

/** Entries one after the other, on so many lines as they need. */
export function legend(
  names: readonly string[],
  left: number,
  right: number,
  sample: (index: number, x: number, y: number) => string,
): { readonly height: number; readonly body: string[] } {
  const sampleWidth = 30;
  let [x, y] = [left, lineHeight - 4];
  const body = names.map((name, i) => {
    const text = shorten(name, right - left - sampleWidth);
    const width = sampleWidth + textWidth(text) + 14;
    if (x > left && x + width - 14 > right) [x, y] = [left, y + lineHeight];
    const entry = element("g", { class: seriesClass(i) }, [
      sample(i, x, y - 4),
      textElement(text, { x: x + sampleWidth, y }),
      element("title", {}, escapeText(name)),
    ]);
    x += width;
    return entry;
  });
  return { height: names.length === 0 ? 4 : y + 10, body };
}
