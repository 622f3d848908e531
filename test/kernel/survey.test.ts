import { describe, expect, test } from "bun:test";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { kernelsFor } from "../../src/kernel/lanes.ts";
import type { HistogramOperand, SurveyPart, SurveyTask } from "../../src/kernel/program.ts";
import { noKey } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { SurveyRun } from "../../src/kernel/survey.ts";
import { byteWidth, type FloatDtype } from "../../src/tensor/dtype.ts";
import { bytes, coarse, damage, integerDifference, put, reset, room, run, sample, words } from "./harness.ts";

const lengths = [0, 1, 7, 8, 9, 31, 4095, 4096, 4097, 8192, 8192 + 13, 3 * 4096 - 1];
const block = 4096;
const infinity = 0x7f80;
const nan = 0xffc1;

const narrow = (count: number, seed: number) => reference.encode_bf16(coarse(count, seed));
const deltaOf = (x: Uint16Array, base: Uint16Array) =>
  reference.delta(reference.decode_bf16(x), reference.decode_bf16(base));

/** What is in the first `count` elements. */
const head = <T extends Uint16Array | Float32Array>(x: T, count: number) => x.slice(0, count) as T;

describe("dot products block by block", () => {
  const finite = (count: number, seed: number) => reference.encode_bf16(sample(count, seed, true));
  for (const number of [1, 2, 3, 4]) {
    for (const based of [false, true]) {
      test(`of ${number} vectors${based ? " and a base" : ""} stop before what is not finite`, () => {
        for (const count of lengths) {
          for (const bad of [-1, 0, 4095, 4096, count - 1]) {
            if (bad >= count) continue;
            reset();
            const vectors = Array.from({ length: number }, (_, i) => finite(count, i + 1));
            const base = based ? finite(count, 77) : null;
            if (bad >= 0) (base && bad % 2 ? base : vectors[bad % number]!)[bad] = bad % 3 ? nan : infinity;
            const good = bad < 0 ? count : bad - (bad % block);
            const pairs = (number * (number + 1)) / 2;
            const inputs = put(Uint32Array.from(vectors.map((v, i) => put(v, 2 * i))), 4);
            // The kernel may use the place of the block before which it stops.
            const out = room(Math.ceil(count / block) * pairs * 8, 8);
            const done = run.survey_dots_bf16(out, inputs, base ? put(base, 6) : 0, number, count);
            expect({ count, bad, done }).toEqual({ count, bad, done: good });
            const want: number[] = [];
            for (let at = 0; at < good; at += block) {
              const tiles = vectors.map((v) => {
                const x = v.slice(at, Math.min(count, at + block));
                return base ? deltaOf(x, base.slice(at, at + x.length)) : reference.decode_bf16(x);
              });
              want.push(...tiles.flatMap((a, i) => tiles.slice(i).map((b) => reference.dot(a, b))));
            }
            const got = [...new Float64Array(bytes(out, want.length * 8).buffer)];
            expect(got.every((v, i) => Object.is(v, want[i])) && got.length === want.length).toBe(true);
            expect(damage()).toBe("");
          }
        }
      });
    }
  }
});

const frequent = reference.bitsOf(3 / 1024);
type Range = readonly [low: number, high: number, shift: number, hot: number];
const oneKey: Range = [frequent, frequent + 1, 0, frequent];
const [lesser, larger] = [reference.bitsOf(1 / 1024), reference.bitsOf(5 / 1024)];
const lesserKey: Range = [lesser, lesser + 1, 0, lesser];
const largerKey: Range = [larger, larger + 1, 0, larger];
const wide: Range = [1, 0x80000000, 20, frequent];
const part: Range = [0x3b000000, 0x3d000000, 16, noKey];

