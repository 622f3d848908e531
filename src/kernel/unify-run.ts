// A unify program: every input is read once, and the unified delta and the masks of all models are written as they come.

import { byteWidth } from "../tensor/dtype.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor } from "./lanes.ts";
import { NonFiniteTally } from "./non-finite.ts";
import { Scratch } from "./operand.ts";
import type { MergeReceipt, MergeTask } from "./program.ts";
import { tileElements } from "./program.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { TaskIo } from "./task-io.ts";
import { type UnifyProgram, unifyStride, unifyTaskBytes } from "./unify-program.ts";
import { createReader, type Reader, readerBytes } from "./view.ts";

export class UnifyRun {
  private readonly kernel: Kernel;
  private readonly task: MergeTask;
  private readonly program: UnifyProgram;
  private readonly io: TaskIo;
  private readonly clock: Stopwatch;
  private readonly signal: AbortSignal | undefined;
  private readonly readers: readonly Reader[];
  private readonly inputs: readonly number[];
  private readonly masks: readonly number[];
  private readonly output: number;
  // Tiles of f32.
  private readonly base: number;
  private readonly deltas: number;
  private readonly unified: number;
  private readonly masked: number;
  private readonly nonFinite: NonFiniteTally;
  private readonly kept: number[];
  private readonly facts: { deltas: Float64Array[]; masked: Float64Array[] };
  private readonly overflow = { count: 0, first: -1 };

  constructor(
    kernel: Kernel,
    task: MergeTask,
    program: UnifyProgram,
    io: TaskIo,
    now: () => number,
    signal?: AbortSignal,
  ) {
    this.kernel = kernel;
    this.task = task;
    this.program = program;
    this.io = io;
    this.signal = signal;
    this.clock = new Stopwatch(now);
    const viewBytes = task.inputs.reduce((sum, i) => sum + readerBytes(i), 0);
    const bytes = unifyTaskBytes(program, viewBytes);
    kernel.reserve(bytes);
    const scratch = new Scratch({ start: kernel.heapStart, end: kernel.heapStart + bytes });
    this.inputs = program.inputs.map((d) => scratch.take(byteWidth(d) * unifyStride));
    this.output = scratch.take(byteWidth(program.out) * unifyStride);
    this.masks = program.terms.map(() => scratch.take(unifyStride / 8));
    const tile = () => scratch.take(tileElements * 4);
    [this.base, this.unified, this.masked] = [tile(), tile(), tile()];
    this.deltas = scratch.take(program.terms.length * tileElements * 4);
    this.readers = task.inputs.map((input, i) => createReader(kernel, input, program.inputs[i]!, io, scratch));
    this.nonFinite = new NonFiniteTally(program.inputs.length);
    this.kept = program.terms.map(() => 0);
    const blocks = Math.ceil(task.count / tileElements);
    const sums = () => program.terms.map(() => new Float64Array(blocks));
    this.facts = { deltas: sums(), masked: sums() };
  }

  async run(): Promise<MergeReceipt> {
    const { task, program, clock, kernel } = this;
    const outWidth = byteWidth(program.out);
    for (let done = 0; done < task.count; done += unifyStride) {
      this.signal?.throwIfAborted();
      const count = Math.min(unifyStride, task.count - done);
      const first = task.first + done;
      clock.start();
      for (const [i, reader] of this.readers.entries()) {
        const pending = reader.read(first, count, this.inputs[i]!);
        if (pending) await pending;
      }
      clock.lap("read");
      for (let t = 0; t < count; t += tileElements) this.tile(done + t, t, Math.min(tileElements, count - t));
      clock.lap("compute");
      await this.io.write(task.output, first * outWidth, kernel.u8(this.output, count * outWidth));
      for (const [m, { mask }] of program.terms.entries())
        await this.io.write(mask, first / 8, kernel.u8(this.masks[m]!, Math.ceil(count / 8)));
      clock.lap("write");
    }
    return {
      kind: "merge",
      id: task.id,
      nonFinite: this.nonFinite.list(),
      overflow: this.overflow,
      kept: this.kept,
      differs: -1,
      unified: this.facts,
      nanoseconds: clock.laps,
    };
  }

  /** Elements [done, done + count) of the task, which lie `at` elements into the stride. */
  private tile(done: number, at: number, count: number): void {
    const { kernel, program, base, deltas, unified, masked } = this;
    const e = kernel.exports;
    const lanes = program.inputs.map((d) => kernelsFor(kernel, d));
    const pointers = this.inputs.map((p, i) => p + at * byteWidth(program.inputs[i]!));
    for (const [i, lane] of lanes.entries()) {
      const bad = lane.nonfinite(pointers[i]!, count);
      if (bad > 0) this.nonFinite.add(i, bad, this.task.first + done + lane.firstNonfinite(pointers[i]!, count));
    }
    lanes[program.base]!.decode(base, pointers[program.base]!, count);
    const place = (m: number) => deltas + m * tileElements * 4;
    for (const [m, { input }] of program.terms.entries()) {
      lanes[input]!.decode(place(m), pointers[input]!, count);
      e.delta(place(m), place(m), base, count);
    }
    e.unify(unified, deltas, program.terms.length, tileElements, count);
    // What is stored is what the masks and sums are about.
    const out = this.output + at * byteWidth(program.out);
    const stored = kernelsFor(kernel, program.out);
    stored.encode(out, unified, count);
    const lost = stored.nonfinite(out, count);
    if (lost > 0 && this.overflow.first < 0)
      this.overflow.first = this.task.first + done + stored.firstNonfinite(out, count);
    this.overflow.count += lost;
    stored.decode(unified, out, count);
    const block = done / tileElements;
    for (const m of program.terms.keys()) {
      const bits = this.masks[m]! + at / 8;
      this.kept[m]! += e.agree_bits(bits, place(m), unified, count);
      kernel.u8(masked, count * 4).fill(0);
      e.axpy_bits(masked, unified, bits, 0, 1, count);
      this.facts.deltas[m]![block] = e.l1(place(m), count);
      this.facts.masked[m]![block] = e.l1(masked, count);
    }
  }
}
