import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import {
  bytes,
  damage,
  halves,
  integerDifference,
  lengths,
  put,
  random,
  reset,
  room,
  run,
  sample,
  words,
} from "./harness.ts";

type Bits = Uint16Array | Uint32Array;

/** The dtypes that have fused kernels. */
const dtypes = {
  bf16: {
    width: 2,
    exponent: 0x7f80,
    read: halves as (at: number, count: number) => Bits,
    decode: run.decode_bf16,
    encode: run.encode_bf16,
    linear: run.merge_linear_bf16,
    delta: run.merge_delta_bf16,
    dare: run.merge_dare_bf16,
    elect: run.merge_elect_bf16,
  },
  f32: {
    width: 4,
    exponent: 0x7f800000,
    read: words as (at: number, count: number) => Bits,
    decode: run.decode_f32,
    encode: run.encode_f32,
    linear: run.merge_linear_f32,
    delta: run.merge_delta_f32,
    dare: run.merge_dare_f32,
    elect: run.merge_elect_f32,
  },
};
type Dtype = keyof typeof dtypes;

/** near: finite, the models near their base. huge: finite, near the largest number. specials: NaN and infinities among them. */
type Kind = "near" | "huge" | "specials";

/** bf16 models near a common base, with equal and opposite deltas among them. */
function models(count: number, number: number, seed: number, kind: Kind): { base: Uint16Array; inputs: Uint16Array[] } {
  const draw = random(seed);
  const specials = kind === "specials";
  const base = reference.encode_bf16(sample(count, seed + 1, !specials));
  // Exponents of 2^126 and 2^127, either sign, in some places; elsewhere the numbers are small.
  const huge = () => (draw() & 0x8000) | (0x7e80 + (draw() & 0xff));
  const spots = base.map(() => (kind === "huge" && draw() % 16 === 0 ? 1 : 0));
  const inputs = Array.from({ length: number }, () =>
    base.map((bits, i) => {
      const what = draw() % 9;
      if (spots[i]) return huge();
      if (what === 0) return bits;
      if (what === 1 && specials) return draw() & 0xffff;
      const near = (bits & 0x7f80) === 0x7f80 ? bits : bits + (draw() % 9) - 4;
      return what === 2 ? near ^ 0x8000 : near;
    }),
  );
  return { base: base.map((bits, i) => (spots[i] ? huge() : bits)), inputs };
}

function isBeyond(bits: Bits, exponent: number): boolean {
  return (bits as Uint32Array).some((b) => (b & exponent) === exponent);
}

/** As f32 with low halves too, the same ones in all models, so that deltas stay equal or opposite. */
function widened(bits: Uint16Array): Uint32Array {
  const draw = random(bits.length + 7);
  const low = Array.from(bits, () => (draw() % 3 ? draw() & 0xffff : 0));
  return Uint32Array.from(bits, (b, i) => ((b << 16) | low[i]!) >>> 0);
}

const numbers = (values: number[]) => put(Float32Array.from(values), 4);
const pointers = (values: number[]) => put(Uint32Array.from(values), 8);

/** Scales and weights: all 1, all the same, or each its own. */
type Factors = "unit" | "equal" | "own";

function factorsOf(factors: Factors, number: number, draw: () => number): { scales: number[]; weights: number[] } {
  const all = (of: (m: number) => number) => Array.from({ length: number }, (_, m) => Math.fround(of(m)));
  if (factors === "unit") return { scales: all(() => 1), weights: all(() => 1) };
  if (factors === "own")
    return { scales: all((m) => [0.3, 1, -0.7, 10][m % 4]!), weights: all((m) => [0.5, 1, -0.5, 1e-9][m % 4]!) };
  // Weights whose fourfold is not the sum of four of them, those that are next to nothing, and those below zero.
  const any = (1 + (draw() % 1_000_000)) / 1_000_003;
  const weight = draw() % 4 ? any : [1 / 3, 1e-9, 1e-8, -0.5][draw() % 4]!;
  return { scales: all(() => any * 2), weights: all(() => weight) };
}

interface Program {
  base: boolean;
  masked: readonly boolean[];
  above: readonly number[];
  /** The lowest and the highest key that stay. */
  windows?: readonly (readonly [low: number, high: number])[];
  lambda: number;
  /** zero, divide */
  elect: readonly [number, number] | null;
}

