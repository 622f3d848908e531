// The phases of a task, on a clock that only moves when a kernel or the input/output says so: every figure is known beforehand.

import { describe, expect, test } from "bun:test";
import type { KernelExports } from "../../src/kernel/exports.ts";
import { compileKernel, createKernel, type Kernel } from "../../src/kernel/kernel.ts";
import type { TaskProfile } from "../../src/kernel/phases.ts";
import { phases } from "../../src/kernel/phases.ts";
import type { MergeProgram, MergeReceipt, MergeTask, SurveyTask } from "../../src/kernel/program.ts";
import { tileElements } from "../../src/kernel/program.ts";
import { maxStrideElements, Runner, workerBytesFor } from "../../src/kernel/run.ts";

const module = compileKernel();
const tiles = 130;
const elements = tiles * tileElements - 5;
const strides = Math.ceil(elements / maxStrideElements);

/** What one call of a kernel takes, by what its name begins with, in milliseconds: sums of them tell which were added. */
const cost: Readonly<Record<string, number>> = {
  nonfinite_: 1,
  decode_: 10,
  keep_mask: 100,
  delta: 1_000,
  select: 1_000,
  scale: 1_000,
  axpy: 1_000,
  elect: 1_000,
  finish: 1_000,
  encode_: 10_000,
  merge_: 100_000,
  dot: 1_000_000,
};

/** A runner on a clock of its own, bf16 inputs that differ, and what was written. */
function bench(profile: boolean, inputs: number) {
  const clock = { now: 0, calls: 0 };
  const kernel = createKernel(module, workerBytesFor(inputs + 1, 2 * inputs + 2));
  const exports: Record<string, unknown> = {};
  for (const name in kernel.exports) {
    const call = (kernel.exports as unknown as Record<string, unknown>)[name];
    const key = Object.keys(cost).find((k) => name.startsWith(k));
    exports[name] =
      typeof call === "function" && key
        ? (...args: number[]) => {
            clock.now += cost[key]!;
            return (call as (...a: number[]) => unknown)(...args);
          }
        : call;
  }
  const slow: Kernel = { ...kernel, exports: exports as unknown as KernelExports };
  const bytes = Array.from({ length: inputs }, (_, i) => {
    const data = new Uint16Array(elements);
    // bf16 from 1 to 2 and −1 to −2, another order for each input.
    for (let k = 0; k < elements; k++) data[k] = 0x3f80 | ((k * (2 * i + 3)) % 127) | (((k >> i) & 1) << 15);
    return new Uint8Array(data.buffer);
  });
  const out = new Uint8Array(elements * 2);
  const io = {
    read(at: { file: number }, offset: number, target: Uint8Array) {
      clock.now += 5;
      target.set(bytes[at.file]!.subarray(offset, offset + target.length));
    },
    write(_: unknown, offset: number, data: Uint8Array) {
      clock.now += 3;
      out.set(data, offset);
    },
  };
  const now = () => {
    clock.calls++;
    return clock.now;
  };
  return { runner: new Runner(slow, io, now, profile ? { shift: 1000 } : null), out, clock };
}

const dareTies: MergeProgram = {
  op: "merge",
  inputs: ["BF16", "BF16", "BF16"],
  out: "BF16",
  base: 0,
  terms: [1, 2].map((input) => ({
    input,
    weight: 0.5,
    scale: 2,
    keep: { random: { key: [input, 7] as const, threshold: 2 ** 31 } },
  })),
  combine: { op: "elect", by: "weighted", zero: "drop", divide: false },
  lambda: 1,
};

const mergeTask = (program: MergeProgram): MergeTask => ({
  kind: "merge",
  id: 1,
  first: 0,
  count: elements,
  inputs: program.inputs.map((_, file) => ({ file, start: 0 })),
  output: { file: program.inputs.length, start: 0 },
  program,
  policy: { nonFinite: "error", overflow: "error" },
});

const ms = (profile: TaskProfile) => Object.fromEntries(phases.map((p) => [p, profile.phases[p] / 1e6]));
const total = (profile: TaskProfile) => phases.reduce((sum, p) => sum + profile.phases[p], 0) / 1e6;

