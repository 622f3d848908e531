import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import { difference, floats, put, reset, room, run, sample, sweep } from "./harness.ts";

const constants = [0.3, -1 / 3, 0, 1e-30, 3e38, Number.NaN];

describe("arithmetic on tiles", () => {
  test("delta subtracts, into another tile or in place", () => {
    expect(
      sweep((count, misalign) => {
        const x = sample(count, count + 1);
        const base = sample(count, count + 2);
        const [xAt, baseAt] = [put(x, misalign), put(base, misalign + 4)];
        const out = room(count * 4, misalign + 8);
        const expected = reference.delta(x, base);
        run.delta(out, xAt, baseAt, count);
        run.delta(xAt, xAt, baseAt, count);
        return difference(floats(out, count), expected) || difference(floats(xAt, count), expected);
      }),
    ).toBe("");
  });

  for (const c of constants) {
    test(`scale, axpy and finish round every operation (c = ${c})`, () => {
      expect(
        sweep((count, misalign) => {
          const x = sample(count, count + 1);
          const acc = sample(count, count + 2);
          const xAt = put(x, misalign);
          const accAt = put(acc, misalign + 4);
          const out = room(count * 4, misalign + 1);
          run.finish(out, accAt, xAt, c, count);
          const finished = difference(floats(out, count), reference.finish(acc, x, c));
          run.scale(out, xAt, c, count);
          const scaled = difference(floats(out, count), reference.scale(x, c));
          run.axpy(accAt, xAt, c, count);
          const added = difference(floats(accAt, count), reference.axpy(acc, x, c));
          run.scale(xAt, xAt, c, count);
          return finished || scaled || added || difference(floats(xAt, count), reference.scale(x, c));
        }),
      ).toBe("");
    });
  }

  test("axpy is not a fused multiply-add", () => {
    reset();
    // (1 + 2^-12)² = 1 + 2^-11 + 2^-24: the product rounds to 1 + 2^-11, a fused one would keep 2^-24.
    const x = Math.fround(1 + 2 ** -12);
    const acc = put(new Float32Array(9).fill(-(1 + 2 ** -11)));
    run.axpy(acc, put(new Float32Array(9).fill(x)), x, 9);
    expect(difference(floats(acc, 9), new Float32Array(9))).toBe("");
  });

  test("finish may write over the base or the sum", () => {
    for (const count of [1, 4, 7, 19, 32]) {
      reset();
      const base = sample(count, 1);
      const acc = sample(count, 2);
      const expected = reference.finish(base, acc, 0.7);
      const [baseAt, accAt] = [put(base), put(acc)];
      run.finish(accAt, baseAt, accAt, 0.7, count);
      expect(difference(floats(accAt, count), expected)).toBe("");
      const again = put(acc);
      run.finish(baseAt, baseAt, again, 0.7, count);
      expect(difference(floats(baseAt, count), expected)).toBe("");
    }
  });

  for (const limit of [65504, 3.3895313892515355e38, 0.25]) {
    test(`clamp_finite limits to ±${limit}, infinities too, and leaves NaN`, () => {
      expect(
        sweep((count, misalign) => {
          const x = sample(count, count + 1);
          const at = put(x, misalign);
          const expected = reference.clamp_finite(x, limit);
          const changed = run.clamp_finite(at, limit, count);
          if (changed !== expected.changed) return `${changed} changed instead of ${expected.changed}`;
          return difference(floats(at, count), expected.x);
        }),
      ).toBe("");
    });
  }
});
