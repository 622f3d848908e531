// Elements as text. No DOM: the same string is made in a terminal program, a worker and a page.

export type Attributes = Readonly<Record<string, string | number | undefined>>;

/** What XML 1.0 forbids, and what reorders or hides the text around it: in a name from a file they are shown, not obeyed. */
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\ufffe\uffff]/gu;

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/**
 * Text for an element or an attribute in quotes, of HTML and XML alike. Control and bidirectional characters are written as
 * \u{…}; with `lines`, line feeds and tabs stay what they are.
 */
export function escapeText(text: string, lines = false): string {
  return visibleText(text, lines).replace(/[&<>"']/g, (c) => entities[c]!);
}

/** What is seen of text: as `escapeText`, but not yet markup. */
export function visibleText(text: string, lines = false): string {
  return text.replace(unsafe, (c) =>
    lines && (c === "\n" || c === "\t") ? c : `\\u{${c.codePointAt(0)!.toString(16)}}`,
  );
}

/** A coordinate: at most two decimals, never an exponent, never −0. The same text in every engine. */
export function coordinate(value: number): string {
  const rounded = Math.round(value * 100) / 100;
  return String(rounded === 0 ? 0 : rounded);
}

/** An element. Attributes that are undefined are left out; children are markup already. */
export function element(name: string, attributes: Attributes, children: string | readonly string[] = []): string {
  const list = Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}="${typeof value === "number" ? coordinate(value) : escapeText(value)}"`],
  );
  const inside = typeof children === "string" ? children : children.join("");
  return inside === "" ? `<${name}${list.join("")}/>` : `<${name}${list.join("")}>${inside}</${name}>`;
}

export function textElement(content: string, attributes: Attributes): string {
  return element("text", attributes, escapeText(content));
}
