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
 * The same where the bracket stays wide, and only the merge that is tried needs the key: right, it spares one reading in two, wrong,
 * one merge was for nothing.
 */
export const likelyErrors = 1.5;

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

export interface Aim extends Bracket {
  /** The key, where one is likely enough to be tried. */
  readonly likely: number | null;
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
  if (near.low === hot && near.high === hot + 1) return { ...near, hot, likely: hot, mode: 1, doubt, grained };
  const wide = within(sample, rank, bracketErrors * error + 1);
  const mode = sample.mode(wide.low, wide.high);
  const likely = mode && insideOf(mode, rank, error) >= likelyErrors ? mode.key : null;
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
