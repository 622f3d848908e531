// Nanoseconds per element of every kernel, on tiles of 4,096 elements that stay in the cache:
//   bun bench/kernels.ts      deno run -A bench/kernels.ts      (…and a word, to run only the kernels whose name has it)
// and of whole tiles of methods (masks and the search for non-finite values included), by dtype and number of models:
//   bun bench/kernels.ts tiles

import { fuse } from "../src/kernel/fused.ts";
import { compileKernel, createKernel } from "../src/kernel/kernel.ts";
import { kernelsFor } from "../src/kernel/lanes.ts";
import { maskKey, maskThreshold } from "../src/kernel/mask.ts";
import type { Combine, Keep, MergeProgram, SurveyTask } from "../src/kernel/program.ts";
import { SurveyRun } from "../src/kernel/survey.ts";
import { TileMerger } from "../src/kernel/tile.ts";
import type { FloatDtype } from "../src/tensor/dtype.ts";

const count = 4096;
const kernel = createKernel(compileKernel(), 1 << 21);
const e = kernel.exports;
let next = kernel.heapStart;

function take(byteLength: number): number {
  const pointer = next;
  next = Math.ceil((next + byteLength) / 64) * 64;
  return pointer;
}

/** A tile of weights or deltas, roughly normal, from a fixed generator. */
function tile(seed: number, width: number, spread: number): number {
  const pointer = take(count * 4);
  const view = new Float32Array(kernel.memory.buffer, pointer, count);
  let state = seed * 2654435761 + 1;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  for (let i = 0; i < count; i++) view[i] = (draw() + draw() + draw()) * spread;
  if (width === 4) return pointer;
  const narrow = take(count * 2);
  e.encode_bf16(narrow, pointer, count);
  return narrow;
}

const models = 8;
const f32 = Array.from({ length: models }, (_, m) => tile(m, 4, 0.01));
const votes = take(models * count * 4);
f32.forEach((pointer, m) => {
  kernel.u8(votes + m * count * 4, count * 4).set(kernel.u8(pointer, count * 4));
});
const [x, y] = [f32[0]!, f32[1]!];
const out = take(count * 4);
const bf16 = tile(1, 2, 0.01);
const f16 = take(count * 2);
e.encode_f16(f16, x, count);
const mask = take(count);
const thresholds = take(count * 4);
const bins = take(65536 * 8);
const numbers = take(64);
new Float32Array(kernel.memory.buffer, numbers, 16).fill(0.5);
const [k0, k1] = maskKey(42, 0, "bench");
const drop = maskThreshold(0.9);
new Uint32Array(kernel.memory.buffer, thresholds, count).fill(drop);
e.keep_mask(mask, k0, k1, 0, 0, drop, count);
const key = new Uint32Array(new Float32Array([0.005]).buffer)[0]!;
const elect = (n: number, by: number, divide: number) => () =>
  e.elect(out, votes, numbers, numbers, n, count, count, by, 0, divide);

const narrow = Array.from({ length: models }, (_, m) => tile(m + 9, 2, 0.01));
const pointers = (values: number[]) => {
  const pointer = take(64);
  new Uint32Array(kernel.memory.buffer, pointer, 16).set(values);
  return pointer;
};
const inputs = pointers(narrow);
const noMasks = pointers(narrow.map(() => 0));
const masks = pointers(narrow.map(() => mask));
const keys = pointers(narrow.map(() => key));
const ones = take(64);
new Float32Array(kernel.memory.buffer, ones, 16).fill(1);
const mergeElect =
  (maskPointers: number, above: number, divide: number, scales = ones) =>
  () =>
    e.merge_elect_bf16(out, bf16, inputs, scales, maskPointers, above, 3, 1, 0, divide, scales, count);

// A row of bf16 deltas, and one of f32 deltas.
const row = take(count * 4 + 32);
new Float32Array(kernel.memory.buffer, row, count).set(
  new Float32Array(kernel.memory.buffer, x, count).map((_, i) => (((i * 7919) % 13) - 6) * 2 ** (-13 - ((i * 31) % 6))),
);
const ranked = take(count * 4);
const spare = take(count * 12 + 64);
const rankPairs = take(count * 8);

