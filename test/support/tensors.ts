// Reads whole small safetensors files into f64, for comparisons. Kept apart from src on purpose: JSON.parse and DataView, nothing
// shared with the reader under test.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface PlainTensor {
  dtype: string;
  shape: number[];
  values: Float64Array;
}

export function readSafetensors(path: string): Map<string, PlainTensor> {
  const bytes = readFileSync(path);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString("utf8")) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, PlainTensor>();
  for (const [name, t] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [start, end] = t.data_offsets;
    const width = { F32: 4, BF16: 2, F16: 2, F64: 8, F8_E4M3: 1, F8_E5M2: 1 }[t.dtype]!;
    const values = new Float64Array((end - start) / width);
    for (let i = 0; i < values.length; i++) values[i] = decode(view, 8 + length + start + i * width, t.dtype);
    tensors.set(name, { dtype: t.dtype, shape: t.shape, values });
  }
  return tensors;
}

/** All safetensors files of a folder. */
export function readCheckpoint(folder: string): Map<string, PlainTensor> {
  const files = readdirSync(folder).filter((f) => f.endsWith(".safetensors"));
  return new Map(files.flatMap((f) => [...readSafetensors(join(folder, f))]));
}

function decode(view: DataView, at: number, dtype: string): number {
  if (dtype === "F32") return view.getFloat32(at, true);
  if (dtype === "F64") return view.getFloat64(at, true);
  if (dtype.startsWith("F8")) return decode8(view.getUint8(at), dtype === "F8_E4M3" ? 3 : 2);
  const bits = view.getUint16(at, true);
  if (dtype === "BF16") {
    const wide = new DataView(new ArrayBuffer(4));
    wide.setUint32(0, bits * 65536);
    return wide.getFloat32(0);
  }
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** fp8 with 3 bits of fraction (E4M3, no infinities) or 2 (E5M2). */
function decode8(bits: number, fractionBits: 2 | 3): number {
  const sign = bits & 0x80 ? -1 : 1;
  const magnitude = bits & 0x7f;
  const exponent = magnitude >> fractionBits;
  const fraction = (magnitude & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  const bias = fractionBits === 3 ? 7 : 15;
  if (fractionBits === 3 ? magnitude === 0x7f : magnitude > 0x7c) return Number.NaN;
  if (fractionBits === 2 && magnitude === 0x7c) return sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}
