// A recipe's text as it was written, with its keys, values and remarks marked. Not one character is changed.

import { escapeText } from "../svg/index.ts";
import { type Html, markup } from "./html.ts";

/** Indentation and dashes, a key with its colon, the rest. Keys of flow maps are left plain: nothing is parsed here. */
const line = /^(\s*(?:-\s+)*)((?:"[^"]*"|'[^']*'|[^\s#"'{[][^:#]*?)\s*:)(?=\s|$)(.*)$/;
/** Where a remark begins: at a # at the start or after a blank, outside of quotes. */
function remarkStart(text: string): number {
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (quote !== "") {
      if (c === "\\" && quote === '"') i++;
      else if (c === quote) quote = "";
    } else if ((c === '"' || c === "'") && /[\s,[{(:]|^$/.test(text[i - 1] ?? "")) quote = c;
    else if (c === "#" && (i === 0 || /\s/.test(text[i - 1]!))) return i;
  }
  return text.length;
}

const mark = (kind: string, text: string) =>
  text === "" ? "" : `<span class="${kind}">${escapeText(text, true)}</span>`;

function markValue(text: string): string {
  const end = remarkStart(text);
  const before = text.slice(0, end);
  const blank = before.length - before.trimStart().length;
  return `${before.slice(0, blank)}${mark("value", before.slice(blank))}${mark("remark", text.slice(end))}`;
}

export function recipeText(text: string): Html {
  const lines = text
    .replace(/\r\n?/g, "\n")
    .trimEnd()
    .split("\n")
    .map((each) => {
      if (/^\s*#/.test(each)) return mark("remark", each);
      // Longer lines are data, not settings, and no regular expression should meet them.
      const found = each.length <= 2000 ? line.exec(each) : null;
      if (!found) return each.length <= 2000 ? markValue(each) : escapeText(each, true);
      const [, lead = "", key = "", rest = ""] = found;
      return `${escapeText(lead, true)}${mark("key", key)}${markValue(rest)}`;
    });
  return markup(
    `<pre role="group" tabindex="0" aria-label="Text of the recipe"><code>${lines.join("\n")}</code></pre>`,
  );
}
