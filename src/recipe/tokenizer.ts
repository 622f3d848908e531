// What a recipe says about the tokenizer of the output.

import { type Position, quote } from "../errors.ts";
import { type ModelReference, readModel } from "./model.ts";
import { get, type MapNode, type Node, present } from "./yaml.ts";

export type TokenizerSource =
  | { readonly kind: "union" }
  | { readonly kind: "base" }
  | { readonly kind: "model"; readonly model: ModelReference };

/** Where the embedding of a token comes from. */
export type TokenSource =
  | { readonly kind: "model"; readonly model: ModelReference }
  | { readonly kind: "model_token"; readonly model: ModelReference; readonly token?: string; readonly tokenId?: number }
  | { readonly kind: "zero" };

export interface TokenRule {
  readonly token: string;
  /** Absent: the ordinary choice (own row, sole owner, base, mean). */
  readonly source?: TokenSource;
  /** Take `source` also for models that have the token themselves. */
  readonly force: boolean;
  readonly at: Position;
}

export interface TokenizerChoice {
  readonly source: TokenizerSource;
  readonly tokens: readonly TokenRule[];
  readonly padToMultipleOf?: number;
  readonly at: Position;
}

type Complain = (at: Position, message: string, hint?: string) => void;

/** Reads `tokenizer` or `tokenizer_source`; the shape has been checked. */
export function readTokenizer(root: MapNode, complain: Complain): TokenizerChoice | undefined {
  const plain = present(get(root, "tokenizer_source")?.value);
  const rich = present(get(root, "tokenizer")?.value);
  if (plain && rich) {
    complain(
      get(root, "tokenizer")!.key.at,
      "tokenizer and tokenizer_source exclude each other",
      "Keep one: tokenizer: {source: …} says the same as tokenizer_source.",
    );
    return undefined;
  }
  if (plain) {
    const source = readSource(plain, complain);
    return source && { source, tokens: [], at: plain.at };
  }
  if (rich?.kind !== "map") return undefined;
  const sourceNode = present(get(rich, "source")?.value);
  const source = sourceNode ? readSource(sourceNode, complain) : ({ kind: "union" } as const);
  const tokens: TokenRule[] = [];
  const map = get(rich, "tokens")?.value;
  for (const { key, value } of map?.kind === "map" ? map.entries : []) {
    if (key.type !== "text") {
      complain(key.at, `Cannot read a token: it must be text, found ${key.text}`, `Put it in quotes: "${key.text}".`);
    } else if (value.kind === "map") {
      const from = present(get(value, "source")?.value);
      const read = from && readTokenSource(from, complain);
      const force = get(value, "force");
      if (!from && isTrue(force?.value))
        complain(force!.key.at, `Cannot force the row of ${quote(key.text)}: it has no source`);
      tokens.push({
        token: key.text,
        ...(read ? { source: read } : {}),
        force: isTrue(get(value, "force")?.value),
        at: key.at,
      });
    }
  }
  const padNode = present(get(rich, "pad_to_multiple_of")?.value);
  const pad = padNode?.kind === "scalar" ? Number(padNode.value) : undefined;
  if (pad !== undefined && !(pad >= 1 && pad <= 2 ** 20))
    complain(padNode!.at, `tokenizer.pad_to_multiple_of must be in [1, 1048576], found ${pad}`);
  return source && { source, tokens, ...(pad === undefined ? {} : { padToMultipleOf: pad }), at: rich.at };
}

function isTrue(node: Node | undefined): boolean {
  return (
    node?.kind === "scalar" &&
    (node.value === true || node.value === 1 || ["true", "yes", "on"].includes(String(node.value)))
  );
}

function readSource(node: Node, complain: Complain): TokenizerSource | undefined {
  if (node.kind === "scalar" && (node.value === "union" || node.value === "base")) return { kind: node.value };
  const model = readModel(node, complain);
  return model && { kind: "model", model };
}

function readTokenSource(node: Node, complain: Complain): TokenSource | undefined {
  const kind = node.kind === "map" ? get(node, "kind")?.value : undefined;
  if (node.kind !== "map" || kind?.kind !== "scalar") {
    const model = readModel(node, complain);
    return model && { kind: "model", model };
  }
  if (kind.value === "zero") return { kind: "zero" };
  const modelNode = get(node, "model")?.value;
  const model = modelNode && readModel(modelNode, complain);
  const token = present(get(node, "token")?.value);
  const id = present(get(node, "token_id")?.value);
  if ((token === undefined) === (id === undefined)) {
    complain(node.at, "A source of kind model_token needs either token or token_id");
    return undefined;
  }
  const tokenId = id?.kind === "scalar" ? Number(id.value) : undefined;
  if (tokenId !== undefined && tokenId < 0) complain(id!.at, `token_id must be 0 or more, found ${tokenId}`);
  if (!model) return undefined;
  if (tokenId !== undefined) return { kind: "model_token", model, tokenId };
  return { kind: "model_token", model, token: token?.kind === "scalar" ? token.text : "" };
}