const kernels: [string, () => unknown][] = [
  ["decode_f32", () => e.decode_f32(out, x, count)],
  ["decode_bf16", () => e.decode_bf16(out, bf16, count)],
  ["decode_f16", () => e.decode_f16(out, f16, count)],
  ["encode_f32", () => e.encode_f32(out, x, count)],
  ["encode_bf16", () => e.encode_bf16(out, x, count)],
  ["encode_f16", () => e.encode_f16(out, x, count)],
  ["nonfinite_f32", () => e.nonfinite_f32(x, count)],
  ["nonfinite_bf16", () => e.nonfinite_bf16(bf16, count)],
  ["nonfinite_f16", () => e.nonfinite_f16(f16, count)],
  ["first_nonfinite_bf16", () => e.first_nonfinite_bf16(bf16, count)],
  ["replace_nonfinite", () => e.replace_nonfinite(x, y, count)],
  ["delta", () => e.delta(out, x, y, count)],
  ["scale", () => e.scale(out, x, 0.5, count)],
  ["axpy", () => e.axpy(out, x, 1e-9, count)],
  ["finish", () => e.finish(out, x, y, 0.5, count)],
  ["clamp_finite", () => e.clamp_finite(x, 65504, count)],
  ["keep_mask p = 0.9", () => e.keep_mask(mask, k0, k1, 0, 0, drop, count)],
  ["keep_mask p = 0.5", () => e.keep_mask(mask, k0, k1, 0, 0, 2 ** 31, count)],
  ["keep_mask_each", () => e.keep_mask_each(mask, k0, k1, 0, 0, thresholds, count)],
  ["select", () => e.select(out, mask, count)],
  ["trim", () => e.trim(out, key, 0x7fffffff, count)],
  ["elect 2", elect(2, 0, 0)],
  ["elect 3", elect(3, 0, 0)],
  ["elect 3 by count", elect(3, 1, 0)],
  ["elect 3 divided", elect(3, 0, 1)],
  ["elect 8", elect(8, 0, 0)],
  ["dot", () => e.dot(x, y, count)],
  ["l1", () => e.l1(x, count)],
  ["max_abs", () => e.max_abs(x, count)],
  ["nonzero", () => e.nonzero(x, count)],
  ["bracket", () => e.bracket(bins, x, count, key, key + 0x8000, 0, key)],
  ["bracket, all keys", () => e.bracket(bins, x, count, 1, 0x80000000, 15, 0xffffffff)],
  ["bracket_bf16", () => e.bracket_bf16(bins, narrow[0]!, bf16, count, key, key + 0x8000, 0, key)],
  ["bracket_bf16, one key", () => e.bracket_bf16(bins, narrow[0]!, bf16, count, key, key + 1, 0, key)],
  ["equals", () => e.equals(x, key, count)],
  ["nth_equal", () => e.nth_equal(x, key, 100, count)],
  ["dots_bf16 2", () => e.dots_bf16(bins, inputs, 0, 2, count)],
  ["dots_bf16 3", () => e.dots_bf16(bins, inputs, 0, 3, count)],
  ["dots_bf16 3, deltas", () => e.dots_bf16(bins, inputs, bf16, 3, count)],
  ["dots_bf16 2, deltas", () => e.dots_bf16(bins, inputs, bf16, 2, count)],
  ["merge_linear_bf16 3", () => e.merge_linear_bf16(out, inputs, numbers, 3, 1, count)],
  ["merge_delta_bf16 3", () => e.merge_delta_bf16(out, bf16, inputs, numbers, 3, 1, count)],
  ["merge_dare_bf16 3", () => e.merge_dare_bf16(out, bf16, inputs, numbers, masks, 3, 1, count)],
  ["merge_elect_bf16 3", mergeElect(noMasks, noMasks, 0)],
  ["merge_elect_bf16 3, DARE", mergeElect(masks, noMasks, 0)],
  ["merge_elect_bf16 3, TIES", mergeElect(noMasks, keys, 1)],
  ["… and weights", mergeElect(noMasks, keys, 1, numbers)],
  ["rank_row bf16", () => e.rank_row(ranked, 0, row, thresholds, count, spare)],
  ["rank_row bf16, pairs", () => e.rank_row(ranked, out, row, rankPairs, count, spare)],
  ["rank_row f32", () => e.rank_row(ranked, 0, x, thresholds, count, spare)],
  ["select_scaled", () => e.select_scaled(out, mask, y, count)],
  ["same_bytes (per byte)", () => e.same_bytes(x, x, count)],
];

/** Milliseconds of the fastest of several rounds of a call. */
function fastest(body: () => unknown, warm: number, rounds: number, calls: number): number {
  for (let i = 0; i < warm; i++) body(); // past the tiers of the compiler
  let best = Infinity;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) body();
    best = Math.min(best, performance.now() - start);
  }
  return best / calls;
}

const wanted = (globalThis as { process?: { argv: string[] } }).process?.argv[2] ?? "";
for (const [name, body] of kernels) {
  if (!name.includes(wanted)) continue;
  console.log(`${name.padEnd(26)} ${((fastest(body, 20000, 60, 100) * 1e6) / count).toFixed(3)} ns/element`);
}

