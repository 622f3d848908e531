import { describe, expect, test } from "bun:test";
import { bitsOf } from "../../src/kernel/reference.ts";
import * as reference from "../../src/kernel/reference-choice.ts";
import {
  coarse,
  damage,
  difference,
  floats,
  integerDifference,
  lengths,
  put,
  reset,
  room,
  run,
  sample,
  sweep,
  words,
} from "./harness.ts";

type Deltas = Float32Array<ArrayBuffer>[];

/** Tiles `stride` elements apart with NaN between them: a kernel that strays shows. */
function tiles(deltas: Deltas, stride: number, misalign: number): number {
  const all = new Float32Array(stride * deltas.length).fill(Number.NaN);
  deltas.forEach((delta, m) => {
    all.set(delta, m * stride);
  });
  return put(all, misalign);
}

/** Runs `body` over 1 to 6 models, every tail, and two kinds of deltas; it says what is wrong. */
function sweepModels(body: (deltas: Deltas, count: number, misalign: number, stride: number) => string): string {
  for (let models = 1; models <= 6; models++) {
    for (const count of lengths) {
      if (count > 4095 && models !== 3) continue;
      for (const make of [coarse, sample]) {
        reset();
        const deltas = Array.from({ length: models }, (_, m) => make(count, count * 31 + m * 7 + models));
        const wrong = body(deltas, count, count % 13, count + 3) || damage();
        if (wrong) return `${models} models, ${count} elements: ${wrong}`;
      }
    }
  }
  return "";
}

const numbers = (of: readonly number[], models: number) =>
  Float32Array.from({ length: models }, (_, m) => of[m % of.length]!);

describe("contribute", () => {
  for (const epsilon of [0, 1e-5, 3 / 1024, 0.5]) {
    test(`above ${epsilon}: alone boosted, together averaged`, () => {
      expect(
        sweepModels((deltas, count, misalign, stride) => {
          const boosts = numbers([1, 1.05, 1.3, 0.7], deltas.length);
          const out = room(count * 4, misalign);
          const at = tiles(deltas, stride, misalign + 4);
          run.contribute(out, at, put(boosts, misalign), deltas.length, stride, epsilon, count);
          return difference(floats(out, count), reference.contribute(deltas, boosts, epsilon));
        }),
      ).toBe("");
    });
    test(`above ${epsilon}: counted, alone and with others`, () => {
      expect(
        sweepModels((deltas, count, misalign, stride) => {
          // Counts are added to what is there.
          const before = Uint32Array.from(deltas.flatMap((_, m) => [m + 1, 1000 - m]));
          const counts = put(before, misalign);
          run.contributors(counts, tiles(deltas, stride, misalign + 4), deltas.length, stride, epsilon, count);
          const want = reference.contributors(deltas, epsilon).map((n, i) => n + before[i]!);
          return integerDifference(words(counts, before.length), want);
        }),
      ).toBe("");
    });
  }
  test("an epsilon below zero makes everything a change, and nothing beyond the end", () => {
    reset();
    const counts = put(new Uint32Array(4));
    run.contributors(counts, tiles([new Float32Array(7), new Float32Array(7)], 8, 0), 2, 8, -1, 7);
    expect([...words(counts, 4)]).toEqual([0, 7, 0, 7]);
  });
});

const twins = { largest: reference.largest, unify: reference.unify, variance: reference.variance };
for (const name of ["largest", "unify", "variance"] as const) {
  test(`${name}: 1 to 6 models, every tail`, () => {
    expect(
      sweepModels((deltas, count, misalign, stride) => {
        const out = room(count * 4, misalign);
        run[name](out, tiles(deltas, stride, misalign + 4), deltas.length, stride, count);
        return difference(floats(out, count), twins[name](deltas));
      }),
    ).toBe("");
  });
}

test("largest takes the later of equal magnitudes, sign and all", () => {
  reset();
  const out = room(5 * 4);
  const deltas = [Float32Array.of(1, -2, 0.5, -3, 0), Float32Array.of(-1, 2, 0.25, 3, -0)];
  run.largest(out, tiles(deltas, 5, 0), 2, 5, 5);
  expect([...floats(out, 5)]).toEqual([-1, 2, 0.5, 3, -0]);
});

