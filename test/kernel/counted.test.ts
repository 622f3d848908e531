// A merge that takes a survey with it, against the survey and the merge as tasks of their own.

import { describe, expect, test } from "bun:test";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import type { HistogramOperand, MergeProgram, MergeTask, SurveyTask } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { Runner, workerBytesFor } from "../../src/kernel/run.ts";
import { byteWidth } from "../../src/tensor/dtype.ts";
import { random } from "./harness.ts";

const stride = 8192;
const kernel = createKernel(compileKernel(), workerBytesFor(4, 10, stride));
const every = Number.MAX_SAFE_INTEGER;
const models = 3;

/** Base and fine-tunes as bf16; deltas take few values. */
function inputsOf(count: number, seed: number): Uint16Array<ArrayBuffer>[] {
  const draw = random(seed);
  const base = Uint16Array.from({ length: count }, () => 0x3c00 | (draw() & 0x80ff));
  return [base, ...Array.from({ length: models }, () => base.map((bits) => bits + (draw() % 5) - 2))];
}

function keysOf(inputs: readonly Uint16Array<ArrayBuffer>[], m: number): Uint32Array {
  const [base, x] = [reference.decode_bf16(inputs[0]!), reference.decode_bf16(inputs[m + 1]!)];
  return new Uint32Array(x.map((v, i) => v - base[i]!).buffer).map((bits) => bits & 0x7fffffff);
}

/** The oracle: keys of the deltas, compared one by one. */
function countsOf(inputs: readonly Uint16Array<ArrayBuffer>[], wanted: readonly number[]) {
  return wanted.map((key, m) => {
    const own = keysOf(inputs, m);
    return { above: own.filter((k) => k > key).length, at: own.filter((k) => k === key).length };
  });
}

/** An element that is not finite: of which input, where, and its bits. */
const damages = [
  [0, 3, 0x7f80],
  [1, stride + 5, 0x7fc0],
  [2, 2 * stride + 4096, 0xff80],
  [3, 3 * stride - 1, 0xff81],
] as const;

/** The key of model m that some elements have. */
function keyOf(inputs: readonly Uint16Array<ArrayBuffer>[], m: number): number {
  const keys = keysOf(inputs, m);
  return keys.find((key) => key > 0 && key < 0x7f800000) ?? 0x3b800000;
}

function programOf(keys: readonly number[]): MergeProgram {
  return {
    op: "merge",
    inputs: Array.from({ length: models + 1 }, () => "BF16" as const),
    out: "BF16",
    base: 0,
    terms: keys.map((key, m) => ({
      input: m + 1,
      weight: 1 / 3,
      scale: 1,
      keep: { magnitude: { above: key, equalBefore: every } },
    })),
    combine: { op: "elect", by: "weighted", zero: "drop", divide: true },
    lambda: 1,
  };
}

const oneKey = (key: number, m: number): HistogramOperand => ({
  input: m + 1,
  base: 0,
  keep: {},
  low: key,
  high: key + 1,
  shift: 0,
  hot: key,
  nonzero: false,
});

async function both(
  inputs: readonly (Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>)[],
  first: number,
  count: number,
  operands: HistogramOperand[],
  program: MergeProgram,
  on = kernel,
) {
  const out = new Uint8Array(byteWidth(program.out) * inputs[0]!.length);
  const runner = new Runner(
    on,
    {
      read: (at, offset, target) =>
        target.set(new Uint8Array(inputs[at.file]!.buffer).subarray(offset, offset + target.length)),
      write: (_, offset, data) => out.set(data, offset),
    },
    () => 0,
  );
  const common = { id: 1, first, count, inputs: inputs.map((_, file) => ({ file, start: 0 })) };
  const policy = { nonFinite: "keep", overflow: "inf" } as const;
  const merge: MergeTask = { kind: "merge", ...common, output: { file: 9, start: 0 }, program, policy };
  const round = { op: "histogram", operands } as const;
  const survey: SurveyTask = { kind: "survey", ...common, dtypes: program.inputs, round };
  const apart = await runner.run(merge);
  const merged = out.slice();
  out.fill(0);
  const surveyed = await runner.run(survey);
  const together = await runner.run({ ...merge, survey: round });
  if (apart.kind !== "merge" || together.kind !== "merge" || surveyed.kind !== "survey")
    throw new TypeError("receipts");
  expect(Buffer.compare(merged, out)).toBe(0);
  expect(together.survey).toEqual(surveyed.result);
  const { survey: _, ...rest } = together;
  expect(rest).toEqual(apart);
  return { together, surveyed };
}

