import { describe, expect, test } from "bun:test";
import * as reference from "../../src/kernel/reference.ts";
import { bytes, damage, halves, integerDifference, lengths, put, random, reset, room, run, sample } from "./harness.ts";

/** bf16 models near a common base, with equal and opposite deltas among them, and (unless `finite`) some specials. */
function models(
  count: number,
  number: number,
  seed: number,
  finite: boolean,
): { base: Uint16Array; inputs: Uint16Array[] } {
  const draw = random(seed);
  const base = reference.encode_bf16(sample(count, seed + 1, finite));
  const inputs = Array.from({ length: number }, () =>
    base.map((bits) => {
      const kind = draw() % 9;
      if (kind === 0) return bits;
      if (kind === 1 && !finite) return draw() & 0xffff;
      const near = (bits & 0x7f80) === 0x7f80 ? bits : bits + (draw() % 9) - 4;
      return kind === 2 ? near ^ 0x8000 : near;
    }),
  );
  return { base, inputs };
}

const numbers = (values: number[]) => put(Float32Array.from(values), 4);
const pointers = (values: number[]) => put(Uint32Array.from(values), 8);

interface Program {
  base: boolean;
  masked: readonly boolean[];
  above: readonly number[];
  lambda: number;
  /** zero, divide */
  elect: readonly [number, number] | null;
}

/** The program by the separate kernels. */
function unfused(
  program: Program,
  at: { base: number; inputs: number[]; masks: number[] },
  scales: number[],
  weights: number[],
  count: number,
): number {
  const tile = () => room(count * 4);
  const number = at.inputs.length;
  const base = tile();
  const votes = room(count * 4 * number);
  const acc = tile();
  const out = room(count * 2);
  if (program.base) run.decode_bf16(base, at.base, count);
  at.inputs.forEach((input, m) => {
    const x = votes + m * count * 4;
    run.decode_bf16(x, input, count);
    if (program.base) run.delta(x, x, base, count);
    if (at.masks[m]) run.select(x, at.masks[m]!, count);
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
  run.encode_bf16(out, acc, count);
  return out;
}

function fused(
  program: Program,
  at: { base: number; inputs: number[]; masks: number[] },
  scales: number[],
  weights: number[],
  count: number,
  misalign: number,
): number {
  const number = at.inputs.length;
  const out = room(count * 2, misalign);
  const [inputs, c] = [pointers(at.inputs), numbers(scales)];
  const { lambda } = program;
  if (program.elect) {
    const [masks, above] = [pointers(at.masks), pointers([...program.above])];
    run.merge_elect_bf16(
      out,
      at.base,
      inputs,
      c,
      masks,
      above,
      number,
      lambda,
      ...program.elect,
      numbers(weights),
      count,
    );
  } else if (!program.base) run.merge_linear_bf16(out, inputs, c, number, lambda, count);
  else if (at.masks.some(Boolean))
    run.merge_dare_bf16(out, at.base, inputs, c, pointers(at.masks), number, lambda, count);
  else run.merge_delta_bf16(out, at.base, inputs, c, number, lambda, count);
  return out;
}

function compare(program: Program, number: number, count: number, finite: boolean): string {
  reset();
  const draw = random(count + number);
  const data = models(count, number, count * 13 + number, finite);
  const masks = data.inputs.map(() => Uint8Array.from({ length: count }, () => (draw() % 3 ? 0xff : 0)));
  const at = {
    base: put(data.base, 2),
    inputs: data.inputs.map((input, m) => put(input, m * 2)),
    masks: masks.map((mask, m) => (program.masked[m % program.masked.length] ? put(mask, m + 1) : 0)),
  };
  const cyclic = { ...program, above: data.inputs.map((_, m) => program.above[m % program.above.length]!) };
  const scales = data.inputs.map((_, m) => Math.fround([0.3, 1, -0.7, 10][m % 4]!));
  const weights = data.inputs.map((_, m) => Math.fround([0.5, 1, -0.5, 1e-9][m % 4]!));
  const expected = halves(unfused(cyclic, at, scales, weights, count), count);
  const actual = halves(fused(cyclic, at, scales, weights, count, (count * 2) % 14), count);
  const wrong = integerDifference(actual, expected) || damage();
  if (
    !wrong &&
    data.inputs.every(
      (input, m) => integerDifference(new Uint16Array(bytes(at.inputs[m]!, count * 2).buffer), input) === "",
    )
  )
    return "";
  return `${number} models, ${count} elements: ${wrong || "an input changed"}`;
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

describe("a fused kernel gives the bits of the separate ones", () => {
  for (const [name, program] of programs) {
    for (const finite of [true, false]) {
      test(`${name}, 1 to 8 models, every tail, ${finite ? "finite values" : "specials"}`, () => {
        for (let number = 1; number <= 8; number++) {
          for (const count of lengths) {
            if (count > 200 && number !== 3) continue;
            const wrong = compare(program, number, count, finite);
            if (wrong) expect(wrong).toBe("");
          }
        }
      });
    }
  }

  test("and refuses more models than it has room for", () => {
    reset();
    const at = room(64);
    expect(() => run.merge_linear_bf16(at, at, at, 9, 1, 0)).toThrow();
  });
});
