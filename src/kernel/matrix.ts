// A matrix program: all deltas of a matrix are read into the worker's memory, the rule makes one delta of them, and base plus
// that is written. Rules see matrices with no more rows than columns; a taller one is turned while it is read and written.

import type { FloatDtype } from "../tensor/dtype.ts";
import { byteWidth } from "../tensor/dtype.ts";
import { Algebra, type Matrix, type Pause } from "./algebra.ts";
import { highPass, radiusOf } from "./high-pass.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor, type LaneKernels, maxFinite } from "./lanes.ts";
import { matrixFlops, matrixTaskBytes, stripeOf, tileScratchBytes } from "./matrix-cost.ts";
import type { NonFiniteTally } from "./non-finite.ts";
import type { MatrixFacts, MatrixProgram, MergeProgram, MergeReceipt, MergeTask } from "./program.ts";
import { tileElements } from "./program.ts";
import { addNarrow, addTruncated, flatten, flattenCommonAndSpecific, mergeSingularVectors } from "./spectral.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { TaskIo } from "./task-io.ts";
import { TileMerger } from "./tile.ts";
import type { Reader } from "./view.ts";
import { openWhole } from "./whole.ts";

export class MatrixRun {
  private readonly kernel: Kernel;
  private readonly task: MergeTask;
  private readonly program: MatrixProgram;
  private readonly io: TaskIo;
  private readonly pause: Pause;
  private readonly clock: Stopwatch;
  private readonly algebra: Algebra;
  private readonly readers: readonly Reader[];
  private readonly lanes: readonly LaneKernels[];
  private readonly nonFinite: NonFiniteTally;
  private readonly counted = new Set<number>();
  private readonly tileRegion: { readonly start: number; readonly end: number };
  private readonly stripe: number;
  /** Rows of the rule's matrices: the smaller side. */
  private readonly k: number;
  private readonly n: number;
  private readonly turned: boolean;
  // Addresses of stripes.
  private readonly rawBase: number;
  private readonly rawModel: number;
  private readonly base: number;
  private readonly model: number;
  private readonly sum: number;
  private readonly side: number;
  private anything = false;

  constructor(
    kernel: Kernel,
    task: MergeTask,
    program: MatrixProgram,
    io: TaskIo,
    now: () => number,
    signal?: AbortSignal,
  ) {
    this.kernel = kernel;
    this.task = task;
    this.program = program;
    this.io = io;
    this.clock = new Stopwatch(now);
    const { rows, columns } = program;
    this.turned = rows > columns;
    this.k = Math.min(rows, columns);
    this.n = Math.max(rows, columns);
    this.stripe = stripeOf(program);
    const cost = { bytes: (views: number) => matrixTaskBytes(program, views), flops: matrixFlops(program) };
    const { take, end, ...rest } = openWhole(kernel, task, program.inputs, io, cost, signal);
    this.readers = rest.readers;
    this.lanes = rest.lanes;
    this.nonFinite = rest.nonFinite;
    this.pause = rest.pause;
    const tiles = take(tileScratchBytes);
    this.tileRegion = { start: tiles, end: end() };
    const stripeBytes = this.stripe * 4;
    // As stored: up to 8 bytes an element.
    this.rawBase = take(2 * stripeBytes);
    this.rawModel = take(2 * stripeBytes);
    this.base = take(stripeBytes);
    this.model = take(stripeBytes);
    this.sum = take(stripeBytes);
    this.side = take(stripeBytes);
    this.algebra = new Algebra(kernel, end());
  }

  async run(): Promise<MergeReceipt> {
    const { result, facts } = await this.merged();
    const nonFinite = this.nonFinite.list();
    let overflow = { count: 0, first: -1 };
    // The merge stops at the receipt, so there is nothing to write.
    if (nonFinite.length === 0 || this.task.policy.nonFinite !== "error") {
      overflow = await this.store(result, nonFinite.length > 0);
    }
    return {
      kind: "merge",
      id: this.task.id,
      nonFinite,
      overflow,
      kept: this.program.terms.map(() => this.task.count),
      differs: -1,
      facts,
      nanoseconds: this.clock.laps,
    };
  }

