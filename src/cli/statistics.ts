// Statistics of one tensor, read in pieces, for `braid inspect`.

import type { ByteSource } from "../bytes/source.ts";
import { decoders } from "../tensor/decode.ts";
import { byteWidth, type Dtype } from "../tensor/dtype.ts";

/** Bytes read at a time. */
const pieceBytes = 1 << 20;

export interface Statistics {
  /** Of the finite elements; null when there is none. */
  readonly min: number | null;
  readonly max: number | null;
  readonly mean: number | null;
  readonly absMean: number | null;
  /** Population standard deviation. */
  readonly std: number | null;
  readonly zeros: number;
  readonly nonFinite: number;
  readonly first: readonly number[];
}

/** Statistics of the elements at [start, end) of a source, or null for a dtype that is not decoded here. */
export async function readStatistics(
  source: ByteSource,
  { dtype, start, end }: { dtype: Dtype; start: number; end: number },
  firstValues: number,
  signal: AbortSignal,
): Promise<Statistics | null> {
  const decode = decoders[dtype];
  if (!decode) return null;
  const width = byteWidth(dtype);
  const buffer = new Uint8Array(Math.min(pieceBytes, end - start));
  const first: number[] = [];
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let [finite, zeros, nonFinite, absSum] = [0, 0, 0, 0];
  // Welford's update: a plain Σx² − (Σx)²/n loses everything when the mean is large beside the deviation.
  let [mean, squares] = [0, 0];
  for (let at = start; at < end; at += buffer.length) {
    signal.throwIfAborted();
    const piece = buffer.subarray(0, Math.min(buffer.length, end - at));
    await source.read(at, piece);
    const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
    for (let i = 0; i < piece.length / width; i++) {
      const x = decode(view, i);
      if (first.length < firstValues) first.push(x);
      if (!Number.isFinite(x)) {
        nonFinite++;
        continue;
      }
      if (x === 0) zeros++;
      if (x < min) min = x;
      if (x > max) max = x;
      absSum += Math.abs(x);
      const delta = x - mean;
      mean += delta / ++finite;
      squares += delta * (x - mean);
    }
    // Let a signal be heard between pieces.
    await new Promise((resume) => setTimeout(resume, 0));
  }
  const some = finite > 0;
  return {
    min: some ? min : null,
    max: some ? max : null,
    mean: some ? mean : null,
    absMean: some ? absSum / finite : null,
    std: some ? Math.sqrt(squares / finite) : null,
    zeros,
    nonFinite,
    first,
  };
}
