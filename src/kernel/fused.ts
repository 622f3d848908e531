// Programs that a single kernel carries out tile by tile, to the same bits as the steps of tile.ts (test/kernel/fused.test.ts).
// What no fused kernel covers stays there, and so do tiles with non-finite values. All in bf16 is one pass; with other dtypes
// the kernels are those of f32, on pieces of a tile that stay in the first cache between decoding, merging and encoding.

import { byteWidth, type FloatDtype } from "../tensor/dtype.ts";
import { drawMask, lineMaskBytesOf } from "./draw.ts";
import { type Kernel, maxFusedModels } from "./kernel.ts";
import { kernelsFor, type LaneKernels } from "./lanes.ts";
import { Scratch } from "./operand.ts";
import type { MagnitudeKeep, MergeProgram, SurveyRound, Term, ZeroSign } from "./program.ts";
import { tileElements } from "./program.ts";

/** Elements that are decoded, merged and encoded together where not all is bf16. */
const pieceElements = 1024;

/** Scratch that a merger may take. */
export function fusedScratch(inputs: number): number {
  return (inputs + 1) * (tileElements + 4 * pieceElements);
}

/** The kernels keep every key that equals a threshold; telling equals apart by index is for the separate ones. */
function keepsEquals({ equalBefore, equalFrom, top }: MagnitudeKeep): boolean {
  const every = Number.MAX_SAFE_INTEGER;
  return (equalFrom ?? 0) === 0 && equalBefore === every && (top?.equalBefore ?? every) === every;
}

/** A term whose survivors are given as a mask: what is drawn, or a window of magnitudes. */
function isMasked({ keep }: Term): boolean {
  return (keep.random?.threshold ?? 0) > 0 || keep.magnitude?.top !== undefined;
}

/** Sums of windows have a kernel that needs no masks. */
function isWindowed({ combine, terms }: MergeProgram): boolean {
  return combine.op === "sum" && terms.every((t) => t.keep.magnitude?.top !== undefined);
}

function isNarrow({ inputs, out }: MergeProgram): boolean {
  return out === "BF16" && inputs.every((d) => d === "BF16");
}

/** A merger of whole tiles, or null when the program needs the separate kernels. It adds to `kept`, per term. */
export function fuse(
  kernel: Kernel,
  program: MergeProgram,
  region: { start: number; end: number },
  kept: number[],
): FusedMerger | null {
  const { terms, combine } = program;
  if (combine.op !== "sum" && combine.op !== "elect") return null;
  const wide = !isNarrow(program);
  if (program.rounding) return null;
  if (terms.length === 0 || terms.length > maxFusedModels) return null;
  if (terms.some((t) => t.keep.rows)) return null;
  if (program.lines || (program.baseWeight ?? 1) !== 1) return null;
  if (program.base === null && (combine.op === "elect" || terms.some((t) => t.keep.random || t.keep.magnitude)))
    return null;
  if (combine.op === "elect" ? combine.by !== "weighted" : terms.some((t) => t.keep.magnitude && !t.keep.magnitude.top))
    return null;
  // The kernels look for non-finite values in what they use, but those of an input that no term uses have to be counted too.
  if (program.inputs.some((_, i) => i !== program.base && terms.every((t) => t.input !== i))) return null;
  if (terms.some((t) => t.keep.magnitude && !keepsEquals(t.keep.magnitude))) return null;
  // A window is looked up in bf16.
  if (terms.some((t) => t.keep.magnitude?.top && (t.keep.random || wide))) return null;
  return new FusedMerger(kernel, program, region, kept);
}

export class FusedMerger {
  private readonly kernel: Kernel;
  private readonly program: MergeProgram;
  private readonly kept: number[];
  /** What the masks of one tile keep. */
  private readonly keptHere: number[];
  private readonly pointers: Uint32Array;
  private readonly masks: readonly number[];
  private readonly scales: number;
  private readonly weights: number;
  private readonly above: number;
  private readonly tops: number;
  /** Of each term, what a kernel has counted: the keys above one and at it, and of a window's other end as well. */
  private readonly tallies: Uint32Array;
  /** The same of all pieces. */
  private readonly counted: Uint32Array;
  private readonly windowed: boolean;
  private readonly maskPointers: number;
  private readonly lineMask: number;
  private readonly anyMask: boolean;
  /** It takes any number of elements at a time: masks and pieces have room for a tile. */
  readonly unmasked: boolean;
  /** Null when all is bf16. */
  private readonly pieces: Pieces | null;

