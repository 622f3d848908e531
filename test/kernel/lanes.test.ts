import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import {
  difference,
  floats,
  halves,
  hex,
  integerDifference,
  put,
  random,
  reset,
  room,
  run,
  sample,
  specialBits,
  sweep,
  words,
} from "./harness.ts";

const allHalves = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** Lower halves of an f32: around the ties of bf16 and f16, and arbitrary ones (null). */
const lowHalves = [
  0x0000,
  0x0001,
  0x0fff,
  0x1000,
  0x1001,
  0x2000,
  0x3000,
  0x7fff,
  0x8000,
  0x8001,
  0xf000,
  0xffff,
  null,
];

/** All upper halves with one lower half. */
function floatsWith(low: number | null): Float32Array {
  const draw = random(7);
  const bits = Uint32Array.from(allHalves, (high) => high * 65536 + (low ?? draw() % 65536));
  return new Float32Array(bits.buffer);
}

describe("decode", () => {
  for (const [name, twin] of [
    ["bf16", reference.decode_bf16],
    ["f16", reference.decode_f16],
  ] as const) {
    test(`widens all 65,536 patterns of ${name} exactly`, () => {
      reset();
      const out = room(65536 * 4);
      run[`decode_${name}`](out, put(allHalves), 65536);
      expect(difference(floats(out, 65536), twin(allHalves))).toBe("");
    });

    test(`widens ${name} of any length at any address, and writes nothing else`, () => {
      const shuffled = allHalves.map((i) => (i * 40503 + 17) & 0xffff);
      expect(
        sweep((count, misalign) => {
          const input = shuffled.slice(count, 2 * count);
          const out = room(count * 4, misalign);
          run[`decode_${name}`](out, put(input, misalign * 3), count);
          return difference(floats(out, count), twin(input));
        }),
      ).toBe("");
    });
  }

  test("copies f32 bit by bit, NaN payloads included", () => {
    expect(
      sweep((count, misalign) => {
        const input = sample(count, 3);
        const out = room(count * 4, misalign);
        run.decode_f32(out, put(input, misalign + 1), count);
        return difference(floats(out, count), input, true);
      }),
    ).toBe("");
  });
});

describe("encode", () => {
  for (const [name, twin] of [
    ["bf16", reference.encode_bf16],
    ["f16", reference.encode_f16],
  ] as const) {
    for (const low of lowHalves) {
      test(`rounds f32 to the nearest ${name}, ties to even: all patterns that end in ${low === null ? "anything" : hex(low)}`, () => {
        const input = floatsWith(low);
        reset();
        const out = room(65536 * 2);
        run[`encode_${name}`](out, put(input), 65536);
        expect(integerDifference(halves(out, 65536), twin(input))).toBe("");
      });
    }

    test(`rounds to ${name} at any length and address, and writes nothing else`, () => {
      expect(
        sweep((count, misalign) => {
          const input = sample(count, count + 11);
          const out = room(count * 2, misalign);
          run[`encode_${name}`](out, put(input, misalign + 4), count);
          return integerDifference(halves(out, count), twin(input));
        }),
      ).toBe("");
    });

    test(`gives every ${name} back that was decoded, NaN as the canonical one`, () => {
      reset();
      const wide = room(65536 * 4);
      const out = room(65536 * 2);
      run[`decode_${name}`](wide, put(allHalves), 65536);
      run[`encode_${name}`](out, wide, 65536);
      const [top, canonical] = name === "bf16" ? [0x7f80, 0x7fc0] : [0x7c00, 0x7e00];
      expect(
        integerDifference(
          halves(out, 65536),
          allHalves.map((h) => ((h & 0x7fff) > top ? canonical : h)),
        ),
      ).toBe("");
    });
  }

  const byHand: [string, number, number, number][] = [
    // what, f32, bf16, f16
    ["one", 0x3f800000, 0x3f80, 0x3c00],
    ["65504, the largest f16", 0x477fe000, 0x4780, 0x7bff],
    ["just below 65520", 0x477fefff, 0x4780, 0x7bff],
    ["65520, half way to 65536", 0x477ff000, 0x4780, 0x7c00],
    ["-65520", 0xc77ff000, 0xc780, 0xfc00],
    ["the largest f32", 0x7f7fffff, 0x7f80, 0x7c00],
    ["the largest bf16", 0x7f7f0000, 0x7f7f, 0x7c00],
    ["half way from there to infinity", 0x7f7f8000, 0x7f80, 0x7c00],
    ["just below half way", 0x7f7f7fff, 0x7f7f, 0x7c00],
    ["a tie with an even lower neighbour", 0x3f808000, 0x3f80, 0x3c04],
    ["a tie with an odd lower neighbour", 0x3f818000, 0x3f82, 0x3c0c],
    ["2^-14, the least normal f16", 0x38800000, 0x3880, 0x0400],
    ["just below it, which rounds up to it", 0x387fffff, 0x3880, 0x0400],
    ["2^-24, the least f16", 0x33800000, 0x3380, 0x0001],
    ["2^-25, half of it", 0x33000000, 0x3300, 0x0000],
    ["just above 2^-25", 0x33000001, 0x3300, 0x0001],
    ["-0", 0x80000000, 0x8000, 0x8000],
    ["a signalling NaN", 0x7f800001, 0x7fc0, 0x7e00],
    ["a negative NaN full of ones", 0xffffffff, 0x7fc0, 0x7e00],
    ["-infinity", 0xff800000, 0xff80, 0xfc00],
  ];
  for (const [what, input, toBf16, toF16] of byHand) {
    test(`stores ${what}`, () => {
      reset();
      const at = put(Uint32Array.of(input));
      const out = room(4);
      run.encode_bf16(out, at, 1);
      run.encode_f16(out + 2, at, 1);
      expect(integerDifference(halves(out, 2), [toBf16, toF16])).toBe("");
    });
  }

  test("leaves f32 alone except for NaN, in place or not", () => {
    expect(
      sweep((count, misalign) => {
        const input = sample(count, count + 5);
        const at = put(input, misalign);
        const out = room(count * 4, misalign + 4);
        run.encode_f32(out, at, count);
        run.encode_f32(at, at, count);
        const expected = reference.encode_f32(input);
        return integerDifference(words(out, count), expected) || integerDifference(words(at, count), expected);
      }),
    ).toBe("");
  });

  test("sees every special value in every lane", () => {
    for (const first of specialBits.keys()) {
      reset();
      const bits = Uint32Array.from({ length: 23 }, (_, i) => specialBits[(first + i) % specialBits.length]!);
      const input = new Float32Array(bits.buffer);
      const out = room(46);
      const at = put(bits);
      run.encode_bf16(out, at, 23);
      expect(integerDifference(halves(out, 23), reference.encode_bf16(input))).toBe("");
      run.encode_f16(out, at, 23);
      expect(integerDifference(halves(out, 23), reference.encode_f16(input))).toBe("");
    }
  });
});
