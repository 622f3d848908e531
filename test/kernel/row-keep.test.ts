// Rules that work by rows, beside the formulas on plain arrays.

import { describe, expect, test } from "bun:test";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { applyKeep, Scratch, takeMasks } from "../../src/kernel/operand.ts";
import type { Keep, TopRule } from "../../src/kernel/program.ts";
import { rowTile, tileOf } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { RowKeeper, rowScratch } from "../../src/kernel/rows.ts";
import { coarse, difference, sample } from "./harness.ts";

const kernel = createKernel(compileKernel(), 1 << 23);
const columnsTried = [1, 2, 3, 7, 16, 33, 130, 1000, 4095, 4096, 5000];

/** Applies a rule to elements [first, first + x.length) of a tensor, tile by tile as a worker does. */
function kept(keep: Keep, x: Float32Array, first: number): { x: Float32Array; kept: number } {
  const columns = keep.rows!.columns;
  const size = tileOf([{ keep }]);
  const scratch = new Scratch({ start: kernel.heapStart, end: kernel.heapStart + kernel.byteLength });
  const tile = scratch.take(4 * size);
  const masks = takeMasks(scratch, [{ keep }], size);
  const own = scratch.take(rowScratch(columns, 1));
  // What the planner counts on is all that it may use.
  const rows = new RowKeeper(kernel, columns, new Scratch({ start: own, end: own + rowScratch(columns, 1) }));
  const out = x.slice();
  let total = 0;
  for (let at = 0; at < x.length; at += size) {
    const count = Math.min(size, x.length - at);
    const view = new Float32Array(kernel.memory.buffer, tile, count);
    view.set(out.subarray(at, at + count));
    total += applyKeep(kernel, keep, tile, masks, first + at, count, rows);
    out.set(view, at);
  }
  return { x: out, kept: total };
}

/** DELLA on plain numbers, from methods.md's formula: the rank's probability, the mask of braid-mask-v1, 1/keep. */
function della(x: Float32Array, first: number, columns: number, d: number, epsilon: number, key: [number, number]) {
  const thresholds = new Array<number>(first + x.length).fill(0);
  for (let row = 0; row < x.length; row += columns) {
    const ranks = reference.rankRow(x.slice(row, row + columns));
    ranks.forEach((rank, i) => {
      const r = columns === 1 ? 0.5 : rank / (columns - 1);
      const p = 1 - (d - epsilon + 2 * epsilon * r);
      thresholds[first + row + i] = Math.floor(p * 2 ** 32 + 0.5);
    });
  }
  const block = Math.floor(first / 16);
  const mask = reference.keep_mask_each(key, block, 0, thresholds.slice(block * 16)).slice(first - block * 16);
  const scaled = x.map((v, i) => (mask[i] ? v * Math.fround(1 / (1 - thresholds[first + i]! / 2 ** 32)) : 0));
  return { plain: x.map((v, i) => (mask[i] ? v : 0)), scaled, kept: mask.filter((m) => m > 0).length };
}

describe("the drop by rank", () => {
  for (const columns of columnsTried) {
    test(`of rows of ${columns}, wherever they start`, () => {
      const rows = Math.ceil(9000 / columns);
      for (const [skip, make] of [
        [0, coarse],
        [1, sample],
        [5, coarse],
      ] as const) {
        const first = skip * rowTile(columns);
        const x = make(rows * columns, columns + skip);
        const key: [number, number] = [columns, 0x9e3779b9];
        const want = della(x, first, columns, 0.45, 0.2, key);
        for (const rescale of [false, true]) {
          const rule = { op: "rank", key, density: 0.45, epsilon: 0.2, rescale } as const;
          const got = kept({ rows: { columns, rule } }, x, first);
          expect(difference(got.x, rescale ? want.scaled : want.plain)).toBe("");
          expect(got.kept).toBe(want.kept);
        }
      }
    });
  }

  test("keeps the largest more often than the smallest, each as often as it should", () => {
    const columns = 100;
    const rows = 20_000;
    const x = Float32Array.from({ length: columns * rows }, (_, i) => ((i * 37) % columns) + 1);
    const rule = { op: "rank", key: [1, 2], density: 0.5, epsilon: 0.3, rescale: true } as const;
    const got = kept({ rows: { columns, rule } }, x, 0);
    for (const value of [1, 25, 50, 75, 100]) {
      const p = 0.2 + (0.6 * (value - 1)) / (columns - 1);
      let count = 0;
      let sum = 0;
      for (let i = 0; i < x.length; i++) {
        if (x[i] !== value || got.x[i] === 0) continue;
        count++;
        sum += got.x[i]!;
      }
      expect(Math.abs(count - rows * p)).toBeLessThan(5 * Math.sqrt(rows * p * (1 - p)));
      // Unbiased: the mean over all rows is the value itself.
      expect(Math.abs(sum / rows / value - 1)).toBeLessThan(5 * Math.sqrt((1 - p) / p / rows));
    }
  });
});

