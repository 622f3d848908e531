// fp8, f64 and stochastic rounding.

import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import { bytes, difference, floats, put, random, reset, room, run, sample, sweep, words } from "./harness.ts";

const allBytes = Uint8Array.from({ length: 256 }, (_, i) => i);
const formats = [
  ["f8_e4m3", reference.decode_f8_e4m3, reference.encode_f8_e4m3],
  ["f8_e5m2", reference.decode_f8_e5m2, reference.encode_f8_e5m2],
] as const;

const same = (got: Uint8Array, want: Uint8Array) => {
  const at = got.findIndex((b, i) => b !== want[i]);
  return at < 0 ? "" : `byte ${at} is ${got[at]}, should be ${want[at]}`;
};

describe("fp8", () => {
  test("the ends of the formats are those of the OCP specification", () => {
    reset();
    const out = room(256 * 4);
    run.decode_f8_e4m3(out, put(allBytes), 256);
    const e4m3 = floats(out, 256);
    expect([e4m3[0x7e], e4m3[0x08], e4m3[0x07], e4m3[0x01], e4m3[0x38], e4m3[0xfe]]).toEqual([
      448,
      2 ** -6,
      0.875 * 2 ** -6,
      2 ** -9,
      1,
      -448,
    ]);
    expect([Number.isNaN(e4m3[0x7f]!), Number.isNaN(e4m3[0xff]!), Object.is(e4m3[0x80], -0)]).toEqual([
      true,
      true,
      true,
    ]);
    run.decode_f8_e5m2(out, put(allBytes), 256);
    const e5m2 = floats(out, 256);
    expect([e5m2[0x7b], e5m2[0x7c], e5m2[0xfc], e5m2[0x04], e5m2[0x03], e5m2[0x01]]).toEqual([
      57344,
      Infinity,
      -Infinity,
      2 ** -14,
      0.75 * 2 ** -14,
      2 ** -16,
    ]);
    expect([0x7d, 0x7e, 0x7f, 0xff].map((b) => Number.isNaN(e5m2[b]!))).toEqual([true, true, true, true]);
  });

  for (const [name, decode, encode] of formats) {
    test(`${name} widens every pattern, at any length and address`, () => {
      const shuffled = Uint8Array.from({ length: 8300 }, (_, i) => (i * 167 + 41) & 0xff);
      expect(
        sweep((count, misalign) => {
          const input = shuffled.slice(0, count);
          const out = room(count * 4, misalign);
          run[`decode_${name}`](out, put(input, misalign * 3), count);
          return difference(floats(out, count), decode(input));
        }),
      ).toBe("");
    });

    test(`${name} narrows to the nearest even`, () => {
      reset();
      const draw = random(3);
      for (const low of [0x0000, 0x0001, 0x7fff, 0x8000, 0x8001, 0xffff, null]) {
        const bits = Uint32Array.from({ length: 65536 }, (_, high) => high * 65536 + (low ?? draw() % 65536));
        const input = new Float32Array(bits.buffer);
        const out = room(65536);
        run[`encode_${name}`](out, put(input), 65536);
        expect(same(bytes(out, 65536), encode(input))).toBe("");
        reset();
      }
    });

    test(`${name} narrows any length at any address, and writes nothing else`, () => {
      expect(
        sweep((count, misalign) => {
          const input = sample(count, count + 5);
          const out = room(count, misalign);
          run[`encode_${name}`](out, put(input, misalign + 4), count);
          return same(bytes(out, count), encode(input));
        }),
      ).toBe("");
    });

    test(`${name}: what is stored comes back, and non-finite values are found`, () => {
      reset();
      const [input, wide, out] = [put(allBytes), room(1024), room(256)];
      run[`decode_${name}`](wide, input, 256);
      run[`encode_${name}`](out, wide, 256);
      const values = decode(allBytes);
      allBytes.forEach((b, i) => {
        if (!Number.isNaN(values[i]!)) expect(bytes(out, 256)[i]).toBe(b);
      });
      const bad = values.filter((v) => !Number.isFinite(v)).length;
      expect(run[`nonfinite_${name}`](input, 256)).toBe(bad);
      expect(run[`first_nonfinite_${name}`](input, 256)).toBe(values.findIndex((v) => !Number.isFinite(v)));
      expect(run[`nonfinite_${name}`](input, 0)).toBe(0);
      expect(run[`first_nonfinite_${name}`](input, 3)).toBe(-1);
    });
  }
});

