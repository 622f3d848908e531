// Nodes of a YAML document with their positions, built from the library's. Scalars, merge keys, duplicate keys and tags are
// settled here, as PyYAML's safe_load does.

import { isAlias, isMap, isScalar, isSeq, type Node as LibraryNode } from "yaml";
import { type Position, quote } from "../errors.ts";
import { resolvePlain, type ScalarType, type ScalarValue } from "./scalars.ts";
import { maxDepth, type Report } from "./tokens.ts";

/** Nodes after aliases are followed, so that aliases of aliases cannot multiply without end. */
export const maxNodes = 100_000;

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

/** The node, unless it is absent or null: `dtype:` with nothing behind it is no dtype. */
export function present(node: Node | undefined): Node | undefined {
  return node && !(node.kind === "scalar" && node.type === "null") ? node : undefined;
}

/** A node as plain JavaScript, for schema checks. Dates become symbols, so that no schema takes them for text. */
export function toPlain(node: Node): unknown {
  if (node.kind === "list") return node.items.map(toPlain);
  if (node.kind === "scalar") {
    if (node.type === "date") return Symbol(node.text);
    // Whether an infinite or huge number fits is for later checks to say, in terms of the parameter.
    const odd = typeof node.value === "bigint" || (typeof node.value === "number" && !Number.isFinite(node.value));
    return odd ? node.text : node.value;
  }
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

export interface Builder {
  text: string;
  position: (offset: number) => Position;
  report: Report;
  duplicates: Duplicate[];
  anchors: Map<string, { node: Node; size: number } | "open">;
}

/** Builds our nodes and counts them with aliases followed; the shared nodes of aliases are built once. */
export function build(root: LibraryNode | null, b: Builder): Node {
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
      const isMerge = isScalar(pair.key) && pair.key.type === "PLAIN" && pair.key.source === "<<" && !pair.key.tag;
      const key = isMerge ? textNode("<<", b.position(pair.key!.range![0])) : visit(pair.key, depth + 1);
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
    // Merged keys come first, as in PyYAML; the map's own values stand over theirs.
    const entries = [...new Map([...merged, ...own]).values()];
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
    let text = String(node.value ?? "");
    // A block scalar whose last line the file does not end: PyYAML adds no line break, the library does.
    const block = node.type === "BLOCK_LITERAL" || node.type === "BLOCK_FOLDED";
    if (block && (node.range?.[2] ?? 0) >= b.text.length && !b.text.endsWith("\n") && text.endsWith("\n"))
      text = text.slice(0, -1);
    const at = empty.at;
    const tag = node.tag?.replace("tag:yaml.org,2002:", "");
    const plain = node.type === "PLAIN" && (tag === undefined || tag === "!");
    if (tag === "str" || !(plain || (tag && tag !== "!"))) return textNode(text, at);
    const found = resolvePlain(text);
    if (plain && found)
      return { kind: "scalar", at, type: found.type, value: found.value, integer: found.integer === true, text };
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

function textNode(text: string, at: Position): ScalarNode {
  return { kind: "scalar", at, type: "text", value: text, integer: false, text };
}

function keyOf(key: ScalarNode): string {
  return `${key.type}:${String(key.value)}`;
}

function children(node: Node): readonly Node[] {
  return node.kind === "list" ? node.items : node.kind === "map" ? node.entries.map((entry) => entry.value) : [];
}
