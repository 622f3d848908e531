import { describe, expect, test } from "bun:test";
import { acos, sin } from "../../src/methods/trig.ts";

describe("acos and sin from basic arithmetic", () => {
  test("stay within 5e-16 of the engine's own", () => {
    let worst = 0;
    for (let i = 0; i <= 20_000; i++) {
      const c = -1 + i / 10_000;
      // Near 1 the angle's own digits are lost in c; compare absolutely there.
      worst = Math.max(worst, Math.abs(acos(c) - Math.acos(c)) / Math.max(Math.acos(c), 1e-8));
      const x = (i / 20_000) * Math.PI * 0.999;
      expect(Math.abs(sin(x) - Math.sin(x))).toBeLessThan(5e-16);
    }
    expect(worst).toBeLessThan(1e-15);
  });
  test("meet the ends exactly", () => {
    expect([acos(1), acos(-1), sin(0)]).toEqual([0, Math.PI, 0]);
    expect(Math.abs(acos(0) - Math.PI / 2)).toBeLessThan(3e-16);
    expect(sin(-0.5)).toBe(-sin(0.5));
  });
});