// ---- Whole tiles of methods.

const modelCounts = [1, 2, 3, 4, 6, 8, 9, 12];
const dtypes = ["BF16", "F16", "F32"] as const;
const random = (i: number): Keep => ({ random: { key: [17 + i, 99], threshold: maskThreshold(0.9) } });
const magnitude = (): Keep => ({ magnitude: { above: key, equalBefore: Number.MAX_SAFE_INTEGER } });
const elected = (divide: boolean): Combine => ({ op: "elect", by: "weighted", zero: "drop", divide });
const methods: [string, { base: boolean; combine: Combine; keep: (i: number) => Keep }][] = [
  ["linear", { base: false, combine: { op: "sum" }, keep: () => ({}) }],
  ["task_arithmetic", { base: true, combine: { op: "sum" }, keep: () => ({}) }],
  ["dare_linear", { base: true, combine: { op: "sum" }, keep: random }],
  ["ties", { base: true, combine: elected(true), keep: magnitude }],
  ["dare_ties", { base: true, combine: elected(false), keep: random }],
];

const large = createKernel(compileKernel(), 4 << 20);
const tileArea = 16384;
const scratch = large.heapStart + 16 * tileArea;
const between = scratch + (2 << 20);

/** A tile of every input, of roughly normal weights. */
function fillInputs(dtype: FloatDtype): number[] {
  const lanes = kernelsFor(large, dtype);
  return Array.from({ length: 14 }, (_, m) => {
    large.u8(scratch, count * 4).set(kernel.u8(f32[m % models]!, count * 4));
    const pointer = large.heapStart + m * tileArea;
    lanes.encode(pointer, scratch + 4 * ((m * 5) % 7), count - 8);
    return pointer;
  });
}

/** What `run.ts` does to one tile. */
function tileOf(shape: (typeof methods)[number][1], dtype: FloatDtype, n: number, pointers: number[]): () => void {
  const first = shape.base ? 1 : 0;
  const program: MergeProgram = {
    op: "merge",
    inputs: Array.from({ length: n + first }, () => dtype),
    out: dtype,
    base: shape.base ? 0 : null,
    terms: Array.from({ length: n }, (_, i) => ({ input: first + i, weight: 1, scale: 1, keep: shape.keep(i) })),
    combine: shape.combine,
    lambda: 1 / n,
  };
  const policy = { nonFinite: "error", overflow: "error" } as const;
  const separate = new TileMerger(large, program, policy, { start: scratch, end: between });
  const fused = fuse(large, program, { start: between, end: large.heapStart + large.byteLength }, separate.kept);
  const inputs = pointers.slice(0, n + first);
  const lanes = kernelsFor(large, dtype);
  const merged = large.heapStart + 15 * tileArea;
  return () => {
    if (fused?.tile(inputs, merged, 0, count)) return;
    for (const p of inputs) lanes.nonfinite(p, count);
    separate.tile(inputs, merged, 0, count, false);
    lanes.nonfinite(merged, count);
  };
}

/** What a survey does to one tile: dot products of all pairs. */
function dotsOf(dtype: FloatDtype, n: number, pointers: number[]): () => void {
  const operands = Array.from({ length: n }, (_, i) => ({ input: i, base: null, keep: {} }));
  const round = { op: "dots", operands } as const;
  const inputs = pointers.slice(0, n);
  const region = { start: scratch, end: between };
  const task = { kind: "survey", id: 0, inputs: [], dtypes: inputs.map(() => dtype), round, first: 0 };
  // Long enough for every call to have a block of its own.
  const run = new SurveyRun(large, { ...task, count: count * 40000 } as unknown as SurveyTask, region);
  const lanes = kernelsFor(large, dtype);
  return () => {
    if (run.stretch(inputs, count) > 0) return;
    for (const p of inputs) lanes.nonfinite(p, count);
    run.tile(inputs, 0, count, false);
  };
}

if ("tiles".includes(wanted)) {
  console.log(`\n${"ns per parameter, models:".padEnd(28)}${modelCounts.map((n) => String(n).padStart(7)).join("")}`);
  for (const dtype of dtypes) {
    const pointers = fillInputs(dtype);
    const row = (name: string, make: (n: number) => () => void) => {
      const cells = modelCounts.map((n) => (fastest(make(n), 3000, 30, 50) * 1e6) / count);
      console.log(`${`${name} ${dtype}`.padEnd(28)}${cells.map((c) => c.toFixed(2).padStart(7)).join("")}`);
    };
    for (const [name, shape] of methods) row(name, (n) => tileOf(shape, dtype, n, pointers));
    row("dots (survey)", (n) => dotsOf(dtype, n, pointers));
  }
}
