// Keep rules that work by rows: ranks within a row, and what follows from them (program.ts, `RowKeep`).

import type { Kernel } from "./kernel.ts";
import { maskBlockElements, maskRescale, maskThreshold } from "./mask.ts";
import type { RankRule, RowKeep, TopRule } from "./program.ts";
import { rowTile } from "./program.ts";

const two32 = 2 ** 32;

/** Bytes of a worker's memory that row rules of `users` terms or operands need besides tiles. */
export function rowScratch(columns: number, users: number): number {
  const tile = rowTile(columns);
  // A mask may start up to 15 elements before the tile, in the middle of a Philox block.
  const drawn = (tile + 2 * maskBlockElements) * (4 + 4 + 1);
  return drawn + spareBytes(columns) + users * (8 * columns + 64) + 256;
}

function spareBytes(columns: number): number {
  return 12 * columns + 128;
}

/**
 * T of the element at `rank` (from 0, ascending) of a row of `columns`: min(⌊p·2³² + ½⌋, 2³² − 1) with p = 1 − ((d − ε) + 2ε·r),
 * r = rank/(columns − 1), or ½ where there is one column (methods.md §7.4: Deep et al. 2024, arXiv 2406.11617). f64, in this order.
 */
export function rankThreshold(rank: number, columns: number, density: number, epsilon: number): number {
  const r = columns === 1 ? 0.5 : rank / (columns - 1);
  return maskThreshold(1 - (density - epsilon + 2 * epsilon * r));
}

/** k of a row of `count` elements that count (program.ts, `ThresholdOperand`). */
export function rowQuota(density: number, count: number, rounding: "nearest" | "floor"): number {
  return Math.max(1, rounding === "floor" ? Math.floor(density * count) : Math.floor(density * count + 0.5));
}

interface Taker {
  take(bytes: number): number;
}

/** The row rules of one task. All of them have the same rows. */
export class RowKeeper {
  private readonly kernel: Kernel;
  private readonly columns: number;
  private readonly thresholds: number;
  private readonly factors: number;
  private readonly mask: number;
  private readonly spare: number;
  private readonly scratch: Taker;
  /** The table of a rule, made when it is first used. */
  private readonly tables = new Map<string, number>();
  private ranks = 0;

  constructor(kernel: Kernel, columns: number, scratch: Taker) {
    const drawn = rowTile(columns) + 2 * maskBlockElements;
    this.kernel = kernel;
    this.columns = columns;
    this.scratch = scratch;
    this.thresholds = scratch.take(4 * drawn);
    this.factors = scratch.take(4 * drawn);
    this.mask = scratch.take(drawn);
    this.spare = scratch.take(spareBytes(columns));
  }

  /** Applies a rule to a tile of whole rows in place and returns the number kept; `first` is its first element in the tensor. */
  apply(keep: RowKeep, x: number, first: number, count: number): number {
    if (keep.rule.op === "importance") throw new TypeError("importance needs the values, not the delta");
    return keep.rule.op === "rank" ? this.draw(keep.rule, x, first, count) : this.top(keep.rule, x, count);
  }

  private draw(rule: RankRule, x: number, first: number, count: number): number {
    const e = this.kernel.exports;
    const { columns } = this;
    const table = this.tableOf(rule);
    // Rows need not start where a Philox block does: the mask is drawn from the block's first element on.
    const ahead = first % maskBlockElements;
    new Uint32Array(this.kernel.memory.buffer, this.thresholds, ahead).fill(0);
    const thresholds = this.thresholds + 4 * ahead;
    const factors = rule.rescale ? this.factors : 0;
    for (let row = 0; row < count; row += columns) {
      const at = 4 * row;
      e.rank_row(thresholds + at, factors === 0 ? 0 : factors + at, x + at, table, columns, this.spare);
    }
    const block = Math.floor(first / maskBlockElements);
    const high = Math.floor(block / two32);
    const [k0, k1] = rule.key;
    const kept = e.keep_mask_each(this.mask, k0, k1, block - high * two32, high, this.thresholds, ahead + count);
    if (rule.rescale) e.select_scaled(x, this.mask + ahead, factors, count);
    else e.select(x, this.mask + ahead, count);
    return kept - ahead; // a threshold of 0 keeps
  }

