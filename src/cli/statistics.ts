// Statistics of one tensor, read in pieces, for `braid inspect`. Decoding is plain JavaScript on purpose: it covers every
// dtype with a meaning as a number, is fast enough to look at a tensor, and is independent of the kernels.

import type { ByteSource } from "../bytes/source.ts";
import { byteWidth, type Dtype } from "../tensor/dtype.ts";

/** Bytes read at a time. */
const pieceBytes = 1 << 20;

type Decode = (view: DataView, index: number) => number;

/** IEEE 754 binary16; also what its subnormals mean. */
export function decodeF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

const word = new DataView(new ArrayBuffer(4));

const decoders: Partial<Record<Dtype, Decode>> = {
  F32: (view, i) => view.getFloat32(i * 4, true),
  F64: (view, i) => view.getFloat64(i * 8, true),
  F16: (view, i) => decodeF16(view.getUint16(i * 2, true)),
  BF16: (view, i) => {
    word.setUint32(0, view.getUint16(i * 2, true) << 16);
    return word.getFloat32(0);
  },
  BOOL: (view, i) => view.getUint8(i),
  U8: (view, i) => view.getUint8(i),
  I8: (view, i) => view.getInt8(i),
  U16: (view, i) => view.getUint16(i * 2, true),
  I16: (view, i) => view.getInt16(i * 2, true),
  U32: (view, i) => view.getUint32(i * 4, true),
  I32: (view, i) => view.getInt32(i * 4, true),
  U64: (view, i) => Number(view.getBigUint64(i * 8, true)),
  I64: (view, i) => Number(view.getBigInt64(i * 8, true)),
};

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
