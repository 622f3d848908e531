// Inputs that are no tensor of a file but are made of some while they are read: rows put together from other matrices, weights
// with an adapter folded in. What a program sees is a tensor of one dtype; where its elements come from stays here, so every
// method works on every view.

import { byteWidth, type FloatDtype } from "../tensor/dtype.ts";
import { AdapterReader, type AdapterView, adapterBytes, adapterSources, moveAdapter } from "./adapter.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor } from "./lanes.ts";
import { MaskedReader, type MaskedView, maskedBytes } from "./masked.ts";
import type { Scratch } from "./operand.ts";
import type { Location, TaskInput } from "./program.ts";
import { tileElements } from "./program.ts";
import { ScaledReader, type ScaledView, scaledBytes } from "./scaled.ts";

/** A tensor that a view is made of; it may be a view itself. */
export interface ViewSource extends TaskInput {
  readonly dtype: FloatDtype;
}

/** Rows [first, first + count) of a view: each the mean of rows `row`, `row + 1`, … of the sources taken, in f32; of none, zeros. */
export interface RowRun {
  readonly first: number;
  readonly count: number;
  readonly take: readonly { readonly source: number; readonly row: number }[];
}

/** A matrix of `columns` columns whose rows come from other matrices of as many: embeddings of another vocabulary. */
export interface RowsView {
  readonly op: "rows";
  readonly columns: number;
  readonly sources: readonly ViewSource[];
  /** In ascending order, without gaps. */
  readonly runs: readonly RowRun[];
}

export type View = RowsView | AdapterView | ScaledView | MaskedView;

/** Fills `count` elements from element `first` of the tensor on, in the input's dtype, at `to` in the kernel's memory. */
export interface Reader {
  read(first: number, count: number, to: number): void | Promise<void>;
}

export interface ReadIo {
  read(at: Location, offset: number, target: Uint8Array): void | Promise<void>;
}

/** The dtype that a rows view has: that of its sources where rows are copied, f32 where any has to be computed. */
export function rowsDtype({ sources, runs }: RowsView): FloatDtype {
  const [first] = sources;
  const copied = runs.every((r) => r.take.length <= 1) && sources.every((s) => s.dtype === first?.dtype);
  return copied && first ? first.dtype : "F32";
}

/** Bytes of a worker's memory that reading an input takes beside the stride it fills. */
export function readerBytes(input: TaskInput): number {
  const { view } = input;
  if (!view) return 0;
  return sourcesOf(view).reduce((sum, s) => sum + readerBytes(s), ownBytes(view));
}

function ownBytes(view: View): number {
  switch (view.op) {
    case "adapter":
      return adapterBytes(view);
    case "scaled":
      return scaledBytes(view);
    case "masked":
      return maskedBytes();
    case "rows":
      return 2 * (tileElements * 8 + 16);
  }
}

/** What a view is made of, beside masks. */
function sourcesOf(view: View): readonly ViewSource[] {
  switch (view.op) {
    case "adapter":
      return adapterSources(view);
    case "scaled":
      return [view.weight, view.scales];
    case "masked":
      return [view.base, view.unified];
    case "rows":
      return view.sources;
  }
}

/** The part of a view that rows of elements [first, first + count) need: tasks carry no more. */
export function cutView(view: View, first: number, count: number): View {
  if (view.op !== "rows") return view;
  const from = Math.floor(first / view.columns);
  const end = Math.ceil((first + count) / view.columns);
  const runs = view.runs.slice(runAt(view.runs, from), runAt(view.runs, end - 1) + 1);
  return { ...view, runs };
}

/** A tensor with its files renumbered, and those of the view that it may be. */
export function moveSource<T extends TaskInput>(source: T, shift: number): T {
  const { file, view } = source;
  return { ...source, file: file + shift, ...(view ? { view: moveView(view, shift) } : {}) };
}