  constructor(kernel: Kernel, program: MergeProgram, region: { start: number; end: number }, kept: number[]) {
    this.kernel = kernel;
    this.program = program;
    this.kept = kept;
    this.keptHere = program.terms.map(() => 0);
    const scratch = new Scratch(region);
    const n = program.terms.length;
    const { buffer } = kernel.memory;
    this.windowed = isWindowed(program);
    this.masks = program.terms.map((t) => (isMasked(t) && !this.windowed ? scratch.take(tileElements) : 0));
    this.lineMask = scratch.take(lineMaskBytesOf(program.terms, tileElements));
    this.anyMask = this.masks.some((m) => m !== 0);
    this.pointers = new Uint32Array(buffer, scratch.take(4 * n), n);
    this.scales = scratch.take(4 * n);
    this.weights = scratch.take(4 * n);
    this.above = scratch.take(4 * n);
    this.tops = scratch.take(4 * n);
    this.maskPointers = scratch.take(4 * n);
    const tallied = (this.windowed ? 4 : 2) * n;
    this.tallies = new Uint32Array(buffer, scratch.take(4 * tallied), tallied);
    this.counted = new Uint32Array(tallied);
    this.pieces = isNarrow(program) ? null : new Pieces(kernel, program, scratch);
    this.unmasked = !this.anyMask && !this.pieces;
    const f32 = (at: number) => new Float32Array(buffer, at, n);
    const u32 = (at: number) => new Uint32Array(buffer, at, n);
    program.terms.forEach((t, i) => {
      f32(this.scales)[i] = (t.weight as number) * (t.scale as number);
      f32(this.weights)[i] = t.weight as number;
      const { magnitude } = t.keep;
      u32(this.above)[i] = magnitude && (this.windowed || !magnitude.top) ? (magnitude.above as number) : 0;
      u32(this.tops)[i] = this.windowed ? (magnitude!.top!.key as number) : 0;
      u32(this.maskPointers)[i] = this.masks[i]!;
    });
  }

  /**
   * Merges `count` elements from element `first` of the tensor on, a multiple of 4,096. False when an input or the output
   * holds a non-finite value: then `out` is worth nothing, nothing is counted as kept, and the separate steps do the tile.
   */
  tile(inputs: readonly number[], out: number, first: number, count: number): boolean {
    const { program } = this;
    const e = this.kernel.exports;
    const n = program.terms.length;
    for (let i = 0; i < n; i++) {
      const term = program.terms[i]!;
      this.pointers[i] = inputs[term.input]!;
      const { random, magnitude } = term.keep;
      const mask = this.masks[i]!;
      this.keptHere[i] = count;
      if (magnitude?.top && mask !== 0) {
        const base = inputs[program.base!]!;
        e.window_mask_bf16(
          mask,
          this.pointers[i]!,
          base,
          magnitude.above as number,
          magnitude.top.key as number,
          count,
        );
      }
      if (!random || mask === 0) continue;
      this.keptHere[i] = drawMask(this.kernel, random, mask, this.lineMask, first, count);
    }
    if (!(this.pieces ? this.mergePieces(this.pieces, inputs, out, count) : this.merge(inputs, out, count)))
      return false;
    for (let i = 0; i < n; i++) this.kept[i]! += this.keptHere[i]!;
    return true;
  }

  /** Whether `count` can gather a round: it asks for one key of each term, or both of its window, those that the term is cut at. */
  counts({ operands }: Extract<SurveyRound, { op: "histogram" }>): boolean {
    const { terms, combine, base } = this.program;
    if (this.anyMask || !(this.windowed || combine.op === "elect")) return false;
    const cuts = terms.flatMap(({ input, keep: { magnitude } }) => {
      const above = { input, key: magnitude?.above };
      return this.windowed ? [above, { input, key: magnitude!.top!.key }] : [above];
    });
    if (operands.length !== cuts.length) return false;
    return operands.every(({ input, base: from, low, high, hot, nonzero, keep, variance }, i) => {
      const plain = low > 0 && !nonzero && !variance && !keep.random && !keep.magnitude && !keep.rows;
      const sameDelta = input === cuts[i]!.input && from === base;
      return plain && sameDelta && hot === low && high === low + 1 && cuts[i]!.key === low;
    });
  }

  /**
   * `tile` of any number of elements that counts meanwhile: for each key that `counts` was asked for those above it, and those at it.
   * Null where `tile` returns false.
   */
  count(inputs: readonly number[], out: number, count: number): Uint32Array | null {
    const { pieces, counted } = this;
    const { terms } = this.program;
    counted.fill(0);
    if (pieces) {
      if (!this.mergePieces(pieces, inputs, out, count, true)) return null;
    } else {
      for (let i = 0; i < terms.length; i++) this.pointers[i] = inputs[terms[i]!.input]!;
      if (!this.mergeAndCount(inputs, out, count)) return null;
    }
    for (let i = 0; i < terms.length; i++) this.kept[i]! += count;
    return counted;
  }

  /** `merge` that adds what it counts to `counted`. */
  private mergeAndCount(inputs: readonly number[], out: number, count: number): boolean {
    const { program, pointers, scales, above, tops, weights, tallies, counted } = this;
    const n = program.terms.length;
    const base = inputs[program.base!]!;
    const lambda = program.lambda as number;
    const e = this.kernel.exports;
    const at = pointers.byteOffset;
    const counts = tallies.byteOffset;
    let beyond: number;
    if (this.windowed) beyond = e.survey_window_bf16(out, base, at, scales, above, tops, n, lambda, counts, count);
    else {
      const [zero, divide] = electionOf(program);
      const elect = this.pieces ? e.survey_elect_f32 : e.survey_elect_bf16;
      beyond = elect(out, base, at, scales, above, n, lambda, zero, divide, weights, counts, count);
    }
    for (let i = 0; i < tallies.length; i++) counted[i]! += tallies[i]!;
    return beyond === 0;
  }