  /** T of every rank; with the factor behind each, where what is kept is rescaled. */
  private tableOf(rule: RankRule): number {
    const name = `${rule.density} ${rule.epsilon} ${rule.rescale}`;
    const known = this.tables.get(name);
    if (known !== undefined) return known;
    const { columns } = this;
    const width = rule.rescale ? 2 : 1;
    const made = this.scratch.take(4 * width * columns);
    const thresholds = new Uint32Array(this.kernel.memory.buffer, made, width * columns);
    const factors = new Float32Array(this.kernel.memory.buffer, made, width * columns);
    for (let rank = 0; rank < columns; rank++) {
      const t = rankThreshold(rank, columns, rule.density, rule.epsilon);
      thresholds[width * rank] = t;
      if (rule.rescale) factors[2 * rank + 1] = maskRescale(t);
    }
    this.tables.set(name, made);
    return made;
  }

  private top(rule: TopRule, x: number, count: number): number {
    const e = this.kernel.exports;
    const { columns } = this;
    const ranks = this.identity();
    let kept = 0;
    for (let row = 0; row < count; row += columns) {
      const at = x + 4 * row;
      const counted = rule.of === "nonzero" ? e.nonzero(at, columns) : columns;
      if (counted === 0) continue; // zeros stay what they are
      e.rank_row(this.thresholds, 0, at, ranks, columns, this.spare);
      if (rule.gamma !== undefined) {
        kept += this.window(rule, rule.gamma, at);
        continue;
      }
      const k = rowQuota(rule.density, counted, rule.rounding);
      const { key } = this.ranked(at, columns - k);
      kept += e.trim(at, key, rule.ties === "exact" ? this.quotaEnd(at, key, k) : columns, columns);
    }
    return kept;
  }

  /** The window of ranks between the largest that drop and the smallest that drop, of a row whose ranks are known. */
  private window(rule: TopRule, gamma: number, at: number): number {
    const e = this.kernel.exports;
    const { columns } = this;
    const k = rowQuota(rule.density, columns, "floor");
    const dropped = Math.min(Math.floor(gamma * columns), columns - k);
    const low = this.ranked(at, columns - dropped - k);
    const high = this.ranked(at, columns - dropped - 1);
    const exact = rule.ties === "exact";
    return e.window(at, low.key, exact ? low.index : 0, high.key, exact ? high.index + 1 : columns, columns);
  }

  /** The element at `rank` of the row at `at`, whose ranks are known. */
  private ranked(at: number, rank: number): { index: number; key: number } {
    const index = this.kernel.exports.nth_equal(this.thresholds, rank, 0, this.columns);
    const bits = new Uint32Array(this.kernel.memory.buffer, at, this.columns);
    return { index, key: bits[index]! & 0x7fffffff };
  }

  /** The index of the first element of a row that equals `key` and is beyond the k largest, lowest indices first. */
  private quotaEnd(at: number, key: number, k: number): number {
    const e = this.kernel.exports;
    const ranks = new Uint32Array(this.kernel.memory.buffer, this.thresholds, this.columns);
    const below = ranks[e.nth_equal(at, key, 0, this.columns)]!;
    const equal = e.equals(at, key, this.columns);
    const quota = k - (this.columns - below - equal);
    return quota >= equal ? this.columns : e.nth_equal(at, key, quota, this.columns);
  }

  /** A table that gives ranks themselves. */
  private identity(): number {
    if (this.ranks === 0) {
      this.ranks = this.scratch.take(4 * this.columns);
      const table = new Uint32Array(this.kernel.memory.buffer, this.ranks, this.columns);
      for (let i = 0; i < this.columns; i++) table[i] = i;
    }
    return this.ranks;
  }
}
