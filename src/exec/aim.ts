// What a sample says of the key of a rank: between which keys it lies, almost surely, and which of them it is, probably. The search
// that follows finds out, so an aim decides how long that takes and nothing else.

import { noKey } from "../kernel/program.ts";
import type { Sample } from "./sample.ts";
import type { Bracket } from "./search.ts";

/**
 * Standard errors between the estimate and the ends of the bracket. With rows whose scales are lognormal with σ of up to 2, 4
 * missed 1 tensor of 2,250 at densities of 0.2, 0.01 and 10⁻⁵; with σ of 3 at 10⁻⁴, 9 of 150. A miss costs two passes, a wider
 * bracket a part of one each time.
 */
export const bracketErrors = 4;

/**
 * The same between the estimate and the nearest other key, where the bracket is of one key. That takes half the time, it is
 * confirmed while the tensor is merged, and equal keys are many: the estimate is seldom that near to where they end.
 */
export const oneKeyErrors = 3;

/**
 * The same where the bracket stays wide, and only the merge that is tried needs the key. Nearer than this a larger sample is asked, if
 * there is one.
 */
export const likelyErrors = 1.5;

/** How likely the estimate is right that is so many standard errors inside of its key's ranks: of a normal distribution, one tail. */
const chances = [
  [3, 0.999],
  [2.5, 0.994],
  [2, 0.977],
  [1.5, 0.933],
  [1.25, 0.894],
  [1, 0.841],
  [0.75, 0.773],
  [0.5, 0.691],
] as const;

/** 0 where it is hardly likelier than that it is not. */
export function chanceOf(errors: number): number {
  return chances.find(([from]) => errors >= from)?.[1] ?? 0;
}

/**
 * A merge is tried when all its keys together are right with at least this chance: right, it spares one reading in two, wrong, one merge
 * was for nothing, and that takes twice as long as the reading.
 */
export const leastChance = 0.7;

/** How far a share of a sample may be from that of the tensor, by what parts. */
export interface Doubt {
  readonly share: number;
  /** The variance of the share between pieces, beyond that of single elements: rows have scales of their own. */
  readonly between: number;
}

/** Standard error of the share in a sample of `elements` in so many pieces. */
export function errorOf({ share, between }: Doubt, elements: number, pieces: number): number {
  return Math.sqrt((share * (1 - share)) / elements + between / pieces);
}

/** A key, how many of a sample are above it and how many have it. */
export interface Mode {
  readonly key: number;
  readonly above: number;
  readonly count: number;
}

export interface Likely {
  readonly key: number;
  readonly errors: number;
}

export interface Aim extends Bracket {
  /** The key that is likely, and by how many standard errors. */
  readonly likely: Likely | null;
  /** The share of the elements of the bracket's most frequent key. */
  readonly mode: number;
  /** Null where the rank is of the non-zero elements, whose number is not known either. */
  readonly doubt: Doubt | null;
  /** Most keys have no bits but the upper ones. */
  readonly grained: boolean;
}

/** By how many standard errors a rank is inside of those of a key. */
export function insideOf({ above, count }: Mode, rank: number, error: number): number {
  return Math.min(rank - above, above + count - rank) / error;
}

/** The aim at the key whose rank is this share of all elements, or of those that are not zero. */
export function aim(sample: Sample, share: number, ofNonzero: boolean): Aim {
  const rank = share * (ofNonzero ? sample.nonzero : sample.count);
  const alone = rank * (1 - share) + 1;
  const variance = Math.max(alone, sample.variance(share, ofNonzero, rank));
  const error = Math.sqrt(variance);
  const between = ((variance - alone) * sample.pieces) / sample.count ** 2;
  const doubt = ofNonzero ? null : { share, between };
  const { grained } = sample;
  const middle = Math.max(1, Math.round(rank));
  const hot = middle > sample.nonzero ? noKey : sample.ranked(middle);
  const near = within(sample, rank, oneKeyErrors * error + 1);
  if (near.low === hot && near.high === hot + 1)
    return { ...near, hot, likely: { key: hot, errors: oneKeyErrors }, mode: 1, doubt, grained };
  const wide = within(sample, rank, bracketErrors * error + 1);
  const mode = sample.mode(wide.low, wide.high);
  const likely = mode && { key: mode.key, errors: insideOf(mode, rank, error) };
  return { ...wide, hot: mode?.key ?? hot, likely, mode: (mode?.count ?? 0) / sample.count, doubt, grained };
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

/** Above every key. */
const keyEnd = 0x80000000;
