// YAML as PyYAML reads it, with a position for every node. The library parses; scalars, merge keys, duplicate keys and the
// places where PyYAML is stricter (tabs, tags, control characters) are settled here.

import { isAlias, isMap, isScalar, isSeq, Lexer, type Node as LibraryNode, LineCounter, parseAllDocuments } from "yaml";
import { BraidError, type Diagnostic, type Position, quote } from "../errors.ts";
import { resolvePlain, type ScalarType, type ScalarValue } from "./scalars.ts";

/** Characters of a recipe file. Recipes are a few kilobytes; the largest published ones stay below 100 kB. */
export const maxRecipeLength = 1024 * 1024;
/** Levels of nesting; a recipe needs about ten. */
export const maxDepth = 64;
/** Nodes after aliases are followed, so that aliases of aliases cannot multiply without end. */
export const maxNodes = 100_000;
/** Column of the first token of a line. It bounds the nesting of block collections before the library recurses into them. */
const maxIndent = 200;
/** Errors of one file; what follows is mostly a consequence of the first ones. */
const maxSyntaxErrors = 10;

export interface ScalarNode {
  readonly kind: "scalar";
  readonly at: Position;
  readonly type: ScalarType;
  readonly value: ScalarValue;
  /** Written as an integer. */
  readonly integer: boolean;
  /** As written, without quotes. */
  readonly text: string;
}
export interface ListNode {
  readonly kind: "list";
  readonly at: Position;
  readonly items: readonly Node[];
}
export interface MapEntry {
  readonly key: ScalarNode;
  readonly value: Node;
  /** Came in through a merge key (`<<`). */
  readonly merged: boolean;
}
export interface MapNode {
  readonly kind: "map";
  readonly at: Position;
  /** Keys are unique: of duplicates the last one wins, as in PyYAML. */
  readonly entries: readonly MapEntry[];
}
export type Node = ScalarNode | ListNode | MapNode;

export interface Duplicate {
  readonly key: string;
  readonly at: Position;
  readonly first: Position;
  /** The map that holds the key. */
  readonly map: Position;
}

export interface YamlDocument {
  readonly root: Node;
  readonly duplicates: readonly Duplicate[];
}

/** The value under a text key. */
export function get(map: MapNode, key: string): MapEntry | undefined {
  return map.entries.find((entry) => entry.key.type === "text" && entry.key.value === key);
}

/** A node as plain JavaScript, for schema checks. Dates become symbols, so that no schema takes them for text. */
export function toPlain(node: Node): unknown {
  if (node.kind === "list") return node.items.map(toPlain);
  if (node.kind === "scalar") return node.type === "date" ? Symbol(node.text) : node.value;
  return Object.fromEntries(node.entries.map((entry) => [String(entry.key.value), toPlain(entry.value)]));
}

/** What a node is, in words: for "found …" in messages. */
export function describeNode(node: Node): string {
  if (node.kind === "list") return node.items.length === 0 ? "an empty list" : "a list";
  if (node.kind === "map") return "a mapping";
  if (node.type === "null") return "nothing";
  if (node.type === "date") return `the date ${node.text} (quote it to make it text)`;
  return node.type === "text" ? quote(node.text, 60) : node.text;
}

