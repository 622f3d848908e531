// References to models: `path[@revision][+lora[@revision]]`, or the same as a mapping.

import type { Position } from "../errors.ts";
import { quote } from "../errors.ts";
import { get, type Node } from "./yaml.ts";

export interface LoraReference {
  readonly path: string;
  readonly revision?: string;
}

export interface ModelReference {
  readonly path: string;
  readonly revision?: string;
  readonly lora?: LoraReference;
  /** `path@revision+lora@revision`, for messages and reports. */
  readonly display: string;
}

const objectForm =
  "A path that itself holds + or @ is written as a mapping: {model: {path: …, revision: …}, lora: {path: …}}.";

type Complain = (at: Position, message: string, hint?: string) => void;

/** Two references to the same model, revision and adapter. */
export function sameModel(a: ModelReference, b: ModelReference): boolean {
  return modelKey(a) === modelKey(b);
}

export function modelKey(m: ModelReference): string {
  return JSON.stringify([m.path, m.revision ?? null, m.lora?.path ?? null, m.lora?.revision ?? null]);
}

function part(text: string): { path: string; revision?: string } | undefined {
  const pieces = text.split("@");
  const [path, revision] = pieces;
  if (!path?.trim() || pieces.length > 2 || revision?.trim() === "") return undefined;
  return revision === undefined ? { path } : { path, revision };
}

function finish(model: { path: string; revision?: string }, lora: LoraReference | undefined): ModelReference {
  const show = (p: LoraReference): string => (p.revision === undefined ? p.path : `${p.path}@${p.revision}`);
  return { ...model, ...(lora ? { lora } : {}), display: show(model) + (lora ? `+${show(lora)}` : "") };
}

/** Reads the text form; undefined where the grammar does not take it. */
export function parseModelText(text: string): ModelReference | undefined {
  const chunks = text.split("+");
  if (chunks.length > 2) return undefined;
  const model = part(chunks[0]!);
  const lora = chunks.length === 2 ? part(chunks[1]!) : undefined;
  if (!model || (chunks.length === 2 && !lora)) return undefined;
  return finish(model, lora);
}

/** Reads either form. Complains at the node and returns undefined when it is neither. */
export function readModel(node: Node, complain: Complain): ModelReference | undefined {
  if (node.kind === "scalar" && node.type === "text") {
    const model = parseModelText(node.text);
    if (!model)
      complain(
        node.at,
        `Cannot read the model ${quote(node.text)}: expected path[@revision][+lora[@revision]]`,
        objectForm,
      );
    return model;
  }
  if (node.kind !== "map") return undefined;
  const model = readPath(get(node, "model")?.value, complain);
  const loraNode = get(node, "lora")?.value;
  const absent = !loraNode || (loraNode.kind === "scalar" && loraNode.type === "null");
  const lora = absent ? undefined : readPath(loraNode, complain);
  return model && (absent || lora) ? finish(model, lora) : undefined;
}

function readPath(node: Node | undefined, complain: Complain): LoraReference | undefined {
  if (node?.kind === "scalar" && node.type === "text") {
    const path = part(node.text);
    if (!path) complain(node.at, `Cannot read the path ${quote(node.text)}: expected path[@revision]`, objectForm);
    return path;
  }
  if (node?.kind !== "map") return undefined;
  const path = get(node, "path")?.value;
  const revision = get(node, "revision")?.value;
  if (path?.kind !== "scalar" || path.type !== "text") return undefined;
  if (path.text.trim() === "") {
    complain(path.at, "Cannot read the path: it is empty");
    return undefined;
  }
  return revision?.kind === "scalar" && revision.type === "text"
    ? { path: path.text, revision: revision.text }
    : { path: path.text };
}