describe("a survey of the keys that a merge trims at", () => {
  for (const count of [1, 15, 4096, 5000, stride, 3 * stride + 4097]) {
    test(`is counted by the merge itself, ${count} elements`, async () => {
      const inputs = inputsOf(count, count);
      const keys = [0, 1, 2].map((m) => keyOf(inputs, m));
      const { together } = await both(inputs, 0, count, keys.map(oneKey), programOf(keys));
      const counts = countsOf(inputs, keys);
      if (together.survey?.op !== "histogram") throw new TypeError("not a histogram");
      expect(together.survey.above).toEqual(counts.map((c) => c.above));
      expect(together.survey.bins.map((bins) => [...bins])).toEqual(
        counts.map(({ at }, m) => (at ? [keys[m]!, at] : [])),
      );
    });
  }

  test("is right where a stride holds something that is not finite", async () => {
    for (const [input, at, bits] of damages) {
      const inputs = inputsOf(3 * stride, at);
      inputs[input]![at] = bits;
      const keys = [0, 1, 2].map((m) => keyOf(inputs, m));
      const { together } = await both(inputs, 0, 3 * stride, keys.map(oneKey), programOf(keys));
      expect(together.nonFinite).toEqual([{ input, count: 1, first: at }]);
    }
  });

  const wideKernel = createKernel(compileKernel(), workerBytesFor(4, 20, stride));
  const encoders = { BF16: reference.encode_bf16, F16: reference.encode_f16, F32: (x: Float32Array) => x };
  for (const [dtypes, out] of [
    [["F16", "F16", "F16", "F16"], "F16"],
    [["F32", "F32", "F32", "F32"], "F32"],
    [["F32", "BF16", "F16", "F32"], "BF16"],
    [["BF16", "F16", "F16", "BF16"], "F32"],
  ] as const) {
    const of = (bits: readonly Uint16Array<ArrayBuffer>[]) =>
      bits.map((x, i) => encoders[dtypes[i]!](reference.decode_bf16(x)) as Float32Array<ArrayBuffer>);

    test(`is counted by the merge itself, of ${dtypes.join(", ")} into ${out}`, async () => {
      for (const count of [1, 15, 1023, 1025, 5000, 3 * stride + 4097]) {
        const bits = inputsOf(count, count + 1);
        const keys = [0, 1, 2].map((m) => keyOf(bits, m));
        const program = { ...programOf(keys), inputs: dtypes, out } as MergeProgram;
        const { together } = await both(of(bits), 0, count, keys.map(oneKey), program, wideKernel);
        if (together.survey?.op !== "histogram") throw new TypeError("not a histogram");
        expect(together.survey.above).toEqual(countsOf(bits, keys).map((c) => c.above));
      }
    });

    test(`is right where a stride of ${dtypes.join(", ")} holds something that is not finite`, async () => {
      for (const [input, at, bits] of damages) {
        const inputs = inputsOf(3 * stride, at);
        inputs[input]![at] = bits;
        const keys = [0, 1, 2].map((m) => keyOf(inputs, m));
        const program = { ...programOf(keys), inputs: dtypes, out } as MergeProgram;
        const { together } = await both(of(inputs), 0, 3 * stride, keys.map(oneKey), program, wideKernel);
        expect(together.nonFinite).toEqual([{ input, count: 1, first: at }]);
      }
    });
  }

  test("is counted in a slice that begins inside of the tensor", async () => {
    const inputs = inputsOf(4 * stride, 7);
    const keys = [0, 1, 2].map((m) => keyOf(inputs, m));
    await both(inputs, stride, 2 * stride + 100, keys.map(oneKey), programOf(keys));
  });

  test("goes its own way where it asks for other keys, for several, for fewer models or for something else", async () => {
    const inputs = inputsOf(stride, 11);
    const keys = [0, 1, 2].map((m) => keyOf(inputs, m));
    const asked = keys.map(oneKey);
    const program = programOf(keys);
    await both(
      inputs,
      0,
      stride,
      [{ ...asked[0]!, low: keys[0]! - 1, hot: keys[0]! - 1, high: keys[0]! }, asked[1]!, asked[2]!],
      program,
    );
    const wide = { ...asked[0]!, low: 1, high: 0x7f800000, shift: 16 };
    await both(inputs, 0, stride, [wide, asked[1]!, asked[2]!], program);
    await both(inputs, 0, stride, asked.slice(1), program);
    await both(inputs, 0, stride, asked.toReversed(), program);
    await both(
      inputs,
      0,
      stride,
      asked.map((o) => ({ ...o, base: null })),
      program,
    );
    await both(
      inputs,
      0,
      stride,
      asked.map((o) => ({ ...o, nonzero: true })),
      program,
    );
  });
});

