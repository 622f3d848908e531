// One slice of one survey round. Sums leave as one number per block of 4,096 elements, so that the coordinator can add them
// in element order whatever the slices were; counts leave as integers.

import type { Kernel } from "./kernel.ts";
import { kernelsFor, type LaneKernels } from "./lanes.ts";
import { type Lines, rowPartCount, rowParts } from "./lines.ts";
import { applyKeep, before, type Masks, Scratch, takeMasks } from "./operand.ts";
import type { HistogramOperand, Operand, SurveyPart, SurveyTask } from "./program.ts";
import { maxSlots, rowColumns, tileElements, tileOf } from "./program.ts";
import { RowKeeper } from "./rows.ts";
import { sourcesOf, wholeDeltas } from "./shared-values.ts";

const slotBytes = maxSlots * 8;
/** Operands whose dot products are taken straight from bf16: their number of pairs has to fit the scratch. */
const maxDirectDots = 32;
/** Tiles that are taken at once, without JavaScript between them: a whole stride. */
const maxBlocks = 16;
/** Words of what `survey_brackets_bf16` is told of an operand, and which of them holds its count. */
const bracketWords = 10;
const aboveWord = 7;

export class SurveyRun {
  private readonly kernel: Kernel;
  private readonly task: SurveyTask;
  private readonly lanes: readonly LaneKernels[];
  private readonly tiles: number;
  private readonly masks: Masks;
  private readonly base: number;
  private readonly slots: number;
  /** Per operand of a histogram: its keys can be taken from bf16 without a tile of f32 between. */
  private readonly direct: readonly boolean[];
  /** Its keys are those of whole deltas, whatever its dtype: they need no pass of their own. */
  private readonly whole: readonly boolean[];
  /** Per operand: the one whose values it has, itself or one before it. */
  private readonly sources: readonly number[];
  private readonly zeros: number;
  /** Deltas of a variance and, of norms, the variance. */
  private readonly spread: number;
  private readonly counts: number;
  /** Room for the sums of a tile's columns. */
  private readonly columns: number;
  /** The base of dot products that bf16 inputs give without tiles of f32 (−1: none), or null when they do not. */
  private readonly dotsBase: number | null;
  /** Inputs that no operand takes: what is done tile by tile looks at them too. Null where tiles cannot be taken at once. */
  private readonly aside: readonly number[] | null;
  private readonly brackets: Uint32Array;
  private readonly pointers: Uint32Array;
  private readonly products: Float64Array;
  private readonly part: SurveyPart;
  /** Elements of a whole tile. */
  private readonly size: number;
  private readonly rows: RowKeeper | null;
  /** The input that `base` holds this tile of. */
  private baseHeld: number | null = null;
  private block = 0;
  /** Parts of rows that are in. */
  private parts = 0;
  /** Elements of a sample that are in. */
  private sampled = 0;