/** The program by the separate kernels. */
function unfused(
  dtype: Dtype,
  program: Program,
  at: { base: number; inputs: number[]; masks: number[] },
  scales: number[],
  weights: number[],
  count: number,
): number {
  const { width, decode, encode } = dtypes[dtype];
  const tile = () => room(count * 4);
  const number = at.inputs.length;
  const base = tile();
  const votes = room(count * 4 * number);
  const acc = tile();
  const out = room(count * width);
  if (program.base) decode(base, at.base, count);
  at.inputs.forEach((input, m) => {
    const x = votes + m * count * 4;
    decode(x, input, count);
    if (program.base) run.delta(x, x, base, count);
    if (at.masks[m]) run.select(x, at.masks[m]!, count);
    if (program.windows) {
      const [low, high] = program.windows[m]!;
      run.window(x, low, 0, high, 0x7fffffff, count);
    }
    if (program.above[m]) run.trim(x, program.above[m]!, 0x7fffffff, count);
    if (program.elect) run.scale(x, x, scales[m]!, count);
    else if (m === 0) run.scale(acc, x, scales[m]!, count);
    else run.axpy(acc, x, scales[m]!, count);
  });
  if (program.elect) {
    const ones = numbers(scales.map(() => 1));
    run.elect(acc, votes, ones, numbers(weights), number, count, count, 0, ...program.elect);
  }
  if (program.base) run.finish(acc, base, acc, program.lambda, count);
  else run.scale(acc, acc, program.lambda, count);
  encode(out, acc, count);
  return out;
}

function fused(
  dtype: Dtype,
  program: Program,
  at: { base: number; inputs: number[]; masks: number[] },
  scales: number[],
  weights: number[],
  count: number,
  misalign: number,
): { out: number; beyond: number } {
  const number = at.inputs.length;
  const kernels = dtypes[dtype];
  const out = room(count * kernels.width, misalign);
  const [inputs, c] = [pointers(at.inputs), numbers(scales)];
  const { lambda } = program;
  const weightsAt = numbers(weights);
  const masks = pointers(at.masks);
  const above = pointers([...program.above]);
  const merge = () => {
    if (program.elect) {
      const [zero, divide] = program.elect;
      return kernels.elect(out, at.base, inputs, c, masks, above, number, lambda, zero, divide, weightsAt, count);
    }
    if (!program.base) return kernels.linear(out, inputs, c, number, lambda, count);
    if (program.windows) {
      const [lows, highs] = [0, 1].map((end) => pointers(program.windows!.map((w) => w[end]!)));
      return run.merge_window_bf16(out, at.base, inputs, c, lows!, highs!, number, lambda, count);
    }
    if (at.masks.some(Boolean)) return kernels.dare(out, at.base, inputs, c, masks, number, lambda, count);
    return kernels.delta(out, at.base, inputs, c, number, lambda, count);
  };
  return { out, beyond: merge() };
}

function compare(
  dtype: Dtype,
  program: Program,
  number: number,
  count: number,
  kind: Kind,
  factors: Factors,
  spoil = -1,
): string {
  reset();
  const { width, exponent, read } = dtypes[dtype];
  const draw = random(count + number);
  const data = models(count, number, count * 13 + number, kind);
  const masks = data.inputs.map(() => Uint8Array.from({ length: count }, () => (draw() % 3 ? 0xff : 0)));
  const used = program.base ? [data.base, ...data.inputs] : data.inputs;
  // One special value in one input, also where a mask drops it.
  if (spoil >= 0)
    used[spoil % used.length]![(spoil * 31) % count] = [0x7f80, 0xff80, 0x7fc0, 0xffff, 0x7f81][spoil % 5]!;
  const shaped = (bits: Uint16Array): Bits => (dtype === "bf16" ? bits : widened(bits));
  const inputs = data.inputs.map(shaped);
  const at = {
    base: put(shaped(data.base), width),
    inputs: inputs.map((input, m) => put(input, m * width)),
    masks: masks.map((mask, m) => (program.masked[m % program.masked.length] ? put(mask, m + 1) : 0)),
  };
  const { windows } = program;
  const cyclic = {
    ...program,
    above: data.inputs.map((_, m) => program.above[m % program.above.length]!),
    ...(windows ? { windows: data.inputs.map((_, m) => windows[m % windows.length]!) } : {}),
  };
  const { scales, weights } = factorsOf(factors, number, draw);
  const expected = read(unfused(dtype, cyclic, at, scales, weights, count), count);
  const { out, beyond } = fused(dtype, cyclic, at, scales, weights, count, (count * 2) % 14);
  const expectedBeyond = Number(used.some((bits) => isBeyond(bits, 0x7f80)) || isBeyond(expected, exponent));
  const wrong =
    (beyond !== expectedBeyond ? `${beyond} was returned` : "") ||
    (beyond ? "" : integerDifference(read(out, count), expected)) ||
    damage();
  if (
    !wrong &&
    inputs.every((input, m) => !integerDifference(bytes(at.inputs[m]!, count * width), new Uint8Array(input.buffer)))
  )
    return "";
  return `${number} models, ${count} elements, ${factors} scales and weights: ${wrong || "an input changed"}`;
}

