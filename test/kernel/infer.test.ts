import { describe, expect, test } from "bun:test";
import { decode_bf16, encode_bf16 } from "../../src/kernel/reference.ts";
import * as reference from "../../src/kernel/reference-infer.ts";
import { damage, difference, floats, put, reset, room, run, sample, sweep } from "./harness.ts";

/** Rows of a product as they lie in memory, `pitch` apart. */
function rowsAt(pointer: number, pitch: number, rows: number, count: number): Float32Array[] {
  const all = floats(pointer, rows === 0 ? 0 : (rows - 1) * pitch + count);
  return Array.from({ length: rows }, (_, i) => all.slice(i * pitch, i * pitch + count));
}

describe("project", () => {
  const depths = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 96, 129];
  for (const depth of depths) {
    test(`rows of ${depth}, every tile and tail, f32 and bf16`, () => {
      for (const rows of [0, 1, 2, 3, 4, 5, 8, 9]) {
        for (const count of [0, 1, 2, 3, 4, 5, 6, 7, 9, 11]) {
          for (const misalign of [0, 2, 4]) {
            for (const finite of [true, false]) {
              reset();
              const x = sample(rows * depth, depth * 31 + rows, finite);
              const halves = encode_bf16(sample(count * depth, count + depth, finite));
              const w = decode_bf16(halves);
              const pitch = count + 3;
              const want = reference.project(x, w, depth);
              const size = rows === 0 ? 0 : ((rows - 1) * pitch + count) * 4;
              const [at, from, out] = [put(x, misalign), put(w, misalign), room(size, misalign)];
              run.project_f32(out, pitch, at, from, rows, depth, count);
              const got = rowsAt(out, pitch, rows, count);
              for (const [i, row] of got.entries()) expect(difference(row, want[i] ?? new Float32Array(0))).toBe("");
              const narrow = put(halves, misalign);
              for (let i = 0; i < rows; i++) {
                const one = room(count * 4, misalign);
                run.project_bf16(one, at + i * depth * 4, narrow, depth, count);
                expect(difference(floats(one, count), want[i]!)).toBe("");
              }
              expect(damage()).toBe("");
            }
          }
        }
      }
    });
  }
  test("writes nothing between the rows of its output", () => {
    reset();
    const out = put(new Float32Array(4 * 7).fill(9));
    run.project_f32(out, 7, put(sample(16, 1, true)), put(sample(20, 2, true)), 4, 4, 5);
    const gaps = floats(out, 28).filter((_, i) => i % 7 > 4);
    expect([...gaps]).toEqual(Array(8).fill(9));
  });
});

test("rms_norm, in place too", () => {
  expect(
    sweep((count, misalign) => {
      for (const finite of [true, false]) {
        const [x, weight] = [sample(count, count, finite), sample(count, count + 1, finite)];
        const [at, scale, out] = [put(x, misalign), put(weight, misalign), room(count * 4, misalign)];
        const want = reference.rms_norm(x, weight, 1e-5);
        run.rms_norm(out, at, scale, 1e-5, count);
        run.rms_norm(at, at, scale, 1e-5, count);
        const wrong = difference(floats(out, count), want) || difference(floats(at, count), want);
        if (wrong) return wrong;
      }
      return "";
    }),
  ).toBe("");
});

test("rotate_half", () => {
  expect(
    sweep((half, misalign) => {
      const [x, cosines, sines] = [sample(half * 2, half), sample(half, half + 1), sample(half, half + 2)];
      const at = put(x, misalign);
      run.rotate_half(at, put(cosines, misalign), put(sines, misalign), half);
      return difference(floats(at, half * 2), reference.rotate_half(x, cosines, sines));
    }),
  ).toBe("");
});

test("e^x comes within two units in the last place of f32, over the whole range", () => {
  let worst = 0;
  for (let i = 0; i <= 400_000; i++) {
    const x = Math.fround(-87.3 + (i / 400_000) * 175.6);
    const want = Math.exp(x);
    const unit = 2 ** (Math.floor(Math.log2(want)) - 23);
    worst = Math.max(worst, Math.abs(reference.power(x) - want) / unit);
  }
  expect(worst).toBeLessThan(2);
  expect([-Infinity, -88, 0, 1000].map(reference.power)).toEqual([0, 0, 1, reference.power(Math.fround(88.3))]);
  expect(Number.isFinite(reference.power(1e30))).toBe(true);
});

test("softmax", () => {
  expect(
    sweep((count, misalign) => {
      for (const finite of [true, false]) {
        const x = sample(count, count + 5, finite);
        const at = put(x, misalign);
        run.softmax(at, 0.17677669, count);
        const wrong = difference(floats(at, count), reference.softmax(x, 0.17677669));
        if (wrong) return wrong;
      }
      return "";
    }),
  ).toBe("");
  reset();
  const at = put(Float32Array.of(1000, 999, -1e30));
  run.softmax(at, 1, 3);
  const [a, b, c] = floats(at, 3) as unknown as [number, number, number];
  expect(a).toBeCloseTo(1 / (1 + Math.exp(-1)), 6);
  expect(a + b).toBeCloseTo(1, 6);
  expect(c).toBe(0);
  const same = put(new Float32Array(7).fill(-3));
  run.softmax(same, 1, 7);
  expect([...floats(same, 7)]).toEqual(Array(7).fill(Math.fround(1 / 7)));
});

test("swiglu", () => {
  expect(
    sweep((count, misalign) => {
      const [gate, up] = [sample(count, count), sample(count, count + 9)];
      const at = put(gate, misalign);
      run.swiglu(at, put(up, misalign), count);
      return difference(floats(at, count), reference.swiglu(gate, up));
    }),
  ).toBe("");
  reset();
  const at = put(Float32Array.of(1, -2, 90, -90));
  run.swiglu(at, put(Float32Array.of(1, 1, 1, 1)), 4);
  const silu = (g: number) => g / (1 + Math.exp(-g));
  for (const [i, g] of [1, -2, 90, -90].entries()) expect(floats(at, 4)[i]).toBeCloseTo(silu(g), 5);
});