for (const least of [0, 1, 2, 3]) {
  test(`consent of ${least}: every tail, in place too`, () => {
    expect(
      sweepModels((deltas, count, misalign, stride) => {
        const lambdas = numbers([0.4, 0.2, 1, 0.6], deltas.length);
        const total = sample(count, count + 99);
        const want = reference.consent(total, deltas, lambdas, least);
        const at = tiles(deltas, stride, misalign + 4);
        const from = put(total, misalign);
        const out = room(count * 4, misalign);
        const scales = put(lambdas, misalign);
        run.consent(out, from, at, scales, deltas.length, stride, least, count);
        const apart = difference(floats(out, count), want);
        run.consent(from, from, at, scales, deltas.length, stride, least, count);
        return apart || difference(floats(from, count), want);
      }),
    ).toBe("");
  });
}

for (const floor of [0, 1e-6, 2]) {
  test(`erase with weights of at least ${floor}: every tail`, () => {
    expect(
      sweepModels((deltas, count, misalign, stride) => {
        const weights = numbers([0.5, 0, 1e-9, 0.3], deltas.length);
        const out = room(count * 4, misalign);
        const at = tiles(deltas, stride, misalign + 4);
        run.erase(out, at, put(weights, misalign), deltas.length, stride, floor, count);
        return difference(floats(out, count), reference.erase(deltas, weights, floor));
      }),
    ).toBe("");
  });
}

describe("trim_by", () => {
  for (const above of [0, 1, bitsOf(2 / 1024), bitsOf(0.1), 0x7f800000, 0x7fffffff, 0x80000000, 0xffffffff]) {
    test(`keeps what scores above 0x${above.toString(16)}, and equal ones up to an index`, () => {
      expect(
        sweep((count, misalign) => {
          for (const equalBefore of [0, 1, 5, count - 3, count, 0x7fffffff, -1]) {
            reset();
            const x = sample(count, count + 1);
            const scores = count % 2 ? sample(count, count + 5) : coarse(count, count + 5);
            const at = put(x, misalign);
            const kept = run.trim_by(at, put(scores, misalign + 4), above, equalBefore, count);
            const want = reference.trim_by(x, scores, above, equalBefore);
            const wrong = kept === want.kept ? difference(floats(at, count), want.x) : `${kept} kept, not ${want.kept}`;
            if (wrong || damage()) return `up to ${equalBefore}: ${wrong || damage()}`;
          }
          return "";
        }),
      ).toBe("");
    });
  }
});

for (const t of [0, 1e-7, 0.002, 0.125, 3]) {
  test(`nearswap by ${t}: every tail, in place too`, () => {
    expect(
      sweep((count, misalign) => {
        const a = sample(count, count + 1);
        // Near, far and equal.
        const b = sample(count, count + 2).map((x, i) => (i % 3 === 0 ? a[i]! : i % 3 === 1 ? a[i]! * 1.001 : x));
        const want = reference.nearswap(a, b, t);
        const [from, to, out] = [put(a, misalign), put(b, misalign + 4), room(count * 4, misalign)];
        run.nearswap(out, from, to, t, count);
        const apart = difference(floats(out, count), want);
        run.nearswap(from, from, to, t, count);
        return apart || difference(floats(from, count), want);
      }),
    ).toBe("");
  });
}

test("a special value makes its own element NaN or nothing else", () => {
  const rules: [string, (out: number, at: number, w: number) => void][] = [
    ["contribute", (out, at, w) => run.contribute(out, at, w, 3, 9, 1e-5, 9)],
    ["largest", (out, at) => run.largest(out, at, 3, 9, 9)],
    ["unify", (out, at) => run.unify(out, at, 3, 9, 9)],
    ["erase", (out, at, w) => run.erase(out, at, w, 3, 9, 0, 9)],
    ["variance", (out, at) => run.variance(out, at, 3, 9, 9)],
  ];
  for (const [name, rule] of rules) {
    for (const special of [Number.NaN, Infinity, -Infinity]) {
      for (let at = 0; at < 9; at++) {
        for (let model = 0; model < 3; model++) {
          reset();
          const deltas = [1, 2, 3].map((seed) => sample(9, seed, true));
          deltas[model]![at] = special;
          const out = room(36);
          rule(out, tiles(deltas, 9, 0), put(Float32Array.of(1, 0.5, 0.25)));
          const bad = [...floats(out, 9)].flatMap((x, i) => (Number.isFinite(x) ? [] : [i]));
          expect({ name, special, at, model, bad }).toEqual({ name, special, at, model, bad: [at] });
        }
      }
    }
  }
});
