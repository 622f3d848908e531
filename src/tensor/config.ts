// config.json: read as Python's json reads it, changed where the output differs, written without touching the rest.

import { type Diagnostic, fail, quote } from "../errors.ts";
import { torchNames } from "./dtype.ts";
import { createScanner, peek, readArray, readEnd, readObject, readPlain, readString, type Scanner } from "./tokens.ts";

export const maxConfigBytes = 1_000_000;
export type Config = Record<string, unknown>;

/**
 * Numbers whose text JavaScript would write otherwise (`10000.0`, `1e-05`, `Infinity`), by member. A symbol, so that
 * spreading an object keeps it and JSON.stringify does not see it. transformers tells 10000.0 from 10000.
 */
const numberTexts = Symbol("number texts");
type WithTexts = { [numberTexts]?: Record<string, string> };

/** Parses the text of a JSON file of a checkpoint. Of a name that comes twice the last counts, as in Python; it is warned of. */
export function parseJson(file: string, text: string, warnings: Diagnostic[] = []): unknown {
  const s = createScanner(
    text,
    (what, at) => fail("model-config", `Cannot read ${quote(file, 4096)}: ${what} (character ${at + 1})`),
    true,
  );
  const value = readValue(s, (name) => {
    warnings.push({
      kind: "model-config",
      message: `${quote(file, 4096)} has ${quote(name)} twice; the last one counts`,
    });
  });
  readEnd(s);
  return value;
}

function readValue(s: Scanner, onDuplicate: (name: string) => void): unknown {
  const first = peek(s);
  if (first === 0x22) return readString(s);
  if (first === 0x7b || first === 0x5b) {
    const container = (first === 0x7b ? {} : []) as Record<string, unknown> & WithTexts;
    const keep = (key: string): void => {
      const from = peek(s);
      const plain = from !== 0x22 && from !== 0x7b && from !== 0x5b ? readPlain(s) : null;
      const value = plain === null ? readValue(s, onDuplicate) : plain.value;
      // defineProperty, because assigning to __proto__ does something else.
      Object.defineProperty(container, key, { value, writable: true, enumerable: true, configurable: true });
      if (plain !== null && typeof value === "number" && JSON.stringify(value) !== plain.text) {
        container[numberTexts] ??= Object.create(null) as Record<string, string>;
        container[numberTexts][key] = plain.text;
      }
    };
    if (first === 0x7b) readObject(s, keep, undefined, onDuplicate);
    else readArray(s, (index) => keep(String(index)));
    return container;
  }
  return readPlain(s).value;
}

/** A config as text, indented by two. Numbers that were not changed keep the spelling they were read with. */
export function configText(config: Config): string {
  return `${writeValue(config, "\n")}\n`;
}

function writeValue(value: unknown, newline: string): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const inner = `${newline}  `;
  const texts = (value as WithTexts)[numberTexts];
  const write = (key: string, member: unknown): string => {
    const text = texts?.[key];
    const same = text !== undefined && Object.is(member, Number(text));
    return same ? text : writeValue(member, inner);
  };
  const list = Array.isArray(value);
  const members = Object.entries(value)
    .filter(([, member]) => list || member !== undefined)
    .map(([key, member]) => `${inner}${list ? "" : `${JSON.stringify(key)}: `}${write(key, member)}`);
  const [open, close] = list ? "[]" : "{}";
  return members.length === 0 ? `${open}${close}` : `${open}${members.join(",")}${newline}${close}`;
}

export function isRecord(value: unknown): value is Config {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The part that describes the language model: multimodal configs nest it. */
export function textConfig(config: Config): Config {
  return isRecord(config.text_config) ? config.text_config : config;
}

/** What the config says of tied embeddings: undefined when it says nothing, which then depends on the architecture. */
export function configTied(config: Config | null): boolean | undefined {
  if (config === null) return undefined;
  for (const part of [textConfig(config), config]) {
    if (typeof part.tie_word_embeddings === "boolean") return part.tie_word_embeddings;
  }
  return undefined;
}

export interface OutputChanges {
  /** Of the output's tensors; left as it is when not given. */
  readonly dtype?: keyof typeof torchNames;
  /** Whether the head is the embeddings. */
  readonly tied?: boolean;
  readonly numLayers?: number;
  /** For every output layer, the input layer it comes from; per-layer lists such as `layer_types` follow it. */
  readonly layerSources?: readonly number[];
  readonly vocabSize?: number;
}

/** Lists with one member for each layer, which transformers checks against the number of layers. */
const perLayerKeys = ["layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers"] as const;
const layerKeys = ["num_hidden_layers", "n_layer", "num_layers", "n_layers"] as const;

/**
 * The config of the output: the input's, with what changed. `auto_map` is dropped, since no code is copied. `dtype` is
 * always written; `torch_dtype`, its older name, only where the input has it.
 */
export function outputConfig(config: Config, changes: OutputChanges): Config {
  const nested = isRecord(config.text_config);
  const out = changePart(config, changes, true);
  if (nested) out.text_config = changePart(config.text_config as Config, changes, false);
  const parts = nested ? [out.text_config as Config, out] : [out];
  if (changes.tied !== undefined && configTied(config) !== changes.tied) out.tie_word_embeddings = changes.tied;
  if (changes.numLayers !== undefined && !parts.some((p) => layerKeys.some((key) => Object.hasOwn(p, key)))) {
    parts[0]![layerKeys[0]] = changes.numLayers;
  }
  if (changes.vocabSize !== undefined && !parts.some((p) => Object.hasOwn(p, "vocab_size"))) {
    parts[0]!.vocab_size = changes.vocabSize;
  }
  return out;
}

function changePart(part: Config, changes: OutputChanges, top: boolean): Config {
  const { auto_map: _, ...out } = part;
  const quantization = out.quantization_config;
  // fp8 weights were read with their scales; the output has plain ones.
  if (isRecord(quantization) && /^(fp8|fbgemm_fp8|compressed-tensors)$/.test(String(quantization.quant_method))) {
    delete out.quantization_config;
  }
  const set = (key: string, value: unknown, always = false): void => {
    if (value !== undefined && (always || Object.hasOwn(out, key))) out[key] = value;
  };
  const dtype = changes.dtype === undefined ? undefined : torchNames[changes.dtype];
  set("dtype", dtype, top);
  set("torch_dtype", dtype);
  set("tie_word_embeddings", changes.tied);
  set("vocab_size", changes.vocabSize);
  const before = layerKeys.map((key) => out[key]).find((n) => typeof n === "number");
  for (const key of layerKeys) set(key, changes.numLayers);
  const { layerSources } = changes;
  if (layerSources) {
    for (const key of perLayerKeys) {
      const list = out[key];
      if (!Array.isArray(list) || list.length !== before) continue;
      out[key] = layerSources.map((layer) => list[layer]);
    }
  }
  return out;
}