/** The same view with its files renumbered. */
export function moveView(view: View, shift: number): View {
  const move = <T extends TaskInput>(s: T): T => moveSource(s, shift);
  switch (view.op) {
    case "adapter":
      return moveAdapter(view, move);
    case "scaled":
      return { ...view, weight: move(view.weight), scales: move(view.scales) };
    case "masked":
      return { ...view, base: move(view.base), unified: move(view.unified), mask: move(view.mask) };
    case "rows":
      return { ...view, sources: view.sources.map(move) };
  }
}

export function createReader(
  kernel: Kernel,
  input: TaskInput,
  dtype: FloatDtype,
  io: ReadIo,
  scratch: Scratch,
): Reader {
  const { view } = input;
  if (view) {
    const open = (source: ViewSource) => createReader(kernel, source, source.dtype, io, scratch);
    switch (view.op) {
      case "adapter":
        return new AdapterReader(kernel, view, scratch, open);
      case "scaled":
        return new ScaledReader(kernel, view, scratch, open);
      case "masked":
        return new MaskedReader(kernel, view, io, scratch, open);
      case "rows":
        return new RowsReader(kernel, view, dtype, scratch, open);
    }
  }
  const width = byteWidth(dtype);
  return { read: (first, count, to) => io.read(input, first * width, kernel.u8(to, count * width)) };
}

/** Index of the run that holds a row. */
function runAt(runs: readonly RowRun[], row: number): number {
  let low = 0;
  let high = runs.length - 1;
  while (low < high) {
    const mid = (low + high + 1) >> 1;
    if (runs[mid]!.first <= row) low = mid;
    else high = mid - 1;
  }
  return low;
}

class RowsReader implements Reader {
  private readonly kernel: Kernel;
  private readonly view: RowsView;
  private readonly dtype: FloatDtype;
  private readonly readers: readonly Reader[];
  private readonly raw: number;
  private readonly decoded: number;

  constructor(
    kernel: Kernel,
    view: RowsView,
    dtype: FloatDtype,
    scratch: Scratch,
    open: (source: ViewSource) => Reader,
  ) {
    this.kernel = kernel;
    this.view = view;
    this.dtype = dtype;
    this.raw = scratch.take(tileElements * 8);
    this.decoded = scratch.take(tileElements * 8);
    this.readers = view.sources.map(open);
  }

  async read(first: number, count: number, to: number): Promise<void> {
    const { runs, columns, sources } = this.view;
    const width = byteWidth(this.dtype);
    let done = 0;
    for (let r = runAt(runs, Math.floor(first / columns)); done < count; r++) {
      const run = runs[r]!;
      const at = first + done;
      const n = Math.min(count - done, (run.first + run.count) * columns - at);
      const target = to + done * width;
      // Element of a source that belongs to element `at` of the view.
      const place = (row: number) => at + (row - run.first) * columns;
      const [only] = run.take;
      if (!only) this.kernel.u8(target, n * width).fill(0);
      else if (run.take.length === 1 && sources[only.source]!.dtype === this.dtype) {
        const pending = this.readers[only.source]!.read(place(only.row), n, target);
        if (pending) await pending;
      } else await this.mean(run, place, n, target);
      done += n;
    }
  }

  /** The mean of a run's sources in f32, tile by tile: added in their order, then multiplied by 1/n. */
  private async mean({ take }: RowRun, place: (row: number) => number, count: number, to: number): Promise<void> {
    const e = this.kernel.exports;
    for (let t = 0; t < count; t += tileElements) {
      const n = Math.min(tileElements, count - t);
      const acc = to + t * 4;
      for (const [i, { source, row }] of take.entries()) {
        const { dtype } = this.view.sources[source]!;
        const pending = this.readers[source]!.read(place(row) + t, n, this.raw);
        if (pending) await pending;
        const into = i === 0 ? acc : this.decoded;
        kernelsFor(this.kernel, dtype).decode(into, this.raw, n);
        if (i > 0) e.axpy(acc, this.decoded, 1, n);
      }
      if (take.length > 1) e.scale(acc, acc, 1 / take.length, n);
    }
  }
}
