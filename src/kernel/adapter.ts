// A weight with low-rank adapters folded in: W + Σ s·B·A (Hu et al. 2021, arXiv 2106.09685), a few rows at a time, so that
// neither the product nor the folded weight is ever whole in memory. DoRA (arXiv 2402.09353) then gives every row its length.

import type { FloatDtype } from "../tensor/dtype.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor } from "./lanes.ts";
import type { Scratch } from "./operand.ts";
import { tileElements } from "./program.ts";
import type { Reader, ViewSource } from "./view.ts";

/** One adapter: element (i, j) of its product is Σ over k of left(i, k)·right(k, j). */
export interface AdapterFactor {
  readonly rank: number;
  readonly scale: number;
  /** `A`, [rank, in]. */
  readonly a: ViewSource;
  /** `B`, [out, rank]; null means all ones (the bias of an adapter is its own product). */
  readonly b: ViewSource | null;
  /**
   * False: the weight is [out, in], so left is B and right is A. True: the weight is [in, out] (Conv1D of GPT-2, embeddings), so
   * left is the transpose of A and right that of B.
   */
  readonly transposed: boolean;
}

export interface AdapterView {
  readonly op: "adapter";
  readonly rows: number;
  readonly columns: number;
  readonly weight: ViewSource;
  readonly factors: readonly AdapterFactor[];
  /** DoRA: the length of every row, [rows]; or null. */
  readonly magnitude: ViewSource | null;
  /** Round the folded weight to this dtype, as PEFT does that folds into a bf16 model; null keeps f32. */
  readonly round: FloatDtype | null;
}

/** Rows of `left` that are fetched together. */
const batchRows = 64;
/** Rows that `fold_four` makes, 4096 × 4096 at rank 64 in 6.6 ns an element instead of 9.3: A fits no cache near by. */
const blockRows = 4;

export function adapterSources({ weight, factors, magnitude }: AdapterView): ViewSource[] {
  return [weight, ...factors.flatMap(({ a, b }) => (b ? [a, b] : [a])), ...(magnitude ? [magnitude] : [])];
}

export function moveAdapter(view: AdapterView, move: (source: ViewSource) => ViewSource): AdapterView {
  const factors = view.factors.map((f) => ({ ...f, a: move(f.a), b: f.b && move(f.b) }));
  return { ...view, weight: move(view.weight), factors, magnitude: view.magnitude && move(view.magnitude) };
}

/** Bytes of a worker's memory: the right factors whole, left rows of a batch, a row for DoRA, and tiles. */
export function adapterBytes({ columns, factors, magnitude }: AdapterView): number {
  const factorBytes = factors.reduce((sum, { rank }) => sum + rank * (columns + 2 * batchRows) * 4 + 48, 0);
  return factorBytes + (4 + blockRows) * (tileElements * 4 + 16) + (magnitude ? columns * 4 + 16 : 0);
}

interface Loaded {
  readonly factor: AdapterFactor;
  readonly a: Reader;
  readonly b: Reader | null;
  readonly right: number;
  readonly left: number;
}

export class AdapterReader implements Reader {
  private readonly kernel: Kernel;
  private readonly view: AdapterView;
  private readonly weight: Reader;
  private readonly magnitude: Reader | null;
  private readonly loaded: readonly Loaded[];
  private readonly raw: number;
  private readonly tile: number;
  private readonly product: number;
  private readonly wholeRow: number;
  private ready = false;
  /** Rows whose left factors are in memory. */
  private batch = { first: 0, end: 0 };

  constructor(kernel: Kernel, view: AdapterView, scratch: Scratch, open: (source: ViewSource) => Reader) {
    this.kernel = kernel;
    this.view = view;
    this.raw = scratch.take(tileElements * 8);
    this.tile = scratch.take(tileElements * 4);
    this.product = scratch.take(blockRows * tileElements * 4);
    this.wholeRow = view.magnitude ? scratch.take(view.columns * 4) : 0;
    this.loaded = view.factors.map((factor) => ({
      factor,
      a: open(factor.a),
      b: factor.b && open(factor.b),
      right: scratch.take(factor.rank * view.columns * 4),
      left: scratch.take(factor.rank * batchRows * 4),
    }));
    this.weight = open(view.weight);
    this.magnitude = view.magnitude && open(view.magnitude);
  }

  async read(first: number, count: number, to: number): Promise<void> {
    if (!this.ready) for (const l of this.loaded) await this.loadRight(l);
    this.ready = true;
    const { columns } = this.view;
    for (let done = 0; done < count; ) {
      const at = first + done;
      const row = Math.floor(at / columns);
      const column = at - row * columns;
      const n = Math.min(count - done, columns - column);
      if (row < this.batch.first || row >= this.batch.end) await this.loadBatch(row);
      const out = to + done * 4;
      if (this.magnitude) {
        await this.row(row, 0, columns, this.wholeRow);
        await this.stretch(row);
        this.kernel.u8(out, n * 4).set(this.kernel.u8(this.wholeRow + column * 4, n * 4));
      } else if (column === 0 && count - done >= blockRows * columns && row + blockRows <= this.batch.end) {
        await this.block(row, out);
        done += blockRows * columns;
        continue;
      } else await this.row(row, column, n, out);
      done += n;
    }
  }

