// Numbers are made here and nowhere else: a task (program, slice, locations) is read, computed tile by tile in WebAssembly
// memory, and written. Every executor calls this, so where a slice runs cannot change its bits.

import type { FloatDtype } from "../tensor/dtype.ts";
import { byteWidth } from "../tensor/dtype.ts";
import { CensusRun } from "./census.ts";
import { FactorRun } from "./factor-run.ts";
import { fuse, fusedScratch } from "./fused.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor, type LaneKernels } from "./lanes.ts";
import { MatrixRun } from "./matrix.ts";
import { NonFiniteTally } from "./non-finite.ts";
import { Scratch } from "./operand.ts";
import type {
  MergeReceipt,
  MergeTask,
  Operand,
  Receipt,
  SurveyReceipt,
  SurveyTask,
  Task,
  TaskInput,
} from "./program.ts";
import { maxSlots, pieceElements, rowColumns, rowTile, tileElements, tileOf } from "./program.ts";
import { rowScratch } from "./rows.ts";
import { PhaseClock, Stopwatch } from "./stopwatch.ts";
import { SurveyRun } from "./survey.ts";
import type { TaskIo } from "./task-io.ts";
import { TileMerger } from "./tile.ts";
import { UnifyRun } from "./unify-run.ts";
import { createReader, type Reader, readerBytes } from "./view.ts";

/**
 * Elements that a worker holds at a time. 64 Ki keeps every stream of a stride in L2 (bf16, five streams: 640 KiB); larger
 * strides measured slower, because the write then finds its bytes in L3.
 */
export const maxStrideElements = 65_536;

export type { TaskIo } from "./task-io.ts";

/**
 * Bytes of a worker's memory that hold tiles, masks and histograms rather than strides. `columns`: those of a task that works by
 * rows, 0 for others.
 */
export function scratchBytes(inputs: number, columns = 0): number {
  const histograms = inputs * histogramBytes + 4096;
  if (columns > 0) return tileScratch(inputs, rowTile(columns)) + rowScratch(columns, inputs) + histograms;
  // Tiles twice: of a merge, and of the survey that it may take with it.
  return 2 * tileScratch(inputs, tileElements) + fusedScratch(inputs) + histograms;
}

function tileScratch(inputs: number, tile: number): number {
  return (inputs + 5) * tile * 4 + 2 * tile + 4096;
}

const histogramBytes = maxSlots * 8;

/** The largest stride (a multiple of a tile) with which a task fits `bytes`; below one tile the task cannot run. */
export function strideFor(bytes: number, inputs: number, bytesPerElement: number, columns = 0): number {
  const tile = columns > 0 ? rowTile(columns) : tileElements;
  const tiles = Math.floor((bytes - scratchBytes(inputs, columns)) / (bytesPerElement * tile));
  return Math.min(Math.max(1, Math.floor(maxStrideElements / tile)), Math.max(0, tiles)) * tile;
}

/** Bytes that a worker needs to run tasks of this shape at the full stride. */
export function workerBytesFor(inputs: number, bytesPerElement: number, stride = maxStrideElements): number {
  return scratchBytes(inputs) + bytesPerElement * stride;
}

/** The least bytes with which a worker can run tasks that work by rows: a tile of whole rows at a time. */
export function rowWorkerBytes(inputs: number, bytesPerElement: number, columns: number): number {
  return scratchBytes(inputs, columns) + bytesPerElement * rowTile(columns) + 64 * (inputs + 3);
}

export class Runner {
  private readonly kernel: Kernel;
  private readonly io: TaskIo;
  /** Milliseconds, with fractions. */
  private readonly now: () => number;
  private readonly clock: PhaseClock | null;

  /** With `profile`, receipts tell the phases of their tasks; `shift` milliseconds lead from `now` to the coordinator's clock. */
  constructor(kernel: Kernel, io: TaskIo, now: () => number, profile: { shift: number } | null = null) {
    this.clock = profile ? new PhaseClock(kernel, now, profile.shift) : null;
    this.kernel = this.clock?.kernel ?? kernel;
    this.io = io;
    this.now = now;
  }

