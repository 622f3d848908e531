// Where the configs of models differ in what their weights were trained for.

import { type Config, isRecord, textConfig } from "../tensor/config.ts";

export interface ConfigKey {
  readonly key: string;
  /** As JSON, one for each model; null where the config does not say it. */
  readonly values: readonly (string | null)[];
  /** Two models that say it say different things. */
  readonly differs: boolean;
  /**
   * What differs when a model was merely trained for longer texts or another end of a turn, and a tied head, which the merge takes
   * care of: told, not warned of.
   */
  readonly harmless: boolean;
}

type Read = (config: Config) => unknown;

const first =
  (...keys: string[]): Read =>
  (config) =>
    keys.map((key) => config[key]).find((value) => value !== undefined && value !== null);

/** transformers 5 puts all of RoPE into `rope_parameters`; before there were `rope_theta` and `rope_scaling`. */
function ropeScaling(config: Config): unknown {
  const given = isRecord(config.rope_parameters) ? config.rope_parameters : config.rope_scaling;
  if (given === undefined) return undefined;
  if (!isRecord(given)) return "default";
  const { rope_theta: _, rope_type: type, type: old, ...rest } = given;
  const name = type ?? old ?? "default";
  return name === "default" && Object.keys(rest).length === 0 ? "default" : { rope_type: name, ...sorted(rest) };
}

function sorted(record: Config): Config {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function ratio(config: Config): unknown {
  const [size, heads] = [config.hidden_size, config.num_attention_heads];
  return typeof size === "number" && typeof heads === "number" ? size / heads : undefined;
}

/** A config that leaves a key out means the default of its architecture, which is known here for two of them. */
const keys: Readonly<Record<string, Read>> = {
  model_type: first("model_type"),
  hidden_size: first("hidden_size", "n_embd", "d_model"),
  intermediate_size: first("intermediate_size", "n_inner", "ffn_dim"),
  num_hidden_layers: first("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
  num_attention_heads: first("num_attention_heads", "n_head"),
  num_key_value_heads: (c) => c.num_key_value_heads ?? c.num_attention_heads,
  head_dim: (c) => c.head_dim ?? ratio(c),
  vocab_size: first("vocab_size"),
  "activation function": first("hidden_act", "hidden_activation", "activation_function"),
  "norm epsilon": first("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps"),
  "rope theta": (c) => (isRecord(c.rope_parameters) ? c.rope_parameters.rope_theta : undefined) ?? c.rope_theta,
  "rope scaling": ropeScaling,
  partial_rotary_factor: first("partial_rotary_factor", "rotary_pct"),
  tie_word_embeddings: first("tie_word_embeddings"),
  attention_bias: first("attention_bias"),
  mlp_bias: first("mlp_bias"),
  use_sliding_window: first("use_sliding_window"),
  // Qwen2 names a window that it does not use.
  sliding_window: (c) => (c.use_sliding_window === false ? undefined : first("sliding_window")(c)),
  layer_types: first("layer_types"),
  "number of experts": first("num_local_experts", "num_experts", "n_routed_experts"),
  num_experts_per_tok: first("num_experts_per_tok"),
  attn_logit_softcapping: first("attn_logit_softcapping"),
  final_logit_softcapping: first("final_logit_softcapping"),
  query_pre_attn_scalar: first("query_pre_attn_scalar"),
  embedding_multiplier: first("embedding_multiplier"),
  residual_multiplier: first("residual_multiplier"),
  attention_multiplier: first("attention_multiplier"),
  logits_scaling: first("logits_scaling"),
  max_position_embeddings: first("max_position_embeddings", "n_positions"),
  bos_token_id: first("bos_token_id"),
  eos_token_id: first("eos_token_id"),
  pad_token_id: first("pad_token_id"),
};
const harmless = ["tie_word_embeddings", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"];
/** In slices, the models may be of different depths. */
const ofDepth = ["num_hidden_layers", "layer_types"];

/** Every key that any of the configs says. Null in place of a config: the model has none. */
export function compareConfigs(configs: readonly (Config | null)[], sliced: boolean): ConfigKey[] {
  const parts = configs.map((c) => c && { ...c, ...textConfig(c) });
  return Object.entries(keys).flatMap(([key, read]): ConfigKey[] => {
    const values = parts.map((c) => {
      const value = c ? read(c) : undefined;
      return value === undefined || value === null ? null : JSON.stringify(isRecord(value) ? sorted(value) : value);
    });
    const said = new Set(values.filter((v) => v !== null));
    if (said.size === 0 || (sliced && ofDepth.includes(key))) return [];
    return [{ key, values, differs: said.size > 1, harmless: harmless.includes(key) }];
  });
}
