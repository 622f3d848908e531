import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { maskKey, maskRescale, maskThreshold } from "../../src/kernel/mask.ts";
import * as reference from "../../src/kernel/reference.ts";
import {
  bytes,
  damage,
  difference,
  floats,
  hex,
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

// Made by an outside implementation in numpy; the known answers are those of Random123.
interface Vector {
  seed: number;
  modelIndex: number;
  tensor: string;
  start: number;
  n: number;
  kept: number;
  key?: [string, string];
  sha256?: string;
  keep_hex?: string;
}
const golden: {
  philox_known_answers: { rounds: number; counter: string[]; key: string[]; out: string[] }[];
  vectors: (Vector & { p: number; T: number })[];
  per_element_vectors: (Vector & { p: number[] })[];
} = JSON.parse(readFileSync(new URL("../vectors/masks.json", import.meta.url), "utf8"));

const two32 = 2 ** 32;

/** One bit an element, the first in the lowest bit. */
function pack(mask: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil(mask.length / 8));
  mask.forEach((keep, i) => {
    if (keep) packed[i >> 3]! |= 1 << (i & 7);
  });
  return packed;
}

function matches(mask: Uint8Array, vector: Vector): void {
  const packed = pack(mask);
  expect(mask.filter((keep) => keep === 0xff).length).toBe(vector.kept);
  expect(mask.filter((keep) => keep === 0).length).toBe(vector.n - vector.kept);
  if (vector.keep_hex !== undefined)
    expect(Array.from(packed, (b) => b.toString(16).padStart(2, "0")).join("")).toBe(vector.keep_hex);
  if (vector.sha256 !== undefined) expect(createHash("sha256").update(packed).digest("hex")).toBe(vector.sha256);
}

/** The kernel's mask from the block of `start` on, cut to the vector. */
function kernelMask(
  vector: Vector,
  draw: (out: number, key: [number, number], lo: number, hi: number, count: number, skip: number) => number,
): Uint8Array {
  const block = Math.floor(vector.start / 16);
  const skip = vector.start % 16;
  const count = skip + vector.n;
  const out = room(count);
  const kept = draw(
    out,
    maskKey(vector.seed, vector.modelIndex, vector.tensor),
    block % two32,
    Math.floor(block / two32),
    count,
    skip,
  );
  const mask = bytes(out, count);
  expect(kept).toBe(mask.filter((keep) => keep === 0xff).length);
  expect(damage()).toBe("");
  return mask.slice(skip);
}