  /** Runs one task, no other meanwhile. Errors of reading and writing come through as they are; an aborted signal rejects with its reason. */
  async run(task: Task, signal?: AbortSignal): Promise<Receipt> {
    if (!this.clock) return this.dispatch(task, signal);
    this.clock.begin(task);
    const receipt = await this.dispatch(task, signal);
    return { ...receipt, profile: this.clock.end(receipt.nanoseconds) };
  }

  private async dispatch(task: Task, signal?: AbortSignal): Promise<Receipt> {
    if (task.kind === "survey" && task.round.op === "census")
      return new CensusRun(this.kernel, task, task.round, this.io, this.now, signal).run();
    if (task.kind === "survey") return this.survey(task, signal);
    const { program } = task;
    if (program.op === "matrix") return new MatrixRun(this.kernel, task, program, this.io, this.now, signal).run();
    if (program.op === "factor") return new FactorRun(this.kernel, task, program, this.io, this.now, signal).run();
    if (program.op === "unify") return new UnifyRun(this.kernel, task, program, this.io, this.now, signal).run();
    return program.op === "copy" ? this.copy(task, signal) : this.merge(task, signal);
  }

  private async merge(task: MergeTask, signal?: AbortSignal): Promise<MergeReceipt> {
    const program = task.program;
    if (program.op !== "merge") throw new TypeError("not a merge program");
    const clock = new Stopwatch(this.now);
    const widths = program.inputs.map(byteWidth);
    const outWidth = byteWidth(program.out);
    const tile = tileOf(program.terms);
    const operands = Math.max(widths.length, task.survey?.operands.length ?? 0);
    const plan = this.layout(widths, outWidth, task.inputs, operands, rowColumns(program.terms));
    const readers = this.readers(task.inputs, program.inputs, plan.views);
    const merger = new TileMerger(this.kernel, program, task.policy, plan.scratch);
    const fused = fuse(this.kernel, program, plan.spare, merger.kept);
    const encodeScan = kernelsFor(this.kernel, program.out);
    const nonFinite = new NonFiniteTally(widths.length);
    const scans = program.inputs.map((d) => kernelsFor(this.kernel, d));
    const survey = task.survey
      ? new SurveyRun(this.kernel, surveyOf(task, task.survey, program.inputs), plan.beside)
      : null;
    // Its output and its counts go nowhere: the fused kernel comes after it.
    const probe = fused && this.clock ? new TileMerger(this.kernel, program, task.policy, plan.scratch) : null;
    const counted = !probe && task.survey && fused?.counts(task.survey);

    for (let done = 0; done < task.count; done += plan.stride) {
      signal?.throwIfAborted();
      const count = Math.min(plan.stride, task.count - done);
      clock.start();
      await readStride(readers, plan.inputs, task.first + done, count);
      clock.lap("read");
      const counts = counted ? fused!.count(plan.inputs, plan.output, count) : null;
      // Without masks a stride is one call; tile by tile is where it holds something non-finite.
      const whole =
        counts !== null ||
        (fused?.unmasked && !probe && fused.tile(plan.inputs, plan.output, task.first + done, count));
      if (counts) survey!.addCounts(counts);
      // What is not finite is told by the merge; and where all was finite, the survey need not look again.
      else if (survey)
        takeIn(
          survey,
          plan.inputs,
          widths,
          scans,
          task.first + done,
          count,
          tile,
          new NonFiniteTally(scans.length),
          !!whole,
        );
      for (let t = 0; t < count && !whole; t += tile) {
        const n = Math.min(tile, count - t);
        const first = task.first + done + t;
        const pointers = plan.inputs.map((p, i) => p + t * widths[i]!);
        const out = plan.output + t * outWidth;
        if (probe) {
          this.clock!.probe(first, tileElements, () => {
            const flagged = scanTile(scans, pointers, first, n, new NonFiniteTally(widths.length));
            probe.tile(pointers, out, first, n, flagged);
            encodeScan.nonfinite(out, n);
          });
        }
        if (fused?.tile(pointers, out, first, n)) continue;
        const flagged = scanTile(scans, pointers, first, n, nonFinite);
        merger.tile(pointers, out, first, n, flagged);
        if (encodeScan.nonfinite(out, n) > 0) merger.overflow(pointers, out, first, n);
      }
      clock.lap("compute");
      const wrote = this.io.write(
        task.output,
        (task.first + done) * outWidth,
        this.kernel.u8(plan.output, count * outWidth),
      );
      if (wrote) await wrote;
      clock.lap("write");
    }
    return {
      kind: "merge",
      id: task.id,
      nonFinite: nonFinite.list(),
      overflow: merger.overflowed,
      kept: merger.kept,
      differs: -1,
      ...(survey ? { survey: survey.result() } : {}),
      nanoseconds: clock.laps,
    };
  }

