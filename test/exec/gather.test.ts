import { describe, expect, test } from "bun:test";
import { samplePieces } from "../../src/exec/sample.ts";
import type { ThresholdOperand } from "../../src/kernel/program.ts";
import { pieceElements } from "../../src/kernel/program.ts";
import type { Threshold } from "../../src/methods/method.ts";
import { random } from "../kernel/harness.ts";
import { input, select, sorted } from "./selecting.ts";

/** Indices in ascending order of magnitude, the later of equal ones last. */
function ranking(delta: Float32Array): { keys: Uint32Array; order: Uint32Array } {
  const keys = new Uint32Array(delta.buffer).map((bits) => bits & 0x7fffffff);
  const both = Float64Array.from(keys, (key, i) => key * 2 ** 20 + i).sort();
  return { keys, order: Uint32Array.from(both, (v) => v % 2 ** 20) };
}

/** A window by sorting: which indices stay. */
function sortedWindow({ keys, order }: ReturnType<typeof ranking>, o: ThresholdOperand): Uint8Array {
  const n = keys.length;
  const k = Math.max(1, Math.floor(o.density * n));
  const bottom = Math.max(0, n - k - Math.floor(o.gamma! * n));
  const [low, high] = [keys[order[bottom]!]!, keys[order[bottom + k - 1]!]!];
  if (o.ties === "include") return Uint8Array.from(keys, (key) => Number(key >= low && key <= high));
  const stays = new Uint8Array(n);
  for (const i of order.subarray(bottom, bottom + k)) stays[i] = 1;
  return stays;
}

/** What a rule leaves of keys. */
function leftBy(t: Threshold, keys: Uint32Array): Uint8Array {
  const { key: low, equalFrom, equalBefore, top } = t;
  const over = (key: number, i: number) => key > low || (key === low && i >= equalFrom! && i < equalBefore);
  const under = (key: number, i: number) => key < top!.key || (key === top!.key && i < top!.equalBefore);
  return Uint8Array.from(keys, (key, i) => Number(over(key, i) && under(key, i)));
}

const plain = {
  input: 1,
  base: 0,
  keep: {},
  density: 0.2,
  of: "elements",
  rounding: "nearest",
  ties: "include",
} as const;

/** Sums of three uniform draws, which look like weights. */
function weights(count: number, seed: number, scale: (i: number) => number): Float32Array {
  const draw = random(seed);
  return Float32Array.from({ length: count }, (_, i) => ((draw() + draw() + draw()) / 2 ** 32 - 1.5) * scale(i));
}

const shapes: [name: string, count: number, base: (i: number) => number, delta: (i: number) => number][] = [
  ["of one element", 1, () => 0.02, () => 0.001],
  ["of five", 5, () => 0.02, () => 0.001],
  ["that is small", 10_007, () => 0.02, () => 0.001],
  ["that is sampled", 270_011, () => 0.02, () => 0.001],
  ["of rows of different scale", 2 ** 19, () => 0.02, (i) => 1e-5 * 2 ** ((i >> 10) % 9)],
  ["of columns of different scale", 264_000, () => 0.02, (i) => 1e-5 * 2 ** ((i % 1000) / 100)],
  ["that is mostly zero", 270_011, () => 0.02, (i) => (i % 50 === 0 ? 0.001 : 0)],
  ["that is zero", 270_000, () => 0.02, () => 0],
];

