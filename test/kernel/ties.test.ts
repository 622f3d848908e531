import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import {
  bytes,
  coarse,
  damage,
  difference,
  floats,
  hex,
  integerDifference,
  lengths,
  put,
  reset,
  room,
  run,
  sample,
  sweep,
} from "./harness.ts";

describe("trim", () => {
  const key = reference.bitsOf;
  for (const above of [0, 1, key(2 / 1024), key(3 / 1024), key(0.1), 0x7f800000, 0x7fffffff, 0x80000000, 0xffffffff]) {
    test(`keeps keys above ${hex(above)} and equal ones up to an index`, () => {
      expect(
        sweep((count, misalign) => {
          for (const equalBefore of [0, 1, 5, count - 3, count, count + 1, 0x7fffffff, -1]) {
            reset();
            const x = count % 2 ? sample(count, count + 1) : coarse(count, count + 1);
            const at = put(x, misalign);
            const kept = run.trim(at, above, equalBefore, count);
            const expected = reference.trim(x, above, equalBefore);
            const wrong =
              kept === expected.kept
                ? difference(floats(at, count), expected.x)
                : `${kept} kept instead of ${expected.kept}`;
            if (wrong || damage()) return `up to ${equalBefore}: ${wrong || damage()}`;
          }
          return "";
        }),
      ).toBe("");
    });
  }
});

describe("window", () => {
  const key = reference.bitsOf;
  const limits = [0, 1, key(2 / 1024), key(3 / 1024), key(7 / 1024), key(0.1), 0x7f800000, 0x7fffffff, 0xffffffff];
  for (const low of limits) {
    test(`keeps keys from ${hex(low)} up to another`, () => {
      expect(
        sweep((count, misalign) => {
          for (const high of count > 200 ? [low, limits[4]!] : limits) {
            for (const [from, before] of [
              [0, 0x7fffffff],
              [5, count - 3],
              [count - 3, 5],
              [0, 0],
              [count, count + 1],
              [-1, 1],
              [0x7fffffff, 7],
            ] as const) {
              reset();
              const x = count % 2 ? sample(count, count + 1) : coarse(count, count + 1);
              const at = put(x, misalign);
              const kept = run.window(at, low, from, high, before, count);
              const expected = reference.window(x, low, from, high, before);
              const wrong =
                kept === expected.kept
                  ? difference(floats(at, count), expected.x)
                  : `${kept} kept instead of ${expected.kept}`;
              if (wrong || damage()) return `to ${hex(high)}, from ${from}, before ${before}: ${wrong || damage()}`;
            }
          }
          return "";
        }),
      ).toBe("");
    });
  }
});

test("the mask of a window of bf16 deltas holds the keys from one to another", () => {
  const key = reference.bitsOf;
  const limits = [0, 1, key(1 / 512), key(1 / 64), key(0.25), 0x7fffffff, 0x80000000, 0xffffffff];
  expect(
    sweep((count, misalign) => {
      for (const low of limits) {
        for (const high of count > 35 ? limits.slice(3, 5) : limits) {
          reset();
          const [x, base] = [sample(count, count + 1, true), sample(count, count + 2, true)].map(reference.encode_bf16);
          const [at, baseAt] = [put(x!, misalign), put(base!, (misalign * 3) % 8)];
          const mask = room(count, misalign);
          run.window_mask_bf16(mask, at, baseAt, low, high, count);
          const [v, b] = [x!, base!].map(reference.decode_bf16);
          const wrong = integerDifference(bytes(mask, count), reference.window_mask(v!, b!, low, high));
          if (wrong || damage()) return `${hex(low)} to ${hex(high)}: ${wrong || damage()}`;
        }
      }
      return "";
    }),
  ).toBe("");
});

const zeros = ["none", "positive", "negative"] as const;

interface Case {
  votes: Float32Array[];
  factors: number[];
  weights: number[];
}

function elect({ votes, factors, weights }: Case, how: reference.Election, misalign = 0, stride = 4099): Float32Array {
  const count = votes[0]!.length;
  // Tiles lie `stride` elements apart, with NaN between them: a kernel that strays shows.
  const all = new Float32Array(stride * votes.length).fill(Number.NaN);
  votes.forEach((vote, m) => {
    all.set(vote, m * stride);
  });
  const out = room(count * 4, misalign);
  run.elect(
    out,
    put(all, misalign + 4),
    put(Float32Array.from(factors), misalign),
    put(Float32Array.from(weights), misalign),
    votes.length,
    stride,
    count,
    how.by === "sum" ? 0 : 1,
    zeros.indexOf(how.zero),
    how.divide ? 1 : 0,
  );
  return floats(out, count);
}