  /** Integer tensors: input 0's bytes, after every other input was seen to hold the same. */
  private async copy(task: MergeTask, signal?: AbortSignal): Promise<MergeReceipt> {
    if (task.program.op !== "copy") throw new TypeError("not a copy program");
    const width = task.program.byteWidth;
    const clock = new Stopwatch(this.now);
    const plan = this.layout(
      task.inputs.map(() => width),
      0,
      [],
    );
    const readers = task.inputs.map((input): Reader => {
      if (input.view) throw new TypeError("a copy reads tensors as they are");
      return { read: (first, count, to) => this.io.read(input, first * width, this.kernel.u8(to, count * width)) };
    });
    let differs = -1;
    for (let done = 0; done < task.count; done += plan.stride) {
      signal?.throwIfAborted();
      const count = Math.min(plan.stride, task.count - done);
      clock.start();
      await readStride(readers, plan.inputs, task.first + done, count);
      clock.lap("read");
      for (let i = 1; i < plan.inputs.length && differs < 0; i++) {
        if (this.kernel.exports.same_bytes(plan.inputs[0]!, plan.inputs[i]!, count * width) === 0) differs = i;
      }
      clock.lap("compute");
      const wrote = this.io.write(
        task.output,
        (task.first + done) * width,
        this.kernel.u8(plan.inputs[0]!, count * width),
      );
      if (wrote) await wrote;
      clock.lap("write");
    }
    const overflow = { count: 0, first: -1 };
    return { kind: "merge", id: task.id, nonFinite: [], overflow, kept: [], differs, nanoseconds: clock.laps };
  }

  private async survey(task: SurveyTask, signal?: AbortSignal): Promise<SurveyReceipt> {
    const clock = new Stopwatch(this.now);
    const widths = task.dtypes.map(byteWidth);
    const { operands } = task.round;
    const tile = tileOf(operands);
    const plan = this.layout(widths, 0, task.inputs, operands.length, rowColumns(operands));
    const readers = this.readers(task.inputs, task.dtypes, plan.views);
    const run = new SurveyRun(this.kernel, task, plan.scratch);
    const scans = task.dtypes.map((d: FloatDtype) => kernelsFor(this.kernel, d));
    const nonFinite = new NonFiniteTally(widths.length);
    // The elements of a sample are counted when all of the tensor is.
    const tally = task.pieces ? new NonFiniteTally(widths.length) : nonFinite;
    for (const stretches of strides(task, plan.stride)) {
      signal?.throwIfAborted();
      clock.start();
      let count = 0;
      for (const { first, length } of stretches) {
        const here = plan.inputs.map((p, i) => p + count * widths[i]!);
        await readStride(readers, here, first, length);
        count += length;
      }
      clock.lap("read");
      takeIn(run, plan.inputs, widths, scans, stretches[0]!.first, count, tile, tally);
      clock.lap("compute");
    }
    return { kind: "survey", id: task.id, nonFinite: nonFinite.list(), result: run.result(), nanoseconds: clock.laps };
  }

  private readers(
    inputs: readonly TaskInput[],
    dtypes: readonly FloatDtype[],
    region: { start: number; end: number },
  ): Reader[] {
    const scratch = new Scratch(region);
    return inputs.map((input, i) => createReader(this.kernel, input, dtypes[i]!, this.io, scratch));
  }