describe("brackets block by block", () => {
  const shapes: [string, [range: Range, model: number][]][] = [
    ["one key", [[oneKey, 0]]],
    ["many keys", [[wide, 0]]],
    [
      "both, of two models",
      [
        [part, 0],
        [oneKey, 0],
        [oneKey, 1],
        [wide, 1],
      ],
    ],
    [
      "windows: both ends in one loop, whichever comes first",
      [
        [oneKey, 0],
        [part, 0],
        [wide, 1],
        [oneKey, 1],
        [part, 1],
      ],
    ],
    [
      "windows of two keys, whichever comes first, and a third key of the same model",
      [
        [lesserKey, 0],
        [largerKey, 0],
        [largerKey, 1],
        [lesserKey, 1],
        [oneKey, 1],
      ],
    ],
  ];
  for (const [name, operands] of shapes) {
    test(`${name}: count over calls, and nothing of a block that is not finite`, () => {
      for (const count of lengths) {
        for (const bad of [-1, 0, 4095, 4096, count - 1]) {
          if (bad >= count) continue;
          reset();
          const models = [narrow(count, 3), narrow(count, 4)];
          const base = narrow(count, 5);
          if (bad >= 0) (bad % 2 ? base : models[operands[bad % operands.length]![1]]!)[bad] = bad % 3 ? nan : infinity;
          const good = bad < 0 ? count : bad - (bad % block);
          const at = models.map((m) => put(m, 2));
          const baseAt = put(base, 6);
          const slots = operands.map(
            ([[low, high, shift]]) => new Uint32Array(2 * Math.ceil((high - low) / 2 ** shift)),
          );
          const slotsAt = slots.map((s) => put(s, 8));
          const told = operands.flatMap(([range, model], i) => [slotsAt[i]!, at[model]!, baseAt, ...range, 0, 0, 0]);
          const brackets = put(Uint32Array.from(told), 4);
          for (const call of [1, 2]) {
            // The second time nobody looks whether all is finite, where it is.
            const finite = call === 2 && bad < 0 ? 1 : 0;
            const done = run.survey_brackets_bf16(brackets, operands.length, count, finite);
            expect({ count, bad, call, done }).toEqual({ count, bad, call, done: good });
          }
          operands.forEach(([[low, high, shift], model], i) => {
            const delta = deltaOf(head(models[model]!, good), head(base, good));
            const once = reference.bracket(slots[i]!, delta, low, high, shift);
            const twice = reference.bracket(once.slots, delta, low, high, shift);
            expect(integerDifference(words(slotsAt[i]!, slots[i]!.length), twice.slots)).toBe("");
            expect(words(brackets, 10 * operands.length)[10 * i + 7]).toBe(once.above + twice.above);
          });
          expect(damage()).toBe("");
        }
      }
    });
  }

  test("a delta of finite numbers that overflows is left to the steps that tell it apart", () => {
    reset();
    const x = new Uint16Array(5000).fill(0x7f7f);
    const base = narrow(5000, 5);
    base[4500] = 0xff7f;
    const slots = put(new Uint32Array(2), 8);
    const told = Uint32Array.from([slots, put(x), put(base), ...oneKey, 0, 0, 0]);
    expect(run.survey_brackets_bf16(put(told), 1, 5000, 0)).toBe(4096);
    const second = put(new Uint32Array(2), 8);
    const window = Uint32Array.from([...told, second, told[1]!, told[2]!, ...largerKey, 0, 0, 0]);
    for (const finite of [0, 1]) expect(run.survey_brackets_bf16(put(window), 2, 5000, finite)).toBe(4096);
  });
});