/** The largest k of each row by sorting, ties as asked. */
function top(x: Float32Array, columns: number, rule: TopRule): Float32Array {
  const out = x.slice();
  for (let row = 0; row < x.length; row += columns) {
    const keys = [...reference.keysOf(x.slice(row, row + columns))];
    if (rule.gamma !== undefined) {
      const k = Math.max(1, Math.floor(rule.density * columns));
      const end = columns - Math.min(Math.floor(rule.gamma * columns), columns - k);
      const order = keys.map((_, i) => i).sort((a, b) => keys[a]! - keys[b]! || a - b);
      const chosen = order.slice(end - k, end);
      const ends = [keys[chosen[0]!]!, keys[chosen.at(-1)!]!] as const;
      const stays = (i: number) =>
        rule.ties === "exact" ? chosen.includes(i) : keys[i]! >= ends[0] && keys[i]! <= ends[1];
      for (let i = 0; i < columns; i++) if (!stays(i)) out[row + i] = 0;
      continue;
    }
    const counted = rule.of === "nonzero" ? keys.filter((k) => k > 0).length : columns;
    if (counted === 0) continue;
    const round = rule.rounding === "floor" ? Math.floor : Math.round;
    const k = Math.max(1, round(rule.density * counted));
    const order = keys.map((_, i) => i).sort((a, b) => keys[b]! - keys[a]! || a - b);
    const last = keys[order[k - 1]!]!;
    const chosen = new Set(rule.ties === "exact" ? order.slice(0, k) : order.filter((i) => keys[i]! >= last));
    for (let i = 0; i < columns; i++) if (!chosen.has(i)) out[row + i] = 0;
  }
  return out;
}

describe("the largest of each row, or those next to them,", () => {
  for (const columns of columnsTried) {
    test(`of rows of ${columns}`, () => {
      const x = coarse(Math.ceil(5000 / columns) * columns, columns);
      for (const density of [0.001, 0.3, 0.5, 1]) {
        for (const of of ["elements", "nonzero"] as const) {
          for (const rounding of ["nearest", "floor"] as const) {
            for (const ties of ["include", "exact"] as const) {
              const rule: TopRule = { op: "top", density, of, rounding, ties };
              const got = kept({ rows: { columns, rule } }, x, 0);
              expect(difference(got.x, top(x, columns, rule))).toBe("");
            }
          }
        }
      }
    });
  }

  for (const columns of columnsTried) {
    test(`between the tails of rows of ${columns}`, () => {
      const x = coarse(Math.ceil(5000 / columns) * columns, columns);
      for (const [density, gamma] of [
        [0.5, 0.125],
        [0.9, 0.3],
        [0.01, 0.9],
        [0.3, 0],
      ] as const) {
        for (const ties of ["include", "exact"] as const) {
          const rule: TopRule = { op: "top", density, of: "elements", rounding: "nearest", ties, gamma };
          expect(difference(kept({ rows: { columns, rule } }, x, 0).x, top(x, columns, rule))).toBe("");
        }
      }
    });
  }

  test("sees what the random drop left, drawn by the tensor's elements", () => {
    const columns = 130; // no multiple of 16: tiles start inside a Philox block
    const first = 3 * rowTile(columns);
    const x = coarse(columns * 100, 9);
    const rule: TopRule = { op: "top", density: 0.5, of: "nonzero", rounding: "nearest", ties: "exact" };
    const mask = reference.keep_mask([3, 4], 0, 0, 2 ** 31, first + x.length).slice(first);
    const dropped = x.map((v, i) => (mask[i] ? v : 0));
    const random = { key: [3, 4], threshold: 2 ** 31 } as const;
    expect(difference(kept({ random, rows: { columns, rule } }, x, first).x, top(dropped, columns, rule))).toBe("");
  });
});
