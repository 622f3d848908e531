// A factor program: a delta is read into the worker's memory, or thin factors are, and the two matrices of an adapter are written.
// The singular values are shared out evenly: both sides take their roots.

import { byteWidth } from "../tensor/dtype.ts";
import { Algebra, type Matrix, type Pause, part, rowsOf } from "./algebra.ts";
import { exactFactors, type Factors, pairEnergy, pairFactors, sketchedFactors } from "./factor.ts";
import { factorFlops, factorTaskBytes, pairRows, stripeOf } from "./factor-cost.ts";
import type { FactorFacts, FactorProgram } from "./factor-program.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor, type LaneKernels } from "./lanes.ts";
import type { NonFiniteTally } from "./non-finite.ts";
import type { Location, MergeReceipt, MergeTask } from "./program.ts";
import { tileElements } from "./program.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { TaskIo } from "./task-io.ts";
import type { Reader } from "./view.ts";
import { openWhole } from "./whole.ts";

/** Rows are vectors of the input side (A) and of the output side (B), f64, rank × in and rank × out. */
interface Sides {
  readonly a: Matrix;
  readonly b: Matrix;
  readonly facts: FactorFacts;
}

export class FactorRun {
  private readonly kernel: Kernel;
  private readonly task: MergeTask;
  private readonly program: FactorProgram;
  private readonly io: TaskIo;
  private readonly pause: Pause;
  private readonly clock: Stopwatch;
  private readonly algebra: Algebra;
  private readonly readers: readonly Reader[];
  private readonly lanes: readonly LaneKernels[];
  private readonly nonFinite: NonFiniteTally;
  private readonly stripe: number;
  // Addresses of stripes: as stored, and in f32.
  private readonly raw: readonly [number, number];
  private readonly wide: readonly [number, number];
  private readonly overflow = { count: 0, first: -1 };

  constructor(
    kernel: Kernel,
    task: MergeTask,
    program: FactorProgram,
    io: TaskIo,
    now: () => number,
    signal?: AbortSignal,
  ) {
    this.kernel = kernel;
    this.task = task;
    this.program = program;
    this.io = io;
    this.clock = new Stopwatch(now);
    this.stripe = stripeOf(program);
    const cost = { bytes: (views: number) => factorTaskBytes(program, views), flops: factorFlops(program) };
    const { take, end, ...rest } = openWhole(kernel, task, program.inputs, io, cost, signal);
    this.readers = rest.readers;
    this.lanes = rest.lanes;
    this.nonFinite = rest.nonFinite;
    this.pause = rest.pause;
    const bytes = this.stripe * 4;
    this.raw = [take(2 * bytes), take(2 * bytes)];
    this.wide = [take(bytes), take(bytes)];
    this.algebra = new Algebra(kernel, end());
  }

  async run(): Promise<MergeReceipt> {
    const { source } = this.program;
    this.clock.start();
    const sides = source.op === "pairs" ? await this.ofPairs(source.pairs) : await this.ofDelta(source.sketch);
    this.clock.lap("compute");
    const nonFinite = this.nonFinite.list();
    // The caller stops at the receipt, so there is nothing to write.
    if (nonFinite.length === 0) {
      await this.write(this.task.output, sides.a, false);
      await this.write(this.program.b, sides.b, true);
    }
    return {
      kind: "merge",
      id: this.task.id,
      nonFinite,
      overflow: this.overflow,
      kept: [],
      differs: -1,
      factored: sides.facts,
      nanoseconds: this.clock.laps,
    };
  }

  private async ofDelta(sketch: Parameters<typeof sketchedFactors>[3] | null): Promise<Sides> {
    const { algebra, pause } = this;
    const { rows, columns, rank, transposed } = this.program;
    const turned = rows > columns;
    const m = algebra.narrowMatrix(Math.min(rows, columns), Math.max(rows, columns));
    const energy = await this.load(m, turned);
    const factors = sketch
      ? await sketchedFactors(algebra, m, rank, sketch, pause)
      : await exactFactors(algebra, m, rank, pause);
    const facts = this.share(factors, energy);
    // Left vectors belong to the rows of m; rows of the weight are outputs unless it is stored transposed.
    const [a, b] = turned === transposed ? [factors.r, factors.u] : [factors.u, factors.r];
    return { a, b, facts };
  }

  /** Gives both sides the root of each singular value, and the adapter's scale back. */
  private share({ u, r, sigma }: Factors, energy: number): FactorFacts {
    const { e } = this.algebra;
    const unscale = 1 / this.program.scale;
    let kept = 0;
    sigma.forEach((s, i) => {
      kept += s * s;
      if (s === 0) return;
      e.scale_f64(this.algebra.rowAt(u, i), Math.sqrt(s * unscale), u.columns);
      e.scale_f64(this.algebra.rowAt(r, i), Math.sqrt(s * unscale) / s, r.columns);
    });
    return { energy, kept, rank: sigma.length };
  }

