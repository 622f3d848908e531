// What a config.json says of a Llama-like model: the sizes of its forward pass, or why it cannot be run.

import { fail, quote } from "../errors.ts";
import { type Config, configTied, isRecord, textConfig } from "../tensor/config.ts";

/** How RoPE's frequencies are changed for long contexts. */
export type RopeScaling =
  | { readonly kind: "none" }
  | { readonly kind: "linear"; readonly factor: number }
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContext: number;
    };

export interface Architecture {
  readonly modelType: string;
  readonly layers: number;
  readonly hidden: number;
  /** Width of the MLP. */
  readonly inner: number;
  readonly heads: number;
  /** Heads of keys and values; each serves heads / keyHeads queries. */
  readonly keyHeads: number;
  readonly headSize: number;
  readonly vocabulary: number;
  /** Added to the mean square under RMSNorm's root. */
  readonly epsilon: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** Positions that the model was made for; those of its sliding window when it has one. */
  readonly context: number;
  /** What the config says of a tied head, if anything. */
  readonly tied: boolean | undefined;
  /** Tokens that end a text. */
  readonly stops: readonly number[];
}

/**
 * Models whose pass is exactly RMSNorm, RoPE, grouped attention (with biases or norms of queries and keys where the tensors are) and
 * SwiGLU. Others may have the same tensor names and other arithmetic, so the list is closed.
 */
export const modelTypes = ["llama", "mistral", "qwen2", "qwen3"] as const;

const defaultTheta = 10_000;
const defaultEpsilon = 1e-6;
/** A model that names no context. */
const defaultContext = 2048;

const hint = `Braid runs ${modelTypes.join(", ")} itself, to look at small models. For others use transformers, vLLM or llama.cpp.`;

/**
 * Reads the sizes of a model. `name` is for messages.
 *
 * @throws BraidError `model-unsupported` for another architecture or RoPE, `model-config` for a size that is missing or odd.
 */
export function readArchitecture(config: Config | null, name: string): Architecture {
  const subject = quote(name, 4096);
  if (config === null) {
    fail("model-config", `Cannot run ${subject}: it has no config.json, so its sizes are not known`);
  }
  const part = textConfig(config);
  const refuse = (what: string): never => fail("model-unsupported", `Cannot run ${subject}: ${what}`, { hint });
  const modelType = String(part.model_type ?? config.model_type ?? "");
  if (!(modelTypes as readonly string[]).includes(modelType)) {
    refuse(`its model_type is ${quote(modelType)}, which is not one of those that are run`);
  }
  if (isRecord(config.quantization_config)) refuse("its weights are quantized");
  const act = part.hidden_act ?? part.hidden_activation ?? "silu";
  if (act !== "silu" && act !== "swish") refuse(`its hidden_act is ${quote(String(act))}, expected "silu"`);
  if (typeof part.partial_rotary_factor === "number" && part.partial_rotary_factor !== 1) {
    refuse(`it turns only a part of each head (partial_rotary_factor ${part.partial_rotary_factor})`);
  }
  const whole = (key: string, fallback?: number): number => {
    const value = part[key] ?? fallback;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1) {
      fail(
        "model-config",
        `Cannot run ${subject}: ${key} of its config.json is ${JSON.stringify(value)}, expected a whole number above 0`,
      );
    }
    return value;
  };
  const hidden = whole("hidden_size");
  const heads = whole("num_attention_heads");
  const keyHeads = whole("num_key_value_heads", heads);
  const headSize = whole("head_dim", hidden / heads);
  if (heads % keyHeads !== 0) {
    fail("model-config", `Cannot run ${subject}: ${heads} heads are not a multiple of ${keyHeads} heads of keys`);
  }
  if (headSize % 2 !== 0) fail("model-config", `Cannot run ${subject}: its head_dim is ${headSize}, RoPE turns pairs`);
  const rope = readRope(part, refuse);
  return {
    modelType,
    layers: whole("num_hidden_layers"),
    hidden,
    inner: whole("intermediate_size"),
    heads,
    keyHeads,
    headSize,
    vocabulary: whole("vocab_size"),
    epsilon: typeof part.rms_norm_eps === "number" ? part.rms_norm_eps : defaultEpsilon,
    ...rope,
    context: Math.min(whole("max_position_embeddings", defaultContext), slidingWindow(part)),
    tied: configTied(config),
    stops: tokenIds(part.eos_token_id ?? config.eos_token_id),
  };
}

/** Beyond its window a layer no longer sees everything: up to there all layers are alike. */
function slidingWindow(part: Config): number {
  if (typeof part.sliding_window !== "number" || part.use_sliding_window === false) return Number.POSITIVE_INFINITY;
  const types = part.layer_types;
  if (Array.isArray(types) && !types.includes("sliding_attention")) return Number.POSITIVE_INFINITY;
  return part.sliding_window;
}

/** `rope_parameters` as transformers 5 writes it, or `rope_theta` beside `rope_scaling` as before. */
function readRope(part: Config, refuse: (what: string) => never): Pick<Architecture, "ropeTheta" | "ropeScaling"> {
  const given = isRecord(part.rope_parameters)
    ? part.rope_parameters
    : isRecord(part.rope_scaling)
      ? part.rope_scaling
      : {};
  const number = (key: string): number => {
    const value = given[key];
    if (typeof value !== "number" || !(value > 0))
      refuse(`${key} of its RoPE is ${JSON.stringify(value)}, expected a number above 0`);
    return value as number;
  };
  const theta = given.rope_theta ?? part.rope_theta ?? defaultTheta;
  if (typeof theta !== "number" || !(theta > 0)) refuse(`its rope_theta is ${JSON.stringify(theta)}`);
  const ropeTheta = theta as number;
  const kind = given.rope_type ?? given.type ?? "default";
  switch (kind) {
    case "default":
      return { ropeTheta, ropeScaling: { kind: "none" } };
    case "linear":
      return { ropeTheta, ropeScaling: { kind: "linear", factor: number("factor") } };
    case "llama3":
      return {
        ropeTheta,
        ropeScaling: {
          kind: "llama3",
          factor: number("factor"),
          lowFrequencyFactor: number("low_freq_factor"),
          highFrequencyFactor: number("high_freq_factor"),
          originalContext: number("original_max_position_embeddings"),
        },
      };
    default:
      return refuse(`its RoPE is scaled by ${quote(String(kind))}; default, linear and llama3 are known`);
  }
}

/** `eos_token_id` is a number or a list of them. */
export function tokenIds(value: unknown): number[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((id): id is number => typeof id === "number" && Number.isSafeInteger(id) && id >= 0);
}
