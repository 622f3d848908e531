import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import { coarse, difference, floats, hex, put, random, reset, run, sample, sweep } from "./harness.ts";

const dtypes = ["f32", "bf16", "f16"] as const;

/** Bits of a dtype and what they mean. */
function raw(dtype: (typeof dtypes)[number], count: number, seed: number, finite: boolean) {
  const draw = random(seed);
  if (dtype === "f32") {
    const value = sample(count, seed, finite);
    return { data: value as ArrayBufferView, value };
  }
  const top = dtype === "bf16" ? 0x7f80 : 0x7c00;
  const data = Uint16Array.from({ length: count }, () => {
    const bits = draw() & 0xffff;
    return finite && (bits & 0x7fff) >= top ? bits & 0x83ff : bits;
  });
  return {
    data: data as ArrayBufferView,
    value: dtype === "bf16" ? reference.decode_bf16(data) : reference.decode_f16(data),
  };
}

for (const dtype of dtypes) {
  describe(`non-finite ${dtype}`, () => {
    for (const finite of [true, false]) {
      test(finite ? "are none among finite values" : "are counted, and the first is found", () => {
        expect(
          sweep((count, misalign) => {
            const { data, value } = raw(dtype, count, count * 5 + 2, finite);
            const at = put(data, misalign);
            const found = [run[`nonfinite_${dtype}`](at, count), run[`first_nonfinite_${dtype}`](at, count)];
            const expected = [reference.nonfinite(value), reference.first_nonfinite(value)];
            return found.join() === expected.join() ? "" : `${found} instead of ${expected}`;
          }),
        ).toBe("");
      });
    }

    test("are seen at every position, alone, whichever kind they are", () => {
      const special = {
        f32: [0x7f800000, 0xff800000, 0x7f800001, 0xffffffff],
        bf16: [0x7f80, 0xff80, 0x7f81, 0xffff],
        f16: [0x7c00, 0xfc00, 0x7c01, 0xffff],
      };
      const last = { f32: 0xff7fffff, bf16: 0xff7f, f16: 0xfbff }[dtype];
      for (const bits of special[dtype]) {
        for (let at = 0; at < 41; at++) {
          reset();
          const data = dtype === "f32" ? new Uint32Array(41).fill(last) : new Uint16Array(41).fill(last);
          data[at] = bits;
          const pointer = put(data);
          expect([run[`nonfinite_${dtype}`](pointer, 41), run[`first_nonfinite_${dtype}`](pointer, 41)]).toEqual([
            1,
            at,
          ]);
          // One element short of it there is none.
          expect([run[`nonfinite_${dtype}`](pointer, at), run[`first_nonfinite_${dtype}`](pointer, at)]).toEqual([
            0, -1,
          ]);
        }
      }
    });
  });
}

test("non-finite values are replaced by the base's, and only they", () => {
  expect(
    sweep((count, misalign) => {
      const x = sample(count, count + 1);
      const base = sample(count, count + 2);
      const at = put(x, misalign);
      run.replace_nonfinite(at, put(base, misalign + 4), count);
      return difference(floats(at, count), reference.replace_nonfinite(x, base));
    }),
  ).toBe("");
});

describe("statistics", () => {
  const same = (actual: number, expected: number) =>
    Object.is(actual, expected) ? "" : `${actual} instead of ${expected}`;

  for (const kind of ["finite", "special", "coarse"] as const) {
    const make = (count: number, seed: number) =>
      kind === "coarse" ? coarse(count, seed) : sample(count, seed, kind === "finite");

    test(`dot sums in its fixed order, to the last bit (${kind} values)`, () => {
      expect(
        sweep((count, misalign) => {
          const a = make(count, count + 1);
          const b = make(count, count + 2);
          return same(run.dot(put(a, misalign), put(b, misalign + 8), count), reference.dot(a, b));
        }),
      ).toBe("");
    });

    test(`l1 sums in its fixed order, to the last bit (${kind} values)`, () => {
      expect(
        sweep((count, misalign) => {
          const a = make(count, count + 1);
          return same(run.l1(put(a, misalign), count), reference.l1(a));
        }),
      ).toBe("");
    });

    test(`max_abs ignores NaN, nonzero counts it (${kind} values)`, () => {
      expect(
        sweep((count, misalign) => {
          const a = make(count, count + 1);
          const at = put(a, misalign);
          return (
            same(run.max_abs(at, count), reference.max_abs(a)) || same(run.nonzero(at, count), reference.nonzero(a))
          );
        }),
      ).toBe("");
    });
  }

  test("sums of products are exact where f32 would lose the small ones", () => {
    reset();
    const a = put(Float32Array.of(2 ** 30, 1, -(2 ** 30), 1));
    const b = put(Float32Array.of(2 ** 10, 1, 2 ** 10, 1));
    expect(run.dot(a, b, 4)).toBe(2);
  });

  test("the maximum is found at every position", () => {
    for (let at = 0; at < 21; at++) {
      reset();
      const x = sample(21, at, true);
      x[at] = -12345;
      expect(run.max_abs(put(x), 21)).toBe(12345);
    }
  });
});

test("bytes are the same, or differ at any one position", () => {
  const draw = random(9);
  for (let count = 0; count <= 70; count++) {
    reset();
    const data = Uint8Array.from({ length: count }, () => draw() & 0xff);
    const a = put(data, count % 5);
    expect(`${count}: ${run.same_bytes(a, put(data, 3), count)}`).toBe(`${count}: 1`);
    for (let at = 0; at < count; at++) {
      reset();
      const pointer = put(data, count % 5);
      const other = data.slice();
      other[at]! ^= 1 << (at % 8);
      expect(`${count}, ${at}: ${run.same_bytes(pointer, put(other, 1), count)}`).toBe(`${count}, ${at}: 0`);
      expect(reference.same_bytes(data, other)).toBe(false);
    }
  }
});

describe("keys", () => {
  const same = (actual: number, expected: number) => (actual === expected ? "" : `${actual} instead of ${expected}`);

  test("that are equal are counted, and the n-th is found", () => {
    expect(
      sweep((count, misalign) => {
        const x = coarse(count, count + 3);
        const at = put(x, misalign);
        for (const key of [0, reference.bitsOf(3 / 1024), reference.bitsOf(1), 0x80000000]) {
          const expected = reference.equals(x, key);
          const wrong = same(run.equals(at, key, count), expected);
          if (wrong) return wrong;
          const ns =
            count > 100 ? [0, 1, 77, expected - 1, expected] : Array.from({ length: expected + 2 }, (_, i) => i - 1);
          for (const n of ns) {
            const off = same(run.nth_equal(at, key, n, count), n < 0 ? -1 : reference.nth_equal(x, key, n));
            if (off) return `number ${n} of ${hex(key)}: ${off}`;
          }
        }
        return "";
      }),
    ).toBe("");
  });
});