  constructor(kernel: Kernel, task: SurveyTask, region: { start: number; end: number }) {
    this.kernel = kernel;
    this.task = task;
    this.lanes = task.dtypes.map((d) => kernelsFor(kernel, d));
    const scratch = new Scratch(region);
    const n = task.round.operands.length;
    this.size = tileOf(task.round.operands);
    const tileBytes = this.size * 4;
    this.tiles = scratch.take(n * tileBytes);
    this.base = scratch.take(tileBytes);
    const drawn = task.round.operands.flatMap((o) => [o, ...(o.thinned ?? [])]);
    this.masks = takeMasks(scratch, drawn, this.size);
    this.zeros = scratch.take(tileBytes);
    kernel.u8(this.zeros, tileBytes).fill(0);
    const widest = Math.max(1, ...task.round.operands.map((o) => o.variance?.length ?? 0));
    this.spread = scratch.take(widest * tileBytes);
    this.counts = scratch.take(8 * n);
    kernel.u8(this.counts, 8 * n).fill(0);
    const byColumn = task.round.op === "dots" && task.round.lines?.by === "column";
    this.columns = byColumn ? scratch.take(this.size * 8) : 0;
    this.slots = task.round.op === "histogram" ? scratch.take(n * slotBytes) : 0;
    const columns = rowColumns(task.round.operands);
    this.rows = columns > 0 ? new RowKeeper(kernel, columns, scratch) : null;
    const narrow = ({ input, base }: Operand) => task.dtypes[input] === "BF16" && task.dtypes[base!] === "BF16";
    this.whole = wholeDeltas(task.round);
    this.direct = task.round.operands.map((o, i) => this.whole[i]! && narrow(o));
    this.sources = sourcesOf(task.round);
    this.dotsBase = this.commonBase();
    const pairs = this.dotsBase === null ? 0 : (n * (n + 1)) / 2;
    this.pointers = new Uint32Array(kernel.memory.buffer, scratch.take(n * 4), n);
    this.products = new Float64Array(kernel.memory.buffer, scratch.take(maxBlocks * pairs * 8), maxBlocks * pairs);
    const words = task.round.op === "histogram" ? bracketWords * n : 0;
    this.brackets = new Uint32Array(kernel.memory.buffer, scratch.take(words * 4), words);
    this.aside = this.inputsAside();
    this.part = this.empty();
  }

  private inputsAside(): number[] | null {
    const { round, dtypes } = this.task;
    if (!(this.dotsBase !== null || (round.op === "histogram" && this.direct.every(Boolean)))) return null;
    const taken = new Set(round.operands.flatMap(({ input, base }) => (base === null ? [input] : [input, base])));
    return dtypes.flatMap((_, i) => (taken.has(i) ? [] : [i]));
  }

  /** The one base that all operands of `dots` have, −1 for none; null when they need the separate kernels. */
  private commonBase(): number | null {
    const { round, dtypes } = this.task;
    const base = round.operands[0]?.base ?? null;
    if (round.op !== "dots" || round.lines || round.operands.length > maxDirectDots) return null;
    if (base !== null && dtypes[base] !== "BF16") return null;
    const direct = round.operands.every(
      ({ input, base: b, keep, variance }) =>
        b === base && dtypes[input] === "BF16" && !variance && !keep.random && !keep.magnitude && !keep.rows,
    );
    return direct ? (base ?? -1) : null;
  }

  private decodeBase(input: number, inputs: readonly number[], count: number): void {
    if (input === this.baseHeld) return;
    this.lanes[input]!.decode(this.base, inputs[input]!, count);
    this.baseHeld = input;
  }

  /** Counts the keys of an operand's deltas, from its input and the base themselves where those are f32. */
  private bracketWhole(slot: number, o: HistogramOperand, inputs: readonly number[], count: number): number {
    const { dtypes } = this.task;
    const e = this.kernel.exports;
    const slots = this.slots + slot * slotBytes;
    const [input, base] = [inputs[o.input]!, inputs[o.base!]!];
    if (this.direct[slot]) return e.bracket_bf16(slots, input, base, count, o.low, o.high, o.shift, o.hot);
    let x = input;
    if (dtypes[o.input] !== "F32") {
      const source = this.sources[slot]!;
      x = this.tiles + source * this.size * 4;
      if (source === slot) this.lanes[o.input]!.decode(x, input, count);
    }
    if (dtypes[o.base!] !== "F32") this.decodeBase(o.base!, inputs, count);
    const from = dtypes[o.base!] === "F32" ? base : this.base;
    return e.bracket_f32(slots, x, from, count, o.low, o.high, o.shift, o.hot);
  }

