// A PEFT adapter on disk: adapter_config.json and the header of adapter_model.safetensors. What changes the meaning of an adapter
// is honoured or refused, never ignored.

import { type Folder, readWhole } from "../bytes/source.ts";
import { fail, quote } from "../errors.ts";
import type { CheckpointFile, TensorInfo } from "./checkpoint.ts";
import { isRecord, maxConfigBytes, parseJson } from "./config.ts";
import { isFloat } from "./dtype.ts";
import { elementCount, parseHeader } from "./header.ts";

export const adapterConfigName = "adapter_config.json";
export const adapterWeightsName = "adapter_model.safetensors";
/** Adapters of a few thousand ranks would be larger than what they adapt. */
export const maxRank = 4096;

/** What an adapter does to one module: ΔW = scale·B·A. */
export interface AdapterModule {
  /** e.g. `model.layers.0.self_attn.q_proj`; its weight is `<path>.weight`. */
  readonly path: string;
  readonly rank: number;
  /** alpha/r, or alpha/√r with rsLoRA. */
  readonly scale: number;
  readonly a: TensorInfo;
  readonly b: TensorInfo;
  /** The weight is stored [in, out]: embeddings, and layers with fan_in_fan_out. */
  readonly transposed: boolean;
  /** DoRA: the length of each output row. */
  readonly magnitude: TensorInfo | null;
  /** `lora_B.bias`: scale times it is added to the module's bias. */
  readonly bias: TensorInfo | null;
}

export interface Adapter {
  readonly reference: string;
  readonly folder: string;
  readonly file: CheckpointFile;
  /** `base_model_name_or_path`. */
  readonly baseModel: string | null;
  readonly modules: readonly AdapterModule[];
  /** Tensors that replace the base's: modules_to_save, biases, resized embeddings. By the base's name. */
  readonly replacements: ReadonlyMap<string, TensorInfo>;
}

/** Inits that also change the base model, so that base + ΔW is not what was trained. */
const changesBase = ["pissa", "olora", "loftq", "corda", "eva", "lora_ga"];
/** Settings that mean something else than base + s·B·A, with what they must be. */
const refused: readonly (readonly [key: string, isOff: (value: unknown) => boolean])[] = [
  ["layer_replication", isEmpty],
  ["target_parameters", isEmpty],
  ["trainable_token_indices", isEmpty],
  ["use_qalora", isEmpty],
  ["use_bdlora", isEmpty],
  ["alora_invocation_tokens", isEmpty],
  ["arrow_config", isEmpty],
  ["kasa_config", isEmpty],
  ["monteclora_config", isEmpty],
];

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isRecord(value) && Object.keys(value).length === 0;
}

/** Whether a folder holds an adapter and no whole model. */
export function isAdapterFolder(names: readonly string[]): boolean {
  const whole = names.some((n) => n.endsWith(".safetensors") && n !== adapterWeightsName);
  return names.includes(adapterConfigName) && !whole;
}

