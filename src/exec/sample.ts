// A look at a few pieces of a tensor: where they lie, and the keys that are in them.

import { compileKernel, createKernel } from "../kernel/kernel.ts";
import { pieceElements, sampledFrom } from "../kernel/program.ts";
import type { Mode } from "./aim.ts";

/** One element in 64 is looked at, in at most 256 pieces: a piece of a file that is not in memory costs a seek. */
const elementsPerPiece = 64 * pieceElements;
const fewestPieces = 64;
const mostPieces = 256;
/** Where a closer look comes after it nearly always: of six keys at once, one is in doubt. */
const mostBefore = 128;
/** Of a whole model: a miss costs passes over all of it. */
const mostModelPieces = 1024;

/** Where the pieces of a tensor of `count` elements start, in ascending order, or null for a small tensor. `windows`: for both their ends. */
export function samplePieces(count: number, windows = false): number[] | null {
  return count < sampledFrom ? null : spread(count, windows && closerPieces(count) ? mostBefore : mostPieces);
}

/** Elements of a piece of a closer look, and how many of a tensor are looked at. */
export const closerLength = 4096;
const closerShare = 1 / 8;
const closerMost = 2 ** 21;

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
const bins = keyEnd >>> coarseShift;
/** Words that `sample_above` tells of a piece. */
const wordsOfPiece = 3;

/** The kernels' memory for one sample: its bins, its keys, and what is made of them. */
class Desk {
  private readonly kernel = createKernel(compileKernel(), bins * 4);
  /** Whose keys lie here. */
  private owner: Sample | null = null;

  private get bins(): number {
    return this.kernel.heapStart;
  }

  private get keys(): number {
    return this.bins + bins * 4;
  }

  /** Brings the keys here, and says where there is room for as many, and a few more, behind them. */
  private lay(sample: Sample): number {
    const { keys } = sample;
    if (this.owner !== sample) {
      this.kernel.reserve(bins * 4 + 2 * keys.byteLength + spareBytes);
      new Int32Array(this.kernel.memory.buffer, this.keys, keys.length).set(keys);
      this.owner = sample;
    }
    return this.keys + keys.byteLength;
  }

  /** How many keys each bin has. */
  count(sample: Sample): Uint32Array {
    this.lay(sample);
    const counts = new Uint32Array(this.kernel.memory.buffer, this.bins, bins).fill(0);
    this.kernel.exports.sample_bins(this.bins, this.keys, sample.keys.length);
    return counts.slice();
  }

  /** Of each piece the number of keys above `first`, above `second`, and above 0. */
  above(sample: Sample, first: number, second: number): Uint32Array {
    const room = this.lay(sample);
    this.kernel.exports.sample_above(room, this.keys, sample.pieces, pieceElements, first, second);
    return new Uint32Array(this.kernel.memory.buffer, room, wordsOfPiece * sample.pieces);
  }

  /** The keys of a bin, in order; one where all are equal. Deltas of bf16 take few values: where a bin holds thousands, they are one. */
  sorted(sample: Sample, bin: number): Int32Array {
    const room = this.lay(sample);
    const { exports, memory } = this.kernel;
    const found = exports.sample_within(room, this.keys, sample.keys.length, bin);
    const inside = new Int32Array(memory.buffer, room, found);
    if (found > 0 && exports.equals(room, inside[0]!, found) === found) return inside.slice(0, 1);
    return inside.slice().sort();
  }
}

/** Room for a vector behind the last key, and for the counts of a piece. */
const spareBytes = 64;
/** Of this thread; a sample is looked at in one go, so there is one. */
let desk: Desk | null = null;

/** So many keys from all over the sample are enough to tell deltas of bf16 from others. */
const looked = 1024;
/** Bits that seven of eight of their keys do not have. */
const grainBits = 0xfff;

function isGrained(keys: Int32Array): boolean {
  let [nonzero, fine] = [0, 0];
  const step = Math.max(1, Math.floor(keys.length / looked));
  for (let i = 0; i < keys.length; i += step) {
    if (keys[i] === 0) continue;
    nonzero++;
    if ((keys[i]! & grainBits) !== 0) fine++;
  }
  return fine * 8 < nonzero;
}

/** Keys of whole pieces, counted in bins of 2¹⁵. */
export class Sample {
  readonly count: number;
  readonly nonzero: number;
  readonly pieces: number;
  readonly keys: Int32Array;
  /** Most keys have no bits but the upper ones: those of deltas of bf16, where 8 bits of one number meet 8 of another. */
  readonly grained: boolean;
  private readonly desk: Desk;
  private readonly coarse: Uint32Array;
  private readonly lastBin: number;
  /** Keys of bins that were asked for, in order; one key where all are equal. */
  private readonly sorted = new Map<number, Int32Array>();

  constructor(sample: Uint32Array) {
    desk ??= new Desk();
    this.desk = desk;
    this.keys = new Int32Array(sample.buffer, sample.byteOffset, sample.length);
    this.count = sample.length;
    this.pieces = sample.length / pieceElements;
    this.grained = isGrained(this.keys);
    this.coarse = desk.count(this);
    let last = bins - 1;
    while (last > 0 && this.coarse[last] === 0) last--;
    this.lastBin = last;
    // Keys share their bin with zeros where they are subnormal.
    let nonzero = 0;
    const above = desk.above(this, 0, 0);
    for (let i = 0; i < above.length; i += wordsOfPiece) nonzero += above[i]!;
    this.nonzero = nonzero;
  }

  /**
   * The variance of the number of keys above the threshold. Elements of a piece belong to one or two rows and share their scale,
   * so it is taken between pieces, at either end of the threshold's bin, where many may be equal.
   */
  variance(fraction: number, ofNonzero: boolean, rank: number): number {
    const { pieces } = this;
    const { bin } = this.binOf(Math.max(1, Math.round(rank)));
    const below = Math.max(0, (bin << coarseShift) - 1);
    const last = (bin + 1) * 2 ** coarseShift - 1;
    let [sumWithin, squareWithin, sumBeyond, squareBeyond] = [0, 0, 0, 0];
    const above = this.desk.above(this, below, last);
    for (let i = 0; i < above.length; i += wordsOfPiece) {
      const share = fraction * (ofNonzero ? above[i + 2]! : pieceElements);
      const within = above[i]! - share;
      const beyond = above[i + 1]! - share;
      sumWithin += within;
      squareWithin += within ** 2;
      sumBeyond += beyond;
      squareBeyond += beyond ** 2;
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
    const sorted = this.desk.sorted(this, bin);
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

  private binOf(rank: number): { bin: number; above: number } {
    let above = 0;
    let bin = this.lastBin;
    while (bin > 0 && above + this.coarse[bin]! < rank) above += this.coarse[bin--]!;
    return { bin, above };
  }
}
