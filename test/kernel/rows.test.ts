import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import {
  bytes,
  coarse,
  damage,
  difference,
  floats,
  integerDifference,
  put,
  random,
  reset,
  room,
  run,
  sample,
  sweep,
  words,
} from "./harness.ts";

/** The row with room for the vector that may be read behind it. */
function row(x: Float32Array, misalign: number): number {
  const padded = new Float32Array(x.length + 8).fill(Number.NaN);
  new Uint32Array(padded.buffer).set(new Uint32Array(x.buffer, x.byteOffset, x.length));
  return put(padded, misalign);
}

/** The ranks that the kernel gives, by a table of them, and by one that has another number behind each. */
function wrongRanks(x: Float32Array, misalign: number): string {
  const count = x.length;
  const table = Uint32Array.from({ length: count }, (_, r) => r);
  const otherTable = table.map((r) => (r * 2654435761) >>> 0);
  const at = row(x, misalign);
  const spare = room(12 * count + 64);
  const want = reference.rankRow(x);
  const alone = room(4 * count, misalign);
  run.rank_row(alone, 0, at, put(table), count, spare);
  const out = room(4 * count, misalign);
  const other = room(4 * count, misalign);
  const pairs = Uint32Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? table : otherTable)[i >> 1]!);
  run.rank_row(out, other, at, put(pairs, misalign), count, spare);
  return (
    integerDifference(words(alone, count), want) ||
    integerDifference(words(out, count), want) ||
    integerDifference(
      words(other, count),
      want.map((r) => otherTable[r]!),
    ) ||
    difference(floats(at, count), x, true)
  );
}

/** Deltas of bf16 weights: `odd` of a hundred have bits that a bf16 delta seldom has. */
function deltas(count: number, seed: number, odd: number): Float32Array<ArrayBuffer> {
  const draw = random(seed);
  const bits = Uint32Array.from({ length: count }, () => {
    if (draw() % 10 === 0) return draw() % 2 ? 0x80000000 : 0;
    const exponent = 0x38000000 - (draw() % 14) * 0x800000;
    const fraction = draw() % 100 < odd ? draw() % 0x800000 : (draw() % 8) << 20;
    return (exponent + fraction + (draw() % 2 ? 0x80000000 : 0)) >>> 0;
  });
  return new Float32Array(bits.buffer);
}

describe("ranks of a row", () => {
  const kinds: [string, (count: number, seed: number) => Float32Array][] = [
    ["of a few magnitudes", coarse],
    ["with every kind of bits", (count, seed) => sample(count, seed)],
    ["of bf16 deltas", (count, seed) => deltas(count, seed, 0)],
    ["of bf16 deltas, some of them odd", (count, seed) => deltas(count, seed, 5)],
    ["of f32 deltas", (count, seed) => deltas(count, seed, 100)],
    ["of equal values", (count) => new Float32Array(count).fill(-0.25)],
    ["of zeros of both signs", (count) => Float32Array.from({ length: count }, (_, i) => (i % 3 ? 0 : -0))],
    ["in ascending order", (count) => Float32Array.from({ length: count }, (_, i) => i / 1024)],
    ["in descending order", (count) => Float32Array.from({ length: count }, (_, i) => (count - i) / -1024)],
  ];
  for (const [what, make] of kinds) {
    test(what, () => {
      expect(sweep((count, misalign) => wrongRanks(make(count, count + 1), misalign))).toBe("");
    });
  }

  test("next to the number of odd keys that still are counted", () => {
    for (const odd of [0, 31, 32, 33, 34, 256]) {
      reset();
      const x = deltas(256, odd, 0);
      const bits = new Uint32Array(x.buffer);
      for (let i = 0; i < odd; i++) bits[(i * 37) % 256]! |= 0x1235 + (i % 5);
      expect(wrongRanks(x, 4) || damage()).toBe("");
    }
  });

  test("over all magnitudes that a float has, which are more than there are slots", () => {
    reset();
    const exponents = Float32Array.from({ length: 1000 }, (_, i) => 2 ** (((i * 7919) % 277) - 149) * (i % 2 ? 1 : -1));
    expect(wrongRanks(exponents, 0) || damage()).toBe("");
    // One large value puts all the others below the range that is counted: zero among them.
    const far = Float32Array.from({ length: 100 }, (_, i) =>
      i === 50 ? 2 ** 100 : i % 5 === 0 ? 2 ** (-40 - (i % 3)) : 0,
    );
    expect(wrongRanks(far, 0) || damage()).toBe("");
  });

  for (const count of [65_535, 65_536, 70_001]) {
    test(`of ${count} columns, around what a u16 counts`, () => {
      reset();
      expect(wrongRanks(deltas(count, count, 3), 0) || damage()).toBe("");
    });
  }
});

test("select_scaled scales what a mask keeps and zeroes the rest, NaN too", () => {
  expect(
    sweep((count, misalign) => {
      const x = sample(count, count + 5);
      const factors = sample(count, count + 6, true);
      const draw = random(count + 7);
      const mask = Uint8Array.from({ length: count }, () => (draw() % 3 ? 0xff : 0));
      const at = put(x, misalign);
      const maskAt = put(mask, misalign);
      run.select_scaled(at, maskAt, put(factors, misalign), count);
      return (
        difference(floats(at, count), reference.select_scaled(x, mask, factors)) ||
        integerDifference(bytes(maskAt, count), mask)
      );
    }),
  ).toBe("");
});