describe("a survey of windows beside the sum of what they leave", () => {
  /** With room for twice as many operands as there are models. */
  const roomy = createKernel(compileKernel(), workerBytesFor(2 * models, 10, stride));
  /** From each key on, and up to that of another model. */
  function windowsOf(keys: readonly number[]): MergeProgram {
    const program = programOf(keys);
    return {
      ...program,
      combine: { op: "sum" },
      terms: program.terms.map((term, m) => {
        const [low, high] = [keys[m]!, keys[(m + 1) % models]!].sort((a, b) => a - b) as [number, number];
        return {
          ...term,
          keep: { magnitude: { above: low, equalBefore: every, top: { key: high, equalBefore: every } } },
        };
      }),
    };
  }
  /** Both ends of every window: the lower one a bracket, the upper one a key that stands alone, and the other way round. */
  function endsOf(keys: readonly number[]): HistogramOperand[] {
    const wide = (key: number, m: number) => ({ ...oneKey(key, m), low: key - 0x8000, high: key + 0x10000 });
    return keys.flatMap((key, m) =>
      m === 1 ? [oneKey(key, m), wide(key, m)] : [wide(key, m), oneKey(key + 0x8000, m)],
    );
  }

  for (const count of [15, 5000, 3 * stride + 4097]) {
    test(`looks at what is finite once, ${count} elements`, async () => {
      const inputs = inputsOf(count, count + 1);
      const keys = [0, 1, 2].map((m) => keyOf(inputs, m));
      await both(inputs, 0, count, endsOf(keys), windowsOf(keys), roomy);
    });
  }

  /** Both ends of every window as keys that stand alone. */
  const aloneOf = (program: MergeProgram): HistogramOperand[] =>
    program.terms.flatMap(({ keep }, m) => [
      oneKey(keep.magnitude!.above as number, m),
      oneKey(keep.magnitude!.top!.key as number, m),
    ]);

  for (const count of [1, 15, 16, 4096, 5000, stride, 3 * stride + 4097]) {
    test(`is counted by the merge itself where all ends stand alone, ${count} elements`, async () => {
      const inputs = inputsOf(count, count + 3);
      const program = windowsOf([0, 1, 2].map((m) => keyOf(inputs, m)));
      const ends = aloneOf(program);
      const { together } = await both(inputs, 0, count, ends, program, roomy);
      if (together.survey?.op !== "histogram") throw new TypeError("not a histogram");
      const base = reference.decode_bf16(inputs[0]!);
      const counts = ends.map(({ input, low }) => {
        const x = reference.decode_bf16(inputs[input]!);
        const own = new Uint32Array(x.map((v, i) => v - base[i]!).buffer).map((bits) => bits & 0x7fffffff);
        return { low, above: own.filter((k) => k > low).length, at: own.filter((k) => k === low).length };
      });
      expect(together.survey.above).toEqual(counts.map((c) => c.above));
      expect(together.survey.bins.map((bins) => [...bins])).toEqual(counts.map((c) => (c.at ? [c.low, c.at] : [])));
    });
  }

  test("goes its own way where a window's ends are asked for the other way round, or by other keys", async () => {
    const inputs = inputsOf(stride, 19);
    const program = windowsOf([0, 1, 2].map((m) => keyOf(inputs, m)));
    const ends = aloneOf(program);
    await both(inputs, 0, stride, ends.toReversed(), program, roomy);
    await both(inputs, 0, stride, ends.slice(2), program, roomy);
    const other = ends.map((o, i) => (i === 3 ? { ...o, low: o.low + 1, high: o.high + 1, hot: o.hot + 1 } : o));
    await both(inputs, 0, stride, other, program, roomy);
  });

  test("leaves out what is not finite, as a survey of its own does", async () => {
    for (const [input, at, bits] of [
      [0, stride + 7, 0xff80],
      [2, 2 * stride - 1, 0x7fc1],
      [3, 0, 0x7f80],
    ] as const) {
      const inputs = inputsOf(2 * stride + 33, at + 2);
      inputs[input]![at] = bits;
      const keys = [0, 1, 2].map((m) => keyOf(inputs, m));
      const program = windowsOf(keys);
      for (const ends of [endsOf(keys), aloneOf(program)]) {
        const { together } = await both(inputs, 0, 2 * stride + 33, ends, program, roomy);
        expect(together.nonFinite).toEqual([{ input, count: 1, first: at }]);
      }
    }
  });
});
