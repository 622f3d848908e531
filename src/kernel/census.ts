// One slice of a census: deltas of all operands, block by block. bf16 goes straight to the fused kernel; what is of another dtype, a
// view, or not finite goes through tiles of f32 and the same arithmetic, so that the bits do not depend on the way.

import { byteWidth } from "../tensor/dtype.ts";
import { type CensusPart, type CensusRound, censusBins, censusSums } from "./census-program.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor, type LaneKernels } from "./lanes.ts";
import { NonFiniteTally } from "./non-finite.ts";
import { Scratch } from "./operand.ts";
import type { SurveyReceipt, SurveyTask } from "./program.ts";
import { tileElements } from "./program.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { TaskIo } from "./task-io.ts";
import { createReader, type Reader, readerBytes } from "./view.ts";

/** As in run.ts: every stream of a stride stays in L2. */
const maxStride = 65_536;
const binBytes = censusBins * 8;
const stateWords = 7;
const sumsWord = 1;

/** Bytes of a worker's memory for a census beside strides and views. */
export function censusBytes(operands: number): number {
  const sums = censusSums(operands);
  const tables = operands * binBytes + 16 * (operands + 1) ** 2 + 12 * (operands + operands ** 2) + 64;
  const blocks = (maxStride / tileElements) * sums * 8;
  return tables + blocks + 64 * sums + (operands + 1) * (2048 + 4 * tileElements + 4) + 4 * tileElements + 4096;
}

export class CensusRun {
  private readonly kernel: Kernel;
  private readonly task: SurveyTask;
  private readonly round: CensusRound;
  private readonly io: TaskIo;
  private readonly clock: Stopwatch;
  private readonly signal: AbortSignal | undefined;
  private readonly lanes: readonly LaneKernels[];
  private readonly widths: readonly number[];
  private readonly nonFinite: NonFiniteTally;
  /** All inputs that it takes are bf16. */
  private readonly fused: boolean;
  private readonly used: readonly number[];
  private readonly sums: readonly Float64Array[];
  private block = 0;

  constructor(
    kernel: Kernel,
    task: SurveyTask,
    round: CensusRound,
    io: TaskIo,
    now: () => number,
    signal?: AbortSignal,
  ) {
    this.kernel = kernel;
    this.task = task;
    this.round = round;
    this.io = io;
    this.clock = new Stopwatch(now);
    this.signal = signal;
    this.lanes = task.dtypes.map((d) => kernelsFor(kernel, d));
    this.widths = task.dtypes.map(byteWidth);
    this.nonFinite = new NonFiniteTally(task.dtypes.length);
    this.used = [round.operands[0]!.base, ...round.operands.map((o) => o.input)];
    this.fused = this.used.every((i) => task.dtypes[i] === "BF16");
    const blocks = Math.ceil(task.count / tileElements);
    this.sums = Array.from({ length: censusSums(round.operands.length) }, () => new Float64Array(blocks));
  }

  async run(): Promise<SurveyReceipt> {
    const { task, clock, widths } = this;
    const viewBytes = task.inputs.reduce((sum, input) => sum + readerBytes(input), 0);
    const at = this.layout(viewBytes);
    const scratch = new Scratch({ start: at.views, end: at.views + viewBytes });
    const readers = task.inputs.map(
      (input, i): Reader => createReader(this.kernel, input, task.dtypes[i]!, this.io, scratch),
    );
    for (let done = 0; done < task.count; done += at.stride) {
      this.signal?.throwIfAborted();
      const count = Math.min(at.stride, task.count - done);
      clock.start();
      for (let i = 0; i < readers.length; i++) {
        const pending = readers[i]!.read(task.first + done, count, at.inputs[i]!);
        if (pending) await pending;
      }
      clock.lap("read");
      for (let t = 0; t < count; ) {
        const inputs = at.inputs.map((p, i) => p + t * widths[i]!);
        const took = this.fused ? this.stretch(at, inputs, count - t) : 0;
        const n = took || Math.min(tileElements, count - t);
        if (took === 0) this.tile(at, inputs, task.first + done + t, n);
        t += n;
      }
      clock.lap("compute");
    }
    const result = this.part(at);
    return { kind: "survey", id: task.id, nonFinite: this.nonFinite.list(), result, nanoseconds: clock.laps };
  }

  private layout(viewBytes: number) {
    const { kernel, widths } = this;
    const { operands, tops } = this.round;
    const n = operands.length;
    const perElement = widths.reduce((a, b) => a + b, 0);
    const room = kernel.byteLength - viewBytes - censusBytes(n) - 64 * (n + 3);
    const stride = Math.min(maxStride, Math.floor(room / (perElement * tileElements)) * tileElements);
    if (stride <= 0)
      throw new RangeError(`worker memory of ${kernel.byteLength} bytes is too small for a census of ${n}`);
    let next = kernel.heapStart;
    const take = (bytes: number) => {
      const here = next;
      next = (next + bytes + 63) & ~63;
      return here;
    };
    const zeroed = (bytes: number) => {
      const here = take(bytes);
      kernel.u8(here, bytes).fill(0);
      return here;
    };
    const inputs = widths.map((w) => take(w * stride));
    const views = take(viewBytes);
    const out = take((stride / tileElements) * this.sums.length * 8);
    const tables = {
      counts: zeroed(6 * n * (n + 1)),
      bins: zeroed(n * binBytes),
      patterns: zeroed(16 * (n + 1) ** 2),
    };
    const topKeys = take(4 * n);
    new Uint32Array(kernel.memory.buffer, topKeys, n).set(tops);
    const sums = take(64 * this.sums.length + (n + 1) * 2048);
    const state = take(stateWords * 4);
    const words = [n, out, tables.counts, tables.bins, tables.patterns, topKeys, sums];
    new Uint32Array(kernel.memory.buffer, state, stateWords).set(words);
    const zeros = zeroed(4 * tileElements);
    return {
      stride,
      inputs,
      views,
      out,
      ...tables,
      state,
      pointers: take(4 * n),
      tiles: take(4 * (n + 1) * tileElements),
      zeros,
    };
  }

