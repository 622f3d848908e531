import { describe, expect, test } from "bun:test";
import { fuse } from "../../src/kernel/fused.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { kernelsFor } from "../../src/kernel/lanes.ts";
import type { Combine, Keep, MergeProgram, Term } from "../../src/kernel/program.ts";
import { TileMerger } from "../../src/kernel/tile.ts";
import type { FloatDtype } from "../../src/tensor/dtype.ts";

const kernel = createKernel(compileKernel(), 4 << 20);
const every = Number.MAX_SAFE_INTEGER;
const policy = { nonFinite: "keep", overflow: "inf" } as const;

/** xorshift32, so that a failure repeats. */
function randomBits(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

/** bf16 near a base value, with zeros, infinities, NaN and subnormals sprinkled in. */
function fill(bits: Uint16Array, next: () => number, specials: boolean): void {
  const odd = [0x0000, 0x8000, 0x7f80, 0xff80, 0x7fc1, 0x0001, 0x8001, 0x7f7f, 0xff7f];
  for (let i = 0; i < bits.length; i++) {
    const r = next();
    bits[i] = specials && r % 23 === 0 ? odd[(r >>> 8) % odd.length]! : 0x3c00 | (r & 0x81ff);
  }
}

/** A tile of `dtype`; where it has more bits than bf16, they are used. */
function fillAs(dtype: FloatDtype, pointer: number, next: () => number, specials: boolean): void {
  const { buffer } = kernel.memory;
  const narrow = new Uint16Array(buffer, dtype === "BF16" ? pointer : spare, 4096);
  fill(narrow, next, specials);
  if (dtype === "BF16") return;
  const wide = new Uint32Array(buffer, spare + area, 4096);
  for (let i = 0; i < 4096; i++) {
    // Subnormals of f16 among them; infinities stay what they are.
    const bits = next() % 29 === 0 && !specials ? 0x3380 + (next() & 0xff) : narrow[i]!;
    wide[i] = ((bits << 16) | ((bits & 0x7f80) === 0x7f80 ? 0 : next() & 0xffff)) >>> 0;
  }
  kernelsFor(kernel, dtype).encode(pointer, spare + area, 4096);
}

const area = 32768;
const spare = kernel.heapStart + 20 * area;

function run(program: MergeProgram, count: number, first: number, seed: number, specials: boolean) {
  const inputs = program.inputs.map((_, i) => kernel.heapStart + i * area);
  const next = randomBits(seed);
  inputs.forEach((p, i) => {
    fillAs(program.inputs[i]!, p, next, specials);
  });
  const outs = [kernel.heapStart + 16 * area, kernel.heapStart + 17 * area];
  for (const p of outs) kernel.u8(p, area).fill(0x5a);
  const scratch = { start: kernel.heapStart + 22 * area, end: kernel.heapStart + 60 * area };
  const plain = new TileMerger(kernel, program, policy, scratch);
  plain.tile(inputs, outs[0]!, first, count, specials);
  const kept = program.terms.map(() => 0);
  const fused = fuse(kernel, program, { start: scratch.end, end: kernel.heapStart + 100 * area }, kept);
  const bad = (dtype: FloatDtype, p: number) => kernelsFor(kernel, dtype).nonfinite(p, count) > 0;
  const beyond = program.inputs.some((d, i) => bad(d, inputs[i]!)) || bad(program.out, outs[0]!);
  const done = fused?.tile(inputs, outs[1]!, first, count);
  return {
    done,
    beyond,
    same: Buffer.compare(kernel.u8(outs[0]!, area), kernel.u8(outs[1]!, area)) === 0,
    kept,
    plainKept: plain.kept,
  };
}

function program(
  models: number,
  base: boolean,
  combine: Combine,
  keep: (i: number) => Keep,
  scale = (i: number) => 1 / (i + 1),
): MergeProgram {
  const first = base ? 1 : 0;
  const terms = Array.from(
    { length: models },
    (_, i): Term => ({ input: first + i, weight: 0.3 + 0.2 * i, scale: scale(i), keep: keep(i) }),
  );
  return {
    op: "merge",
    inputs: Array.from({ length: models + first }, () => "BF16" as const),
    out: "BF16",
    base: base ? 0 : null,
    terms,
    combine,
    lambda: 0.7,
  };
}

const sum: Combine = { op: "sum" };
const elects: Combine[] = (["drop", "positive", "negative"] as const).flatMap((zero) =>
  [true, false].map((divide): Combine => ({ op: "elect", by: "weighted", zero, divide })),
);
const masked = (i: number): Keep => ({ random: { key: [17 + i, 99], threshold: i === 1 ? 0 : 0x80000000 } });
const disjoint = (i: number): Keep => ({ random: { key: [17, 99], threshold: 0xc0000000, start: i * 0x40000000 } });
const byLine = (i: number): Keep => {
  const lines = { by: i % 2 ? "row" : "column", length: i === 2 ? 5 : 1000 } as const;
  return { random: { key: [17 + i, 99], threshold: 0x80000000, lines, ...(i > 2 ? { start: 0x30000001 } : {}) } };
};
const trimmed = (i: number): Keep =>
  i === 2 ? {} : { magnitude: { above: 0x3c000000 + i * 0x10000, equalBefore: every } };
const windowed = (i: number): Keep => {
  if (i === 2) return {};
  const top = { key: i % 3 === 0 ? 0x7fffffff : 0x3c200000 + i * 0x10000, equalBefore: every };
  return { magnitude: { above: i % 4 === 3 ? 0 : 0x3b800000 + i * 0x10000, equalBefore: every, equalFrom: 0, top } };
};
const both = (i: number): Keep => ({ ...masked(i), ...trimmed(i) });

describe("a fused program gives the bits of its separate steps", () => {
  const counts = [1, 7, 8, 9, 15, 16, 17, 31, 33, 100, 4095, 4096];
  const shapes: [string, (models: number) => MergeProgram][] = [
    ["linear", (n) => program(n, false, sum, () => ({}))],
    ["deltas", (n) => program(n, true, sum, () => ({}))],
    ["DARE, summed", (n) => program(n, true, sum, masked)],
    ["disjoint masks, summed", (n) => program(n, true, sum, disjoint)],
    ["rows and columns, summed", (n) => program(n, true, sum, byLine)],
    ["a window, summed", (n) => program(n, true, sum, (i) => windowed(i < 2 ? i : i + 1))],
    ["a window of some models, summed", (n) => program(n, true, sum, windowed)],
    ...elects.flatMap((combine): [string, (n: number) => MergeProgram][] => [
      [`DARE ${JSON.stringify(combine)}`, (n) => program(n, true, combine, masked)],
      [`disjoint masks ${JSON.stringify(combine)}`, (n) => program(n, true, combine, disjoint)],
      [`TIES ${JSON.stringify(combine)}`, (n) => program(n, true, combine, trimmed)],
      [`a window ${JSON.stringify(combine)}`, (n) => program(n, true, combine, windowed)],
      [`DARE with a trim ${JSON.stringify(combine)}`, (n) => program(n, true, combine, both)],
    ]),
  ];
  for (const [name, make] of shapes) {
    test(name, () => {
      for (const models of [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13]) {
        for (const count of counts) {
          for (const specials of [false, true]) {
            const r = run(make(models), count, 4096 * 3, models * 1000 + count, specials);
            // The tile is left to the separate steps when an input or an output is not finite.
            const done = !r.beyond;
            expect({ name, models, count, specials, done: r.done, same: r.same || !done }).toEqual({
              name,
              models,
              count,
              specials,
              done,
              same: true,
            });
            if (!done) expect(r.kept).toEqual(r.kept.map(() => 0));
          }
        }
      }
    });
  }
  const mixed: FloatDtype[] = ["F32", "BF16", "F16"];
  const shapesOf: [string, (i: number) => FloatDtype, FloatDtype][] = [
    ["f32", () => "F32", "F32"],
    ["f16", () => "F16", "F16"],
    ["bf16 to f32", () => "BF16", "F32"],
    ["f32, bf16 and f16 to bf16", (i) => mixed[i % 3]!, "BF16"],
    ["f16 and fp8 to fp8", (i) => (i % 2 ? "F8_E4M3" : "F16"), "F8_E4M3"],
    ["f64 to f64", () => "F64", "F64"],
  ];
  for (const [title, dtypeOf, out] of shapesOf) {
    test(title, () => {
      const wide = (p: MergeProgram): MergeProgram => ({ ...p, inputs: p.inputs.map((_, i) => dtypeOf(i)), out });
      const made = shapes.filter(([name]) => !name.startsWith("a window"));
      for (const [name, make] of made) {
        for (const models of [1, 2, 3, 4, 5, 9, 13]) {
          for (const count of [1, 15, 17, 1023, 1025, 4096]) {
            for (const specials of [false, true]) {
              const r = run(wide(make(models)), count, 4096 * 3, models * 1000 + count, specials);
              const done = !r.beyond;
              const found = { name, models, count, specials, done: r.done, same: r.same || !done };
              expect(found).toEqual({ name, models, count, specials, done, same: true });
              if (done && !name.startsWith("TIES") && !name.startsWith("DARE with"))
                expect(r.kept).toEqual(r.plainKept);
            }
          }
        }
      }
    });
  }
  test("counts what the masks keep", () => {
    const r = run(program(3, true, sum, masked), 4096, 0, 5, false);
    expect(r.kept).toEqual(r.plainKept);
    expect(r.kept[1]).toBe(4096);
    expect(r.kept[0]).toBeLessThan(2400);
  });
  test("leaves to the separate steps what no fused kernel covers", () => {
    const many = program(65, true, sum, () => ({}));
    const exact = program(2, true, elects[0]!, () => ({ magnitude: { above: 1, equalBefore: 10 } }));
    const count: MergeProgram = {
      ...program(2, true, { op: "elect", by: "count", zero: "drop", divide: false }, () => ({})),
    };
    const wide: MergeProgram = { ...program(2, true, sum, windowed), out: "F32" };
    const region = { start: kernel.heapStart, end: kernel.heapStart + (1 << 20) };
    const idle: MergeProgram = { ...program(2, true, sum, () => ({})), inputs: ["BF16", "BF16", "BF16", "BF16"] };
    const top = { key: 9, equalBefore: every };
    const cut = program(2, true, sum, () => ({ magnitude: { above: 1, equalBefore: every, equalFrom: 3, top } }));
    const cutAbove = program(2, true, sum, () => ({
      magnitude: { above: 1, equalBefore: every, equalFrom: 0, top: { key: 9, equalBefore: 5 } },
    }));
    const drawn = program(2, true, sum, (i) => ({ ...masked(i), ...windowed(0) }));
    for (const p of [many, exact, count, wide, idle, cut, cutAbove, drawn])
      expect(fuse(kernel, p, region, [])).toBeNull();
  });
});