  /** Columns [column, column + count) of a row of W + Σ s·B·A, as f32. */
  private async row(row: number, column: number, count: number, out: number): Promise<void> {
    const { columns, weight, round } = this.view;
    const e = this.kernel.exports;
    const lanes = kernelsFor(this.kernel, weight.dtype);
    for (let t = 0; t < count; t += tileElements) {
      const n = Math.min(tileElements, count - t);
      const acc = out + t * 4;
      const pending = this.weight.read(row * columns + column + t, n, this.raw);
      if (pending) await pending;
      lanes.decode(acc, this.raw, n);
      for (const { factor, left, right } of this.loaded) {
        const from = left + (row - this.batch.first) * factor.rank * 4;
        e.fold_row(this.product, from, right + (column + t) * 4, factor.rank, columns, n);
        e.axpy(acc, this.product, factor.scale, n);
        if (round) this.round(round, acc, n);
      }
    }
  }

  /** Four whole rows from `row` on, which are in the batch: each as `row` makes it. */
  private async block(row: number, out: number): Promise<void> {
    const { columns, weight, round } = this.view;
    const e = this.kernel.exports;
    const lanes = kernelsFor(this.kernel, weight.dtype);
    for (let t = 0; t < columns; t += tileElements) {
      const n = Math.min(tileElements, columns - t);
      for (let i = 0; i < blockRows; i++) {
        const pending = this.weight.read((row + i) * columns + t, n, this.raw);
        if (pending) await pending;
        lanes.decode(out + (i * columns + t) * 4, this.raw, n);
      }
      for (const { factor, left, right } of this.loaded) {
        const from = left + (row - this.batch.first) * factor.rank * 4;
        e.fold_four(this.product, tileElements, from, right + t * 4, factor.rank, columns, n);
        for (let i = 0; i < blockRows; i++) {
          const acc = out + (i * columns + t) * 4;
          e.axpy(acc, this.product + i * tileElements * 4, factor.scale, n);
          if (round) this.round(round, acc, n);
        }
      }
    }
  }

  private round(dtype: FloatDtype, x: number, count: number): void {
    const lanes = kernelsFor(this.kernel, dtype);
    lanes.encode(this.tile, x, count);
    lanes.decode(x, this.tile, count);
  }

  /** Scales the whole row to its magnitude: m / ‖row‖, the norm from f64 sums of blocks of 4,096. */
  private async stretch(row: number): Promise<void> {
    const e = this.kernel.exports;
    const { columns, magnitude } = this.view;
    let squares = 0;
    for (let t = 0; t < columns; t += tileElements) {
      const at = this.wholeRow + t * 4;
      squares += e.dot(at, at, Math.min(tileElements, columns - t));
    }
    const pending = this.magnitude!.read(row, 1, this.raw);
    if (pending) await pending;
    kernelsFor(this.kernel, magnitude!.dtype).decode(this.tile, this.raw, 1);
    const m = new Float32Array(this.kernel.memory.buffer, this.tile, 1)[0]!;
    const norm = Math.sqrt(squares);
    // A row of zeros has no direction to stretch.
    if (norm > 0) e.scale(this.wholeRow, this.wholeRow, Math.fround(m / norm), columns);
  }

  private async loadRight({ factor, a, b, right }: Loaded): Promise<void> {
    const { columns } = this.view;
    const { rank } = factor;
    if (!factor.transposed) return this.load(a, factor.a.dtype, 0, rank * columns, right);
    // right(k, j) = B(j, k): rows of B become columns.
    const f32 = new Float32Array(this.kernel.memory.buffer);
    const rowsAtOnce = Math.max(1, Math.floor(tileElements / rank));
    for (let j = 0; j < columns; j += rowsAtOnce) {
      const n = Math.min(rowsAtOnce, columns - j);
      await this.load(b!, factor.b!.dtype, j * rank, n * rank, this.tile);
      for (let r = 0; r < n; r++)
        for (let k = 0; k < rank; k++) f32[right / 4 + k * columns + j + r] = f32[this.tile / 4 + r * rank + k]!;
    }
  }

  private async loadBatch(row: number): Promise<void> {
    const { rows } = this.view;
    const n = Math.min(batchRows, rows - row);
    const f32 = new Float32Array(this.kernel.memory.buffer);
    for (const { factor, a, b, left } of this.loaded) {
      const { rank } = factor;
      if (!b) f32.fill(1, left / 4, left / 4 + n * rank);
      else if (!factor.transposed) await this.load(b, factor.b!.dtype, row * rank, n * rank, left);
      else {
        // left(i, k) = A(k, i): a few elements of each row of A.
        for (let k = 0; k < rank; k++) {
          await this.load(a, factor.a.dtype, k * rows + row, n, this.tile);
          for (let i = 0; i < n; i++) f32[left / 4 + i * rank + k] = f32[this.tile / 4 + i]!;
        }
      }
    }
    this.batch = { first: row, end: row + n };
  }

  /** `count` elements from `first` on, as f32. */
  private async load(reader: Reader, dtype: FloatDtype, first: number, count: number, to: number): Promise<void> {
    const lanes = kernelsFor(this.kernel, dtype);
    for (let t = 0; t < count; t += tileElements) {
      const n = Math.min(tileElements, count - t);
      const pending = reader.read(first + t, n, this.raw);
      if (pending) await pending;
      lanes.decode(to + t * 4, this.raw, n);
    }
  }
}