const plain = { masked: [false], above: [0], elect: null } as const;
const key = reference.bitsOf(0.002);
const programs: [string, Program][] = [
  ["linear", { ...plain, base: false, lambda: 1 }],
  ["linear with a scale", { ...plain, base: false, lambda: -0.3 }],
  ["task arithmetic", { ...plain, base: true, lambda: 0.7 }],
  ["DARE", { ...plain, base: true, masked: [true], lambda: 1 }],
  ["DARE of some models", { ...plain, base: true, masked: [false, true], lambda: 0.9 }],
  ...[0, 1, 2].flatMap((zero) =>
    [0, 1].map((divide): [string, Program] => [
      `an election (zero ${zero}, divide ${divide})`,
      { base: true, masked: [false], above: [0], lambda: 1, elect: [zero, divide] },
    ]),
  ),
  ["TIES", { base: true, masked: [false], above: [key, 1, key + 0x8000], lambda: 1.1, elect: [0, 1] }],
  ["DARE-TIES", { base: true, masked: [true], above: [0], lambda: 1, elect: [0, 0] }],
  ["DARE, trim and elect", { base: true, masked: [true, false, true], above: [key, 0], lambda: 1, elect: [1, 1] }],
  [
    "a trim beyond all keys",
    { base: true, masked: [false], above: [0x80000000, 0xffffffff, 0x7f800000], lambda: 1, elect: [0, 0] },
  ],
];

/** Of bf16 only. */
const windowed: [string, Program][] = [
  ["windows", [[key - 0x8000, key + 0x18000] as const, [1, key] as const, [key, key] as const]],
  ["windows without a floor or a ceiling", [[0, key] as const, [key, 0x7fffffff] as const, [0, 0xffffffff] as const]],
  [
    "windows of nothing",
    [[0x80000000, 0xffffffff] as const, [key + 1, key] as const, [0x7f800001, 0x7fffffff] as const],
  ],
].map(([name, windows]) => [name, { ...plain, base: true, lambda: 0.9, windows }] as [string, Program]);

function* cases(elects: boolean): Generator<[number, number, Factors]> {
  // Sums take four models a pass: all remainders, one, two and three passes of partial sums.
  for (const number of [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14]) {
    for (const count of lengths) {
      if (number > 5 && count > 40 && count < 127) continue;
      if (count > 200 && number !== 3 && number !== 9) continue;
      yield [number, count, "own"];
      yield [number, count, "unit"];
      if (elects && number < 6) yield [number, count, "equal"];
    }
  }
}

for (const dtype of ["bf16", "f32"] as const)
  describe(`a fused kernel (${dtype}) gives the bits of the separate ones, and says whether all numbers are finite`, () => {
    for (const [name, program] of dtype === "bf16" ? [...programs, ...windowed] : programs) {
      for (const kind of ["near", "huge", "specials"] as const) {
        test(`${name}, 1 to 14 models, every tail, ${kind}`, () => {
          for (const [number, count, factors] of cases(program.elect !== null)) {
            const wrong = compare(dtype, program, number, count, kind, factors);
            if (wrong) expect(wrong).toBe("");
          }
        });
      }
      test(`${name}: one special value anywhere is noticed`, () => {
        for (let spoil = 0; spoil < 600; spoil++) {
          const wrong = compare(
            dtype,
            program,
            1 + (spoil % 10),
            [5, 16, 40, 64][spoil % 4]!,
            "near",
            (["unit", "equal", "own"] as const)[spoil % 3]!,
            spoil,
          );
          if (wrong) expect(wrong).toBe("");
        }
      });
    }
  });