  /** Places strides and scratch in the worker's memory. Throws when not even one tile fits: the planner prevents it. */
  private layout(
    widths: readonly number[],
    outWidth: number,
    viewed: readonly TaskInput[],
    operands = widths.length,
    columns = 0,
  ) {
    const perElement = widths.reduce((a, b) => a + b, outWidth);
    const lanes = Math.max(widths.length, operands);
    const viewBytes = viewed.reduce((sum, input) => sum + readerBytes(input), 0);
    const stride = strideFor(this.kernel.byteLength - viewBytes, lanes, perElement, columns);
    if (stride === 0)
      throw new RangeError(`worker memory of ${this.kernel.byteLength} bytes is too small for ${widths.length} inputs`);
    let at = this.kernel.heapStart;
    const take = (bytes: number) => {
      const here = at;
      at = (at + bytes + 63) & ~63;
      return here;
    };
    const inputs = widths.map((w) => take(w * stride));
    const output = take(outWidth * stride);
    const start = take(viewBytes);
    const views = { start, end: start + viewBytes };
    // The fused kernels' masks and pointers lie behind the tiles of the separate ones, which stay ready for a tile that needs them.
    const end = this.kernel.heapStart + this.kernel.byteLength;
    const spare = { start: at + tileScratch(lanes, tileElements), end };
    const beside = { start: spare.start + fusedScratch(lanes), end };
    return { stride, inputs, output, views, scratch: { start: at, end }, spare, beside };
  }
}

async function readStride(readers: readonly Reader[], pointers: readonly number[], first: number, count: number) {
  for (let i = 0; i < readers.length; i++) {
    const pending = readers[i]!.read(first, count, pointers[i]!);
    if (pending) await pending;
  }
}

/** The survey that a merge takes with it, as a task of its own would be. */
function surveyOf(task: MergeTask, round: SurveyTask["round"], dtypes: readonly FloatDtype[]): SurveyTask {
  const { id, first, count, inputs } = task;
  return { kind: "survey", id, first, count, inputs, dtypes, round };
}

/** Gives a survey `count` elements from `first` on, which lie at `pointers`. `finite`: all of them are known to be. */
function takeIn(
  run: SurveyRun,
  pointers: readonly number[],
  widths: readonly number[],
  scans: readonly LaneKernels[],
  first: number,
  count: number,
  tile: number,
  tally: NonFiniteTally,
  finite = false,
): void {
  for (let t = 0; t < count; ) {
    const here = pointers.map((p, i) => p + t * widths[i]!);
    const took = run.stretch(here, count - t, finite);
    const n = took || Math.min(tile, count - t);
    if (took === 0) run.tile(here, first + t, n, scanTile(scans, here, first + t, n, tally));
    t += n;
  }
}

interface Stretch {
  readonly first: number;
  readonly length: number;
}

/** What a survey reads at a time, and takes for one stretch of the tensor: pieces too, where it matters to nobody where they lie. */
function* strides(task: SurveyTask, size: number): Generator<Stretch[]> {
  const { pieces, pieceLength: length = pieceElements } = task;
  if (pieces) {
    const together = task.round.operands.some(isPlaced) ? 1 : Math.max(1, Math.floor(size / length));
    for (let i = 0; i < pieces.length; i += together) {
      yield pieces.slice(i, i + together).map((first) => ({ first, length }));
    }
    return;
  }
  for (let done = 0; done < task.count; done += size)
    yield [{ first: task.first + done, length: Math.min(size, task.count - done) }];
}

/** Whether what it keeps depends on where an element lies. */
function isPlaced({ keep, thinned }: Operand): boolean {
  return [keep, ...(thinned ?? []).map((t) => t.keep)].some((k) => k.random || k.magnitude || k.rows);
}

/** Looks for non-finite elements in a tile of every input; true if there is one. */
function scanTile(
  scans: readonly LaneKernels[],
  pointers: readonly number[],
  first: number,
  count: number,
  tally: NonFiniteTally,
): boolean {
  let flagged = false;
  for (let i = 0; i < scans.length; i++) {
    const bad = scans[i]!.nonfinite(pointers[i]!, count);
    if (bad === 0) continue;
    flagged = true;
    tally.add(i, bad, first + scans[i]!.firstNonfinite(pointers[i]!, count));
  }
  return flagged;
}
