// The kernels of one dtype, picked once per task instead of once per tile.

import type { FloatDtype } from "../tensor/dtype.ts";
import type { Kernel } from "./kernel.ts";

export interface LaneKernels {
  /** f32 ← dtype. */
  decode(out: number, from: number, count: number): void;
  /** dtype ← f32, nearest even, canonical NaN. */
  encode(out: number, from: number, count: number): void;
  nonfinite(from: number, count: number): number;
  firstNonfinite(from: number, count: number): number;
}

export function kernelsFor(kernel: Kernel, dtype: FloatDtype): LaneKernels {
  const e = kernel.exports;
  switch (dtype) {
    case "F32":
      return {
        decode: e.decode_f32,
        encode: e.encode_f32,
        nonfinite: e.nonfinite_f32,
        firstNonfinite: e.first_nonfinite_f32,
      };
    case "BF16":
      return {
        decode: e.decode_bf16,
        encode: e.encode_bf16,
        nonfinite: e.nonfinite_bf16,
        firstNonfinite: e.first_nonfinite_bf16,
      };
    case "F16":
      return {
        decode: e.decode_f16,
        encode: e.encode_f16,
        nonfinite: e.nonfinite_f16,
        firstNonfinite: e.first_nonfinite_f16,
      };
    case "F64":
      return {
        decode: e.decode_f64,
        encode: e.encode_f64,
        nonfinite: e.nonfinite_f64,
        firstNonfinite: e.first_nonfinite_f64,
      };
    case "F8_E4M3":
      return {
        decode: e.decode_f8_e4m3,
        encode: e.encode_f8_e4m3,
        nonfinite: e.nonfinite_f8_e4m3,
        firstNonfinite: e.first_nonfinite_f8_e4m3,
      };
    case "F8_E5M2":
      return {
        decode: e.decode_f8_e5m2,
        encode: e.encode_f8_e5m2,
        nonfinite: e.nonfinite_f8_e5m2,
        firstNonfinite: e.first_nonfinite_f8_e5m2,
      };
  }
}

/** The largest finite value of a dtype: what `--overflow saturate` stores. */
export const maxFinite: Readonly<Record<FloatDtype, number>> = {
  F32: 3.4028234663852886e38,
  BF16: 3.3895313892515355e38,
  F16: 65504,
  /** Values are made in f32. */
  F64: 3.4028234663852886e38,
  F8_E4M3: 448,
  F8_E5M2: 57344,
};

/** Bits of fraction, and the exponent of the smallest normal number, of the dtypes that stochastic rounding can aim at. */
export const shapes: Readonly<Partial<Record<FloatDtype, { readonly fraction: number; readonly lowest: number }>>> = {
  BF16: { fraction: 7, lowest: -126 },
  F16: { fraction: 10, lowest: -14 },
  F8_E4M3: { fraction: 3, lowest: -6 },
  F8_E5M2: { fraction: 2, lowest: -14 },
};