  private empty(): SurveyPart {
    const { round, count } = this.task;
    const n = round.operands.length;
    const blocks = Math.ceil(count / this.size);
    const sums = (k: number) => Array.from({ length: k }, () => new Float64Array(blocks));
    const zeros = () => new Array<number>(n).fill(0);
    switch (round.op) {
      case "dots": {
        const pairs = (n * (n + 1)) / 2;
        if (!round.lines) return { op: "dots", blocks: sums(pairs) };
        const { by, length } = round.lines;
        const size = by === "row" ? rowPartCount(this.task.first, count, length) : length;
        return { op: "dots", blocks: Array.from({ length: pairs }, () => new Float64Array(size)) };
      }
      case "norms":
        return { op: "norms", l1: sums(n), l2: sums(n), max: zeros(), nonzero: zeros() };
      case "contributors":
        return { op: "contributors", alone: zeros(), shared: zeros() };
      case "signs":
        return { op: "signs", positive: 0, negative: 0 };
      case "histogram":
        round.operands.forEach((o, i) => {
          this.slotsOf(o, i).fill(0);
          const words = [this.slots + i * slotBytes, 0, 0, o.low, o.high, o.shift, o.hot, 0, 0, 0];
          this.brackets.set(words, i * bracketWords);
        });
        return { op: "histogram", above: zeros(), nonzero: zeros(), bins: [] };
      case "sample":
        return { op: "sample", keys: Array.from({ length: n }, () => new Uint32Array(count)) };
      case "equals":
        return { op: "equals", blocks: Array.from({ length: n }, () => new Uint32Array(blocks)) };
      case "nth":
        return { op: "nth", index: zeros() };
      case "census":
        throw new TypeError("a census has a run of its own");
    }
  }

  private prepare(
    operand: Operand,
    slot: number,
    inputs: readonly number[],
    first: number,
    count: number,
    flagged: boolean,
  ): number {
    const e = this.kernel.exports;
    const x = this.tiles + slot * this.size * 4;
    if (operand.base !== null) this.decodeBase(operand.base, inputs, count);
    const take = (to: number, input: number) => {
      this.lanes[input]!.decode(to, inputs[input]!, count);
      if (operand.base !== null) e.delta(to, to, this.base, count);
      // One bad element must spoil one element of the result, not a norm and through it the whole tensor.
      if (flagged) e.replace_nonfinite(to, this.zeros, count);
    };
    if (operand.variance) {
      operand.variance.forEach((input, m) => {
        const delta = this.spread + m * this.size * 4;
        take(delta, input);
        const thinned = operand.thinned?.[m];
        if (!thinned) return;
        applyKeep(this.kernel, thinned.keep, delta, this.masks, first, count);
        if (thinned.scale !== 1) e.scale(delta, delta, thinned.scale, count);
      });
      e.variance(x, this.spread, operand.variance.length, this.size, count);
    } else if (operand.keep.rows?.rule.op === "importance") {
      this.lanes[operand.input]!.decode(x, inputs[operand.input]!, count);
      e.importance(x, x, this.base, operand.keep.rows.columns, count);
      if (flagged) e.replace_nonfinite(x, this.zeros, count);
      return x;
    } else take(x, operand.input);
    applyKeep(this.kernel, operand.keep, x, this.masks, first, count, this.rows);
    if (operand.scale !== undefined && operand.scale !== 1) e.scale(x, x, operand.scale, count);
    return x;
  }

  /**
   * Takes in as many of the next `count` elements, whole tiles, as it can without looking at each tile. Returns how many: where
   * it stops, `tile` has to take the next, because there may be something non-finite in it. `finite`: there is not, and nobody looks.
   */
  stretch(inputs: readonly number[], count: number, finite = false): number {
    const { aside, part, kernel } = this;
    if (aside === null) return 0;
    const most = Math.min(count, maxBlocks * tileElements);
    if (!finite && aside.some((i) => this.lanes[i]!.nonfinite(inputs[i]!, most) > 0)) return 0;
    const { round } = this.task;
    const n = round.operands.length;
    if (part.op === "dots") {
      const base = this.dotsBase! < 0 ? 0 : inputs[this.dotsBase!]!;
      for (let i = 0; i < n; i++) this.pointers[i] = inputs[round.operands[i]!.input]!;
      const { products } = this;
      const done = kernel.exports.survey_dots_bf16(products.byteOffset, this.pointers.byteOffset, base, n, most);
      const pairs = part.blocks.length;
      for (let at = 0, end = Math.ceil(done / tileElements) * pairs; at < end; this.block++)
        for (let pair = 0; pair < pairs; pair++) part.blocks[pair]![this.block] = products[at++]!;
      return done;
    }
    for (let i = 0; i < n; i++) {
      this.brackets[i * bracketWords + 1] = inputs[round.operands[i]!.input]!;
      this.brackets[i * bracketWords + 2] = inputs[round.operands[i]!.base!]!;
    }
    return kernel.exports.survey_brackets_bf16(this.brackets.byteOffset, n, most, finite ? 1 : 0);
  }

