// Layer numbers from tensor names. No table of architectures: a stack of layers is a run of names that differ in one number.

export interface LayerName {
  readonly layer: number;
  /** Up to the number: `model.layers.`. Names with the same prefix are one stack. */
  readonly prefix: string;
  /** After the number: `.mlp.up_proj.weight`. */
  readonly suffix: string;
}

/**
 * The segments that hold a stack. Llama and most others `layers`, GPT-2 and Falcon `h`, MPT `blocks`, T5 `block`, BERT `layer`,
 * CLIP's text and vision towers `resblocks`. The first one of a name counts: in T5's `block.0.layer.1` the block is the layer.
 */
const stacked =
  /^(.*?(?:^|\.)(?:layers|h|blocks|block|layer|resblocks|decoder_layers|encoder_layers)\.)(\d{1,6})(?=\.|$)(.*)$/;

export function layerOf(name: string): LayerName | null {
  const match = stacked.exec(name);
  return match ? { layer: Number(match[2]), prefix: match[1]!, suffix: match[3]! } : null;
}

/** The same tensor of layer `n`; a name outside of layers stays as it is. */
export function withLayer(name: string, n: number): string {
  const at = layerOf(name);
  return at ? `${at.prefix}${n}${at.suffix}` : name;
}

/** Number of layers of every stack: the highest number and one, by prefix. */
export function layerCounts(names: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) {
    const at = layerOf(name);
    if (at) counts.set(at.prefix, Math.max(counts.get(at.prefix) ?? 0, at.layer + 1));
  }
  return counts;
}

/** Number of layers of the largest stack; 0 where there is none. */
export function layerCount(names: Iterable<string>): number {
  return Math.max(0, ...layerCounts(names).values());
}

/**
 * Whether a tensor outside of layers comes before them: token and position embeddings, what is done to them (BLOOM's
 * word_embeddings_layernorm, OPT's project_in) and T5's `shared`. All else comes after: final norm, head. GPT-NeoX calls its
 * head embed_out.
 */
export function isBeforeLayers(name: string): boolean {
  if (/(?:^|[._])embed_out(?:\.|$)/.test(name)) return false;
  return /(?:^|[._])(?:embed|embeds|embedding|embeddings|embedder|wte|wpe|project_in)(?:[._]|$)|(?:^|\.)shared\.|rotary_emb/.test(
    name,
  );
}
