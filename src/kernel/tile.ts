// One tile of the normal form: decode, delta, keep, combine, add back, encode; and the slow path of a tile that holds
// non-finite inputs or overflows on store.

import { choose } from "./choice.ts";
import type { Kernel } from "./kernel.ts";
import { kernelsFor, type LaneKernels, maxFinite, shapes } from "./lanes.ts";
import { rowParts } from "./lines.ts";
import { applyKeep, before, type Masks, Scratch, takeMasks } from "./operand.ts";
import type { MergeProgram, Policy, Term, ZeroSign } from "./program.ts";
import { rowColumns, tileOf } from "./program.ts";
import { RowKeeper } from "./rows.ts";

const byCode = { weighted: 0, unweighted: 0, count: 1 } as const;
const zeroCode = { drop: 0, positive: 1, negative: 2 } as const;

export class TileMerger {
  readonly kept: number[];
  readonly overflowed = { count: 0, first: -1 };
  private readonly kernel: Kernel;
  private readonly program: MergeProgram;
  private readonly policy: Policy;
  private readonly lanes: readonly LaneKernels[];
  private readonly out: LaneKernels;
  private readonly base: number;
  private readonly votes: number;
  private readonly acc: number;
  private readonly spare: number;
  private readonly masks: Masks;
  private readonly factors: number;
  private readonly weights: number;
  /** Elements of a whole tile. */
  private readonly size: number;
  private readonly rows: RowKeeper | null;
  /** By term, once they are needed. */
  private readonly columns: Float32Array[] = [];

  /** `region` is scratch memory of the worker; the program's scalars must be numbers by now. */
  constructor(kernel: Kernel, program: MergeProgram, policy: Policy, region: { start: number; end: number }) {
    this.kernel = kernel;
    this.program = program;
    this.policy = policy;
    this.lanes = program.inputs.map((d) => kernelsFor(kernel, d));
    this.out = kernelsFor(kernel, program.out);
    this.kept = program.terms.map(() => 0);
    const scratch = new Scratch(region);
    const terms = Math.max(1, program.terms.length);
    this.size = tileOf(program.terms);
    const tileBytes = this.size * 4;
    this.base = program.base === null ? 0 : scratch.take(tileBytes);
    this.votes = scratch.take(program.combine.op === "sum" ? tileBytes : terms * tileBytes);
    this.acc = scratch.take(tileBytes);
    this.spare = scratch.take(tileBytes);
    this.masks = takeMasks(scratch, program.terms, this.size);
    this.factors = scratch.take(terms * 4);
    this.weights = scratch.take(terms * 4);
    const columns = rowColumns(program.terms);
    this.rows = columns > 0 ? new RowKeeper(kernel, columns, scratch) : null;
    if (program.combine.op !== "sum") {
      // Votes carry w·s; an unweighted election votes with s and multiplies by w afterwards. Other rules vote with deltas.
      const later = program.combine.op === "elect" && program.combine.by !== "weighted";
      const f32 = new Float32Array(kernel.memory.buffer);
      program.terms.forEach((term, i) => {
        f32[this.factors / 4 + i] = later ? (term.weight as number) : 1;
        f32[this.weights / 4 + i] = term.weight as number;
      });
    }
  }

  /** Merges `count` elements starting at element `first` of the tensor, from raw `inputs` to raw `out`. */
  tile(inputs: readonly number[], out: number, first: number, count: number, nonFinite: boolean): void {
    this.compute(inputs, first, count, nonFinite, true);
    this.store(out, first, count);
  }

  /** Rounds the merged tile to the output's dtype. */
  private store(out: number, first: number, count: number): void {
    const { rounding, out: dtype } = this.program;
    const shape = rounding && shapes[dtype];
    if (rounding && shape) {
      const e = this.kernel.exports;
      const block = Math.floor(first / 4);
      const high = Math.floor(block / 2 ** 32);
      const skipped = first % 4;
      // What Philox writes beyond the words goes into the mask, which nobody reads any more.
      e.philox_words(this.spare, rounding.key[0], rounding.key[1], block - high * 2 ** 32, high, count + skipped);
      e.dither(this.acc, this.spare + 4 * skipped, shape.fraction, shape.lowest, count);
    }
    this.out.encode(out, this.acc, count);
  }

