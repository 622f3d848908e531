// A larger sample where the first is not sure of a key: it decides whether a merge is tried, and never what is found.

import { describe, expect, test } from "bun:test";
import { errorOf } from "../../src/exec/aim.ts";
import { closerLength, closerPieces, Sample, samplePieces } from "../../src/exec/sample.ts";
import { Search } from "../../src/exec/search.ts";
import { pieceElements, severalKeys, type ThresholdOperand } from "../../src/kernel/program.ts";
import { input, select, sorted } from "./selecting.ts";

const count = 2 ** 20;
const operand = { input: 1, base: 0, keep: {}, of: "elements", rounding: "nearest", ties: "include" } as const;
const base = input("BF16", new Float32Array(count));

/** 30.1 % of 3, 40 % of 2 and the rest 1, which any stretch of a few hundred elements has in nearly these shares. */
function steps(i: number): number {
  const u = (i * 0.6180339887498949) % 1;
  return (u < 0.301 ? 3 : u < 0.701 ? 2 : 1) * (i % 2 ? 1 : -1);
}

/** Elements of which neither sample knows. */
function unseen(): Uint8Array {
  const rest = new Uint8Array(count).fill(1);
  for (const first of samplePieces(count)!) rest.fill(0, first, first + pieceElements);
  for (const first of closerPieces(count)!) rest.fill(0, first, first + closerLength);
  return rest;
}

const honest = Float32Array.from({ length: count }, (_, i) => steps(i));
const rest = unseen();
const misleading = honest.map((x, i) => (rest[i] ? 5 * Math.sign(x) : x));
const f32 = honest.map((x, i) => x + Math.sign(x) * 2 ** -20 * (i % 7));

/** The standard error of the first sample, and of the closer look, where the rank is near 0.3. */
const [first, closer] = [samplePieces(count)!.length, closerPieces(count)!.length] as const;
const doubt = { share: 0.3, between: 0 };
const [error, closerError] = [
  errorOf(doubt, first * pieceElements, first),
  errorOf(doubt, closer * closerLength, closer),
] as const;

async function run(delta: Float32Array, operands: readonly ThresholdOperand[], tries = true) {
  const inputs = [base, input("BF16", delta)];
  const found = await select(inputs, operands, 2 ** 18, tries);
  expect(found.thresholds).toEqual(operands.map((o) => sorted(inputs, o)));
  return { ...found, key: found.thresholds[0]!.key };
}

const guessed = (found: Awaited<ReturnType<typeof run>>) =>
  found.guesses.map((g) => (g?.op === "threshold" ? g.thresholds.map((t) => t.key) : null));

describe("a rank", () => {
  test("well inside of those of one key takes no closer look", async () => {
    const found = await run(honest, [{ ...operand, density: 0.301 + 2 * error }]);
    expect(found.rounds).toEqual(["sample", "histogram"]);
    expect(guessed(found)).toEqual([null, [found.key]]);
  });

  test("that the first sample is not sure of takes one, and is then known", async () => {
    const found = await run(honest, [{ ...operand, density: 0.301 + 2 * closerError }]);
    expect(found.rounds).toEqual(["sample", "histogram of pieces", "histogram"]);
    expect(guessed(found)).toEqual([null, null, [found.key]]);
  });

  test("that is too near to the edge stays open, and no merge is tried", async () => {
    const found = await run(honest, [{ ...operand, density: 0.301 + 0.2 * closerError }]);
    expect(found.rounds).toEqual(["sample", "histogram of pieces", "histogram"]);
    expect(guessed(found)).toEqual([null, null, null]);
  });

  test("takes no closer look where no merge can be tried", async () => {
    const found = await run(honest, [{ ...operand, density: 0.301 + 2 * closerError }], false);
    expect(found.rounds).toEqual(["sample", "histogram"]);
  });

  test("of equal keys that are told apart takes none either", async () => {
    const found = await run(honest, [{ ...operand, density: 0.301 + 2 * closerError, ties: "exact" }]);
    expect(found.rounds).not.toContain("histogram of pieces");
  });

  test("that both samples are wrong about is found all the same", async () => {
    const found = await run(misleading, [{ ...operand, density: 0.301 + 2 * closerError }]);
    expect(found.rounds.slice(0, 3)).toEqual(["sample", "histogram of pieces", "histogram"]);
    expect(guessed(found)[2]).not.toEqual([found.key]);
  });

  test("of many keys takes none: a larger sample would not know it either", async () => {
    const spread = f32.map((x, i) => x * (1 + (i % 1009) / 1009));
    const found = await run(spread, [{ ...operand, density: 0.3 }]);
    expect(found.rounds).not.toContain("histogram of pieces");
  });

  test("is looked at with others: one that is known does not change", async () => {
    const densities = [0.5, 0.301 + 2 * closerError];
    const found = await run(
      honest,
      densities.map((density) => ({ ...operand, density })),
    );
    expect(found.rounds).toEqual(["sample", "histogram of pieces", "histogram"]);
    expect(guessed(found)[2]).toEqual(found.thresholds.map((t) => t.key));
  });
});

test("pieces of a closer look lie inside, apart and at multiples of 16; of small tensors there are none", () => {
  for (const n of [2 ** 20, 2 ** 22 + 5, 65_536_000, 2 ** 33]) {
    const places = closerPieces(n)!;
    const ends = places.map((at) => at + closerLength);
    expect(places.every((at, i) => at % 16 === 0 && at >= (ends[i - 1] ?? 0))).toBe(true);
    expect(ends.at(-1)).toBeLessThanOrEqual(n);
    expect(places.length * closerLength).toBeLessThanOrEqual(Math.min(n / 8, 2 ** 21));
  }
  expect(closerPieces(2 ** 20 - 1)).toBeNull();
});

