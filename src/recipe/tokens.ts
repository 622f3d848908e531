// What has to be known of a YAML file before the library parses it: it reads tabs that PyYAML refuses, and recurses into
// nesting until the stack ends.

import { Lexer } from "yaml";

/** Levels of nesting; a recipe needs about ten. */
export const maxDepth = 64;
/** Column of the first token of a line, which bounds the nesting of block collections. */
const maxIndent = 200;

/** Tokens of a file: what a megabyte of real recipes would hold is far below, and parsing stays within a second. */
const maxTokens = 200_000;
/** Brackets whose lines are indented less than their surroundings. Each costs another look at the text. */
const maxPads = 100;

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
  let count = 0;
  for (const token of new Lexer().lex(text)) {
    if (++count > maxTokens) {
      report(offset, `Cannot read the YAML: it has more than ${maxTokens} tokens`);
      return;
    }
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
    const closing = !scalar && (first === "]" || first === "}");
    if (!scalar) {
      if (first === "[" || first === "{") depth++;
      if (closing) depth = Math.max(0, depth - 1);
      if (depth > maxDepth) {
        report(offset, `Cannot read the YAML: nested deeper than ${maxDepth} levels`);
        return;
      }
    }
    const blank = !scalar && (first === " " || first === "\n" || first === "\r" || first === "\t");
    if (
      !blank &&
      !comment &&
      !closing &&
      depth === 0 &&
      (lineStart || token === "-" || token === "?") &&
      column > maxIndent
    ) {
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

export interface Padded {
  readonly text: string;
  /** The offset in the text as it was before. */
  readonly original: (offset: number) => number;
}

/**
 * PyYAML does not look at indentation between brackets; the library wants such lines indented like any other. So the lines of
 * brackets that it would give up on get blanks in front, and `original` takes positions back.
 */
export function padFlows(source: string): Padded {
  let text = source;
  const pads: number[] = [];
  const width = maxIndent + 1;
  for (let round = 0; round < maxPads; round++) {
    const gap = firstShallowLine(text);
    if (!gap) break;
    const lines = linesUntilClosed(text, gap.offset, gap.depth);
    if (lines.length === 0) break;
    const parts: string[] = [];
    let from = 0;
    for (const start of lines) {
      parts.push(text.slice(from, start));
      from = start;
    }
    parts.push(text.slice(from));
    // Pads are kept as offsets in the final text: those after the new ones move along.
    const moved = pads.map((at) => at + width * lines.filter((start) => start <= at).length);
    pads.splice(0, pads.length, ...moved, ...lines.map((start, i) => start + i * width));
    text = parts.join(" ".repeat(width));
  }
  pads.sort((a, b) => a - b);
  const original = (offset: number): number => {
    let removed = 0;
    for (const at of pads) if (at < offset) removed += Math.min(width, offset - at);
    return offset - removed;
  };
  return { text, original };
}

/** Where the library ends brackets for want of indentation, and how many are open there. */
function firstShallowLine(text: string): { offset: number; depth: number } | undefined {
  let offset = 0;
  let depth = 0;
  let marked = false;
  let count = 0;
  for (const token of new Lexer().lex(text)) {
    if (++count > maxTokens) return undefined;
    if (token === "\x18" && depth > 0) return { offset: text.lastIndexOf("\n", offset - 1) + 1, depth };
    const control = token === "\x02" || token === "\x18" || token === "\x1f";
    if (!control) {
      if (!marked && (token === "[" || token === "{")) depth++;
      if (!marked && (token === "]" || token === "}")) depth = Math.max(0, depth - 1);
      offset += token.length;
    }
    marked = token === "\x1f";
  }
  return undefined;
}

/** Starts of the lines from `offset` on, until `depth` brackets are closed; none where they never are. */
function linesUntilClosed(text: string, offset: number, depth: number): number[] {
  // A document ends its brackets, closed or not.
  const marker = (at: number): boolean => /^(?:---|\.\.\.)(?:\s|$)/.test(text.slice(at, at + 4));
  if (marker(offset)) return [];
  const lines = [offset];
  let quoted = "";
  for (let i = offset; i < text.length; i++) {
    const c = text[i]!;
    if (c === "\n") {
      if (marker(i + 1)) return [];
      lines.push(i + 1);
    } else if (quoted) {
      if (c === "\\" && quoted === '"') i++;
      else if (c === quoted) quoted = "";
    } else if (c === "#" && /\s/.test(text[i - 1] ?? " ")) {
      const end = text.indexOf("\n", i);
      if (end < 0) return [];
      i = end - 1;
    } else if ((c === '"' || c === "'") && /[\s,[{:]/.test(text[i - 1] ?? " ")) quoted = c;
    else if (c === "[" || c === "{") depth++;
    else if ((c === "]" || c === "}") && --depth === 0) return lines;
  }
  return [];
}
