import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as reference from "../../src/kernel/reference-importance.ts";
import { projectRoot } from "../support/host.ts";
import { damage, difference, floats, put, random, reset, room, run, sample } from "./harness.ts";

/** f64 as ordered integers, so that a difference counts units in the last place. */
function ordered(x: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  const bits = view.getBigInt64(0);
  return bits < 0n ? -(bits & 0x7fffffffffffffffn) : bits;
}

const ulps = (a: number, b: number) => Number(ordered(a) - ordered(b));

/** x, e^x and ln |x|, by mpmath with 200 bits (test/vectors/exponential.py). */
const truths = JSON.parse(readFileSync(join(projectRoot, "test/vectors/exponential.json"), "utf8")) as {
  exp: [number, number][];
  log: [number, number][];
};

for (const name of ["exp", "log"] as const) {
  const kernel = name === "exp" ? run.exp_f64 : run.log_f64;
  const twin = name === "exp" ? reference.exp : reference.log;
  describe(name, () => {
    test("comes within one unit in the last place of the true value, over the whole range", () => {
      expect(truths[name].length).toBeGreaterThan(4000);
      let worst = { x: 0, off: 0 };
      for (const [x, want] of truths[name]) {
        const off = Math.abs(ulps(kernel(x), want));
        if (off > worst.off) worst = { x, off };
      }
      expect({ ...worst, within: worst.off <= 1 }).toEqual({ ...worst, within: true });
    });
    test("is its twin's, bit for bit", () => {
      const draw = random(5);
      const numbers = [...truths[name].map(([x]) => x), ...Array.from({ length: 20_000 }, () => draw() / 2 ** 31 - 1)];
      const at = numbers.map(name === "exp" ? (x) => x : Math.abs);
      expect(at.find((x) => !Object.is(kernel(x), twin(x)))).toBeUndefined();
    });
    test("takes what has no value", () => {
      const of = [Number.NaN, Infinity, -Infinity, 0, -1e300];
      const want =
        name === "exp" ? [Number.NaN, Infinity, 0, 1, 0] : [Number.NaN, Infinity, Number.NaN, -Infinity, Number.NaN];
      expect(of.map((x) => kernel(x))).toEqual(want);
    });
  });
}

describe("importance", () => {
  for (const columns of [1, 2, 3, 4, 5, 7, 64, 129, 1000]) {
    for (const rows of [0, 1, 2, 5]) {
      test(`of ${rows} rows of ${columns}`, () => {
        for (const misalign of [0, 4, 12]) {
          for (const finite of [true, false]) {
            reset();
            const count = rows * columns;
            const base = sample(count, columns * 7 + rows, finite);
            const change = sample(count, columns + rows, true);
            const x = base.map((b, i) => (i % 3 === 0 ? b : b + change[i]! / 64));
            const want = reference.importance(x, base, columns);
            const [at, from, out] = [put(x, misalign), put(base, misalign + 4), room(count * 4, misalign)];
            run.importance(out, at, from, columns, count);
            expect(difference(floats(out, count), want)).toBe("");
            run.importance(at, at, from, columns, count);
            expect(difference(floats(at, count), want)).toBe("");
            expect(damage()).toBe("");
          }
        }
      });
    }
  }
  test("an element that is not finite has no part in its row's divergence", () => {
    reset();
    const base = Float32Array.of(1, 2, 3, Number.NaN, 5);
    const x = Float32Array.of(1.5, Infinity, 2, 4, 5.25);
    const out = room(20);
    run.importance(out, put(x), put(base), 5, 5);
    const [a, b, c, d, e] = floats(out, 5) as unknown as [number, number, number, number, number];
    const rest = reference.importance(Float32Array.of(1.5, 2, 5.25), Float32Array.of(1, 3, 5), 3);
    expect([a, c, e]).toEqual([...rest]);
    expect([b, d].map(Number.isFinite)).toEqual([false, false]);
  });
});
