import { describe, expect, test } from "bun:test";
import { axpyEach, countSigns, dotsColumns, scaleEach } from "../../src/kernel/reference-lines.ts";
import {
  bytes,
  coarse,
  difference,
  floats,
  integerDifference,
  put,
  room,
  run,
  sample,
  sweep,
  words,
} from "./harness.ts";

/** The first sum that differs in its bits, or nothing; NaN equals NaN. */
function sumsDifference(actual: Float64Array, expected: Float64Array): string {
  const at = expected.findIndex((x, i) => !Object.is(x, actual[i]!));
  return at < 0 ? "" : `sum ${at}: ${actual[at]} instead of ${expected[at]}`;
}

for (const [kind, make] of [
  ["few magnitudes", coarse],
  ["all kinds of floats", sample],
] as const) {
  describe(`columns of ${kind}`, () => {
    for (const length of [1, 2, 3, 16, 37, 5000])
      for (const first of [0, 1, length - 1].filter((f, i, all) => f >= 0 && f < length && all.indexOf(f) === i))
        test(`dots_columns adds to ${length} sums from column ${first} on`, () => {
          expect(
            sweep((count, misalign) => {
              const [a, b] = [make(count, count + 1), make(count, 5 * count + 2)];
              const sums = Float64Array.from({ length }, (_, i) => (i % 7) / 3 - 1);
              const at = put(sums, misalign);
              run.dots_columns(at, put(a, misalign + 4), put(b, misalign), first, length, count);
              const got = new Float64Array(bytes(at, length * 8).buffer);
              return sumsDifference(got, dotsColumns(sums, a, b, first));
            }),
          ).toBe("");
        });

    test("scale_each and axpy_each multiply element by element", () => {
      expect(
        sweep((count, misalign) => {
          const [acc, x, c] = [make(count, count + 3), make(count, 3 * count + 1), make(count, 7 * count + 5)];
          const [out, sum] = [room(count * 4, misalign), put(acc, misalign)];
          const [px, pc] = [put(x, misalign + 4), put(c, misalign)];
          run.scale_each(out, px, pc, count);
          run.axpy_each(sum, px, pc, count);
          return difference(floats(out, count), scaleEach(x, c)) || difference(floats(sum, count), axpyEach(acc, x, c));
        }),
      ).toBe("");
    });

    test("count_signs adds to both counts", () => {
      expect(
        sweep((count, misalign) => {
          const x = make(count, count + 9);
          const counts = put(Uint32Array.of(5, 7), misalign);
          run.count_signs(counts, put(x, misalign), count);
          const [above, below] = countSigns(x);
          return integerDifference(words(counts, 2), [5 + above, 7 + below]);
        }),
      ).toBe("");
    });
  });
}