  /** Leaves the merged tile as f32 in `acc`. */
  private compute(inputs: readonly number[], first: number, count: number, nonFinite: boolean, tally: boolean): void {
    const { program } = this;
    const e = this.kernel.exports;
    const replace = nonFinite && this.policy.nonFinite === "base" && program.base !== null;
    if (program.base !== null) this.lanes[program.base]!.decode(this.base, inputs[program.base]!, count);
    const { combine } = program;
    const elect = combine.op === "elect" ? combine : null;
    const choice = combine.op === "sum" || combine.op === "elect" ? null : combine;
    program.terms.forEach((term, i) => {
      const x = elect || choice ? this.votes + i * this.size * 4 : this.votes;
      this.decode(x, term, inputs, count, replace);
      const kept =
        term.keep.rows?.rule.op === "importance"
          ? this.keepImportant(x, term, inputs, first, count)
          : applyKeep(this.kernel, term.keep, x, this.masks, first, count, this.rows);
      if (tally) this.kept[i]! += kept;
      const weight = term.weight as number;
      const scale = term.scale as number;
      if (choice) {
        if (scale !== 1) e.scale(x, x, scale, count);
        return;
      }
      if (program.lines) this.addLines(i, x, weight * scale, first, count);
      else if (elect) e.scale(x, x, elect.by === "weighted" ? weight * scale : scale, count);
      else if (i === 0) e.scale(this.acc, x, weight * scale, count);
      else e.axpy(this.acc, x, weight * scale, count);
    });
    if (program.terms.length === 0) this.kernel.u8(this.acc, count * 4).fill(0);
    if (elect && program.terms.length > 0) {
      e.elect(
        this.acc,
        this.votes,
        this.factors,
        this.weights,
        program.terms.length,
        this.size,
        count,
        byCode[elect.by],
        zeroCode[elect.zero as ZeroSign],
        elect.divide ? 1 : 0,
      );
    }
    if (choice && program.terms.length > 0) {
      const { acc, votes, weights, factors, base, spare } = this;
      const tiles = {
        acc,
        deltas: votes,
        terms: program.terms.length,
        stride: this.size,
        weights,
        ones: factors,
        base,
        spare,
      };
      const selected = choose(this.kernel, choice, tiles, first, count, () => {
        program.terms.forEach((term, i) => {
          const x = votes + i * this.size * 4;
          const { random } = term.keep;
          this.decode(x, term, inputs, count, replace);
          if (random) applyKeep(this.kernel, { random }, x, this.masks, first, count);
          if (term.scale !== 1) e.scale(x, x, term.scale as number, count);
        });
      });
      if (tally && selected < count)
        program.terms.forEach((_, i) => {
          this.kept[i]! += selected - count;
        });
    }
    const lambda = program.lambda as number;
    const isValue = program.base === null || (choice?.op === "near" && program.terms.length > 0);
    const baseWeight = (program.baseWeight ?? 1) as number;
    if (!isValue && baseWeight !== 1) {
      e.scale(this.spare, this.base, baseWeight, count);
      e.finish(this.acc, this.spare, this.acc, lambda, count);
    } else if (!isValue) e.finish(this.acc, this.base, this.acc, lambda, count);
    else if (lambda !== 1) e.scale(this.acc, this.acc, lambda, count);
    if (replace) this.restoreBase(count);
  }

  /** A term's delta to the base, before what it keeps; of `near` and without a base, its value. */
  private decode(x: number, term: Term, inputs: readonly number[], count: number, replace: boolean): void {
    const { program } = this;
    this.lanes[term.input]!.decode(x, inputs[term.input]!, count);
    if (replace) this.kernel.exports.replace_nonfinite(x, this.base, count);
    if (program.base !== null && program.combine.op !== "near") this.kernel.exports.delta(x, x, this.base, count);
  }