  /** Takes what was counted elsewhere of brackets of one key: of each operand the keys above it, and those at it. */
  addCounts(counts: Uint32Array): void {
    const { round } = this.task;
    if (round.op !== "histogram" || this.part.op !== "histogram") throw new TypeError("a histogram was not asked for");
    for (const [i, o] of round.operands.entries()) {
      (this.part.above as number[])[i]! += counts[2 * i]!;
      const at = counts[2 * i + 1]!;
      if (at === 0) continue;
      const slot = this.slotsOf(o, i);
      slot[0] = o.low;
      slot[1]! += at;
    }
  }

  /** Takes in the next tile, elements [first, first + count) of the tensor. `flagged`: an input holds non-finite elements. */
  tile(inputs: readonly number[], first: number, count: number, flagged: boolean): void {
    const e = this.kernel.exports;
    const { round } = this.task;
    const part = this.part;
    const x: number[] = [];
    this.baseHeld = null;
    for (const [i, o] of round.operands.entries()) {
      const whole = this.whole[i] && !flagged;
      x.push(
        whole ? 0 : this.sources[i] !== i ? x[this.sources[i]!]! : this.prepare(o, i, inputs, first, count, flagged),
      );
    }
    const b = this.block++;
    if (part.op === "dots") {
      let pair = 0;
      for (let i = 0; i < x.length; i++) {
        for (let j = i; j < x.length; j++) {
          const sums = part.blocks[pair++]!;
          if (round.op === "dots" && round.lines) this.lineDots(sums, x[i]!, x[j]!, first, count, round.lines);
          else sums[b] = e.dot(x[i]!, x[j]!, count);
        }
      }
      if (round.op === "dots" && round.lines?.by === "row")
        this.parts += rowPartCount(first, count, round.lines.length);
      return;
    }
    // The tiles of all operands lie one after the other.
    if (round.op === "contributors") {
      e.contributors(this.counts, this.tiles, x.length, this.size, round.epsilon, count);
      return;
    }
    if (part.op === "signs" && round.op === "signs") {
      this.countSigns(part, round, x, count);
      return;
    }
    if (round.op === "norms" && round.select) {
      const { above, equalBefore } = round.select;
      e.variance(this.spread, this.tiles, x.length, this.size, count);
      for (const at of x) e.trim_by(at, this.spread, above as number, before(equalBefore, first, count), count);
    }
    for (let i = 0; i < x.length; i++) {
      const at = x[i]!;
      if (part.op === "norms") {
        part.l1[i]![b] = e.l1(at, count);
        part.l2[i]![b] = e.dot(at, at, count);
        (part.max as number[])[i] = Math.max(part.max[i]!, e.max_abs(at, count));
        (part.nonzero as number[])[i]! += e.nonzero(at, count);
      } else if (part.op === "histogram" && round.op === "histogram") {
        const o = round.operands[i]!;
        const slots = this.slots + i * slotBytes;
        (part.above as number[])[i]! +=
          at === 0
            ? this.bracketWhole(i, o, inputs, count)
            : e.bracket(slots, at, count, o.low, o.high, o.shift, o.hot);
        if (o.nonzero) (part.nonzero as number[])[i]! += e.nonzero(at, count);
      } else if (part.op === "sample") {
        e.sample_keys(at, count);
        part.keys[i]!.set(new Uint32Array(this.kernel.memory.buffer, at, count), this.sampled);
      } else if (part.op === "equals" && round.op === "equals") {
        part.blocks[i]![b] = e.equals(at, round.operands[i]!.key, count);
      } else if (part.op === "nth" && round.op === "nth") {
        (part.index as number[])[i] = first + e.nth_equal(at, round.operands[i]!.key, round.operands[i]!.nth, count);
      }
    }
    this.sampled += count;
  }

