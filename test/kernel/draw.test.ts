// Disjoint masks, and masks of whole rows and columns.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { drawMask, lineMaskBytes, maskBytes } from "../../src/kernel/draw.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { maskKey, maskThreshold } from "../../src/kernel/mask.ts";
import type { RandomKeep } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { bytes, damage, hex, integerDifference, reset, room, run } from "./harness.ts";

const two32 = 2 ** 32;

/** Made by disjoint-masks.py. */
const golden: {
  disjoint: { seed: number; tensor: string; densities: number[]; first: number; masks: string[] }[];
  lines: {
    seed: number;
    tensor: string;
    model: number;
    p: number;
    shape: [number, number];
    row: string;
    column: string;
  }[];
} = JSON.parse(readFileSync(new URL("../vectors/disjoint-masks.json", import.meta.url), "utf8"));

const kernel = createKernel(compileKernel(), 1 << 20);

/** The mask of elements [first, first + count), drawn in tiles of `tile`; nothing beyond the planned bytes is touched. */
function drawn(random: RandomKeep, first: number, count: number, tile = 4096): { mask: number[]; kept: number } {
  const mask = kernel.heapStart;
  const lines = mask + maskBytes(tile) + 64;
  const end = lines + lineMaskBytes(tile);
  const out: number[] = [];
  let kept = 0;
  for (let done = 0; done < count; done += tile) {
    const n = Math.min(tile, count - done);
    kernel.u8(mask, end + 64 - mask).fill(0x5a);
    kept += drawMask(kernel, random, mask, lines, first + done, n);
    out.push(...kernel.u8(mask + ((first + done) % 16), n));
    const guards = [...kernel.u8(lines - 64, 64), ...kernel.u8(end, 64)];
    if (guards.some((b) => b !== 0x5a)) throw new Error(`a tile of ${tile} wrote beyond its masks`);
  }
  return { mask: out, kept };
}
const text = (mask: readonly number[]) => mask.map((b) => (b === 0xff ? "1" : b === 0 ? "0" : "?")).join("");
const ones = (mask: string) => mask.replaceAll("0", "").length;

/** The intervals of models with these densities, one behind the other. */
function intervals(key: readonly [number, number], densities: readonly number[]): RandomKeep[] {
  let start = 0;
  return densities.map((d) => {
    const threshold = maskThreshold(1 - d);
    const random = { key, threshold, start };
    start = (start + two32 - threshold) % two32;
    return random;
  });
}

describe("an interval of draws", () => {
  const key = [0x9e3779b9, 0xdeadbeef] as const;
  const ends: [number, number][] = [
    [0, 1],
    [0, 0x40000000],
    [0x40000000, 0x40000000],
    [0x12345678, 0x00abcdef], // within one byte's range, and over its end
    [0x12345678, 0x00001234],
    [0x80ffffff, 2],
    [0xf0000001, 0x20000000], // around the end
    [0xffffffff, 0xffffffff],
    [0x7f800000, 0xff800001], // all but a part of one byte's range
    [0x7f800000, 0xff7fffff],
    [0x01000000, 0x01000000],
    [0x01000000, 0xff000000],
    [0, 0xffffffff],
  ];
  for (const [start, length] of ends) {
    for (const [lo, hi] of [
      [0, 0],
      [0xfffffff3, 6],
      [0xffffffff, 0xffffffff],
    ] as const) {
      test(`of ${hex(length)} from ${hex(start)} on, from block ${hex(hi)} ${hex(lo)}, at every length`, () => {
        const expected = reference.keep_mask_within(key, lo, hi, start, length, 600);
        for (const count of [...Array(70).keys(), 127, 128, 129, 599, 600]) {
          reset();
          const out = room(count, count % 7);
          const kept = run.keep_mask_within(out, ...key, lo, hi, start, length, count);
          const wrong = integerDifference(bytes(out, count), expected.slice(0, count)) || damage();
          const total = expected.slice(0, count).filter((keep) => keep > 0).length;
          if (wrong || kept !== total) expect(`${count}: ${wrong} (${kept} kept, not ${total})`).toBe("");
        }
      });
    }
  }
  test("goes on behind a chunk, and its edges are told by all 32 bits", () => {
    reset();
    const count = 2 * 4096 + 21;
    // Intervals whose ends are draws themselves: the first belongs to it, the last does not.
    const u = (i: number) => {
      const [block, index] = [i >> 4, i & 15];
      const byte = reference.blockBytes(block, 0, key)[index]!;
      return byte * 2 ** 24 + (reference.philox([block, 0, 1, index >> 2], key)[index & 3]! >>> 8);
    };
    for (const [a, b] of [
      [3, 4100],
      [8200, 17],
      [20, 21],
    ] as const) {
      const [start, end] = [u(a), u(b)];
      const length = (end - start + two32) % two32;
      const out = room(count, 3);
      run.keep_mask_within(out, ...key, 0, 0, start, length, count);
      const got = bytes(out, count);
      expect([got[a], got[b]]).toEqual([0xff, 0]);
      expect(integerDifference(got, reference.keep_mask_within(key, 0, 0, start, length, count))).toBe("");
    }
    expect(damage()).toBe("");
  });
  test("from T to the end is the ordinary mask", () => {
    for (const threshold of [1, 0x80000000, 0xe6666666, 0xffffffff]) {
      reset();
      const [a, b] = [room(5000), room(5000)];
      const kept = run.keep_mask(a, ...key, 9, 1, threshold, 5000);
      expect(run.keep_mask_within(b, ...key, 9, 1, threshold, two32 - threshold, 5000)).toBe(kept);
      expect(integerDifference(bytes(b, 5000), bytes(a, 5000))).toBe("");
    }
  });
});

