// Of the table of kernels: those of whole matrices, for the spectral methods and for the forward pass of a model.

import type { Pointer } from "./pointer.ts";

export interface MatrixExports {
  // Matrices in f64, row-major; strides and counts in elements.

  gemm_scratch(): number;
  gemm_f64(
    c: Pointer,
    cRow: number,
    a: Pointer,
    /** 1: `a` is f32. */
    aNarrow: number,
    aRow: number,
    aColumn: number,
    b: Pointer,
    bNarrow: number,
    bRow: number,
    bColumn: number,
    m: number,
    n: number,
    depth: number,
    factor: number,
    scratch: Pointer,
  ): void;
  dot_f64(a: Pointer, b: Pointer, count: number): number;
  axpy_f64(acc: Pointer, x: Pointer, factor: number, count: number): void;
  axpy_f64_f32(acc: Pointer, x: Pointer, factor: number, count: number): void;
  scale_f64(x: Pointer, factor: number, count: number): void;
  rotate_f64(x: Pointer, y: Pointer, c: number, s: number, count: number): void;
  symv_f64(y: Pointer, a: Pointer, stride: number, x: Pointer, n: number): void;
  transpose_f32(out: Pointer, outRow: number, input: Pointer, inRow: number, m: number, n: number): void;
  narrow_f64(out: Pointer, x: Pointer, count: number): void;
  fourier_step(
    y: Pointer,
    x: Pointer,
    n: number,
    p: number,
    s: number,
    twiddles: Pointer,
    back: number,
    corner: Pointer,
  ): void;
  multiply_complex(out: Pointer, a: Pointer, b: Pointer, count: number): void;

  // The forward pass of a Llama; x and out in f32.

  project_f32(out: Pointer, outPitch: number, x: Pointer, w: Pointer, rows: number, depth: number, count: number): void;
  project_bf16(out: Pointer, x: Pointer, w: Pointer, depth: number, count: number): void;
  rms_norm(out: Pointer, x: Pointer, weight: Pointer, epsilon: number, count: number): void;
  rotate_half(x: Pointer, cosines: Pointer, sines: Pointer, half: number): void;
  softmax(x: Pointer, scale: number, count: number): void;
  swiglu(gate: Pointer, up: Pointer, count: number): void;
}
