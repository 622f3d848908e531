import { describe, expect, test } from "bun:test";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import type { Operand, SurveyTask } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { SurveyRun } from "../../src/kernel/survey.ts";
import { bytes, damage, put, random, reset, room, run, sample, sweep } from "./harness.ts";

const bf16 = (count: number, seed: number) => reference.encode_bf16(sample(count, seed, true));

/** Every product by the twin: decoded, the base subtracted in f32, `dot` in its fixed order. */
function expected(vectors: Uint16Array[], base: Uint16Array | null): Float64Array {
  const x = vectors.map((v) => {
    const decoded = reference.decode_bf16(v);
    return base ? reference.delta(decoded, reference.decode_bf16(base)) : decoded;
  });
  return Float64Array.from(x.flatMap((a, i) => x.slice(i).map((b) => reference.dot(a, b))));
}

const bitsOf = (x: Float64Array) => [...new BigUint64Array(x.buffer, x.byteOffset, x.length)].join(" ");

describe("dot products straight from bf16", () => {
  for (const based of [false, true]) {
    for (const number of [1, 2, 3, 4, 5]) {
      test(`have the bits of the separate kernels: ${number} vectors${based ? " and a base" : ""}`, () => {
        expect(
          sweep((count, misalign) => {
            const vectors = Array.from({ length: number }, (_, i) => bf16(count, count * 7 + i + 1));
            const base = based ? bf16(count, count * 7 + 99) : null;
            const inputs = put(Uint32Array.from(vectors.map((v, i) => put(v, misalign + 2 * i))), 4);
            const pairs = (number * (number + 1)) / 2;
            const out = room(pairs * 8, 8);
            run.dots_bf16(out, inputs, base ? put(base, misalign + 6) : 0, number, count);
            const got = new Float64Array(bytes(out, pairs * 8).buffer);
            const want = expected(vectors, base);
            return damage() || (bitsOf(got) === bitsOf(want) ? "" : `${got} instead of ${want}`);
          }),
        ).toBe("");
      });
    }
  }

  test("keep negative zeros out of sums: products of −0 add nothing", () => {
    reset();
    const zeros = put(new Uint16Array(24).fill(0x8000));
    const ones = put(new Uint16Array(24).fill(0x3f80));
    const out = room(24, 8);
    run.dots_bf16(out, put(Uint32Array.from([zeros, ones]), 4), 0, 2, 24);
    expect([...new Float64Array(bytes(out, 24).buffer)].map((v) => (Object.is(v, -0) ? "-0" : v))).toEqual([0, 0, 24]);
  });

  test("a vector of large numbers does not overflow, as its squares in f32 would", () => {
    reset();
    const huge = put(new Uint16Array(9).fill(0x7f7f));
    const out = room(8, 8);
    run.dots_bf16(out, put(Uint32Array.from([huge]), 4), 0, 1, 9);
    const largest = 3.3895313892515355e38;
    expect(new Float64Array(bytes(out, 8).buffer)[0]).toBe(9 * largest * largest);
  });
});

describe("a survey of dot products", () => {
  const kernel = createKernel(compileKernel(), 8 << 20);
  const count = 4096 + 777;

  /** The blocks of the survey, as far as it goes at once, or, `plain`, tile by tile. */
  function survey(inputs: Uint16Array[], task: Pick<SurveyTask, "dtypes" | "round">, plain: boolean): string {
    let next = kernel.heapStart;
    const at = inputs.map((data) => {
      const here = next;
      kernel.u8(here, data.byteLength).set(new Uint8Array(data.buffer));
      next += 16384;
      return here;
    });
    const whole = { ...task, kind: "survey", id: 0, inputs: [], first: 0, count } as unknown as SurveyTask;
    const part = new SurveyRun(kernel, whole, { start: next, end: next + (4 << 20) });
    for (let first = 0; first < count; ) {
      const here = at.map((p) => p + first * 2);
      const n = plain ? 0 : part.stretch(here, count - first);
      if (n === 0) part.tile(here, first, Math.min(4096, count - first), false);
      first += n || 4096;
    }
    const result = part.result();
    if (result.op !== "dots") throw new TypeError(result.op);
    return result.blocks.map(bitsOf).join(" | ");
  }

  const data = Array.from({ length: 4 }, (_, i) => bf16(count, i + 1));
  const draw = random(3);
  const key = [draw(), draw()] as const;
  const operand = (input: number, base: number | null, random = false) => ({
    input,
    base,
    keep: random ? { random: { key, threshold: 0x80000000 } } : {},
  });
  const shapes: [string, Operand[]][] = [
    ["two inputs", [operand(1, null), operand(0, null)]],
    ["deltas to one base", [operand(1, 0), operand(2, 0), operand(3, 0)]],
    ["one input twice", [operand(2, null), operand(2, null)]],
    ["deltas to different bases", [operand(1, 0), operand(2, 3)]],
    ["an input and a delta", [operand(1, null), operand(2, 0)]],
    ["a variance and a delta", [{ ...operand(1, 0), variance: [1, 2, 3] }, operand(2, 0)]],
    ["masked deltas", [operand(1, 0, true), operand(2, 0)]],
  ];
  for (const [name, operands] of shapes) {
    test(`has the same bits with and without tiles of f32: ${name}`, () => {
      const task = { dtypes: data.map(() => "BF16" as const), round: { op: "dots" as const, operands } };
      const fused = survey(data, task, false);
      expect(fused).toBe(survey(data, task, true));
      expect(fused.split("|")).toHaveLength((operands.length * (operands.length + 1)) / 2);
    });
  }
  for (const by of ["row", "column"] as const) {
    test(`leaves products of each ${by} to tiles of f32`, () => {
      const lines = { by, length: 11 };
      const round = { op: "dots" as const, operands: [operand(0, null), operand(1, null)], lines };
      const task = { dtypes: data.map(() => "BF16" as const), round };
      expect(survey(data, task, false)).toBe(survey(data, task, true));
      expect(survey(data, task, false)).not.toBe(
        survey(data, { ...task, round: { op: "dots", operands: round.operands } }, false),
      );
    });
  }
});