  /** The merged delta, and what was found on the way. */
  private async merged(): Promise<{ result: Matrix; facts: MatrixFacts }> {
    const { algebra, k, n, pause } = this;
    const { terms, rule } = this.program;
    const finish = (facts: MatrixFacts, result: Matrix) => {
      this.clock.lap("compute");
      return { facts, result };
    };
    if (rule.op === "isotropic" && rule.specific === 0) {
      const w = algebra.narrowMatrix(k, n);
      await this.load(terms, w);
      if (!this.anything) return finish({ rank: [0] }, this.unchanged(w));
      return finish({ rank: [await flatten(algebra, w, pause)] }, w);
    }
    if (rule.op === "isotropic" || rule.op === "tsv") {
      const deltas: Matrix[] = [];
      for (const term of terms) {
        const a = algebra.narrowMatrix(k, n);
        await this.load([term], a);
        deltas.push(a);
      }
      if (!this.anything) return finish({ rank: terms.map(() => 0) }, this.unchanged(deltas[0]!));
      if (rule.op === "tsv") {
        const { ranks, interference } = await mergeSingularVectors(algebra, deltas, rule.rank, pause);
        return finish({ rank: ranks, interference: [interference] }, deltas[0]!);
      }
      const w = algebra.narrowMatrix(k, n);
      fill(this.kernel, w, 0);
      for (const a of deltas) addNarrow(algebra, w, a, 1);
      const { ranks, interference } = await flattenCommonAndSpecific(
        algebra,
        w,
        deltas,
        rule.common,
        rule.specific,
        this.turned,
        pause,
      );
      return finish({ rank: ranks, interference: [interference] }, w);
    }
    // One delta at a time beside the sum.
    const acc = algebra.narrowMatrix(k, n);
    fill(this.kernel, acc, 0);
    const a = algebra.narrowMatrix(k, n);
    const facts: { rank: number[]; share: number[]; energy: number[] } = { rank: [], share: [], energy: [] };
    let means = 0;
    for (const term of terms) {
      await this.load([{ input: term.input, weight: 1 }], a);
      if (rule.op === "star") {
        const { rank, of } = await addTruncated(algebra, acc, a, rule.share, term.weight, pause);
        facts.rank.push(rank);
        facts.share.push(of > 0 ? rank / of : 1);
      } else {
        facts.energy.push(await highPass(algebra, a, radiusOf(rule.cutoff, k, n), pause));
        // One model has all of the energy: its delta stays as it is.
        const mean = !rule.energy ? 0 : terms.length === 1 ? 1 : meanMagnitude(algebra, a);
        means += mean;
        addNarrow(algebra, acc, a, rule.energy ? mean : term.weight);
      }
      this.clock.lap("compute");
    }
    if (!this.anything) this.unchanged(acc);
    else if (rule.op === "high-pass" && rule.energy && means > 0) {
      for (let i = 0; i < k; i++) algebra.e.scale(algebra.rowAt(acc, i), algebra.rowAt(acc, i), 1 / means, n);
    }
    return finish(
      rule.op === "star"
        ? { rank: facts.rank, "share of components": facts.share }
        : { "energy removed": facts.energy },
      acc,
    );
  }

  /** Every model equals the base: adding −0 leaves each of its bits. */
  private unchanged(m: Matrix): Matrix {
    fill(this.kernel, m, -0);
    return m;
  }

  /** to ← Σ w·(x − base), with zero in place of what is not finite. */
  private async load(terms: MatrixProgram["terms"], to: Matrix): Promise<void> {
    const e = this.kernel.exports;
    const { count } = this.task;
    for (let first = 0; first < count; first += this.stripe) {
      const size = Math.min(this.stripe, count - first);
      for (const [i, { input, weight }] of terms.entries()) {
        await this.delta(input, first, size, true);
        if (e.max_abs(this.model, size) > 0) this.anything = true;
        if (i === 0) e.scale(this.sum, this.model, weight, size);
        else e.axpy(this.sum, this.model, weight, size);
      }
      if (this.turned) {
        const { columns } = this.program;
        e.transpose_f32(to.at + (first / columns) * 4, to.row, this.sum, columns, size / columns, columns);
      } else e.decode_f32(to.at + first * 4, this.sum, size);
      this.clock.lap("compute");
      await this.pause(0);
    }
  }