const hows: reference.Election[] = (["sum", "count"] as const).flatMap((by) =>
  zeros.flatMap((zero) => [false, true].map((divide) => ({ by, zero, divide }))),
);

describe("elect", () => {
  for (const how of hows) {
    test(`by ${how.by}, zero elects ${how.zero}${how.divide ? ", divided" : ""}: 1 to 10 models, every tail`, () => {
      for (let models = 1; models <= 10; models++) {
        // Opposite weights make divisors of zero; equal factors and coarse votes make sums of zero.
        const weights = Array.from({ length: models }, (_, m) => [0.5, -0.5, 1, 1e-9][m % 4]!).map(Math.fround);
        const factors = Array.from({ length: models }, (_, m) => [1, 0.3, -2, 1][(m + models) % 4]!).map(Math.fround);
        for (const count of lengths) {
          if (count > 4095 && models !== 3) continue;
          for (const make of [coarse, sample]) {
            reset();
            const votes = Array.from({ length: models }, (_, m) => make(count, count * 31 + m * 7 + models));
            const actual = elect({ votes, factors, weights }, how, count % 13, count + 3);
            const wrong = difference(actual, reference.elect(votes, factors, weights, how)) || damage();
            if (wrong) expect(`${models} models, ${count} elements: ${wrong}`).toBe("");
          }
        }
      }
    });
  }

  test("finite specials do not disturb their neighbours", () => {
    for (const special of [Number.NaN, Infinity, -Infinity, -0, 1e-45]) {
      for (let at = 0; at < 9; at++) {
        reset();
        const votes = [1, 2, 3].map((seed) => sample(9, seed, true));
        votes[at % 3]![at] = special;
        const weights = [1, 2, 3];
        const how = { by: "sum", zero: "none", divide: true } as const;
        const actual = elect({ votes, factors: [1, 1, 1], weights }, how);
        expect(difference(actual, reference.elect(votes, [1, 1, 1], weights, how))).toBe("");
        expect(actual.filter((v) => !Number.isFinite(v)).length).toBe(Number.isFinite(special) ? 0 : 1);
      }
    }
  });

  // By hand: two models trimmed to half of their elements, as the method reference works them out.
  const a = [0.5, -0.25, 0, 0, -0.375, 0, 0.75, 0];
  const b = [0, -0.5, 0.375, 0, 0, 0, -0.75, 0.5];
  const third = Math.fround(-1 / 3);
  const byHand: [string, number[], number[], reference.Election, number[]][] = [
    [
      "mean, zero drops",
      [1, 1],
      [1, 1],
      { by: "sum", zero: "none", divide: true },
      [0.5, -0.375, 0.375, 0, -0.375, 0, 0, 0.5],
    ],
    [
      "mean, zero is +",
      [1, 1],
      [1, 1],
      { by: "sum", zero: "positive", divide: true },
      [0.5, -0.375, 0.375, 0, -0.375, 0, 0.75, 0.5],
    ],
    [
      "sum, zero is +",
      [1, 1],
      [1, 1],
      { by: "sum", zero: "positive", divide: false },
      [0.5, -0.75, 0.375, 0, -0.375, 0, 0.75, 0.5],
    ],
    [
      "sum, zero is −",
      [1, 1],
      [1, 1],
      { by: "sum", zero: "negative", divide: false },
      [0.5, -0.75, 0.375, 0, -0.375, 0, -0.75, 0.5],
    ],
    [
      "mean with weights 2 and 1",
      [2, 1],
      [2, 1],
      { by: "sum", zero: "positive", divide: true },
      [0.5, third, 0.375, 0, -0.375, 0, 0.75, 0.5],
    ],
    [
      "sum with weights 2 and 1",
      [2, 1],
      [2, 1],
      { by: "sum", zero: "positive", divide: false },
      [1, -1, 0.375, 0, -0.75, 0, 1.5, 0.5],
    ],
  ];
  for (const [name, scales, weights, how, expected] of byHand) {
    test(`works the example out: ${name}`, () => {
      reset();
      const votes = [a, b].map((tile, m) => Float32Array.from(tile, (v) => v * scales[m]!));
      expect(Array.from(elect({ votes, factors: [1, 1], weights }, how))).toEqual(expected);
    });
  }

  test("counts heads instead of sums when asked to", () => {
    reset();
    const votes = [[5], [-1], [-1]].map((tile) => Float32Array.from(tile));
    const how = { zero: "none", divide: false } as const;
    expect(Array.from(elect({ votes, factors: [1, 1, 1], weights: [1, 1, 1] }, { by: "sum", ...how }))).toEqual([5]);
    expect(Array.from(elect({ votes, factors: [1, 1, 1], weights: [1, 1, 1] }, { by: "count", ...how }))).toEqual([-2]);
  });
});