/** @throws `adapter` for anything that cannot be folded exactly. */
export async function openAdapter(reference: string, folder: Folder): Promise<Adapter> {
  const where = quote(folder.name, 4096);
  const refuse = (what: string, hint?: string): never =>
    fail("adapter", `Cannot fold the adapter ${where}: ${what}`, hint === undefined ? {} : { hint });
  const names = await folder.list();
  if (!names.includes(adapterConfigName)) refuse(`it has no ${adapterConfigName}`);
  if (!names.includes(adapterWeightsName)) {
    refuse(
      `it has no ${adapterWeightsName}`,
      "Adapters in .bin files are pickles: save them again with safe_serialization=True.",
    );
  }
  const config = await readConfig(folder);
  const settings = readSettings(config, refuse);
  const source = await folder.open(adapterWeightsName);
  let tensors: TensorInfo[];
  let file: CheckpointFile;
  try {
    const header = await parseHeader(source);
    tensors = [...header.tensors.values()].map(({ name, dtype, shape, start, end }) => ({
      name,
      dtype,
      shape,
      count: elementCount(shape)!,
      file: 0,
      start,
      end,
    }));
    const { byteLength, identity = null } = source;
    const location = folder.locate(adapterWeightsName);
    file = { name: adapterWeightsName, location, byteLength, headerSha256: header.sha256, identity };
  } finally {
    await source.close();
  }

  const parts = new Map<string, Partial<Record<Part, TensorInfo>>>();
  const replacements = new Map<string, TensorInfo>();
  for (const t of tensors) {
    if (!isFloat(t.dtype)) refuse(`${quote(t.name)} is ${t.dtype}; adapters are float32, bfloat16 or float16`);
    const { path, part } = place(t.name);
    if (part === null) replacements.set(path, t);
    else {
      const have = parts.get(path) ?? {};
      if (have[part])
        refuse(
          `it has two ${part} for ${quote(path)}`,
          "Save one adapter by itself: save_pretrained(selected_adapters=[…]).",
        );
      have[part] = t;
      parts.set(path, have);
    }
  }
  const modules = [...parts].map(([path, have]) => moduleOf(path, have, settings, refuse));
  if (modules.length === 0 && replacements.size === 0) refuse("it has no tensors");
  const baseModel = typeof config.base_model_name_or_path === "string" ? config.base_model_name_or_path : null;
  return { reference, folder: folder.name, file, baseModel, modules, replacements };
}

type Part = "a" | "b" | "embeddingA" | "embeddingB" | "magnitude" | "bias";

const endings: readonly (readonly [RegExp, Part])[] = [
  [/\.lora_A(\.\w+)?\.weight$/, "a"],
  [/\.lora_B(\.\w+)?\.weight$/, "b"],
  [/\.lora_B(\.\w+)?\.bias$/, "bias"],
  [/\.lora_embedding_A(\.\w+)?$/, "embeddingA"],
  [/\.lora_embedding_B(\.\w+)?$/, "embeddingB"],
  [/\.lora_magnitude_vector(\.\w+)?(\.weight)?$/, "magnitude"],
];

/** The module and part that a key of the file names; part null: a whole tensor of the base by that name. */
function place(key: string): { path: string; part: Part | null } {
  const inner = key.replace(/^base_model\.model\./, "");
  for (const [ending, part] of endings) {
    const found = ending.exec(inner);
    if (found) return { path: inner.slice(0, found.index), part };
  }
  return { path: inner.replace(/\.modules_to_save(\.\w+)?(?=\.)/, "").replace(/\.base_layer(?=\.)/, ""), part: null };
}

interface AdapterSettings {
  readonly rank: number;
  readonly alpha: number;
  readonly rankPattern: readonly Pattern[];
  readonly alphaPattern: readonly Pattern[];
  readonly rsLora: boolean;
  readonly dora: boolean;
  readonly fanInFanOut: boolean;
}

interface Pattern {
  readonly matches: RegExp;
  readonly value: number;
}

type Refuse = (what: string, hint?: string) => never;

function readSettings(config: Readonly<Record<string, unknown>>, refuse: Refuse): AdapterSettings {
  const kind = config.peft_type ?? "LORA";
  if (kind !== "LORA") refuse(`its peft_type is ${quote(String(kind))}, only LORA can be folded`);
  const init = config.init_lora_weights;
  if (typeof init === "string" && changesBase.some((name) => init.toLowerCase().startsWith(name))) {
    refuse(
      `init_lora_weights is ${quote(init)}, which also changed the base model`,
      "Convert it to a plain LoRA: save_pretrained(path_initial_model_for_weight_conversion=…) in PEFT.",
    );
  }
  for (const [key, isOff] of refused)
    if (!isOff(config[key]))
      refuse(`${key} is set, which Braid does not carry out`, "Fold it with PEFT: merge_and_unload().");
  const number = (key: string): number => {
    const value = config[key];
    return typeof value === "number" && Number.isFinite(value) && value > 0
      ? value
      : refuse(`${key} is ${JSON.stringify(value)}, it must be a number above 0`);
  };
  return {
    rank: number("r"),
    alpha: number("lora_alpha"),
    rankPattern: patterns(config.rank_pattern, "rank_pattern", refuse),
    alphaPattern: patterns(config.alpha_pattern, "alpha_pattern", refuse),
    rsLora: config.use_rslora === true,
    dora: config.use_dora === true,
    fanInFanOut: config.fan_in_fan_out === true,
  };
}