  /** Decodes, merges and encodes piece by piece, and counts meanwhile; whether all is finite. */
  private mergePieces(pieces: Pieces, inputs: readonly number[], out: number, count: number, counts = false): boolean {
    const { terms } = this.program;
    const maskPointers = new Uint32Array(this.kernel.memory.buffer, this.maskPointers, terms.length);
    for (let done = 0; done < count; done += pieceElements) {
      const n = Math.min(pieceElements, count - done);
      const decoded = pieces.decode(inputs, done, n);
      const to = pieces.target(out, done);
      for (let i = 0; i < terms.length; i++) {
        this.pointers[i] = decoded[terms[i]!.input]!;
        maskPointers[i] = this.masks[i] === 0 ? 0 : this.masks[i]! + done;
      }
      const finite = counts ? this.mergeAndCount(decoded, to, n) : this.merge(decoded, to, n);
      if (!finite || !pieces.encode(out, done, n)) return false;
    }
    return true;
  }

  /** Whether all is finite. */
  private merge(inputs: readonly number[], out: number, count: number): boolean {
    const { program, scales } = this;
    const e = this.kernel.exports;
    const lambda = program.lambda as number;
    const n = program.terms.length;
    const at = this.pointers.byteOffset;
    const wide = this.pieces !== null;
    if (program.base === null) {
      const linear = wide ? e.merge_linear_f32 : e.merge_linear_bf16;
      return linear(out, at, scales, n, lambda, count) === 0;
    }
    const base = inputs[program.base]!;
    if (program.combine.op === "elect") {
      const [zero, divide] = electionOf(program);
      const { maskPointers, above, weights } = this;
      const elect = wide ? e.merge_elect_f32 : e.merge_elect_bf16;
      return elect(out, base, at, scales, maskPointers, above, n, lambda, zero, divide, weights, count) === 0;
    }
    if (this.windowed) {
      return e.merge_window_bf16(out, base, at, scales, this.above, this.tops, n, lambda, count) === 0;
    }
    if (this.anyMask) {
      const dare = wide ? e.merge_dare_f32 : e.merge_dare_bf16;
      return dare(out, base, at, scales, this.maskPointers, n, lambda, count) === 0;
    }
    const delta = wide ? e.merge_delta_f32 : e.merge_delta_bf16;
    return delta(out, base, at, scales, n, lambda, count) === 0;
  }
}

/** What the kernels take for the sign of a sum of zero, and for the division. */
function electionOf({ combine }: MergeProgram): [zero: number, divide: number] {
  if (combine.op !== "elect") throw new TypeError("not an election");
  return [{ drop: 0, positive: 1, negative: 2 }[combine.zero as ZeroSign], combine.divide ? 1 : 0];
}

/** Inputs and output of the f32 kernels, a piece at a time. Inputs in f32 are taken, and an output in f32 is made, in place. */
class Pieces {
  private readonly lanes: readonly LaneKernels[];
  private readonly out: LaneKernels;
  private readonly widths: readonly number[];
  private readonly outWidth: number;
  /** Where the pieces go; 0: in place. */
  private readonly rooms: readonly number[];
  private readonly outRoom: number;
  private readonly decoded: number[];

  constructor(kernel: Kernel, program: MergeProgram, scratch: Scratch) {
    const room = (dtype: FloatDtype) => (dtype === "F32" ? 0 : scratch.take(4 * pieceElements));
    this.lanes = program.inputs.map((d) => kernelsFor(kernel, d));
    this.out = kernelsFor(kernel, program.out);
    this.widths = program.inputs.map(byteWidth);
    this.outWidth = byteWidth(program.out);
    this.rooms = program.inputs.map(room);
    this.outRoom = room(program.out);
    this.decoded = program.inputs.map(() => 0);
  }

  /** Pointers to `count` elements of each input from element `first` of the tile on, in f32. */
  decode(inputs: readonly number[], first: number, count: number): readonly number[] {
    for (let i = 0; i < inputs.length; i++) {
      const from = inputs[i]! + first * this.widths[i]!;
      if (this.rooms[i] !== 0) this.lanes[i]!.decode(this.rooms[i]!, from, count);
      this.decoded[i] = this.rooms[i] || from;
    }
    return this.decoded;
  }

  /** Where to merge to. */
  target(out: number, first: number): number {
    return this.outRoom || out + first * this.outWidth;
  }

  /** Whether all is finite once it is rounded. */
  encode(out: number, first: number, count: number): boolean {
    if (this.outRoom === 0) return true;
    const to = out + first * this.outWidth;
    this.out.encode(to, this.outRoom, count);
    return this.out.nonfinite(to, count) === 0;
  }
}
