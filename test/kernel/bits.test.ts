import { describe, expect, test } from "bun:test";
import { agreeBits, axpyBits } from "../../src/kernel/reference-bits.ts";
import {
  bytes,
  coarse,
  difference,
  floats,
  integerDifference,
  put,
  random,
  room,
  run,
  sample,
  sweep,
} from "./harness.ts";

describe("masks of one bit an element", () => {
  for (const [kind, make] of [
    ["few magnitudes", coarse],
    ["all kinds of floats", sample],
  ] as const) {
    test(`agree_bits sets those of one sign: ${kind}`, () => {
      expect(
        sweep((count, misalign) => {
          const [x, y] = [make(count, count + 1), make(count, 3 * count + 2)];
          const expected = agreeBits(x, y);
          const out = room(expected.bits.length, misalign);
          const set = run.agree_bits(out, put(x, misalign), put(y, misalign + 4), count);
          return integerDifference([set, ...bytes(out, expected.bits.length)], [expected.set, ...expected.bits]);
        }),
      ).toBe("");
    });

    for (const firstBit of [0, 1, 4, 5, 7, 11]) {
      test(`axpy_bits adds where a bit is set, from bit ${firstBit} on: ${kind}`, () => {
        expect(
          sweep((count, misalign) => {
            const [acc, x] = [make(count, count + 5), make(count, 7 * count + 3)];
            const draw = random(count + firstBit);
            const bits = Uint8Array.from({ length: Math.ceil((count + firstBit) / 8) }, () => draw() & 255);
            const at = put(acc, misalign);
            run.axpy_bits(at, put(x, misalign + 4), put(bits, misalign), firstBit, 0.3, count);
            return difference(floats(at, count), axpyBits(acc, x, bits, firstBit, 0.3));
          }),
        ).toBe("");
      });
    }
  }

  test("products of deltas that underflow still agree", () => {
    const tiny = Float32Array.of(1e-30, -1e-30, 1e-30, 0, -0, 1e-45, -1e-45, 1e-30, -1e-45);
    const other = Float32Array.of(1e-30, -1e-30, -1e-30, 1, 1, 1e-45, 1e-45, 0, -1e-45);
    const out = room(2);
    expect(run.agree_bits(out, put(tiny), put(other), 9)).toBe(4);
    expect([...bytes(out, 2)]).toEqual([0b00100011, 1]);
  });
});