/** All documents of a file. Throws one `recipe-syntax` error with everything found. */
export function parseYaml(source: string, file: string): YamlDocument[] {
  if (source.length > maxRecipeLength) {
    const message = `Cannot read recipe ${quote(file)}: it has ${source.length} characters, the limit is ${maxRecipeLength}`;
    throw new BraidError({ kind: "recipe-syntax", message });
  }
  // A BOM opens the file or is refused below; a lone CR ends a line in YAML but not in the library.
  const text = (source.startsWith("\ufeff") ? source.slice(1) : source).replace(/\r(?!\n)/g, "\n");
  const lines = new LineCounter();
  const errors: Diagnostic[] = [];
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(Math.min(offset, text.length));
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const report = (offset: number, message: string, hint?: string): void => {
    errors.push({ kind: "recipe-syntax", message, where: position(offset), ...(hint ? { hint } : {}) });
  };
  lines.addNewLine(0);
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) lines.addNewLine(i + 1);
  checkTokens(text, report);
  if (errors.length > 0) throw new BraidError(errors.slice(0, maxSyntaxErrors));

  const documents = parseAllDocuments(text, {
    version: "1.1",
    schema: "failsafe",
    resolveKnownTags: false,
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: "silent",
  });
  const list = Array.isArray(documents) ? documents : [];
  for (const document of list) {
    for (const error of document.errors) report(error.pos[0], `Cannot read the YAML: ${error.message.split("\n")[0]}`);
    for (const warning of document.warnings) {
      if (warning.code !== "TAG_RESOLVE_FAILED") report(warning.pos[0], `Cannot read the YAML: ${warning.message}`);
    }
  }
  const result: YamlDocument[] = [];
  if (errors.length === 0) {
    for (const document of list) {
      const duplicates: Duplicate[] = [];
      const root = build(document.contents as LibraryNode | null, { position, report, duplicates, anchors: new Map() });
      result.push({ root, duplicates });
    }
  }
  if (errors.length > 0) {
    errors.sort((a, b) => a.where!.line - b.where!.line || a.where!.column - b.where!.column);
    throw new BraidError(errors.slice(0, maxSyntaxErrors));
  }
  return result;
}

type Report = (offset: number, message: string, hint?: string) => void;

