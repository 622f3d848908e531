// A look at a few pieces of a tensor: where they lie, and the keys that are in them.

import { pieceElements, sampledFrom } from "../kernel/program.ts";
import type { Mode } from "./aim.ts";

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

/** Elements of a piece of a closer look, and how many of a tensor are looked at. */
export const closerLength = 4096;
const closerShare = 1 / 8;
const closerMost = 2 ** 20;

/** Where the pieces of a closer look start, or null where a tensor is too small for one to pay. */
export function closerPieces(count: number): number[] | null {
  if (count < 4 * sampledFrom) return null;
  const pieces = Math.floor(Math.min(closerMost, count * closerShare) / closerLength);
  return apart(count, pieces, closerLength);
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
  return apart(count, Math.min(most, Math.max(fewestPieces, Math.floor(count / elementsPerPiece))), pieceElements);
}

/** Places of so many pieces of `length` elements. */
function apart(count: number, pieces: number, length: number): number[] {
  const step = count / pieces;
  // One piece in every stretch, not at the same place of each: rows often divide the step, and columns differ too. Fractions of
  // the golden ratio spread evenly. Masks want multiples of 16.
  return Array.from({ length: pieces }, (_, i) => {
    const jitter = (i * 0.6180339887498949) % 1;
    return Math.floor((i * step + jitter * (step - length)) / 16) * 16;
  });
}

const coarseShift = 15;
const keyEnd = 0x80000000;

/** Keys, counted in bins of 2¹⁵. */
export class Sample {
  readonly count: number;
  readonly nonzero: number;
  readonly pieces: number;
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
    this.pieces = keys.length / pieceElements;
    this.nonzero = keys.length - zeros;
    this.lastBin = most >>> coarseShift;
  }

  /**
   * The variance of the number of keys above the threshold. Elements of a piece belong to one or two rows and share their scale,
   * so it is taken between pieces, at either end of the threshold's bin, where many may be equal.
   */
  variance(fraction: number, ofNonzero: boolean, rank: number): number {
    const { keys, pieces } = this;
    const { bin } = this.binOf(Math.max(1, Math.round(rank)));
    const below = Math.max(0, (bin << coarseShift) - 1);
    const last = (bin + 1) * 2 ** coarseShift - 1;
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
    return Math.max(between(sumWithin, squareWithin), between(sumBeyond, squareBeyond));
  }

  /** The rank-th largest key, from 1. */
  ranked(rank: number): number {
    const { bin, above } = this.binOf(rank);
    const sorted = this.sortedOf(bin);
    return sorted[Math.max(0, sorted.length - (rank - above))]!;
  }

  private sortedOf(bin: number): Int32Array {
    const known = this.sorted.get(bin);
    if (known) return known;
    const sorted = this.sort(bin);
    this.sorted.set(bin, sorted);
    return sorted;
  }

  /** The key in [low, high) that most elements have; null where it shares its bin with others, as zeros do. */
  mode(low: number, high: number): Mode | null {
    let best = Math.max(1, low >>> coarseShift);
    for (let bin = best + 1; bin <= (high - 1) >>> coarseShift; bin++)
      if (this.coarse[bin]! > this.coarse[best]!) best = bin;
    const count = this.coarse[best]!;
    if (count === 0) return null;
    const sorted = this.sortedOf(best);
    const key = sorted[0]!;
    if (key !== sorted.at(-1) || key < low || key >= high) return null;
    let above = 0;
    for (let bin = this.lastBin; bin > best; bin--) above += this.coarse[bin]!;
    return { key, above, count };
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
