// Memory is planned before it is used: strides are cut so that the peak stays below the limit, and a plan that cannot fit is
// refused with the least limit that would do.

import { fail, quote } from "../errors.ts";
import { maxMatrixBytes } from "../kernel/matrix-cost.ts";
import { maxSlots, tileElements } from "../kernel/program.ts";
import { maxStrideElements, rowWorkerBytes, workerBytesFor } from "../kernel/run.ts";
import type { PlanMemory } from "./plan.ts";

const MiB = 1024 * 1024;
/** Bun or Deno with the program loaded, and what a worker thread of theirs adds; the larger of the two, measured by bench/. */
export const runtimeBytes = 144 * MiB;
export const runtimeBytesPerWorker = 24 * MiB;
/** What a worker's garbage collector lets lie while matrices are under way; 13 to 21 MiB measured under Bun, less under Deno. */
const matrixGarbageBytes = 24 * MiB;
/** Reading ahead of the workers: ranges in flight, and the piece of each that is held at a time. */
export const readAheadLanes = 4;
export const readAheadBytes = readAheadLanes * 2 * MiB;
/** Elements of a slice: 4 Mi are 8 MiB of bf16 for each stream, some 10 ms of work. */
export const defaultSliceElements = 4 * 1024 * 1024;
/** Surveys of a coordinator: tensors open at a time, each with a key and a count in f64 per slot and operand, and a part in flight. */
export const openTensors = 4;
const histogramBytes = maxSlots * (4 + 8 + 8);

/**
 * Headers live as text, as maps and in the plan, and leave garbage; all of it as a multiple of their bytes, without and with
 * surveys. Measured with 4 models of 20,000 tensors, 9 MiB of headers: 129 and 223 MiB under Bun, less under Deno
 * (test/slow/many-tensors.test.ts).
 */
const plainHeaderCopies = 15;
const surveyedHeaderCopies = 25;

/** What the coordinator holds for a run of rows, and for a token of a vocabulary while and after it is read; measured with 150k-token ones. */
const runBytes = 200;
const tokenBytes = 400;

export interface Shapes {
  /** The most inputs of any task, and the most bytes per element over its inputs and output. */
  readonly inputs: number;
  readonly bytesPerElement: number;
  /** The most bytes that reading views takes in a task, beside strides. */
  readonly viewBytes: number;
  /** What the coordinator holds for rows and columns with coefficients of their own. */
  readonly lineBytes: number;
  readonly surveyOperands: number;
  /** Tasks that need whole rows at hand: columns, inputs (or operands, if more), and bytes per element. */
  readonly rows: readonly { readonly columns: number; readonly inputs: number; readonly bytesPerElement: number }[];
  /** Tensors that a worker holds as a whole, with the bytes that takes. */
  readonly matrices: readonly { readonly name: string; readonly shape: readonly number[]; readonly bytes: number }[];
  readonly parameters: number;
  readonly headerBytes: number;
  /** Runs of the plan's views of rows, and tokens of the vocabularies they come from. */
  readonly runs: number;
  readonly tokens: number;
}

/** Workers on other machines, and the most bytes of inputs and output that a slice may have to go there. */
export interface Elsewhere {
  readonly workers: number;
  readonly sliceBytes: number;
}

export function planMemory(
  shapes: Shapes,
  asked: number,
  limitBytes: number,
  sliceElements: number | null,
  elsewhere: Elsewhere = { workers: 0, sliceBytes: Number.POSITIVE_INFINITY },
): PlanMemory {
  const largest = shapes.matrices.reduce<Shapes["matrices"][number] | null>(
    (a, b) => (a && a.bytes >= b.bytes ? a : b),
    null,
  );
  if (largest && largest.bytes > maxMatrixBytes) {
    fail(
      "memory-budget",
      `Cannot merge ${quote(largest.name)} (${largest.shape.join(" × ")}) as a matrix: that takes ${gibibytes(largest.bytes)}, and a worker can have ${gibibytes(maxMatrixBytes)}`,
      {
        hint: "Fewer models take less; `matrices: none`, by a filter for such tensors, takes the mean of their deltas.",
      },
    );
  }
  const matrixBytes = largest ? largest.bytes + matrixGarbageBytes : 0;
  const surveyBytes = shapes.surveyOperands * openTensors * histogramBytes + shapes.lineBytes;
  const headerCopies = shapes.surveyOperands > 0 ? surveyedHeaderCopies : plainHeaderCopies;
  const held = shapes.runs * runBytes + shapes.tokens * tokenBytes;
  const fixed = runtimeBytes + readAheadBytes + surveyBytes + headerCopies * shapes.headerBytes + held;
  const rowBytes = shapes.rows.reduce(
    (most, r) => Math.max(most, rowWorkerBytes(r.inputs, r.bytesPerElement, r.columns)),
    0,
  );
  const workerBytes = (stride: number) =>
    Math.max(workerBytesFor(shapes.inputs, shapes.bytesPerElement, stride), rowBytes) + shapes.viewBytes;
  const perWorker = (stride: number) => runtimeBytesPerWorker + Math.max(workerBytes(stride), matrixBytes);
  // Matrices cannot be cut smaller: fewer workers hold them.
  const holders = Math.max(1, Math.floor((limitBytes - fixed) / (runtimeBytesPerWorker + matrixBytes)));
  const workers = largest ? Math.min(asked, holders) : asked;
  const cost = (stride: number) => fixed + workers * perWorker(stride);
  let stride = maxStrideElements;
  while (stride > tileElements && cost(stride) > limitBytes) stride /= 2;
  if (cost(stride) > limitBytes) {
    fail(
      "memory-budget",
      `Cannot merge within ${Math.floor(limitBytes / MiB)} MiB: this plan needs ${Math.ceil(cost(stride) / MiB)} MiB with ${workers} workers`,
      {
        hint: `Use --memory ${Math.ceil(cost(stride) / MiB)}MiB or more, or fewer --workers.`,
      },
    );
  }
  const carried = Math.floor(elsewhere.sliceBytes / shapes.bytesPerElement / tileElements) * tileElements;
  const share = balanced(shapes.parameters, workers + elsewhere.workers);
  const slice = sliceElements ?? Math.max(tileElements, Math.min(defaultSliceElements, carried, share));
  return {
    workers,
    sliceElements: slice,
    strideElements: stride,
    workerBytes: workerBytes(stride),
    matrixBytes,
    surveyBytes,
    runtimeBytes: runtimeBytes + workers * runtimeBytesPerWorker,
    peakBytes: cost(stride),
    limitBytes,
  };
}

const gibibytes = (bytes: number) => `${(bytes / 1024 / MiB).toFixed(1)} GiB`;

/** Slices small enough that a model gives every worker at least eight. */
function balanced(parameters: number, workers: number): number {
  const share = Math.ceil(parameters / (workers * 8) / tileElements) * tileElements;
  return Math.max(16 * tileElements, share);
}