  /** Leaves x − base in `model` and the base in `base`, as f32. Counts what is not finite, once an input. */
  private async delta(input: number, first: number, size: number, clean: boolean): Promise<void> {
    const e = this.kernel.exports;
    const { base } = this.program;
    this.clock.start();
    await this.readers[base]!.read(first, size, this.rawBase);
    await this.readers[input]!.read(first, size, this.rawModel);
    this.clock.lap("read");
    let flagged = false;
    for (const [i, raw] of [
      [base, this.rawBase],
      [input, this.rawModel],
    ] as const) {
      const bad = this.lanes[i]!.nonfinite(raw, size);
      if (bad === 0) continue;
      flagged = true;
      const key = i * this.task.count + first;
      if (this.counted.has(key)) continue;
      this.counted.add(key);
      this.nonFinite.add(i, bad, first + this.lanes[i]!.firstNonfinite(raw, size));
    }
    this.lanes[base]!.decode(this.base, this.rawBase, size);
    this.lanes[input]!.decode(this.model, this.rawModel, size);
    e.delta(this.model, this.model, this.base, size);
    if (!flagged || !clean) return;
    const values = new Float32Array(this.kernel.memory.buffer, this.model, size);
    for (let j = 0; j < size; j++) if (!Number.isFinite(values[j]!)) values[j] = 0;
  }

  /** Writes base + λ·delta. */
  private async store(delta: Matrix, spoilt: boolean): Promise<{ count: number; first: number }> {
    const { kernel, program } = this;
    const e = kernel.exports;
    const width = byteWidth(program.out);
    const merger = new TileMerger(kernel, sumProgram(program), this.task.policy, this.tileRegion);
    const out = kernelsFor(kernel, program.out);
    const baseWidth = byteWidth(program.inputs[program.base]!);
    for (let first = 0; first < this.task.count; first += this.stripe) {
      const size = Math.min(this.stripe, this.task.count - first);
      let from = delta.at + first * 4;
      if (this.turned) {
        const { columns } = program;
        e.transpose_f32(this.side, columns, delta.at + (first / columns) * 4, delta.row, columns, size / columns);
        from = this.side;
      }
      e.clamp_finite(from, maxFinite.F32, size);
      if (spoilt && this.task.policy.nonFinite === "keep") await this.spoil(from, first, size);
      this.clock.start();
      await this.readers[program.base]!.read(first, size, this.rawBase);
      this.clock.lap("read");
      for (let t = 0; t < size; t += tileElements) {
        const n = Math.min(tileElements, size - t);
        const pointers = [this.rawBase + t * baseWidth, from + t * 4];
        const to = this.rawModel + t * width;
        merger.tile(pointers, to, first + t, n, false);
        if (out.nonfinite(to, n) > 0) merger.overflow(pointers, to, first + t, n);
      }
      this.clock.lap("compute");
      const wrote = this.io.write(this.task.output, first * width, kernel.u8(this.rawModel, size * width));
      if (wrote) await wrote;
      this.clock.lap("write");
      await this.pause(0);
    }
    return merger.overflowed;
  }

  /** Puts NaN where an input is not finite: a matrix has no sum that such an element could be part of. */
  private async spoil(to: number, first: number, size: number): Promise<void> {
    const target = new Float32Array(this.kernel.memory.buffer, to, size);
    const values = new Float32Array(this.kernel.memory.buffer, this.model, size);
    for (const { input } of this.program.terms) {
      await this.delta(input, first, size, false);
      for (let j = 0; j < size; j++) if (!Number.isFinite(values[j]!)) target[j] = Number.NaN;
    }
  }
}

/** base + λ·delta, with the second in f32. */
function sumProgram({ inputs, base, out, lambda }: MatrixProgram): MergeProgram {
  const both: FloatDtype[] = [inputs[base]!, "F32"];
  return {
    op: "merge",
    inputs: both,
    out,
    base: null,
    terms: [
      { input: 0, weight: 1, scale: 1, keep: {} },
      { input: 1, weight: lambda, scale: 1, keep: {} },
    ],
    combine: { op: "sum" },
    lambda: 1,
  };
}

function fill(kernel: Kernel, m: Matrix, value: number): void {
  new Float32Array(kernel.memory.buffer, m.at, m.rows * m.columns).fill(value);
}

function meanMagnitude(algebra: Algebra, a: Matrix): number {
  let sum = 0;
  for (let i = 0; i < a.rows; i++) sum += algebra.e.l1(algebra.rowAt(a, i), a.columns);
  return sum / (a.rows * a.columns);
}