describe("phases", () => {
  test("of a fused task: masks by themselves, the rest as one, and the shares from every 64th tile", async () => {
    const { runner } = bench(true, 3);
    const { profile } = await runner.run(mergeTask(dareTies));
    // Tiles 0, 64 and 128. Each: 3 scans of inputs and 1 of the output, 3 decodes, 2 masks, 2 × (delta, select, scale), elect and
    // finish, 1 encode.
    const probe = { check: 4, decode: 30, combine: 8_000, encode: 10_000 };
    const zero = Object.fromEntries(phases.map((p) => [p, 0]));
    const once = probe.check + probe.decode + probe.combine + probe.encode + 200;
    expect(ms(profile!)).toEqual({
      ...zero,
      read: 3 * 5 * strides,
      mask: tiles * 2 * 100,
      merge: tiles * 100_000,
      probe: 3 * once,
      write: 3 * strides,
    });
    const probed = Object.fromEntries(Object.entries(probe).map(([k, v]) => [k, v * 3 * 1e6]));
    expect(profile!.probe).toEqual({ tiles: 3, ...probed } as never);
    expect([profile!.worker, profile!.start]).toEqual([0, 1000]);
    expect(profile!.end - profile!.start).toBe(total(profile!));
  });

  test("of separate steps", async () => {
    const { runner } = bench(true, 3);
    const program: MergeProgram = { ...dareTies, combine: { ...dareTies.combine, by: "unweighted" } as never };
    const { profile } = await runner.run(mergeTask(program));
    expect(ms(profile!)).toMatchObject({
      check: tiles * 4,
      decode: tiles * 30,
      mask: tiles * 200,
      combine: tiles * 8_000,
      encode: tiles * 10_000,
      merge: 0,
      probe: 0,
      other: 0,
    });
    expect(profile!.probe.tiles).toBe(0);
    expect(profile!.end - profile!.start).toBe(total(profile!));
  });

  test("of a survey: statistics and what is done for them are one", async () => {
    const { runner } = bench(true, 2);
    const operands = [0, 1].map((input) => ({ input, base: input === 1 ? 0 : null, keep: {} }));
    const task: SurveyTask = {
      kind: "survey",
      id: 2,
      first: 0,
      count: elements,
      inputs: [
        { file: 0, start: 0 },
        { file: 1, start: 0 },
      ],
      dtypes: ["BF16", "BF16"],
      round: { op: "dots", operands },
    };
    const { profile } = await runner.run(task);
    // A scan of each input, three decodes (the base twice), one delta, three products.
    expect(ms(profile!)).toMatchObject({
      check: tiles * 2,
      decode: tiles * 30,
      survey: tiles * 3_001_000,
      combine: 0,
      write: 0,
    });
  });

  test("of one task do not leak into the next", async () => {
    const { runner } = bench(true, 3);
    const first = await runner.run(mergeTask(dareTies));
    const second = await runner.run(mergeTask(dareTies));
    expect(second.profile!.phases).toEqual(first.profile!.phases);
    expect(second.profile!.probe).toEqual(first.profile!.probe);
    expect(second.profile!.start).toBe(first.profile!.end);
  });
});

describe("profiling", () => {
  test("changes no bit and no count", async () => {
    for (const program of [dareTies, { ...dareTies, combine: { op: "sum" } } as MergeProgram]) {
      const plain = bench(false, 3);
      const timed = bench(true, 3);
      const a = (await plain.runner.run(mergeTask(program))) as MergeReceipt;
      const { profile, ...b } = (await timed.runner.run(mergeTask(program))) as MergeReceipt;
      expect(profile).toBeDefined();
      expect(Buffer.compare(plain.out, timed.out)).toBe(0);
      expect(plain.out.some((byte) => byte !== 0)).toBe(true);
      expect([b.kept, b.nonFinite, b.overflow]).toEqual([a.kept, a.nonFinite, a.overflow]);
    }
  });

  test("that is off looks at the clock four times a stride", async () => {
    const { runner, clock } = bench(false, 3);
    const receipt = await runner.run(mergeTask(dareTies));
    expect(receipt.profile).toBeUndefined();
    expect(clock.calls).toBe(4 * strides);
  });
});
