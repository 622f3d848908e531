// What a census is told, how its scratch memory is laid out, and constants of its loops.

/** Elements of a block, and of a chunk: with three models a chunk and its base take 8 KiB. */
export const blockElements: usize = 4096;
export const chunkElements: usize = 512;
export const chunkBytes: usize = 2048;

/** What a census is told, and where it leaves its results: seven words. See index.ts. */
@unmanaged
export class Census {
  models: u32;
  /** f64, moved on by a row for each block. */
  out: u32;
  counts: u32;
  bins: u32;
  patterns: u32;
  tops: u32;
  /** Eight f64 for each sum of a row, then the chunk of the base and those of the models. */
  scratch: u32;
}

/** Sums of a row: Σ|b|, Σb², Σ|Σδ|, then Σ|δ| of each model, then Σδδ of each pair. */
export function sumsOf(models: usize): usize {
  return 3 + models + ((models * (models + 1)) >> 1);
}

export function tilesOf(c: Census): usize {
  return <usize>c.scratch + (sumsOf(c.models) << 6);
}

// From memory, so that they are loaded once (see pairs.ts).
export const wideMagnitude: usize = memory.data<u64>([0x7fffffffffffffff], 16);
export const sixteen: usize = memory.data<u32>([16], 4);

/** Thresholds on their way to vectors: from memory they get there once, otherwise at every turn of the loop. */
export const splats: usize = memory.data(16, 4);