describe("f64", () => {
  const values = Float64Array.of(
    0,
    -0,
    1,
    -1 / 3,
    2 ** -149,
    2 ** -150,
    1.5 * 2 ** -150,
    2 ** -1074,
    1 + 2 ** -24,
    1 + 2 ** -24 + 2 ** -50,
    3.4028234663852886e38,
    3.4028235677973362e38,
    3.4028235677973366e38,
    -1e300,
    Infinity,
    -Infinity,
    NaN,
    123456789.123,
  );
  test("rounds to f32 and widens exactly", () => {
    reset();
    const out = room(values.length * 4);
    run.decode_f64(out, put(values, 4), values.length);
    expect(difference(floats(out, values.length), reference.decode_f64(values))).toBe("");
    const back = room(values.length * 8);
    run.encode_f64(back, out, values.length);
    const got = new Float64Array(bytes(back, values.length * 8).buffer);
    expect([...got]).toEqual([...reference.encode_f64(floats(out, values.length))]);
    expect(new BigUint64Array(got.buffer)[16]).toBe(0x7ff8000000000000n);
  });
  test("what f32 cannot hold counts as non-finite", () => {
    reset();
    const at = put(values);
    const bad = [...values].map((v) => !Number.isFinite(Math.fround(v)));
    expect(run.nonfinite_f64(at, values.length)).toBe(bad.filter(Boolean).length);
    expect(run.first_nonfinite_f64(at, values.length)).toBe(bad.indexOf(true));
    expect(run.first_nonfinite_f64(at, 11)).toBe(-1);
  });
});

describe("stochastic rounding", () => {
  const shapes = [
    [7, -126],
    [10, -14],
    [3, -6],
    [2, -14],
  ] as const;
  for (const [fraction, lowest] of shapes) {
    test(`to ${fraction} bits of fraction from 2^${lowest} on`, () => {
      expect(
        sweep((count, misalign) => {
          const draw = random(count + 9);
          const x = sample(count, count + 1).map((v, i) =>
            i % 3 === 0 ? v : ((draw() % 4096) - 2048) * 2 ** (lowest - 9),
          );
          const bits = Uint32Array.from({ length: count }, (_, i) =>
            i % 5 === 0 ? 0 : i % 5 === 1 ? 0xffffffff : draw(),
          );
          const at = put(x, misalign);
          run.dither(at, put(bits, misalign + 4), fraction, lowest, count);
          return difference(floats(at, count), reference.dither(x, bits, fraction, lowest));
        }),
      ).toBe("");
    });
  }

  test("is unbiased: the mean of many is the value", () => {
    reset();
    const n = 4096;
    for (const value of [1 + 0.3 * 2 ** -7, -(2 + 0.9 * 2 ** -6), 0.25 * 2 ** -133]) {
      const x = Math.fround(value);
      const at = put(new Float32Array(n).fill(x));
      const bits = room(n * 4 + 128);
      run.philox_words(bits, 1, 2, 3, 0, n);
      run.dither(at, bits, 7, -126, n);
      const unit = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(x)))) - 7);
      const mean = floats(at, n).reduce((a, b) => a + b, 0) / n;
      // Five standard errors of a coin.
      expect(Math.abs(mean - x)).toBeLessThanOrEqual((5 * 0.5 * unit) / Math.sqrt(n));
      expect(new Set(floats(at, n)).size).toBe(2);
      reset();
    }
  });

  test("its words are Philox's, at any block", () => {
    reset();
    for (const [lo, hi] of [
      [0, 0],
      [0xfffffffe, 6],
    ] as const) {
      const out = room(100 * 4 + 128);
      run.philox_words(out, 42, 7, lo, hi, 100);
      expect([...words(out, 100)]).toEqual([...reference.philox_words([42, 7], hi * 2 ** 32 + lo, 100)]);
    }
  });
});