  /** Adds a term to `acc` with a coefficient for each line; the first term begins it. */
  private addLines(term: number, x: number, factor: number, first: number, count: number): void {
    const e = this.kernel.exports;
    const { by, length, first: firstLine, of } = this.program.lines!;
    if (by === "row") {
      const c = of[term] as Float32Array;
      rowParts(first, count, length, (offset, row, n) => {
        const [to, from] = [this.acc + 4 * offset, x + 4 * offset];
        if (term === 0) e.scale(to, from, factor * c[row - firstLine]!, n);
        else e.axpy(to, from, factor * c[row - firstLine]!, n);
      });
      return;
    }
    const from = first % length;
    const c = this.columnsOf(term, factor).subarray(from, from + count);
    new Float32Array(this.kernel.memory.buffer, this.spare, count).set(c);
    if (term === 0) e.scale_each(this.acc, x, this.spare, count);
    else e.axpy_each(this.acc, x, this.spare, count);
  }

  /**
   * The coefficients of a term's columns, again and again until a tile that begins with the last one is full: the product with
   * `factor`, taken in f64, rounded to f32 once.
   */
  private columnsOf(term: number, factor: number): Float32Array {
    const known = this.columns[term];
    if (known) return known;
    const { length, of } = this.program.lines!;
    const c = of[term] as Float32Array;
    const made = Float32Array.from({ length: length + this.size }, (_, i) => factor * c[i % length]!);
    this.columns[term] = made;
    return made;
  }

  /** Keeps of the delta `x` what its importance, ranked like a magnitude, says. The survey has ranked the inputs as they are. */
  private keepImportant(
    x: number,
    { input, keep }: Term,
    inputs: readonly number[],
    first: number,
    count: number,
  ): number {
    const e = this.kernel.exports;
    const { above, equalBefore } = keep.magnitude!;
    this.lanes[input]!.decode(this.spare, inputs[input]!, count);
    e.importance(this.spare, this.spare, this.base, keep.rows!.columns, count);
    return e.trim_by(x, this.spare, above as number, before(equalBefore, first, count), count);
  }

  /** Under `--non-finite base`, a base element that is itself non-finite stays as it is. */
  private restoreBase(count: number): void {
    const base = new Float32Array(this.kernel.memory.buffer, this.base, count);
    const acc = new Float32Array(this.kernel.memory.buffer, this.acc, count);
    for (let i = 0; i < count; i++) if (!Number.isFinite(base[i]!)) acc[i] = base[i]!;
  }

  /**
   * Called when the encoded tile holds non-finite values. Those with a non-finite input at the same place are its heirs; the
   * others overflowed: they are counted and, under `saturate`, become the largest finite value of their sign.
   */
  overflow(inputs: readonly number[], out: number, first: number, count: number): void {
    const raw = new Float32Array(this.kernel.memory.buffer, this.spare, count);
    const heir = new Uint8Array(count);
    inputs.forEach((pointer, i) => {
      this.lanes[i]!.decode(this.spare, pointer, count);
      for (let k = 0; k < count; k++) if (!Number.isFinite(raw[k]!)) heir[k] = 1;
    });
    this.compute(inputs, first, count, heir.includes(1), false);
    this.store(out, first, count);
    this.out.decode(this.spare, out, count);
    const acc = new Float32Array(this.kernel.memory.buffer, this.acc, count);
    const limit = maxFinite[this.program.out];
    let saturated = false;
    for (let k = 0; k < count; k++) {
      if (Number.isFinite(raw[k]!) || heir[k]) continue;
      this.overflowed.count++;
      if (this.overflowed.first < 0) this.overflowed.first = first + k;
      if (this.policy.overflow === "saturate" && !Number.isNaN(acc[k]!)) {
        acc[k] = acc[k]! < 0 ? -limit : limit;
        saturated = true;
      }
    }
    if (saturated) this.out.encode(out, this.acc, count);
  }
}