describe("the fused kernels", () => {
  test("NaN votes of finite inputs are not lost: a weight of 0 on a delta that overflows", () => {
    const [base, x] = [0x7f7f, 0xff7f];
    for (const number of [1, 2, 3, 4, 5]) {
      for (const masked of [false, true]) {
        reset();
        const fill = (bits: number) => put(new Uint16Array(8).fill(bits), 2);
        const inputs = pointers(Array.from({ length: number }, (_, m) => fill(m === 0 ? x : base)));
        const scales = numbers(Array.from({ length: number }, (_, m) => (m === 0 ? 0 : 1)));
        const mask = put(new Uint8Array(8).fill(0xff));
        const masks = pointers(Array.from({ length: number }, () => (masked ? mask : 0)));
        const zeros = pointers(Array.from({ length: number }, () => 0));
        const out = room(16);
        expect(run.merge_elect_bf16(out, fill(base), inputs, scales, masks, zeros, number, 1, 0, 0, scales, 8)).toBe(1);
      }
    }
  });

  test("count keys above and at those of a trim while they elect, every tail and alignment", () => {
    for (const number of [1, 2, 3, 4, 5, 9]) {
      for (const count of lengths.filter((n) => number === 3 || n < 70)) {
        for (const factors of ["unit", "equal", "own"] as const) {
          reset();
          const draw = random(count + number);
          const data = models(count, number, count * 7 + number, "near");
          const { scales, weights } = factorsOf(factors, number, draw);
          const base = put(data.base, 2);
          const delta = room(4 * count);
          const decoded = room(4 * count);
          run.decode_bf16(decoded, base, count);
          const at = data.inputs.map((input, m) => put(input, 2 * m));
          // A key that some have: that of an element, else any.
          const keys = at.map((input, m) => {
            run.decode_bf16(delta, input, count);
            run.delta(delta, delta, decoded, count);
            return words(delta, count).map((bits) => bits & 0x7fffffff)[(m * 31) % Math.max(1, count)] || key;
          });
          const expected = at.flatMap((input, m) => {
            run.decode_bf16(delta, input, count);
            run.delta(delta, delta, decoded, count);
            const own = words(delta, count).map((bits) => bits & 0x7fffffff);
            return [own.filter((k) => k > keys[m]!).length, own.filter((k) => k === keys[m]).length];
          });
          const [inputs, c, above, w] = [pointers(at), numbers(scales), pointers(keys), numbers(weights)];
          const none = pointers(at.map(() => 0));
          const [plain, counted] = [room(2 * count, 2), room(2 * count, (count * 2) % 14)];
          const counts = room(8 * number, 4);
          const beyond = [
            run.merge_elect_bf16(plain, base, inputs, c, none, above, number, 0.9, 0, 1, w, count),
            run.survey_elect_bf16(counted, base, inputs, c, above, number, 0.9, 0, 1, w, counts, count),
          ];
          const wrong = integerDifference(halves(counted, count), halves(plain, count)) || damage();
          const found = { number, count, factors, beyond, counts: [...words(counts, 2 * number)], wrong };
          expect(found).toEqual({ ...found, beyond: [0, 0], counts: expected, wrong: "" });
        }
      }
    }
  });

  test("say so where something is not finite while they count", () => {
    for (let spoil = 0; spoil < 200; spoil++) {
      reset();
      const count = [5, 16, 40, 64][spoil % 4]!;
      const data = models(count, 3, spoil, "near");
      [data.base, ...data.inputs][spoil % 4]![(spoil * 31) % count] = [0x7f80, 0xff80, 0x7fc0, 0xffff, 0x7f81][
        spoil % 5
      ]!;
      const inputs = pointers(data.inputs.map((input) => put(input)));
      const [ones, above] = [numbers([1, 1, 1]), pointers([key, key, key])];
      const [base, out, counts] = [put(data.base), room(2 * count), room(24)];
      expect(run.survey_elect_bf16(out, base, inputs, ones, above, 3, 1, 0, 1, ones, counts, count)).toBe(1);
    }
  });

  test("and refuses more models than it has room for", () => {
    reset();
    const at = room(64);
    expect(() => run.merge_linear_bf16(at, at, at, 65, 1, 0)).toThrow();
  });
});
