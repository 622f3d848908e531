// A look at a few pieces of a tensor that says between which keys its k-th largest magnitude lies, almost surely. The search
// that follows checks it, so the sample decides how long that takes and nothing else.

import { noKey, pieceElements, sampledFrom } from "../kernel/program.ts";
import type { Bracket } from "./search.ts";

/** One element in 64 is looked at, in at most 256 pieces: a piece of a file that is not in memory costs a seek. */
const elementsPerPiece = 64 * pieceElements;
const fewestPieces = 64;
const mostPieces = 256;
/** Of a whole model: a miss costs passes over all of it. */
const mostModelPieces = 1024;

/** Where the pieces of a tensor of `count` elements start, in ascending order, or null for a small tensor. */
export function samplePieces(count: number): number[] | null {
  return count < sampledFrom ? null : spread(count, mostPieces);
}

/** The same for tensors one after the other: none for each of them where all together are small. */
export function spreadPieces(counts: readonly number[]): number[][] {
  const pieces = counts.map((): number[] => []);
  const total = counts.reduce((sum, n) => sum + n, 0);
  if (total < sampledFrom) return pieces;
  let tensor = 0;
  let start = 0;
  for (const at of spread(total, mostModelPieces)) {
    while (at >= start + counts[tensor]!) start += counts[tensor++]!;
    // Where a tensor ends the piece moves back; those without room for one are left out.
    const last = counts[tensor]! - pieceElements;
    if (last >= 0) pieces[tensor]!.push(Math.floor(Math.min(at - start, last) / 16) * 16);
  }
  return pieces;
}

function spread(count: number, most: number): number[] {
  const pieces = Math.min(most, Math.max(fewestPieces, Math.floor(count / elementsPerPiece)));
  const step = count / pieces;
  // One piece in every stretch, not at the same place of each: rows often divide the step, and columns differ too. Fractions of
  // the golden ratio spread evenly. Masks want multiples of 16.
  return Array.from({ length: pieces }, (_, i) => {
    const jitter = (i * 0.6180339887498949) % 1;
    return Math.floor((i * step + jitter * (step - pieceElements)) / 16) * 16;
  });
}

/**
 * Standard errors between the estimate and the ends of the bracket. With rows whose scales are lognormal with σ of up to 2, 4
 * missed 1 tensor of 2,250 at densities of 0.2, 0.01 and 10⁻⁵; with σ of 3 at 10⁻⁴, 9 of 150. A miss costs two passes, a wider
 * bracket a part of one each time.
 */
const errors = 4;
const coarseShift = 15;
const keyEnd = 0x80000000;

/**
 * The same between the estimate and the nearest other key, where the bracket is of one key. That takes half the time, it is
 * confirmed while the tensor is merged, and equal keys are many: the estimate is seldom that near to where they end.
 */
const oneKeyErrors = 3;

/** The bracket of keys that should hold the one whose rank is this share of all elements, or of those that are not zero. */
export function aim(sample: Sample, share: number, ofNonzero: boolean): Bracket {
  const rank = share * (ofNonzero ? sample.nonzero : sample.count);
  const error = Math.sqrt(sample.variance(share, ofNonzero, rank));
  const middle = Math.max(1, Math.round(rank));
  const hot = middle > sample.nonzero ? noKey : sample.ranked(middle);
  const near = within(sample, rank, oneKeyErrors * error + 1);
  if (near.low === hot && near.high === hot + 1) return { ...near, hot };
  return { ...within(sample, rank, errors * error + 1), hot };
}

/** Keys whose ranks in the sample are no further from `rank`. */
function within(sample: Sample, rank: number, margin: number): { low: number; high: number } {
  const top = Math.floor(rank - margin);
  const bottom = Math.ceil(rank + margin);
  return {
    low: bottom > sample.nonzero ? 1 : sample.ranked(bottom),
    high: top < 1 ? keyEnd : sample.ranked(Math.min(top, sample.nonzero)) + 1,
  };
}

/** Keys, counted in bins of 2¹⁵. */
export class Sample {
  readonly count: number;
  readonly nonzero: number;
  private readonly keys: Int32Array;
  private readonly coarse = new Uint32Array(keyEnd >>> coarseShift);
  private readonly lastBin: number;
  /** Keys of bins that were asked for, in order; one key where all are equal. */
  private readonly sorted = new Map<number, Int32Array>();

  constructor(sample: Uint32Array) {
    const { coarse } = this;
    // Engines are faster with 31 bits in an i32: a u32 may need more than one.
    const keys = new Int32Array(sample.buffer, sample.byteOffset, sample.length);
    let zeros = 0;
    let most = 0;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      coarse[key >>> coarseShift]!++;
      zeros += (key - 1) >>> 31;
      if (key > most) most = key;
    }
    this.keys = keys;
    this.count = keys.length;
    this.nonzero = keys.length - zeros;
    this.lastBin = most >>> coarseShift;
  }

  /**
   * The variance of the number of keys above the threshold. Elements of a piece belong to one or two rows and share their scale,
   * so it is taken between pieces, at either end of the threshold's bin, where many may be equal; but not less than for single
   * elements.
   */
  variance(fraction: number, ofNonzero: boolean, rank: number): number {
    const { keys } = this;
    const { bin } = this.binOf(Math.max(1, Math.round(rank)));
    const below = Math.max(0, (bin << coarseShift) - 1);
    const last = (bin + 1) * 2 ** coarseShift - 1;
    const pieces = keys.length / pieceElements;
    let [sumWithin, squareWithin, sumBeyond, squareBeyond] = [0, 0, 0, 0];
    for (let start = 0; start < keys.length; start += pieceElements) {
      let [within, beyond, nonzero] = [0, 0, 0];
      // The sign of a difference of 31-bit keys is a comparison without a branch, which would be mispredicted.
      for (let i = start; i < start + pieceElements; i++) {
        const key = keys[i]!;
        within += (below - key) >>> 31;
        beyond += (last - key) >>> 31;
        nonzero += -key >>> 31;
      }
      const share = fraction * (ofNonzero ? nonzero : pieceElements);
      sumWithin += within - share;
      squareWithin += (within - share) ** 2;
      sumBeyond += beyond - share;
      squareBeyond += (beyond - share) ** 2;
    }
    const between = (sum: number, square: number) => ((square - sum ** 2 / pieces) * pieces) / (pieces - 1);
    return Math.max(between(sumWithin, squareWithin), between(sumBeyond, squareBeyond), rank * (1 - fraction) + 1);
  }

  /** The rank-th largest key, from 1. */
  ranked(rank: number): number {
    const { bin, above } = this.binOf(rank);
    let sorted = this.sorted.get(bin);
    if (!sorted) {
      sorted = this.sort(bin);
      this.sorted.set(bin, sorted);
    }
    return sorted[Math.max(0, sorted.length - (rank - above))]!;
  }

  private sort(bin: number): Int32Array {
    const { keys } = this;
    const inside = new Int32Array(this.coarse[bin]!);
    let used = 0;
    let others = 0;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      if (key >>> coarseShift !== bin) continue;
      others |= key ^ inside[0]!;
      inside[used++] = key;
      if (used === 1) others = 0;
    }
    // Deltas of bf16 take few values: where a bin holds thousands, they are one.
    return others === 0 ? inside.subarray(0, 1) : inside.sort();
  }

  private binOf(rank: number): { bin: number; above: number } {
    let above = 0;
    let bin = this.lastBin;
    while (bin > 0 && above + this.coarse[bin]! < rank) above += this.coarse[bin--]!;
    return { bin, above };
  }
}
