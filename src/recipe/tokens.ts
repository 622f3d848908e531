// What has to be known of a YAML file before the library parses it: it reads tabs that PyYAML refuses, and recurses into
// nesting until the stack ends.

import { Lexer } from "yaml";

/** Levels of nesting; a recipe needs about ten. */
export const maxDepth = 64;
/** Column of the first token of a line, which bounds the nesting of block collections. */
const maxIndent = 200;

export type Report = (offset: number, message: string, hint?: string) => void;

/** What only the tokens show: tabs between them, nesting that would exhaust the stack, characters that YAML has not. */
export function checkTokens(text: string, report: Report): void {
  const odd = /[^\t\n\r\u0020-\u007e\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]/u.exec(
    text,
  );
  if (odd) {
    const code = odd[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
    report(
      odd.index,
      `Cannot read the YAML: the character U+${code} is not allowed`,
      "Write it as an escape in double quotes.",
    );
    return;
  }
  let offset = 0;
  let depth = 0;
  let column = 0;
  let lineStart = true;
  let blockScalar = false;
  let marked = false;
  let tabs = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === "\x1f") {
      marked = true;
      continue;
    }
    if (token === "\x02" || token === "\x18") continue;
    const first = token[0]!;
    const scalar = marked && !(first === "%" && column === 0);
    marked = false;
    const quoted = !scalar && (first === '"' || first === "'");
    const comment = !scalar && first === "#";
    if (!(scalar && blockScalar) && !quoted && !comment) {
      const tab = token.indexOf("\t");
      if (tab >= 0 && tabs++ === 0) {
        report(
          offset + tab,
          "Cannot read the YAML: a tab stands between two tokens",
          "PyYAML, and so mergekit, reads no tabs outside of quotes and comments; use blanks.",
        );
      }
    }
    if (!scalar) {
      if (first === "[" || first === "{") depth++;
      if (first === "]" || first === "}") depth = Math.max(0, depth - 1);
      if (depth > maxDepth) {
        report(offset, `Cannot read the YAML: nested deeper than ${maxDepth} levels`);
        return;
      }
    }
    const blank = !scalar && (first === " " || first === "\n" || first === "\r" || first === "\t");
    if (!blank && !comment && depth === 0 && (lineStart || token === "-" || token === "?") && column > maxIndent) {
      report(offset, `Cannot read the YAML: indented by ${column} columns, the limit is ${maxIndent}`);
      return;
    }
    if (!blank && token !== "-" && token !== "?") lineStart = false;
    if (scalar && blockScalar) blockScalar = false;
    if (!scalar && (first === "|" || first === ">")) blockScalar = true;
    offset += token.length;
    const newline = token.lastIndexOf("\n");
    column = newline >= 0 ? token.length - newline - 1 : column + token.length;
    if (newline >= 0) lineStart = true;
  }
}