describe("disjoint masks", () => {
  for (const { seed, tensor, densities, first, masks } of golden.disjoint) {
    test(`agree with plain integers: densities ${densities.join(", ")} from element ${first} on`, () => {
      intervals(maskKey(seed, -1, tensor), densities).forEach((random, model) => {
        const got = drawn(random, first, masks[model]!.length, 96);
        expect(text(got.mask)).toBe(masks[model]!);
        expect(got.kept).toBe(ones(masks[model]!));
      });
    });
  }
  test("keep what is asked for, and no element twice while the densities sum to 1 at most", () => {
    const count = 1 << 19;
    for (const densities of [
      [0.5, 0.5],
      [0.1, 0.1, 0.1],
      [0.25, 0.25, 0.25, 0.25],
      [0.6, 0.3, 0.01],
    ]) {
      const keepers = new Uint8Array(count);
      intervals(maskKey(42, -1, "w"), densities).forEach((random, model) => {
        const { mask, kept } = drawn(random, 0, count);
        const p = 1 - densities[model]!;
        expect(Math.abs(kept - count * (1 - p))).toBeLessThan(5 * Math.sqrt(count * p * (1 - p)));
        mask.forEach((b, i) => {
          keepers[i]! += b & 1;
        });
      });
      expect(keepers.reduce((a, b) => Math.max(a, b), 0)).toBe(1);
      // All of it, where the intervals fill the range.
      const whole = densities.reduce((a, b) => a + b, 0) === 1;
      if (whole) expect(keepers.indexOf(0)).toBe(-1);
    }
  });
});

describe("masks of lines", () => {
  for (const { seed, tensor, model, p, shape, row, column } of golden.lines) {
    const [rows, columns] = shape;
    const wanted = {
      row: [...row].map((c) => c.repeat(columns)).join(""),
      column: column.repeat(rows),
    };
    for (const by of ["row", "column"] as const) {
      test(`${by}s of ${rows} × ${columns} at p ${p} agree with plain integers, wherever the tensor is cut`, () => {
        const random = {
          key: maskKey(seed, model, `${tensor}\0${by}s`),
          threshold: maskThreshold(p),
          lines: { by, length: columns },
        };
        for (const tile of [1, 3, 7, 16, columns, columns + 1, 3 * columns, 4096]) {
          const whole = drawn(random, 0, rows * columns, tile);
          expect(text(whole.mask)).toBe(wanted[by]);
          expect(whole.kept).toBe(ones(wanted[by]));
          const part = drawn(random, 11, rows * columns - 20, tile);
          expect(text(part.mask)).toBe(wanted[by].slice(11, -9));
          expect(part.kept).toBe(ones(wanted[by].slice(11, -9)));
        }
      });
    }
  }
  test("a row longer than a tile, and columns far behind the first block", () => {
    for (const by of ["row", "column"] as const) {
      const length = 10_007;
      const random = { key: [5, 6], threshold: 0x80000000, lines: { by, length } } as const;
      const got = drawn(random, 3 * length - 50, 2 * length, 4096);
      const lines = reference.keep_mask([5, 6], 0, 0, 0x80000000, length);
      const at = (i: number) => (by === "row" ? lines[Math.floor(i / length)]! : lines[i % length]!);
      const want = Array.from({ length: 2 * length }, (_, i) => at(3 * length - 50 + i));
      expect(text(got.mask)).toBe(text(want));
    }
  });
  test("disjoint lines: an interval of what is drawn for the line", () => {
    const lines = { by: "row", length: 5 } as const;
    const [a, b] = intervals([8, 9], [0.5, 0.5]).map((r) => text(drawn({ ...r, lines }, 0, 500).mask));
    expect(b).toBe(a!.replaceAll("1", "x").replaceAll("0", "1").replaceAll("x", "0"));
  });
});