describe("the k-th largest of a tensor", () => {
  for (const [name, count, baseScale, deltaScale] of shapes) {
    for (const dtype of count > 300_000 ? (["BF16"] as const) : (["BF16", "F32", "F16"] as const)) {
      test(`${name}, ${dtype}, is what sorting finds`, async () => {
        const base = input(dtype, weights(count, 1, baseScale));
        const model = (seed: number) =>
          input(
            dtype,
            weights(count, seed, deltaScale).map((d, i) => d + base.value[i]!),
          );
        const inputs = [base, model(2), model(3)];
        const mask = { random: { key: [7, 8], threshold: 2 ** 31 } } as const;
        const sets: ThresholdOperand[][] = [
          [plain, { ...plain, input: 2, density: 0.01, ties: "exact" }],
          [
            { ...plain, density: 1e-6, rounding: "floor" },
            { ...plain, input: 2, density: 1 },
          ],
          [
            { ...plain, density: 0.97 },
            { ...plain, base: null, density: 0.5, ties: "exact" },
          ],
          [
            { ...plain, of: "nonzero" },
            { ...plain, keep: mask, of: "nonzero", density: 0.3 },
            { ...plain, keep: mask },
          ],
        ];
        for (const [i, operands] of sets.entries()) {
          const { thresholds } = await select(inputs, operands, i % 2 ? 1 << 20 : 65_536);
          expect(thresholds).toEqual(operands.map((o) => sorted(inputs, o)));
        }
      });
    }
  }

  for (const [name, count, baseScale, deltaScale] of shapes) {
    for (const dtype of count > 300_000 ? (["BF16"] as const) : (["BF16", "F32"] as const)) {
      test(`${name}, ${dtype}, at both ends of a window is what sorting finds`, async () => {
        const base = input(dtype, weights(count, 1, baseScale));
        const model = (seed: number) =>
          input(
            dtype,
            weights(count, seed, deltaScale).map((d, i) => d + base.value[i]!),
          );
        const inputs = [base, model(2), model(3)];
        const ranked = inputs.slice(1).map((x) => ranking(x.value.map((v, i) => v - base.value[i]!)));
        for (const [density, gamma] of [
          [0.9, 0.01],
          [0.2, 0.1],
          [0.5, 0.5],
          [0.9, 0.3],
          [1e-6, 0.9],
          [0.7, 0],
          [0.01, 0.985],
        ] as const) {
          for (const ties of ["include", "exact"] as const) {
            const o: ThresholdOperand = { ...plain, density, gamma, ties };
            const operands = [o, { ...o, input: 2 }];
            const { thresholds } = await select(inputs, operands, 65_536);
            for (const [k, operand] of operands.entries()) {
              const want = sortedWindow(ranked[k]!, operand);
              const got = leftBy(thresholds[k]!, ranked[k]!.keys);
              // A delta of zero may stay or not.
              const wrong = got.findIndex((stays, i) => stays !== want[i] && ranked[k]!.keys[i] !== 0);
              expect({ density, gamma, ties, k, wrong }).toEqual({ density, gamma, ties, k, wrong: -1 });
              if (!ranked[k]!.keys.includes(0)) expect(thresholds[k]!.kept).toBe(want.reduce((sum, x) => sum + x, 0));
            }
          }
        }
      });
    }
  }

  test("that is everywhere the same", async () => {
    const inputs = [input("BF16", new Float32Array(300_000)), input("BF16", new Float32Array(300_000).fill(0.5))];
    const operands: ThresholdOperand[] = [plain, { ...plain, ties: "exact" }, { ...plain, density: 1 }];
    const { thresholds } = await select(inputs, operands, 65_536);
    expect(thresholds).toEqual(operands.map((o) => sorted(inputs, o)));
    expect(thresholds[1]!.equalBefore).toBe(60_000);
  });

  test("whose k largest are all that is not zero", async () => {
    // A bracket that ends above the smallest of them cannot tell; 59,999 of 60,000 it can.
    const delta = Float32Array.from({ length: 300_000 }, (_, i) => (i % 5 === 0 ? 1 + (i % 35) : 0));
    const inputs = [input("BF16", new Float32Array(300_000)), input("BF16", delta)];
    const operands = [0.2, 59_999 / 300_000, 60_001 / 300_000].map((density) => ({ ...plain, density }));
    const { thresholds } = await select(inputs, operands, 65_536);
    expect(thresholds).toEqual(operands.map((o) => sorted(inputs, o)));
    expect(thresholds.map((t) => t.key > 0)).toEqual([false, true, false]);
  });

  test("with non-finite elements takes them for zero", async () => {
    const base = input(
      "BF16",
      weights(300_000, 1, () => 0.02),
    );
    const x = weights(300_000, 2, () => 0.001).map((d, i) => d + base.value[i]!);
    for (let i = 0; i < x.length; i += 997)
      x[i] = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY][i % 3]!;
    const inputs = [base, input("BF16", x)];
    expect((await select(inputs, [plain], 65_536)).thresholds).toEqual([sorted(inputs, plain)]);
  });

  test("of bf16 mostly takes a sample and one pass", async () => {
    const base = input(
      "BF16",
      weights(2 ** 20, 1, () => 0.02),
    );
    const inputs = [
      base,
      input(
        "BF16",
        weights(2 ** 20, 2, () => 0.001).map((d, i) => d + base.value[i]!),
      ),
    ];
    expect((await select(inputs, [plain], 1 << 20)).rounds).toEqual(["sample", "histogram"]);
  });

  test("that lies where the sample does not look takes all keys", async () => {
    const count = 2 ** 19;
    const seen = new Uint8Array(count);
    for (const first of samplePieces(count)!) seen.fill(1, first, first + pieceElements);
    const x = weights(count, 3, () => 0.001).map((v, i) => (seen[i] ? v : v + 1));
    const inputs = [input("F32", new Float32Array(count)), input("F32", x)];
    const { thresholds, rounds } = await select(inputs, [plain], 1 << 20);
    expect(thresholds).toEqual([sorted(inputs, plain)]);
    expect(rounds).toEqual(["sample", "histogram", "histogram", "histogram"]);
  });

  test("of nothing keeps nothing", async () => {
    const inputs = [input("F32", new Float32Array(0)), input("F32", new Float32Array(0))];
    expect((await select(inputs, [plain], 4096)).thresholds[0]!.kept).toBe(0);
  });
});

describe("samples", () => {
  for (const count of [2 ** 18, 300_001, 2 ** 22 + 5, 65_536_000, 2 ** 33]) {
    test(`of ${count} elements lie inside, apart and at multiples of 16`, () => {
      const pieces = samplePieces(count)!;
      const ends = pieces.map((first) => first + pieceElements);
      expect(pieces.every((first, i) => first % 16 === 0 && first >= (ends[i - 1] ?? 0))).toBe(true);
      expect(ends.at(-1)).toBeLessThanOrEqual(count);
    });
  }
  test("are not taken of small tensors", () => expect(samplePieces(2 ** 18 - 1)).toBeNull());
});