describe("a bracket", () => {
  const elements = 10_000;
  const at = (share: number) => ({
    low: 100,
    high: 200,
    hot: 150,
    likely: null,
    mode: 0.5,
    doubt: { share, between: 0 },
    grained: false,
  });
  const rank = { of: () => 0, nonzero: false, end: "bottom" } as const;
  const slots = (counts: Record<number, number>, keyOf = (slot: number) => 100 + slot) => {
    const all = Float64Array.from({ length: 100 }, (_, i) => counts[i] ?? 0);
    return { keys: Uint32Array.from(all, (_, i) => keyOf(i)), counts: all };
  };
  // √(0.5 · 0.5 / 10,000) · 10,000 = 50 elements.
  const narrowed = (above: number, counts: Record<number, number>, keyOf?: (slot: number) => number) => {
    const search = new Search(rank, 10 * elements, at(0.5));
    search.narrow(above, slots(counts, keyOf), elements, 10);
    const { low, high, hot } = search.request();
    return { low, high, hot, guess: search.guess };
  };

  test("has fewer slots where keys are few and far between", () => {
    const [low, high] = [0x3a000000, 0x3a000000 + 2 ** 22];
    const wide = { ...at(0.5), low, high };
    expect(new Search(rank, elements, wide).request()).toMatchObject({ low, high, shift: 6 });
    expect(new Search(rank, elements, { ...wide, grained: true }).request()).toMatchObject({ low, high, shift: 10 });
  });

  test("a sample tells deltas of bf16 from others, whatever zeros it holds", () => {
    const keys = (of: (i: number) => number) => new Sample(Uint32Array.from({ length: 64 * 512 }, (_, i) => of(i)));
    const coarse = (i: number) => 0x39000000 + ((i * 7919) % 300) * 0x8000;
    expect(keys(coarse).grained).toBe(true);
    expect(keys((i) => (i % 11 === 0 ? coarse(i) + 0x123 : coarse(i))).grained).toBe(true);
    expect(keys((i) => 0x39000000 + ((i * 7919) % 0x400000)).grained).toBe(false);
    expect(keys((i) => (i % 67 < 60 ? 0 : 0x39000000 + ((i * 7919) % 0x400000))).grained).toBe(false);
    expect(keys(() => 0).grained).toBe(false);
  });

  test("becomes one key where the rank is three errors inside of it", () => {
    expect(narrowed(4000, { 20: 1000, 40: 2000, 60: 500 })).toEqual({ low: 140, high: 141, hot: 140, guess: 140 });
  });

  test("keeps what may be, and says what is likely", () => {
    const found = narrowed(4300, { 20: 1000, 40: 1000, 60: 300, 80: 300 });
    expect(found).toEqual({ low: 140, high: 161, hot: 140, guess: 140 });
  });

  test("keeps what may be where nothing is likely", () => {
    expect(narrowed(4300, { 20: 1000, 40: 1000, 60: 650, 80: 50 })).toEqual({
      low: 140,
      high: 161,
      hot: 140,
      guess: null,
    });
  });

  test("says how likely a key is, of which the rank is inside by one error", () => {
    const search = new Search(rank, 10 * elements, at(0.5));
    search.narrow(4250, slots({ 20: 1000, 40: 1000, 60: 650, 80: 50 }), elements, 10);
    expect([search.guess, search.chance, search.unsure]).toEqual([140, 0.841, true]);
  });

  test("says nothing of a slot of several keys", () => {
    const several = narrowed(4000, { 20: 1000, 40: 2000, 60: 500 }, (slot) => severalKeys + 100 + slot);
    expect(several).toEqual({ low: 140, high: 141, hot: 0xffffffff, guess: null });
  });

  test("stays as it was when the rank is outside of it", () => {
    const before = { low: 100, high: 200, hot: 150, guess: null };
    expect(narrowed(8000, { 20: 1000 })).toEqual(before);
    expect(narrowed(100, { 20: 1000 })).toEqual(before);
    expect(narrowed(100, {})).toEqual(before);
    const doubtful = new Search(rank, 10 * elements, { ...at(0.5), likely: { key: 150, errors: 1 } });
    expect(doubtful.guess).toBe(150);
    doubtful.narrow(8000, slots({ 20: 1000 }), elements, 10);
    expect(doubtful.guess).toBeNull();
  });
});

test("rows with scales of their own are a doubt that more elements of as many pieces do not take away", () => {
  const keys = (scale: (piece: number) => number) =>
    new Sample(
      new Uint32Array(
        Float32Array.from(
          { length: 128 * pieceElements },
          (_, i) => (1 + ((i * 0.6180339887498949) % 1)) * scale(Math.floor(i / pieceElements)),
        ).buffer,
      ),
    );
  const even = keys(() => 1).variance(0.3, false, 0.3 * 128 * pieceElements);
  const uneven = keys((piece) => 2 ** (piece % 3)).variance(0.3, false, 0.3 * 128 * pieceElements);
  const alone = 0.3 * 0.7 * 128 * pieceElements;
  expect(even).toBeLessThan(alone);
  expect(uneven).toBeGreaterThan(10 * alone);
});
