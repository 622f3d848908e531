// `parameters:` blocks as data: what stands under each name, with filters and gradients not yet applied.

import type { Position } from "../errors.ts";
import { get, type Node } from "./yaml.ts";

export type Plain = number | boolean | string;

/** One value or gradient and the tensors it is for. */
export interface Case {
  /** A substring of tensor names; null (written as no filter, or `*`) takes every tensor. */
  readonly filter: string | null;
  readonly values: readonly Plain[];
  /** `values` is a list over the layers of the slice. */
  readonly gradient: boolean;
  readonly at: Position;
}

/** What one parameter is set to at one level. No cases (an empty list) leaves it to the next level. */
export interface Setting {
  /** As written: may be an alias. */
  readonly name: string;
  readonly at: Position;
  readonly cases: readonly Case[];
}

export type Settings = ReadonlyMap<string, Setting>;

export const noSettings: Settings = new Map();

/** Reads a `parameters:` block whose shape has been checked; leaves out what has no known shape. */
export function readSettings(node: Node | undefined): Settings {
  if (node?.kind !== "map") return noSettings;
  const settings = new Map<string, Setting>();
  for (const { key, value } of node.entries) {
    if (key.type === "text") settings.set(key.text, { name: key.text, at: value.at, cases: readCases(value) });
  }
  return settings;
}

function readCases(node: Node): Case[] {
  if (node.kind === "list" && node.items.some((item) => item.kind === "map")) {
    return node.items.flatMap((item) => (item.kind === "map" ? readCases(item) : []));
  }
  if (node.kind !== "map") return single(node, null);
  const filter = get(node, "filter")?.value;
  const value = get(node, "value")?.value;
  const text = filter?.kind === "scalar" && filter.type === "text" ? filter.text : null;
  return value ? single(value, text === "*" ? null : text) : [];
}

/** An empty list is no case at all. */
function single(node: Node, filter: string | null): Case[] {
  const list = node.kind === "list" ? node.items : [node];
  const values = list.flatMap((item) => (item.kind === "scalar" ? plain(item.value) : []));
  return values.length === 0 ? [] : [{ filter, values, gradient: node.kind === "list", at: node.at }];
}

function plain(value: unknown): Plain[] {
  if (typeof value === "bigint") return [Number(value)];
  return typeof value === "number" || typeof value === "boolean" || typeof value === "string" ? [value] : [];
}
