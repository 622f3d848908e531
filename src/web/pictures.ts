// Pictures of matrices, a pixel an element, in the page's colours; and the charts' style sheet.

import { chartColours, chartRules } from "../svg/index.ts";
import { el } from "./dom.ts";
import { electionCodes, maskCodes, type Picture } from "./look.ts";

/** Colour of each code, as a property of the style sheet, and what it says. */
export interface Key {
  readonly code: number;
  readonly property: string;
  readonly says: string;
}

export const maskKeys: readonly Key[] = [
  { code: maskCodes.positive, property: "--up", says: "kept, raised" },
  { code: maskCodes.negative, property: "--down", says: "kept, lowered" },
  { code: maskCodes.dropped, property: "--faint", says: "dropped" },
  { code: maskCodes.unchanged, property: "--blank", says: "unchanged" },
];

export const electionKeys: readonly Key[] = [
  { code: electionCodes.positive, property: "--up", says: "raised, nobody against" },
  { code: electionCodes.negative, property: "--down", says: "lowered, nobody against" },
  { code: electionCodes.wonPositive, property: "--won-up", says: "raised against others" },
  { code: electionCodes.wonNegative, property: "--won-down", says: "lowered against others" },
  { code: electionCodes.cancelled, property: "--faint", says: "cancelled out" },
  { code: electionCodes.nothing, property: "--blank", says: "as in the base" },
];

/** "rgb(r, g, b)" or "#rrggbb" → three bytes. */
function bytesOf(colour: string): [number, number, number] {
  const hex = /^#([0-9a-f]{6})$/i.exec(colour.trim());
  if (hex) {
    const n = Number.parseInt(hex[1]!, 16);
    return [n >> 16, (n >> 8) & 255, n & 255];
  }
  const [r = 0, g = 0, b = 0] = (colour.match(/\d+/g) ?? []).map(Number);
  return [r, g, b];
}

/** Draws a picture; it is as sharp as its elements however large it is shown. */
export function draw(canvas: HTMLCanvasElement, { rows, columns, codes }: Picture, keys: readonly Key[]): void {
  canvas.width = columns;
  canvas.height = rows;
  const style = getComputedStyle(document.documentElement);
  const palette = new Map(keys.map(({ code, property }) => [code, bytesOf(style.getPropertyValue(property))]));
  const image = new ImageData(columns, rows);
  for (const [i, code] of codes.entries()) {
    const [r, g, b] = palette.get(code) ?? [0, 0, 0];
    image.data.set([r, g, b, 255], i * 4);
  }
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}

/** What the colours of a picture say. */
export function legendOf(keys: readonly Key[]): HTMLElement {
  return el(
    "ul",
    { class: "legend" },
    ...keys.map(({ property, says }) =>
      el("li", {}, el("span", { class: `swatch${property}`, "aria-hidden": "true" }), says),
    ),
  );
}

/** The charts' rules, once for the page. A constructed sheet is the page's own, so the policy needs no exception. */
export function adoptChartStyles(): void {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`${chartColours(":root")}\n${chartRules}`);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}

/** Markup of the chart writer, which escapes what it is given. */
export function chart(markup: string): DocumentFragment {
  const template = document.createElement("template");
  template.innerHTML = markup;
  return template.content;
}