  private async ofPairs(pairs: readonly { readonly rank: number; readonly coefficient: number }[]): Promise<Sides> {
    const { algebra, pause } = this;
    const { rows, columns, rank, scale, source } = this.program;
    const q = pairRows(source);
    const beside = q <= rank;
    const inner = algebra.matrix(q, columns);
    const out = algebra.matrix(q, rows);
    let first = 0;
    for (const [i, pair] of pairs.entries()) {
      await this.loadThin(2 * i, rowsOf(inner, first, pair.rank), false, 1);
      await this.loadThin(2 * i + 1, rowsOf(out, first, pair.rank), true, pair.coefficient / (beside ? scale : 1));
      first += pair.rank;
    }
    this.clock.lap("read");
    if (beside) {
      const energy = (await pairEnergy(algebra, out, inner, pause)) * scale * scale;
      const facts = { energy, kept: energy, rank: q };
      if (q === rank) return { a: inner, b: out, facts };
      throw new RangeError(`a rank of ${rank} for pairs of ${q}`);
    }
    const factors = await pairFactors(algebra, out, inner, rank, pause);
    return { a: factors.r, b: factors.u, facts: this.share(factors, factors.energy) };
  }

  /** to ← factor · a thin matrix, turned if its rows are not vectors. */
  private async loadThin(input: number, to: Matrix, turned: boolean, factor: number): Promise<void> {
    const { algebra } = this;
    const count = to.rows * to.columns;
    const f32 = new Float32Array(this.kernel.memory.buffer);
    for (let first = 0; first < count; first += this.stripe) {
      const size = Math.min(this.stripe, count - first);
      await this.read(input, first, size, this.raw[0], this.wide[0]);
      const from = this.wide[0] / 4;
      for (let i = 0; i < size; i++) {
        const at = first + i;
        const major = Math.floor(at / (turned ? to.rows : to.columns));
        const minor = at - major * (turned ? to.rows : to.columns);
        const place = turned ? minor * to.row + major : major * to.row + minor;
        algebra.f64[to.at / 8 + place] = f32[from + i]! * factor;
      }
      await this.pause(0);
    }
  }

  /** m ← input 1 − input 0, turned if need be. Returns Σδ² from f64 sums of blocks of 4,096. */
  private async load(m: Matrix, turned: boolean): Promise<number> {
    const { exports: e } = this.kernel;
    const { columns } = this.program;
    const [base, model] = this.wide;
    let energy = 0;
    for (let first = 0; first < this.task.count; first += this.stripe) {
      const size = Math.min(this.stripe, this.task.count - first);
      this.clock.start();
      await this.read(0, first, size, this.raw[0], base);
      await this.read(1, first, size, this.raw[1], model);
      this.clock.lap("read");
      e.delta(model, model, base, size);
      for (let t = 0; t < size; t += tileElements) {
        energy += e.dot(model + t * 4, model + t * 4, Math.min(tileElements, size - t));
      }
      if (turned) e.transpose_f32(m.at + (first / columns) * 4, m.row, model, columns, size / columns, columns);
      else e.decode_f32(m.at + first * 4, model, size);
      this.clock.lap("compute");
      await this.pause(0);
    }
    return energy;
  }

  private async read(input: number, first: number, size: number, raw: number, to: number): Promise<void> {
    const lanes = this.lanes[input]!;
    const pending = this.readers[input]!.read(first, size, raw);
    if (pending) await pending;
    const bad = lanes.nonfinite(raw, size);
    if (bad > 0) this.nonFinite.add(input, bad, first + lanes.firstNonfinite(raw, size));
    lanes.decode(to, raw, size);
    if (bad === 0) return;
    const values = new Float32Array(this.kernel.memory.buffer, to, size);
    for (let i = 0; i < size; i++) if (!Number.isFinite(values[i]!)) values[i] = 0;
  }

  /** Writes rows of f64, or with `turned` columns, in the output's dtype. */
  private async write(to: Location, m: Matrix, turned: boolean): Promise<void> {
    const { exports: e } = this.kernel;
    const width = byteWidth(this.program.out);
    if (!turned) {
      for (let i = 0; i < m.rows; i++)
        for (let j = 0; j < m.columns; j += this.stripe) {
          const count = Math.min(this.stripe, m.columns - j);
          e.narrow_f64(this.wide[0], this.algebra.rowAt(part(m, i, 1, j, count), 0), count);
          await this.store(to, (i * m.columns + j) * width, count);
        }
      return;
    }
    const across = Math.max(1, Math.floor(this.stripe / m.rows));
    for (let j = 0; j < m.columns; j += across) {
      const count = Math.min(across, m.columns - j);
      for (let i = 0; i < m.rows; i++) {
        e.narrow_f64(this.wide[1] + i * count * 4, this.algebra.rowAt(part(m, i, 1, j, count), 0), count);
      }
      e.transpose_f32(this.wide[0], m.rows, this.wide[1], count, m.rows, count);
      await this.store(to, j * m.rows * width, m.rows * count);
    }
  }

  /** Encodes and writes the first f32 stripe. */
  private async store(to: Location, offset: number, count: number): Promise<void> {
    const { out } = this.program;
    const lanes = kernelsFor(this.kernel, out);
    lanes.encode(this.raw[0], this.wide[0], count);
    const lost = lanes.nonfinite(this.raw[0], count);
    if (lost > 0) {
      if (this.overflow.count === 0)
        this.overflow.first = offset / byteWidth(out) + lanes.firstNonfinite(this.raw[0], count);
      this.overflow.count += lost;
    }
    this.clock.lap("compute");
    const wrote = this.io.write(to, offset, this.kernel.u8(this.raw[0], count * byteWidth(out)));
    if (wrote) await wrote;
    this.clock.lap("write");
  }
}
