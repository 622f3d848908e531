// Which bytes of which files a task reads, so that they can travel with it, and a reader of what has travelled.

import type { AdapterView } from "../kernel/adapter.ts";
import type { Location, Task, TaskInput } from "../kernel/program.ts";
import { pieceElements } from "../kernel/program.ts";
import type { ReadIo, RowsView } from "../kernel/view.ts";
import { byteWidth, type FloatDtype } from "../tensor/dtype.ts";

/** Bytes [start, end) of a file of the job. */
export interface Range {
  readonly file: number;
  readonly start: number;
  readonly end: number;
}

/** A folded weight fetches this many rows of its factors at a time, and so up to as many beyond the last one it needs. */
const adapterRows = 64;

/** All that a task reads, by file and start, overlapping and touching ranges joined. A little more may be among it, never less. */
export function rangesOf(task: Task): Range[] {
  const found: Range[] = [];
  const width = (i: number) => {
    if (task.kind === "survey") return byteWidth(task.dtypes[i]!);
    return task.program.op === "copy" ? task.program.byteWidth : byteWidth(task.program.inputs[i]!);
  };
  const slices: [number, number][] =
    task.kind === "survey" && task.pieces
      ? task.pieces.map((first) => [first, task.pieceLength ?? pieceElements])
      : [[task.first, task.count]];
  task.inputs.forEach((input, i) => {
    for (const [first, count] of slices) collect(input, width(i), first, count, found);
  });
  return joined(found);
}

export const rangeBytes = (ranges: readonly Range[]): number => ranges.reduce((sum, r) => sum + r.end - r.start, 0);

function collect(input: TaskInput, width: number, first: number, count: number, into: Range[]): void {
  const { file, start, view } = input;
  if (count <= 0) return;
  if (!view) into.push({ file, start: start + first * width, end: start + (first + count) * width });
  else if (view.op === "rows") collectRows(view, first, count, into);
  else if (view.op === "adapter") collectAdapter(view, first, count, into);
  else if (view.op === "masked") {
    collectSource(view.base, first, count, into);
    collectSource(view.unified, first, count, into);
    const { file, start } = view.mask;
    into.push({ file, start: start + Math.floor(first / 8), end: start + Math.ceil((first + count) / 8) });
  } else {
    collectSource(view.weight, first, count, into);
    collectSource(view.scales, 0, view.scaleCount, into);
  }
}

function collectSource(
  source: (TaskInput & { readonly dtype: FloatDtype }) | null,
  first: number,
  count: number,
  into: Range[],
) {
  if (source) collect(source, byteWidth(source.dtype), first, count, into);
}

function collectRows({ runs, columns, sources }: RowsView, first: number, count: number, into: Range[]): void {
  for (const run of runs) {
    const from = Math.max(first, run.first * columns);
    const end = Math.min(first + count, (run.first + run.count) * columns);
    for (const { source, row } of run.take) {
      collectSource(sources[source]!, from + (row - run.first) * columns, end - from, into);
    }
  }
}

function collectAdapter(view: AdapterView, first: number, count: number, into: Range[]): void {
  const { rows, columns, weight, factors, magnitude } = view;
  const row = Math.floor(first / columns);
  const rowEnd = Math.ceil((first + count) / columns);
  const fetched = Math.min(rows, rowEnd + adapterRows) - row;
  // The length of a row takes the whole row.
  if (magnitude) collectSource(weight, row * columns, (rowEnd - row) * columns, into);
  else collectSource(weight, first, count, into);
  collectSource(magnitude, row, rowEnd - row, into);
  for (const { rank, a, b, transposed } of factors) {
    if (transposed) {
      collectSource(b, 0, columns * rank, into);
      for (let k = 0; k < rank; k++) collectSource(a, k * rows + row, fetched, into);
    } else {
      collectSource(a, 0, rank * columns, into);
      collectSource(b, row * rank, fetched * rank, into);
    }
  }
}

function joined(ranges: Range[]): Range[] {
  ranges.sort((a, b) => a.file - b.file || a.start - b.start);
  const out: { file: number; start: number; end: number }[] = [];
  for (const r of ranges) {
    const last = out.at(-1);
    if (last && last.file === r.file && r.start <= last.end) last.end = Math.max(last.end, r.end);
    else out.push({ ...r });
  }
  return out;
}

/** Reads from ranges that lie in `bytes` one after the other. */
export function rangeReader(ranges: readonly Range[], bytes: Uint8Array): ReadIo {
  let at = 0;
  const places = ranges.map((r) => {
    const place = { ...r, at };
    at += r.end - r.start;
    return place;
  });
  return {
    read({ file, start }: Location, offset, target) {
      const from = start + offset;
      let low = 0;
      let high = places.length - 1;
      while (low < high) {
        const mid = (low + high + 1) >> 1;
        const p = places[mid]!;
        if (p.file < file || (p.file === file && p.start <= from)) low = mid;
        else high = mid - 1;
      }
      const place = places[low];
      if (!place || place.file !== file || from < place.start || from + target.length > place.end) {
        throw new RangeError(
          `the task reads bytes ${from} to ${from + target.length} of file ${file}, which it did not name`,
        );
      }
      const source = place.at + from - place.start;
      target.set(bytes.subarray(source, source + target.length));
    },
  };
}

/** What is wrong with a list of ranges from a stranger, or null. */
export function rangesFault(value: unknown): string | null {
  if (!Array.isArray(value)) return "it names no ranges";
  let last: Range = { file: -1, start: 0, end: 0 };
  for (const r of value as Range[]) {
    const whole = [r?.file, r?.start, r?.end].every((n) => Number.isSafeInteger(n) && n >= 0) && r.end > r.start;
    if (!whole || r.file < last.file || (r.file === last.file && r.start < last.end))
      return "its ranges are not in order";
    last = r;
  }
  return null;
}
