// Elements as numbers, one at a time. Plain JavaScript on purpose: it covers every dtype with a meaning as a number, is fast enough
// to look at tensors, and is independent of the kernels.

import type { Dtype } from "./dtype.ts";

export type Decode = (view: DataView, index: number) => number;

/** IEEE 754 binary16; also what its subnormals mean. */
export function decodeF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

const word = new DataView(new ArrayBuffer(4));

export const decoders: Readonly<Partial<Record<Dtype, Decode>>> = {
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
