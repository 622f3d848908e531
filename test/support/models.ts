// Small checkpoints for tests, written with JSON.stringify and DataView: nothing shared with the writer under test.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface NewTestTensor {
  dtype?: "F32" | "BF16" | "F16" | "I64" | "BOOL" | "F64" | "F8_E4M3" | "F8_E5M2";
  shape?: number[];
  /** Values (rounded towards zero for the 16-bit dtypes: use representable ones), or the raw bytes. */
  data: readonly number[] | Uint8Array;
}

const widths = { F32: 4, BF16: 2, F16: 2, I64: 8, BOOL: 1, F64: 8, F8_E4M3: 1, F8_E5M2: 1 } as const;

function encode(dtype: keyof typeof widths, values: readonly number[]): Uint8Array {
  const out = new DataView(new ArrayBuffer(values.length * widths[dtype]));
  const wide = new DataView(new ArrayBuffer(4));
  values.forEach((v, i) => {
    if (dtype === "F32") out.setFloat32(4 * i, v, true);
    else if (dtype === "F64") out.setFloat64(8 * i, v, true);
    else if (dtype === "I64") out.setBigInt64(8 * i, BigInt(v), true);
    else if (dtype === "BOOL") out.setUint8(i, v);
    else if (dtype.startsWith("F8")) throw new Error("give fp8 as bytes");
    else if (dtype === "BF16") {
      wide.setFloat32(0, v);
      out.setUint16(2 * i, wide.getUint16(0), true);
    } else out.setUint16(2 * i, toHalf(v), true);
  });
  return new Uint8Array(out.buffer);
}

function toHalf(v: number): number {
  if (Number.isNaN(v)) return 0x7e00;
  const sign = v < 0 || Object.is(v, -0) ? 0x8000 : 0;
  const a = Math.abs(v);
  if (a === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  if (a < 2 ** -14) return sign | Math.floor(a / 2 ** -24);
  const e = Math.floor(Math.log2(a));
  return sign | ((e + 15) << 10) | Math.floor((a / 2 ** e - 1) * 1024);
}

/** The bytes of a safetensors file. */
export function safetensorsBytes(tensors: Record<string, NewTestTensor>): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const [name, t] of Object.entries(tensors)) {
    const dtype = t.dtype ?? "F32";
    const bytes = t.data instanceof Uint8Array ? t.data : encode(dtype, t.data);
    header[name] = { dtype, shape: t.shape ?? [bytes.length / widths[dtype]], data_offsets: [at, at + bytes.length] };
    parts.push(bytes);
    at += bytes.length;
  }
  let json = JSON.stringify(header);
  json += " ".repeat((8 - (json.length % 8)) % 8);
  const head = new TextEncoder().encode(json);
  const out = new Uint8Array(8 + head.length + at);
  new DataView(out.buffer).setBigUint64(0, BigInt(head.length), true);
  out.set(head, 8);
  let offset = 8 + head.length;
  for (const p of parts) {
    out.set(p, offset);
    offset += p.length;
  }
  return out;
}

/** Writes `folder` with a model.safetensors and a config.json. Returns the folder. */
export function writeModel(
  folder: string,
  tensors: Record<string, NewTestTensor>,
  config: Record<string, unknown> = { model_type: "llama" },
): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "model.safetensors"), safetensorsBytes(tensors));
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}