describe("braid-mask-v1", () => {
  for (const { rounds, counter, key, out } of golden.philox_known_answers) {
    test(`Philox with ${rounds} rounds answers counter ${counter} as Random123 does`, () => {
      const number = (text: string) => Number.parseInt(text, 16);
      expect(reference.philox(counter.map(number), key.map(number), rounds)).toEqual(
        out.map(number) as [number, number, number, number],
      );
    });
  }

  for (const vector of golden.vectors) {
    test(`agrees with numpy: ${vector.tensor}, model ${vector.modelIndex}, seed ${vector.seed}, p ${vector.p}, ${vector.n} elements from ${vector.start}`, () => {
      reset();
      const { seed, modelIndex, tensor, p, T, key, start, n } = vector;
      if (key)
        expect(maskKey(seed, modelIndex, tensor)).toEqual(
          key.map((word) => Number.parseInt(word, 16)) as [number, number],
        );
      expect(maskThreshold(p)).toBe(T);
      matches(
        kernelMask(vector, (out, [k0, k1], lo, hi, count) => run.keep_mask(out, k0, k1, lo, hi, T, count)),
        vector,
      );
      if (n <= 10000) matches(reference.braidMask(seed, modelIndex, tensor, p, start, n), vector);
    });
  }

  for (const vector of golden.per_element_vectors) {
    test(`agrees with numpy with a probability for each of ${vector.n} elements from ${vector.start}`, () => {
      reset();
      const thresholds = (skip: number) =>
        Uint32Array.from([...new Array(skip).fill(0), ...vector.p.map(maskThreshold)]);
      const draw = (out: number, [k0, k1]: [number, number], lo: number, hi: number, count: number, skip: number) =>
        run.keep_mask_each(out, k0, k1, lo, hi, put(thresholds(skip)), count);
      matches(kernelMask(vector, draw), vector);
    });
  }

  const places: [string, number, number][] = [
    ["the beginning", 0, 0],
    ["the last blocks before 2^32", 0xfffffffe, 0],
    ["a block before 2^32 that is not a multiple of four", 0xfffffff3, 6],
    ["beyond 2^32", 0x12345679, 0x9abcdef1],
    ["the very end of the counter", 0xffffffff, 0xffffffff],
  ];
  for (const [where, lo, hi] of places) {
    for (const threshold of [0, 1, 0xffffff, 0x1000000, 0x80000000, 0xe6666666, 0xff000000, 0xffffffff]) {
      test(`drops below ${hex(threshold)} at ${where}, at every length`, () => {
        const key = [0x9e3779b9 ^ threshold, 0xdeadbeef].map((k) => k >>> 0) as [number, number];
        // 40 blocks: the carry of the low word is crossed within a group of four, and between groups.
        const expected = reference.keep_mask(key, lo, hi, threshold, 640);
        for (const count of [...Array(200).keys(), 639, 640]) {
          reset();
          const out = room(count, count % 7);
          const kept = run.keep_mask(out, key[0], key[1], lo, hi, threshold, count);
          const wrong = integerDifference(bytes(out, count), expected.slice(0, count)) || damage();
          const total = expected.slice(0, count).filter((keep) => keep > 0).length;
          if (wrong || kept !== total) expect(`${count}: ${wrong} (${kept} kept, not ${total})`).toBe("");
        }
      });
    }
  }

  test("equal bytes are refined by 24 more bits, each by its own", () => {
    reset();
    // A threshold of which one byte value in 256 is equal, with the lower bits half way: about 1 of 512 elements drops by them.
    const key = [1, 2] as const;
    const threshold = 0x00800000;
    const count = 65536;
    const out = room(count);
    const kept = run.keep_mask(out, ...key, 0, 0, threshold, count);
    expect(integerDifference(bytes(out, count), reference.keep_mask(key, 0, 0, threshold, count))).toBe("");
    expect(count - kept).toBeGreaterThan(80);
    expect(count - kept).toBeLessThan(180);
  });

  test("an element drops when its 32 bits are below the threshold, not when they are equal", () => {
    const key = [77, 88] as const;
    for (let i = 0; i < 64; i++) {
      const [lo, index] = [i >> 4, i & 15];
      // The element's 32 bits, straight from the definition.
      const byte = reference.blockBytes(lo, 9, key)[index]!;
      const bits = byte * 2 ** 24 + (reference.philox([lo, 9, 1, index >> 2], key)[index & 3]! >>> 8);
      for (const [threshold, keep] of [
        [bits, 0xff],
        [bits + 1, 0],
      ] as const) {
        reset();
        const out = room(64);
        run.keep_mask(out, ...key, 0, 9, threshold, 64);
        const each = room(64);
        run.keep_mask_each(each, ...key, 0, 9, put(new Uint32Array(64).fill(threshold)), 64);
        expect([bytes(out, 64)[i], bytes(each, 64)[i]]).toEqual([keep, keep]);
      }
    }
  });

  test("a threshold for every element gives what one threshold gives where they are equal", () => {
    expect(
      sweep((count, misalign) => {
        const draw = random(count + 1);
        const choice = [0, 1, 0x7fffffff, 0xe6666666, 0xffffffff];
        const thresholds = Uint32Array.from({ length: count }, () =>
          draw() % 3 ? draw() : choice[draw() % choice.length]!,
        );
        const out = room(count, misalign);
        const kept = run.keep_mask_each(out, 5, 6, 0xfffffffd, 3, put(thresholds, misalign), count);
        const expected = reference.keep_mask_each([5, 6], 0xfffffffd, 3, thresholds);
        const total = expected.filter((keep) => keep > 0).length;
        if (kept !== total) return `${kept} kept instead of ${total}`;
        return integerDifference(bytes(out, count), expected);
      }),
    ).toBe("");
  });

  test("masks longer than a chunk carry the block number on", () => {
    for (const [lo, hi] of [
      [0, 0],
      [0xffffff01, 4],
      [0xffffffff, 0xffffffff],
    ] as const) {
      reset();
      const count = 3 * 4096 + 21;
      const out = room(count, 1);
      const each = room(count, 2);
      run.keep_mask(out, 3, 4, lo, hi, 0xe6666666, count);
      run.keep_mask_each(each, 3, 4, lo, hi, put(new Uint32Array(count).fill(0xe6666666)), count);
      const expected = reference.keep_mask([3, 4], lo, hi, 0xe6666666, count);
      expect(integerDifference(bytes(out, count), expected)).toBe("");
      expect(integerDifference(bytes(each, count), expected)).toBe("");
      expect(damage()).toBe("");
    }
  });

  test("equal bytes everywhere are all refined", () => {
    // Thresholds that follow the draws: every byte is equal, and every second element drops by its lower bits.
    const count = 4096 + 16;
    const expected = new Uint8Array(count);
    const thresholds = new Uint32Array(count);
    for (let block = 0; block < count / 16; block++) {
      reference.blockBytes(block, 0, [5, 5]).forEach((byte, index) => {
        const i = block * 16 + index;
        const r = reference.philox([block, 0, 1, index >> 2], [5, 5])[index & 3]! >>> 8;
        thresholds[i] = byte * 2 ** 24 + Math.min(r + (i & 1), 0xffffff);
        expected[i] = i & 1 ? 0 : 0xff;
      });
    }
    reset();
    const out = room(count);
    expect(run.keep_mask_each(out, 5, 5, 0, 0, put(thresholds), count)).toBe(count / 2);
    expect(integerDifference(bytes(out, count), expected)).toBe("");
    expect(damage()).toBe("");
  });

  test("a mask is the same wherever it is cut", () => {
    reset();
    const whole = room(4096);
    run.keep_mask(whole, 7, 8, 0, 0, 0xc0000001, 4096);
    const pieces = room(4096);
    for (const cut of [16, 48, 64, 1024, 4000]) {
      run.keep_mask(pieces, 7, 8, 0, 0, 0xc0000001, cut);
      run.keep_mask(pieces + cut, 7, 8, cut / 16, 0, 0xc0000001, 4096 - cut);
      expect(integerDifference(bytes(pieces, 4096), bytes(whole, 4096))).toBe("");
    }
  });

  test("the kept share is what the probability says, within five standard deviations", () => {
    const count = 1 << 20;
    for (const p of [0.1, 0.5, 0.9, 0.99]) {
      reset();
      const [k0, k1] = maskKey(42, 1, "w");
      const kept = run.keep_mask(room(count), k0, k1, 0, 0, maskThreshold(p), count);
      expect(Math.abs(kept - count * (1 - p))).toBeLessThan(5 * Math.sqrt(count * p * (1 - p)));
    }
  });

  test("the threshold rounds p·2^32 and never reaches 2^32; the rescale undoes it", () => {
    expect([0, 2 ** -33, 2 ** -34, 0.5, 0.9, 1].map(maskThreshold)).toEqual([
      0,
      1,
      0,
      2 ** 31,
      3865470566,
      2 ** 32 - 1,
    ]);
    expect(maskRescale(maskThreshold(0))).toBe(1);
    expect(maskRescale(maskThreshold(0.5))).toBe(2);
    expect(Math.abs(maskRescale(maskThreshold(0.9)) - 10)).toBeLessThan(1e-7);
  });

  test("every model, tensor and seed has a key of its own, seed 0 included", () => {
    const keys = [
      maskKey(0, 0, "a"),
      maskKey(42, 0, "a"),
      maskKey(42, 1, "a"),
      maskKey(42, 0, "b"),
      maskKey(42, 0, "é"),
    ];
    expect(new Set(keys.map(String)).size).toBe(keys.length);
  });
});

describe("select", () => {
  test("keeps or gives +0, at any length and address", () => {
    expect(
      sweep((count, misalign) => {
        const draw = random(count + 4);
        const x = sample(count, count + 1);
        const mask = Uint8Array.from({ length: count }, () => (draw() % 3 ? 0xff : 0));
        const at = put(x, misalign);
        run.select(at, put(mask, misalign + 1), count);
        return difference(floats(at, count), reference.select(x, mask));
      }),
    ).toBe("");
  });

  test("a NaN that is dropped is gone, and one that is kept keeps its bits", () => {
    reset();
    const bits = Uint32Array.from({ length: 40 }, (_, i) => 0x7f800001 + i);
    const mask = Uint8Array.from({ length: 40 }, (_, i) => (i % 3 ? 0xff : 0));
    const at = put(bits);
    run.select(at, put(mask), 40);
    expect(
      integerDifference(
        words(at, 40),
        bits.map((b, i) => (mask[i] ? b : 0)),
      ),
    ).toBe("");
  });
});