/** What only the tokens show: tabs between them, nesting that would exhaust the stack, characters that YAML has not. */
function checkTokens(text: string, report: Report): void {
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

interface Builder {
  position: (offset: number) => Position;
  report: Report;
  duplicates: Duplicate[];
  anchors: Map<string, { node: Node; size: number } | "open">;
}

/** Builds our nodes and counts them with aliases followed; the shared nodes of aliases are built once. */
function build(root: LibraryNode | null, b: Builder): Node {
  const sizes = new WeakMap<Node, number>();
  let tooMany = false;
  const visit = (node: LibraryNode | null | undefined, depth: number): Node => {
    const start = node?.range?.[0] ?? 0;
    const empty: ScalarNode = {
      kind: "scalar",
      at: b.position(start),
      type: "null",
      value: null,
      integer: false,
      text: "",
    };
    if (!node) return empty;
    if (depth > maxDepth) {
      b.report(start, `Cannot read the YAML: nested deeper than ${maxDepth} levels`);
      return empty;
    }
    if (isAlias(node)) {
      const target = b.anchors.get(node.source);
      if (target && target !== "open") return target.node;
      b.report(
        start,
        target
          ? `Cannot read the YAML: ${quote(node.source)} contains itself`
          : `Cannot read the YAML: no anchor &${node.source} stands before this alias`,
      );
      return empty;
    }
    const anchor = "anchor" in node ? node.anchor : undefined;
    if (anchor) b.anchors.set(anchor, "open");
    const built = isMap(node) ? map(node, depth) : isSeq(node) ? sequence(node, depth) : scalar(node, empty);
    const size = 1 + children(built).reduce((sum, child) => sum + (sizes.get(child) ?? 1), 0);
    sizes.set(built, size);
    if (size > maxNodes && !tooMany) {
      tooMany = true;
      b.report(start, `Cannot read the YAML: it has more than ${maxNodes} nodes when its aliases are followed`);
    }
    if (anchor) b.anchors.set(anchor, { node: built, size });
    return built;
  };

  const sequence = (node: LibraryNode, depth: number): Node => {
    const items = (node as unknown as { items: LibraryNode[] }).items.map((item) => visit(item, depth + 1));
    tagged(node, "seq");
    return { kind: "list", at: b.position(node.range![0]), items };
  };

  const map = (node: LibraryNode, depth: number): Node => {
    tagged(node, "map");
    const at = b.position(node.range![0]);
    const own = new Map<string, MapEntry>();
    const merged = new Map<string, MapEntry>();
    for (const pair of (node as unknown as { items: { key: LibraryNode | null; value: LibraryNode | null }[] }).items) {
      const key = visit(pair.key, depth + 1);
      const isMerge = isScalar(pair.key) && pair.key.type === "PLAIN" && pair.key.source === "<<" && !pair.key.tag;
      let value = visit(pair.value, depth + 1);
      // An empty value has no place of its own: the key's is where to look.
      if (value.kind === "scalar" && value.type === "null" && value.text === "" && !isAlias(pair.value))
        value = { ...value, at: key.at };
      if (key.kind !== "scalar") {
        b.report(
          pair.key?.range?.[0] ?? node.range![0],
          `Cannot read the YAML: a key must be a scalar, found ${describeNode(key)}`,
        );
      } else if (isMerge) {
        for (const entry of mergeEntries(value, pair.value?.range?.[0] ?? node.range![0]))
          merged.set(keyOf(entry.key), entry);
      } else {
        const before = own.get(keyOf(key));
        if (before) b.duplicates.push({ key: key.text, at: key.at, first: before.key.at, map: at });
        own.set(keyOf(key), { key, value, merged: false });
      }
    }
    const entries = [...own.values()];
    for (const [key, entry] of merged) if (!own.has(key)) entries.push(entry);
    return { kind: "map", at, entries };
  };

  /** A merge key takes a map or a list of maps; of a list, earlier maps win (https://yaml.org/type/merge.html). */
  const mergeEntries = (value: Node, offset: number): MapEntry[] => {
    if (value.kind === "map") return value.entries.map((entry) => ({ ...entry, merged: true }));
    if (value.kind === "list" && value.items.every((item) => item.kind === "map")) {
      return [...value.items].reverse().flatMap((item) => mergeEntries(item, offset));
    }
    b.report(
      offset,
      `Cannot read the YAML: a merge key (<<) needs a mapping or a list of mappings, found ${describeNode(value)}`,
    );
    return [];
  };

  const scalar = (node: LibraryNode, empty: ScalarNode): Node => {
    if (!isScalar(node)) return empty;
    const text = String(node.value ?? "");
    const at = empty.at;
    const tag = node.tag?.replace("tag:yaml.org,2002:", "");
    const plain = node.type === "PLAIN" && (tag === undefined || tag === "");
    if (tag === "str" || tag === "!" || !(plain || tag))
      return { kind: "scalar", at, type: "text", value: text, integer: false, text };
    const found = resolvePlain(text);
    const wanted = { int: "number", float: "number", bool: "boolean", null: "null" }[tag ?? ""];
    if (!found || (tag && (found.type !== wanted || (tag === "int" && !found.integer)))) {
      const known = !tag || wanted;
      b.report(
        node.range![0],
        known
          ? `Cannot read the YAML: ${quote(text, 60)} has no value as ${tag ? `!!${tag}` : "a plain scalar"}`
          : `Cannot read the YAML: the tag ${quote(node.tag!)} is not allowed`,
      );
      return empty;
    }
    return {
      kind: "scalar",
      at,
      type: found.type,
      value: found.value,
      integer: found.integer === true && tag !== "float",
      text,
    };
  };

  const tagged = (node: LibraryNode, expected: "map" | "seq"): void => {
    if (node.tag && node.tag !== `tag:yaml.org,2002:${expected}` && node.tag !== "!") {
      b.report(node.range![0], `Cannot read the YAML: the tag ${quote(node.tag)} is not allowed`);
    }
  };

  return visit(root, 1);
}

function keyOf(key: ScalarNode): string {
  return `${key.type}:${String(key.value)}`;
}

function children(node: Node): readonly Node[] {
  return node.kind === "list" ? node.items : node.kind === "map" ? node.entries.map((entry) => entry.value) : [];
}