describe("a survey of brackets", () => {
  const kernel = createKernel(compileKernel(), 8 << 20);
  const count = 20 * block + 777;

  /** The part of the survey, as far as it goes at once, or tile by tile. */
  function survey(
    inputs: (Uint16Array | Float32Array)[],
    operands: HistogramOperand[],
    atOnce: boolean,
    dtypes: FloatDtype[] = inputs.map(() => "BF16"),
  ): { part: SurveyPart; steps: number } {
    let next = kernel.heapStart;
    const at = inputs.map((data) => {
      const here = next;
      kernel.u8(here, data.byteLength).set(new Uint8Array(data.buffer));
      next += Math.ceil(data.byteLength / 64) * 64;
      return here;
    });
    const round = { op: "histogram", operands } as const;
    const widths = dtypes.map(byteWidth);
    const scans = dtypes.map((dtype) => kernelsFor(kernel, dtype));
    const task: SurveyTask = { kind: "survey", id: 0, inputs: [], dtypes, round, first: 0, count };
    const whole = new SurveyRun(kernel, task, { start: next, end: kernel.heapStart + kernel.byteLength });
    let steps = 0;
    for (let first = 0; first < count; steps++) {
      const here = at.map((p, i) => p + first * widths[i]!);
      let n = atOnce ? whole.stretch(here, count - first) : 0;
      if (n === 0) {
        n = Math.min(block, count - first);
        const flagged = here.some((p, i) => scans[i]!.nonfinite(p, n) > 0);
        whole.tile(here, first, n, flagged);
      }
      first += n;
    }
    return { part: whole.result(), steps };
  }

  const operand = (input: number, [low, high, shift, hot]: Range, nonzero = false): HistogramOperand => {
    return { input, base: 0, keep: {}, low, high, shift, hot, nonzero };
  };
  const operands = [operand(1, part), operand(1, oneKey), operand(2, wide), operand(3, oneKey)];
  const clean = () => Array.from({ length: 4 }, (_, i) => narrow(count, i + 1));

  test("counts the same at once as tile by tile", () => {
    const { part: got, steps } = survey(clean(), operands, true);
    expect(got).toEqual(survey(clean(), operands, false).part);
    expect(steps).toBe(2);
  });

  for (const input of [0, 1, 2, 3]) {
    test(`leaves a tile with something non-finite in input ${input} to the separate steps`, () => {
      const inputs = clean();
      inputs[input]!.set([nan, infinity], 7 * block + 5);
      const got = survey(inputs, operands, true);
      expect(got.part).toEqual(survey(inputs, operands, false).part);
      expect(got.steps).toBeGreaterThan(2);
    });
  }

  test("counts a delta that overflows as the separate steps do", () => {
    const inputs = clean();
    inputs[0]![9 * block + 1] = 0xff7f;
    // That of the key alone is left to them, that of the window is counted at once.
    inputs[1]![9 * block + 1] = 0x7f7f;
    inputs[3]![9 * block + 1] = 0x7f7f;
    const got = survey(inputs, operands, true);
    expect(got.part).toEqual(survey(inputs, operands, false).part);
    expect(got.steps).toBe(3);
  });

  test("goes tile by tile where non-zero elements are asked for too", () => {
    const asked = [operand(1, wide, true), operand(2, oneKey)];
    const got = survey(clean(), asked, true);
    expect(got).toEqual(survey(clean(), asked, false));
    expect(got.part.op === "histogram" && got.part.nonzero[0]).toBeGreaterThan(0);
  });

  const formats = {
    F32: { encode: (x: Float32Array) => x, decode: (x: Uint16Array | Float32Array) => x as Float32Array },
    F16: {
      encode: reference.encode_f16,
      decode: (x: Uint16Array | Float32Array) => reference.decode_f16(x as Uint16Array),
    },
    BF16: {
      encode: reference.encode_bf16,
      decode: (x: Uint16Array | Float32Array) => reference.decode_bf16(x as Uint16Array),
    },
  };
  // Both ends of windows, ranges next to each other of one input and of another, non-zero elements of some.
  const mixed = [
    operand(1, part),
    operand(1, oneKey),
    operand(1, wide, true),
    operand(2, wide),
    operand(2, part),
    operand(2, oneKey),
    operand(3, oneKey, true),
    operand(3, part, true),
  ];
  const every = mixed.map((o) => ({ ...o, nonzero: true }));

  for (const dtypes of [
    ["F16", "F16", "F16", "F16"],
    ["F32", "F32", "F32", "F32"],
    ["F16", "F32", "BF16", "F16"],
    ["BF16", "F16", "F32", "BF16"],
    ["F32", "BF16", "F16", "F32"],
  ] as (keyof typeof formats)[][]) {
    test(`of ${dtypes.join(", ")} counts whole deltas as it counts those of separate steps`, () => {
      const inputs = dtypes.map((dtype, i) => formats[dtype].encode(coarse(count, i + 1)));
      const values = inputs.map((x, i) => formats[dtypes[i]!].decode(x));
      const { part: got } = survey(inputs, mixed, true, dtypes);
      const { part: want } = survey(inputs, every, false, dtypes);
      if (got.op !== "histogram" || want.op !== "histogram") throw new Error("not a histogram");
      expect(got.bins).toEqual(want.bins);
      const above = mixed.map(({ input, high }) => {
        const keys = reference.keysOf(reference.delta(values[input]!, values[0]!));
        return keys.reduce((sum, key) => sum + Number(key >= high), 0);
      });
      expect(got.above).toEqual(above);
      expect(got.nonzero).toEqual(want.nonzero.map((n, i) => (mixed[i]!.nonzero ? n : 0)));
    });

    test(`of ${dtypes.join(", ")} leaves a tile with something non-finite to the separate steps`, () => {
      for (const input of [0, 1, 2, 3]) {
        const inputs = dtypes.map((dtype, i) => {
          const x = coarse(count, i + 1);
          if (i === input) x.set([Number.NaN, Number.POSITIVE_INFINITY], 7 * block + 5);
          return formats[dtype].encode(x);
        });
        const { part: got } = survey(inputs, mixed, true, dtypes);
        const { part: want } = survey(inputs, every, false, dtypes);
        if (got.op !== "histogram" || want.op !== "histogram") throw new Error("not a histogram");
        expect([got.bins, got.above]).toEqual([want.bins, want.above]);
      }
    });
  }
});