/** Patterns as PEFT reads them: a module fits when all of its path, or what follows a dot, matches. The first that fits counts. */
function patterns(value: unknown, key: string, refuse: Refuse): Pattern[] {
  if (value === undefined || value === null) return [];
  if (!isRecord(value)) return refuse(`${key} is no mapping`);
  return Object.entries(value).map(([pattern, number]) => {
    if (typeof number !== "number" || !(number > 0)) refuse(`${key} of ${quote(pattern)} is ${JSON.stringify(number)}`);
    // Repeated groups could take for ever; names of modules need none.
    if (pattern.length > 500 || /\)[*+?{]|\\[1-9]|\(\?/.test(pattern))
      refuse(
        `${key} has the pattern ${quote(pattern)}, which Braid does not evaluate`,
        "Write out the names of the modules.",
      );
    try {
      return { matches: new RegExp(`^(?:.*\\.)?(?:${pattern})$`), value: number as number };
    } catch {
      return refuse(`${key} has the pattern ${quote(pattern)}, which is no regular expression`);
    }
  });
}

function moduleOf(
  path: string,
  have: Partial<Record<Part, TensorInfo>>,
  settings: AdapterSettings,
  refuse: Refuse,
): AdapterModule {
  const embedding = have.embeddingA !== undefined || have.embeddingB !== undefined;
  const a = have.a ?? have.embeddingA;
  const b = have.b ?? have.embeddingB;
  const subject = quote(path);
  if (!a || !b) return refuse(`${subject} has ${a ? "A without B" : b ? "B without A" : "a magnitude or bias alone"}`);
  const rank = settings.rankPattern.find((p) => p.matches.test(path))?.value ?? settings.rank;
  const alpha = settings.alphaPattern.find((p) => p.matches.test(path))?.value ?? settings.alpha;
  const shapes = `A is [${a.shape.join(", ")}], B is [${b.shape.join(", ")}]`;
  if (a.shape.length !== 2 || b.shape.length !== 2) refuse(`${subject}: ${shapes}; only matrices can be folded`);
  if (a.shape[0] !== rank || b.shape[1] !== rank)
    refuse(`${subject}: ${shapes}, but its rank is ${rank} by ${adapterConfigName}`);
  if (rank > maxRank) refuse(`${subject}: its rank is ${rank}, the limit is ${maxRank}`);
  if (settings.dora !== (have.magnitude !== undefined))
    refuse(
      `${subject} has ${have.magnitude ? "a DoRA magnitude, but use_dora is off" : "no DoRA magnitude, but use_dora is on"}`,
    );
  const transposed = embedding || settings.fanInFanOut;
  if (have.magnitude && transposed)
    refuse(`${subject} is a DoRA of a transposed layer`, "Fold it with PEFT: merge_and_unload().");
  const scale = alpha / (settings.rsLora ? Math.sqrt(rank) : rank);
  return { path, rank, scale, a, b, transposed, magnitude: have.magnitude ?? null, bias: have.bias ?? null };
}

async function readConfig(folder: Folder): Promise<Readonly<Record<string, unknown>>> {
  const source = await folder.open(adapterConfigName);
  try {
    const subject = quote(source.name, 4096);
    const bytes = await readWhole(source, maxConfigBytes, (n) =>
      fail("adapter", `Cannot read ${subject}: it has ${n} bytes, the limit is ${maxConfigBytes}`),
    );
    const config = parseJson(source.name, new TextDecoder().decode(bytes));
    return isRecord(config) ? config : fail("adapter", `Cannot read ${subject}: it is not an object`);
  } finally {
    await source.close();
  }
}