  /** As many whole blocks as are finite. */
  private stretch(at: ReturnType<CensusRun["layout"]>, inputs: readonly number[], count: number): number {
    const { kernel, used } = this;
    const pointers = new Uint32Array(kernel.memory.buffer, at.pointers, used.length - 1);
    for (let m = 1; m < used.length; m++) pointers[m - 1] = inputs[used[m]!]!;
    this.rewind(at);
    const done = kernel.exports.survey_census_bf16(at.state, inputs[used[0]!]!, at.pointers, count);
    this.takeSums(at, Math.ceil(done / tileElements));
    return done;
  }

  private tile(at: ReturnType<CensusRun["layout"]>, inputs: readonly number[], first: number, count: number): void {
    const e = this.kernel.exports;
    for (const [i, lanes] of this.lanes.entries()) {
      const bad = lanes.nonfinite(inputs[i]!, count);
      if (bad > 0) this.nonFinite.add(i, bad, first + lanes.firstNonfinite(inputs[i]!, count));
    }
    const [base, ...models] = this.used;
    this.lanes[base!]!.decode(at.tiles, inputs[base!]!, count);
    models.forEach((input, m) => {
      const x = at.tiles + 4 * (m + 1) * tileElements;
      this.lanes[input]!.decode(x, inputs[input]!, count);
      e.delta(x, x, at.tiles, count);
      // One bad element must not spoil the sums of a whole model: it counts as unchanged, and is told.
      e.replace_nonfinite(x, at.zeros, count);
    });
    e.replace_nonfinite(at.tiles, at.zeros, count);
    this.rewind(at);
    e.census_f32(at.state, at.tiles, at.tiles + 4 * tileElements, tileElements, count);
    this.takeSums(at, 1);
  }

  private rewind({ state, out }: { state: number; out: number }): void {
    new Uint32Array(this.kernel.memory.buffer, state, stateWords)[sumsWord] = out;
  }

  private takeSums({ out }: { out: number }, blocks: number): void {
    const { sums } = this;
    const rows = new Float64Array(this.kernel.memory.buffer, out, blocks * sums.length);
    for (let at = 0; at < rows.length; this.block++) for (const sum of sums) sum[this.block] = rows[at++]!;
  }

  private part(at: ReturnType<CensusRun["layout"]>): CensusPart {
    const { buffer } = this.kernel.memory;
    const n = this.round.operands.length;
    const counts = new Uint32Array(buffer, at.counts, (3 * n * (n + 1)) / 2);
    const triples = Array.from({ length: counts.length / 3 }, (_, i) => counts.subarray(3 * i, 3 * i + 3));
    const cells = new Uint32Array(buffer, at.patterns, 4 * (n + 1) ** 2);
    const binned = this.round.operands.map((_, m) =>
      binsOf(new Uint32Array(buffer, at.bins + m * binBytes, 2 * censusBins)),
    );
    return {
      op: "census",
      sums: this.sums,
      nonzero: triples.slice(0, n).map((t) => t[0]!),
      top: triples.slice(0, n).map((t) => t[1]!),
      most: triples.slice(0, n).map((t) => t[2]!),
      pairs: triples.slice(n).map(([both, apart, top]) => ({ both: both!, apart: apart!, top: top! })),
      patterns: Array.from({ length: (n + 1) ** 2 }, (_, i) =>
        cells.subarray(4 * i, 4 * i + 4).reduce((a, b) => a + b, 0),
      ),
      bins: binned.map((b) => b.bins),
      counts: binned.map((b) => b.counts),
      lows: binned.map((b) => b.lows),
    };
  }
}

/** The bins that hold anything. A bin is 64 bits: how many in the upper 24, the sum in the lower 40. */
function binsOf(words: Uint32Array): { bins: Uint16Array; counts: Uint32Array; lows: Float64Array } {
  let used = 0;
  for (let at = 1; at < words.length; at += 2) if (words[at] !== 0) used++;
  const found = { bins: new Uint16Array(used), counts: new Uint32Array(used), lows: new Float64Array(used) };
  for (let bin = 0, to = 0; to < used; bin++) {
    const high = words[2 * bin + 1]!;
    if (high === 0) continue;
    found.bins[to] = bin;
    found.counts[to] = high >>> 8;
    found.lows[to++] = (high & 255) * 2 ** 32 + words[2 * bin]!;
  }
  return found;
}
