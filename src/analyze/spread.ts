// How deltas spread: a histogram by the upper half of the bits of δ (sign, exponent and seven bits of fraction, the grid of bf16),
// with the sum of the lower halves in every bin. Integers throughout, so that parts add up to the same in any order. A bin is at
// most 2⁻⁷ of its value wide; where its lower halves sum to zero all of it is one value, which of deltas of bf16 most are.

import type { Bounded, Magnitudes, Signed } from "./analysis.ts";

export interface Spread {
  /** Ascending. */
  readonly bins: Uint16Array;
  readonly counts: Float64Array;
  readonly lows: Float64Array;
}

export const noSpread: Spread = {
  bins: new Uint16Array(0),
  counts: new Float64Array(0),
  lows: new Float64Array(0),
};

/** How far a value may be from the one that it stands for, as a share of itself. */
export const binError = 2 ** -7;
const negative = 0x8000;
const halfKeys = 2 ** 16;

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The f32 of a key, a number of 31 bits. */
export function ofKey(key: number): number {
  word[0] = key;
  return float[0]!;
}

/** The key of |x| rounded to f32. */
export function keyOf(x: number): number {
  float[0] = Math.abs(x);
  return word[0]!;
}

export function addSpreads(a: Spread, b: Spread): Spread {
  if (a.bins.length === 0) return b;
  if (b.bins.length === 0) return a;
  const most = a.bins.length + b.bins.length;
  const to = { bins: new Uint16Array(most), counts: new Float64Array(most), lows: new Float64Array(most) };
  let used = 0;
  for (let i = 0, j = 0; i < a.bins.length || j < b.bins.length; used++) {
    const [x, y] = [a.bins[i] ?? halfKeys, b.bins[j] ?? halfKeys];
    to.bins[used] = Math.min(x, y);
    if (x <= y) {
      to.counts[used]! += a.counts[i]!;
      to.lows[used]! += a.lows[i++]!;
    }
    if (y <= x) {
      to.counts[used]! += b.counts[j]!;
      to.lows[used]! += b.lows[j++]!;
    }
  }
  return { bins: to.bins.slice(0, used), counts: to.counts.slice(0, used), lows: to.lows.slice(0, used) };
}

/** What a slice or a tensor counted. */
export interface Bins {
  readonly bins: Uint16Array;
  readonly counts: ArrayLike<number>;
  readonly lows: ArrayLike<number>;
}

/**
 * Adds `b` to `a`, which is the caller's own and may change; returns the sum. Slices of a tensor mostly have the same bins, so that
 * mostly nothing new is made: collectors let typed arrays lie for long.
 */
export function addTo(a: Spread, b: Bins): Spread {
  if (b.bins.length === 0) return a;
  if (!holds(a.bins, b.bins))
    return addSpreads(a, {
      bins: b.bins.slice(),
      counts: Float64Array.from(b.counts),
      lows: Float64Array.from(b.lows),
    });
  for (let i = 0, j = 0; j < b.bins.length; j++) {
    while (a.bins[i]! < b.bins[j]!) i++;
    a.counts[i]! += b.counts[j]!;
    a.lows[i]! += b.lows[j]!;
  }
  return a;
}

/** Whether all of `inner` are in `outer`; both ascend. */
function holds(outer: Uint16Array, inner: Uint16Array): boolean {
  let i = 0;
  for (const bin of inner) {
    while (i < outer.length && outer[i]! < bin) i++;
    if (outer[i] !== bin) return false;
  }
  return true;
}

/** Of |δ|: the bins of both signs together. */
export function unsigned(s: Spread): Spread {
  const from = s.bins.findIndex((b) => b >= negative);
  if (from < 0) return s;
  const upper = {
    bins: s.bins.slice(from).map((b) => b - negative),
    counts: s.counts.slice(from),
    lows: s.lows.slice(from),
  };
  return addSpreads(
    { bins: s.bins.slice(0, from), counts: s.counts.slice(0, from), lows: s.lows.slice(0, from) },
    upper,
  );
}

/** All elements of a bin are known to be one value. */
function isOne(s: Spread, i: number): boolean {
  return s.lows[i] === 0 || s.counts[i] === 1;
}

/** The key that a bin stands for: the mean of its own. */
function keyAt(s: Spread, i: number): number {
  return s.bins[i]! * halfKeys + Math.round(s.lows[i]! / s.counts[i]!);
}

export interface Ranked {
  readonly value: number;
  /** Share of the value that it may be off by: 0 or `binError`. */
  readonly error: number;
  /** How many are in lower bins, and in its own. */
  readonly below: number;
  readonly within: number;
}

/** The element of rank `rank`, from 0, in ascending order; of unsigned bins. */
export function ranked(s: Spread, rank: number): Ranked {
  let below = 0;
  let i = 0;
  while (i < s.bins.length - 1 && below + s.counts[i]! <= rank) below += s.counts[i++]!;
  if (s.bins.length === 0) return { value: 0, error: 0, below: 0, within: 0 };
  return { value: ofKey(keyAt(s, i)), error: isOne(s, i) ? 0 : binError, below, within: s.counts[i]! };
}

/** How many |δ| are below `limit`, an f32; of unsigned bins. Within the limit's own bin they are taken to spread evenly. */
export function countBelow(s: Spread, limit: number): Bounded {
  const key = keyOf(limit);
  const bin = Math.floor(key / halfKeys);
  let below = 0;
  let i = 0;
  while (i < s.bins.length && s.bins[i]! < bin) below += s.counts[i++]!;
  if (s.bins[i] !== bin) return { value: below, low: below, high: below };
  const n = s.counts[i]!;
  if (isOne(s, i)) {
    const all = keyAt(s, i) < key ? below + n : below;
    return { value: all, low: all, high: all };
  }
  return { value: below + Math.round((n * (key % halfKeys)) / halfKeys), low: below, high: below + n };
}

/** By powers of two; `zeros` of the lowest bin are exact zeros. Below 2⁻¹²⁶ all are one. */
export function magnitudes(s: Spread, zeros: number): Magnitudes {
  const counts = new Array<number>(256).fill(0);
  s.bins.forEach((bin, i) => {
    counts[bin >>> 7]! += s.counts[i]!;
  });
  counts[0]! -= zeros;
  const first = counts.findIndex((n) => n > 0);
  if (first < 0) return { first: 0, counts: [] };
  const last = counts.findLastIndex((n) => n > 0);
  return { first: first - 127, counts: counts.slice(first, last + 1) };
}

const signedRange = 5;
const signedBins = 80;

/** Of signed bins: by δ/rms. */
export function signedCounts(s: Spread, rms: number, zeros: number): Signed {
  const width = (2 * signedRange) / signedBins;
  const counts = new Array<number>(signedBins).fill(0);
  const sums = { below: 0, above: 0, negative: 0, positive: 0 };
  let left = zeros;
  s.bins.forEach((bin, i) => {
    let n = s.counts[i]!;
    if (bin === 0 || bin === negative) {
      // Zeros of both signs, and what is below 2^-133 with them.
      const here = Math.min(n, left);
      left -= here;
      n -= here;
    }
    if (n === 0) return;
    const sign = bin >= negative ? -1 : 1;
    const magnitude = ofKey((bin % negative) * halfKeys + Math.round(s.lows[i]! / s.counts[i]!));
    sums[sign < 0 ? "negative" : "positive"] += n;
    const at = Math.floor((sign * (magnitude / rms) + signedRange) / width);
    if (at < 0) sums.below += n;
    else if (at >= signedBins) sums.above += n;
    else counts[at]! += n;
  });
  return { range: signedRange, width, counts, ...sums };
}
