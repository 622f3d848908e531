// Programs that a single kernel carries out tile by tile, bf16 in and out, to the same bits as the steps of tile.ts
// (test/kernel/fused.test.ts). What no fused kernel covers stays there, and so do tiles with non-finite values.

import { drawMask, lineMaskBytesOf } from "./draw.ts";
import { type Kernel, maxFusedModels } from "./kernel.ts";
import { Scratch } from "./operand.ts";
import type { MagnitudeKeep, MergeProgram, Term, ZeroSign } from "./program.ts";
import { tileElements } from "./program.ts";

/** The kernels keep every key that equals a threshold; telling equals apart by index is for the separate ones. */
function keepsEquals({ equalBefore, equalFrom, top }: MagnitudeKeep): boolean {
  const every = Number.MAX_SAFE_INTEGER;
  return (equalFrom ?? 0) === 0 && equalBefore === every && (top?.equalBefore ?? every) === every;
}

/** A term whose survivors are given as a mask: what is drawn, or a window of magnitudes. */
function isMasked({ keep }: Term): boolean {
  return (keep.random?.threshold ?? 0) > 0 || keep.magnitude?.top !== undefined;
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
  if (program.out !== "BF16" || program.inputs.some((d) => d !== "BF16")) return null;
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
  if (terms.some((t) => t.keep.magnitude?.top && t.keep.random)) return null;
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
  private readonly maskPointers: number;
  private readonly lineMask: number;
  private readonly anyMask: boolean;

  constructor(kernel: Kernel, program: MergeProgram, region: { start: number; end: number }, kept: number[]) {
    this.kernel = kernel;
    this.program = program;
    this.kept = kept;
    this.keptHere = program.terms.map(() => 0);
    const scratch = new Scratch(region);
    const n = program.terms.length;
    const { buffer } = kernel.memory;
    this.masks = program.terms.map((t) => (isMasked(t) ? scratch.take(tileElements) : 0));
    this.lineMask = scratch.take(lineMaskBytesOf(program.terms, tileElements));
    this.anyMask = this.masks.some((m) => m !== 0);
    this.pointers = new Uint32Array(buffer, scratch.take(4 * n), n);
    this.scales = scratch.take(4 * n);
    this.weights = scratch.take(4 * n);
    this.above = scratch.take(4 * n);
    this.maskPointers = scratch.take(4 * n);
    const f32 = (at: number) => new Float32Array(buffer, at, n);
    const u32 = (at: number) => new Uint32Array(buffer, at, n);
    program.terms.forEach((t, i) => {
      f32(this.scales)[i] = (t.weight as number) * (t.scale as number);
      f32(this.weights)[i] = t.weight as number;
      const { magnitude } = t.keep;
      u32(this.above)[i] = magnitude && !magnitude.top ? (magnitude.above as number) : 0;
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
      if (magnitude?.top) {
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
    if (this.merge(inputs, out, count) !== 0) return false;
    for (let i = 0; i < n; i++) this.kept[i]! += this.keptHere[i]!;
    return true;
  }

  private merge(inputs: readonly number[], out: number, count: number): number {
    const { program, scales } = this;
    const e = this.kernel.exports;
    const lambda = program.lambda as number;
    const n = program.terms.length;
    const at = this.pointers.byteOffset;
    if (program.base === null) return e.merge_linear_bf16(out, at, scales, n, lambda, count);
    const base = inputs[program.base]!;
    const { combine } = program;
    if (combine.op === "elect") {
      const zero = { drop: 0, positive: 1, negative: 2 }[combine.zero as ZeroSign];
      return e.merge_elect_bf16(
        out,
        base,
        at,
        scales,
        this.maskPointers,
        this.above,
        n,
        lambda,
        zero,
        combine.divide ? 1 : 0,
        this.weights,
        count,
      );
    }
    if (this.anyMask) return e.merge_dare_bf16(out, base, at, scales, this.maskPointers, n, lambda, count);
    return e.merge_delta_bf16(out, base, at, scales, n, lambda, count);
  }
}
