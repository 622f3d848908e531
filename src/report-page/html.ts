// The markup of a report: text is escaped where it enters, so that what a section puts together is safe by its construction.

import { escapeText } from "../svg/index.ts";

/** Markup that is known to be safe. */
export interface Html {
  readonly html: string;
}

export type Content = Html | string | number | null | undefined | readonly Content[];

export function markup(html: string): Html {
  return { html };
}

/** The markup of what may be text: strings are escaped. */
export function render(content: Content): string {
  if (content === null || content === undefined) return "";
  if (typeof content === "string") return escapeText(content);
  if (typeof content === "number") return String(content);
  return "html" in content ? content.html : content.map(render).join("");
}

export type Attributes = Readonly<Record<string, string | number | undefined>>;

export function tag(name: string, attributes: Attributes, ...content: Content[]): Html {
  const list = Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}="${escapeText(String(value))}"`],
  );
  return { html: `<${name}${list.join("")}>${content.map(render).join("")}</${name}>` };
}

export const p = (...content: Content[]): Html => tag("p", {}, ...content);
export const code = (text: string): Html => tag("code", {}, text);
/** A name from a file: it may be long, and may read from right to left. */
export function name(text: string): Html {
  // Broken where its parts end rather than anywhere.
  const parts = text.split(/(?<=[/._-])(?=[^/._-])/);
  return tag("bdi", { class: "name" }, markup(parts.map((part) => escapeText(part)).join("<wbr>")));
}

export interface Column {
  readonly title: Content;
  /** Flush right, in figures of equal width. */
  readonly number?: boolean;
}

export interface Table {
  readonly caption: string;
  readonly columns: readonly Column[];
  /** The first cell of a row is its head. */
  readonly rows: readonly (readonly Content[])[];
}

const shortRows = 12;

/** A table that can be scrolled sideways where it does not fit, by keyboard too. */
export function table({ caption, columns, rows }: Table): Html {
  const kind = (i: number) => (columns[i]?.number ? "number" : undefined);
  const head = columns.map((c, i) => tag("th", { scope: "col", class: kind(i) }, c.title));
  const body = rows.map((row) =>
    tag(
      "tr",
      {},
      row.map((cell, i) =>
        i === 0 ? tag("th", { scope: "row", class: kind(i) }, cell) : tag("td", { class: kind(i) }, cell),
      ),
    ),
  );
  return tag(
    "div",
    { class: "scroll", role: "group", tabindex: 0, "aria-label": caption },
    // On paper a short one is not divided.
    tag(
      "table",
      { class: rows.length <= shortRows ? "short" : undefined },
      tag("caption", {}, caption),
      tag("thead", {}, tag("tr", {}, head)),
      tag("tbody", {}, body),
    ),
  );
}

/** A list of terms and what they are. */
export function facts(rows: readonly (readonly [term: string, content: Content])[]): Html {
  return tag(
    "dl",
    { class: "facts" },
    rows.map(([term, content]) => tag("div", {}, tag("dt", {}, term), tag("dd", {}, content))),
  );
}

/** What is long, closed until it is asked for. */
export function details(summary: Content, ...content: Content[]): Html {
  return tag("details", {}, tag("summary", {}, summary), ...content);
}

/** A chart and how to read it. */
export function figure(title: string, svg: string, caption: Content): Html {
  return tag(
    "figure",
    {},
    tag("figcaption", {}, tag("strong", {}, title), " ", caption),
    tag("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": title }, markup(svg)),
  );
}

/** Figures side by side where there is room. */
export function gallery(figures: readonly Html[]): Html {
  return tag("div", { class: "gallery" }, figures);
}

export interface Section {
  /** For links, and unique in the page. */
  readonly id: string;
  readonly title: string;
  readonly body: Content;
}

export function section({ id, title, body }: Section): Html {
  return tag("section", { "aria-labelledby": id }, tag("h2", { id }, title), body);
}

export interface Document {
  readonly title: string;
  readonly style: string;
  readonly header: Content;
  readonly sections: readonly Section[];
  readonly footer: Content;
}

/** A whole page. It holds no script and asks for nothing from elsewhere, and its policy says so to the browser too. */
export function htmlDocument({ title, style, header, sections, footer }: Document): string {
  const contents = tag(
    "nav",
    { "aria-label": "Contents" },
    tag(
      "ul",
      {},
      sections.map((s) => tag("li", {}, tag("a", { href: `#${s.id}` }, s.title))),
    ),
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="Braid">
<link rel="icon" href="data:,">
<title>${escapeText(title)}</title>
<style>
${style}
</style>
</head>
<body>
${render(tag("header", {}, header))}
${render(contents)}
<main>
${sections.map((s) => render(section(s))).join("\n")}
</main>
${render(tag("footer", {}, footer))}
</body>
</html>
`;
}
