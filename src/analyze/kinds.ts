// What a tensor is for, by its name. No table of architectures: the words that they all use.

import type { TensorKind } from "./analysis.ts";

/** The first that fits. Names are those of transformers: Llama and its kin, GPT-2 (c_attn, c_proj), GPT-NeoX, Falcon, T5, BERT. */
const rules: readonly (readonly [RegExp, TensorKind])[] = [
  [
    /(^|[._])(layer_?norm|layernorm|norm|norm\d|ln_?\d?|ln_f|rmsnorm|q_norm|k_norm|\w*norm)\.(weight|bias|scale)$/i,
    "norm",
  ],
  [/\.bias$/, "bias"],
  [/(^|\.)(lm_head|embed_out|output|score|classifier)\.weight$/, "head"],
  [
    /(^|\.)(embed_tokens|word_embeddings|embed_in|wte|wpe|embed_positions|shared|tok_embeddings|position_embeddings)\.weight$/,
    "embedding",
  ],
  [/(^|\.)(gate|router)\.weight$|block_sparse_moe\.gate|\.router\./, "router"],
  [/query_key_value|qkv/i, "attention"],
  [/(^|[._])(q_proj|q_lin|query|q)\.weight$/, "attention q"],
  [/(^|[._])(k_proj|k_lin|key|k)\.weight$/, "attention k"],
  [/(^|[._])(v_proj|v_lin|value|v)\.weight$/, "attention v"],
  [
    /(^|\.)(o_proj|out_proj|out_lin|o)\.weight$|attn\.c_proj\.weight$|attention\.(dense|output\.dense)\.weight$/,
    "attention o",
  ],
  [/(attn|attention)\b/i, "attention"],
  [/(^|\.)(gate_proj|w1|wi_0)\.weight$/, "mlp gate"],
  [/(^|\.)(up_proj|w3|wi_1|wi|fc1|c_fc|dense_h_to_4h)\.weight$|intermediate\.dense\.weight$/, "mlp up"],
  [/(^|\.)(down_proj|w2|wo|fc2|dense_4h_to_h)\.weight$|mlp\.c_proj\.weight$|output\.dense\.weight$/, "mlp down"],
  [/(mlp|feed_forward|ffn|experts)\b/i, "mlp"],
];

export function kindOf(name: string): TensorKind {
  return rules.find(([pattern]) => pattern.test(name))?.[1] ?? "other";
}