  /** Adds to the counts of elected signs; what agrees with a sign sums to a number of this sign. */
  private countSigns(
    part: Extract<SurveyPart, { op: "signs" }>,
    round: Extract<SurveyTask["round"], { op: "signs" }>,
    votes: readonly number[],
    count: number,
  ): void {
    const e = this.kernel.exports;
    const { buffer } = this.kernel.memory;
    const n = votes.length;
    round.operands.forEach((o, i) => {
      e.scale(votes[i]!, votes[i]!, o.weight * (o.factor as number), count);
    });
    new Float32Array(buffer, this.counts, n).fill(1);
    const by = round.by === "count" ? 1 : 0;
    e.elect(this.spread, this.tiles, this.counts, this.counts, n, this.size, count, by, 0, 0);
    const found = new Uint32Array(buffer, this.zeros, 2);
    e.count_signs(this.zeros, this.spread, count);
    const sums = part as { positive: number; negative: number };
    sums.positive += found[0]!;
    sums.negative += found[1]!;
    found.fill(0);
  }

  private lineDots(sums: Float64Array, a: number, b: number, first: number, count: number, lines: Lines): void {
    if (lines.by === "row") {
      let part = this.parts;
      rowParts(first, count, lines.length, (offset, _, n) => {
        sums[part++] = this.kernel.exports.dot(a + 4 * offset, b + 4 * offset, n);
      });
      return;
    }
    // The sums stay with the part, which is sent: those of a tile's columns are taken along while it is added to them.
    const { length } = lines;
    for (let done = 0; done < count; ) {
      const column = (first + done) % length;
      const whole = length <= this.size;
      const n = whole ? count : Math.min(count - done, length - column);
      const own = whole ? sums : sums.subarray(column, column + n);
      const here = new Float64Array(this.kernel.memory.buffer, this.columns, own.length);
      here.set(own);
      const from = whole ? column : 0;
      this.kernel.exports.dots_columns(this.columns, a + 4 * done, b + 4 * done, from, own.length, n);
      own.set(here);
      done += n;
    }
  }

  private slotsOf({ low, high, shift }: HistogramOperand, operand: number): Uint32Array {
    const used = ((high - 1 - low) >>> shift) + 1;
    return new Uint32Array(this.kernel.memory.buffer, this.slots + operand * slotBytes, used * 2);
  }

  /** The slots that hold anything, which the others make way for: of a bracket few do, so that messages stay small. */
  private usedSlots({ low, high, shift }: HistogramOperand, operand: number): Uint32Array {
    const at = this.slots + operand * slotBytes;
    const used = this.kernel.exports.used_slots(at, ((high - 1 - low) >>> shift) + 1, low, shift);
    return new Uint32Array(this.kernel.memory.buffer, at, 2 * used).slice();
  }

  /** The slice's part; typed arrays in it are copies that may be transferred. */
  result(): SurveyPart {
    const { round } = this.task;
    if (this.part.op === "contributors") {
      const counts = [...new Uint32Array(this.kernel.memory.buffer, this.counts, 2 * round.operands.length)];
      const every = (from: number) => counts.filter((_, i) => i % 2 === from);
      return { op: "contributors", alone: every(0), shared: every(1) };
    }
    if (this.part.op !== "histogram" || round.op !== "histogram") return this.part;
    const above = this.part.above.map((n, i) => n + this.brackets[i * bracketWords + aboveWord]!);
    return { ...this.part, above, bins: round.operands.map((o, i) => this.usedSlots(o, i)) };
  }
}
