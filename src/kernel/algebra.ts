// Matrices in a worker's memory: where they lie, and the kernels on them under the names of linear algebra. One matrix is one
// task, so the order of every sum is fixed by this code and the shapes.

import type { KernelExports, Pointer } from "./exports.ts";
import type { Kernel } from "./kernel.ts";

/** A row-major matrix, or part of one. */
export interface Matrix {
  readonly at: Pointer;
  readonly rows: number;
  readonly columns: number;
  /** Elements from a row to the next, and from a column to the next: a transposed matrix has them swapped. */
  readonly row: number;
  readonly column: number;
  /** Elements are f32, not f64. */
  readonly narrow: boolean;
}

/** Called between blocks of work, with the floating-point operations done since the last call. Throws to stop. */
export type Pause = (flops: number) => void | Promise<void>;

/** Rows of a product that are made before the next pause: some 10⁹ operations for matrices of 4,096 columns. */
const rowsAtOnce = 192;

export function transposed(m: Matrix): Matrix {
  return { ...m, rows: m.columns, columns: m.rows, row: m.column, column: m.row };
}

export function part(m: Matrix, row: number, rows: number, column: number, columns: number): Matrix {
  const at = m.at + (row * m.row + column * m.column) * (m.narrow ? 4 : 8);
  return { ...m, at, rows, columns };
}

export const rowsOf = (m: Matrix, first: number, count: number): Matrix => part(m, first, count, 0, m.columns);
export const columnsOf = (m: Matrix, first: number, count: number): Matrix => part(m, 0, m.rows, first, count);

/** Bytes that `Algebra` keeps for products. */
export function scratchBytes(e: KernelExports): number {
  return e.gemm_scratch() + 64;
}

export class Algebra {
  readonly e: KernelExports;
  /** All of the memory. Made when it has its final size. */
  readonly f64: Float64Array;
  private readonly kernel: Kernel;
  private readonly scratch: Pointer;
  private at: Pointer;
  private readonly end: Pointer;

  constructor(kernel: Kernel, start: Pointer) {
    this.kernel = kernel;
    this.e = kernel.exports;
    this.f64 = new Float64Array(kernel.memory.buffer);
    this.end = kernel.heapStart + kernel.byteLength;
    this.at = start;
    this.scratch = this.bytes(kernel.exports.gemm_scratch());
  }

  /** Takes memory, aligned to a cache line; its contents are what was there. */
  bytes(count: number): Pointer {
    const here = Math.ceil(this.at / 64) * 64;
    this.at = here + count;
    if (this.at > this.end) throw new RangeError(`a matrix lacks ${this.at - this.end} bytes of memory`);
    return here;
  }

  matrix(rows: number, columns: number): Matrix {
    return { at: this.bytes(rows * columns * 8), rows, columns, row: columns, column: 1, narrow: false };
  }

  narrowMatrix(rows: number, columns: number): Matrix {
    return { at: this.bytes(rows * columns * 4), rows, columns, row: columns, column: 1, narrow: true };
  }

  /** What is taken inside `use` is free again after it. */
  async lend<T>(use: () => Promise<T>): Promise<T> {
    const before = this.at;
    const result = await use();
    this.at = before;
    return result;
  }

  u8(at: Pointer, count: number): Uint8Array {
    return this.kernel.u8(at, count);
  }

  clear(m: Matrix): void {
    for (let i = 0; i < m.rows; i++) this.row(m, i).fill(0);
  }

  /** A row as a view; the matrix must be f64 and not transposed. */
  row(m: Matrix, i: number): Float64Array {
    const first = m.at / 8 + i * m.row;
    return this.f64.subarray(first, first + m.columns);
  }

  rowAt(m: Matrix, i: number): Pointer {
    return m.at + i * m.row * (m.narrow ? 4 : 8);
  }

  /** c ← c + factor·a·b. */
  addProduct(c: Matrix, a: Matrix, b: Matrix, factor = 1): void {
    this.e.gemm_f64(
      c.at,
      c.row,
      a.at,
      a.narrow ? 1 : 0,
      a.row,
      a.column,
      b.at,
      b.narrow ? 1 : 0,
      b.row,
      b.column,
      c.rows,
      c.columns,
      a.columns,
      factor,
      this.scratch,
    );
  }

  /** c ← a·b, a block of rows at a time. */
  async product(c: Matrix, a: Matrix, b: Matrix, pause: Pause): Promise<void> {
    this.clear(c);
    for (let i = 0; i < c.rows; i += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, c.rows - i);
      this.addProduct(rowsOf(c, i, rows), rowsOf(a, i, rows), b);
      await pause(2 * rows * c.columns * a.columns);
    }
  }

  /** The lower triangle of c + a·bᵀ, which is known to be symmetric; above it lies what the blocks bring along. */
  async addSymmetric(c: Matrix, a: Matrix, b: Matrix, pause: Pause, factor = 1): Promise<void> {
    const bt = transposed(b);
    for (let i = 0; i < c.rows; i += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, c.rows - i);
      const columns = i + rows;
      this.addProduct(part(c, i, rows, 0, columns), rowsOf(a, i, rows), columnsOf(bt, 0, columns), factor);
      await pause(2 * rows * columns * a.columns);
    }
  }

  dot(a: Pointer, b: Pointer, count: number): number {
    return this.e.dot_f64(a, b, count);
  }

  /** Mirrors the lower triangle into the upper one. */
  mirror(m: Matrix): void {
    const { f64 } = this;
    const base = m.at / 8;
    for (let i = 0; i < m.rows; i++) for (let j = 0; j < i; j++) f64[base + j * m.row + i] = f64[base + i * m.row + j]!;
  }
}
