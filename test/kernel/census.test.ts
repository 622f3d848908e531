import { describe, expect, test } from "bun:test";
import { CensusRun, censusBytes } from "../../src/kernel/census.ts";
import { type CensusPart, censusBins, censusSums } from "../../src/kernel/census-program.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import type { SurveyTask } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { type Census, census, censusBf16 } from "../../src/kernel/reference-census.ts";
import { bytes, coarse, damage, put, reset, room, run, sample, words, write } from "./harness.ts";

const block = 4096;
/** Around vectors, chunks and blocks: fewer than elsewhere, because the tables of a call are large. */
const lengths = [...Array(18).keys(), 31, 33, 511, 512, 513, 1031, 4095, 4096, 4097];

function sweep(body: (count: number, misalign: number) => string): string {
  for (const count of lengths) {
    for (const misalign of count % 3 === 0 ? [0, 4] : [2, 12]) {
      reset();
      const wrong = body(count, misalign) || damage();
      if (wrong) return `${count} elements, ${misalign} bytes off: ${wrong}`;
    }
  }
  return "";
}
const zeros = (byteLength: number, misalign = 0) => put(new Uint8Array(byteLength), misalign);

/** The tables of a call, and what is in them after it. */
function tables(models: number, count: number, tops: readonly number[], misalign: number) {
  const sums = censusSums(models);
  const rows = Math.ceil(count / block);
  const at = {
    out: room(rows * sums * 8, misalign),
    counts: zeros(6 * models * (models + 1), misalign),
    bins: zeros(models * censusBins * 8, misalign),
    patterns: zeros(16 * (models + 1) ** 2, misalign),
    tops: put(Uint32Array.from(tops), misalign),
    scratch: room(sums * 64 + (models + 1) * 2048),
  };
  const told = Uint32Array.from([models, at.out, at.counts, at.bins, at.patterns, at.tops, at.scratch]);
  const state = put(told, 4);
  return {
    state,
    /** Sums go where they went first. */
    rewind: () => write(state, told),
    read: (taken: number): Census => {
      const done = Math.ceil(taken / block);
      const all = new Float64Array(bytes(at.out, done * sums * 8).buffer);
      const cells = words(at.patterns, 4 * (models + 1) ** 2);
      return {
        sums: Array.from({ length: done }, (_, i) => [...all.subarray(i * sums, (i + 1) * sums)]),
        counts: [...words(at.counts, (3 * models * (models + 1)) / 2)],
        bins: Array.from({ length: models }, (_, m) => filled(words(at.bins + m * censusBins * 8, 2 * censusBins))),
        patterns: Array.from({ length: (models + 1) ** 2 }, (_, i) =>
          cells.subarray(4 * i, 4 * i + 4).reduce((a, b) => a + b, 0),
        ),
      };
    },
  };
}

function filled(bins: Uint32Array): Map<number, [number, number]> {
  const found = new Map<number, [number, number]>();
  for (let i = 0; i < censusBins; i++) {
    const [low, high] = [bins[2 * i]!, bins[2 * i + 1]!];
    if (high > 0) found.set(i, [high >>> 8, (high & 255) * 2 ** 32 + low]);
  }
  return found;
}

/** Sums by their bits, everything else as it is. */
function text({ sums, counts, bins, patterns }: Census): string {
  const bits = sums.map((row) => [...new BigUint64Array(Float64Array.from(row).buffer)].join(" "));
  const sorted = bins.map((b) => [...b].sort(([x], [y]) => x - y).join(" "));
  return [...bits, counts.join(" "), ...sorted, patterns.join(" ")].join("\n");
}

const topOf = (m: number) => reference.bitsOf([0.002, 0.01, 1e-30, 3, 0.5][m % 5]!);
const topsOf = (models: number) => Array.from({ length: models }, (_, m) => topOf(m));

/** Deltas as models have them: of one model coarse, with zeros of both signs; of one that changes nothing; of others anything. */
const deltasOf = (models: number, count: number) =>
  Array.from({ length: models }, (_, m) =>
    m % 3 === 1 ? coarse(count, count + m) : m === 3 ? new Float32Array(count) : sample(count, count * 5 + m, true),
  );

describe("a census of f32", () => {
  for (const models of [1, 2, 3, 4, 5]) {
    test(`counts and sums what its twin does: ${models} models`, () => {
      expect(
        sweep((count, misalign) => {
          if (count > block) return "";
          const base = sample(count, count + 99, true);
          const deltas = deltasOf(models, count);
          const stride = count + 3;
          const packed = new Float32Array(models * stride).fill(Number.NaN);
          deltas.forEach((d, m) => {
            packed.set(d, m * stride);
          });
          const t = tables(models, Math.max(1, count), topsOf(models), misalign & ~3);
          run.census_f32(t.state, put(base, misalign), put(packed, misalign), stride, count);
          const want = census(base, deltas, topsOf(models));
          // A block of nothing has sums as well.
          const sums = count > 0 ? want.sums : [new Array<number>(censusSums(models)).fill(0)];
          return text(t.read(Math.max(1, count))) === text({ ...want, sums }) ? "" : "it differs";
        }),
      ).toBe("");
    });
  }

  test("adds to what counts, bins and patterns held", () => {
    reset();
    const x = sample(700, 1, true);
    const t = tables(1, 1, topsOf(1), 0);
    for (const base of [put(x), put(x)]) {
      t.rewind();
      run.census_f32(t.state, base, base, 700, 700);
    }
    const one = census(x, [x], topsOf(1));
    const twice = one.counts.map((n, i) => (i === 2 ? n : 2 * n));
    const got = t.read(1);
    expect(got.counts).toEqual(twice);
    expect(got.patterns).toEqual(one.patterns.map((n) => 2 * n));
    const [bin, [count, low]] = [...one.bins[0]!][0]!;
    expect(got.bins[0]!.get(bin)).toEqual([2 * count, 2 * low]);
  });

  test("keeps a bin of 2^24 − 1 elements with all lower bits set apart from its neighbours", () => {
    reset();
    const x = new Float32Array(Uint32Array.from({ length: block }, () => 0x3f80ffff).buffer);
    const t = tables(1, 1, topsOf(1), 0);
    const at = put(x);
    for (let i = 0; i < block; i++) {
      t.rewind();
      run.census_f32(t.state, at, at, block, i === block - 1 ? block - 1 : block);
    }
    expect(t.read(1).bins[0]!).toEqual(new Map([[0x3f80, [2 ** 24 - 1, (2 ** 24 - 1) * 65_535]]]));
  });
});

describe("a census straight from bf16", () => {
  const narrow = (count: number, seed: number) => reference.encode_bf16(sample(count, seed, true));
  for (const models of [1, 3, 6]) {
    test(`has the bits of decoding and subtracting first: ${models} models`, () => {
      expect(
        sweep((count, misalign) => {
          const base = narrow(count, count + 7);
          // One model is the base, as untouched tensors are.
          const inputs = Array.from({ length: models }, (_, m) => (m === 1 ? base : narrow(count, count * 3 + m)));
          const t = tables(models, count, topsOf(models), misalign & ~3);
          const pointers = put(Uint32Array.from(inputs.map((x, m) => put(x, misalign + 2 * m))), 4);
          const done = run.survey_census_bf16(t.state, put(base, misalign + 6), pointers, count);
          if (done !== count) return `it took ${done}`;
          return text(t.read(count)) === text(censusBf16(base, inputs, topsOf(models))) ? "" : "it differs";
        }),
      ).toBe("");
    });
  }

  test("stops before a block that holds an infinity, a NaN, or what a difference could overflow with", () => {
    const count = 3 * block - 1;
    for (const bad of [0x7f80, 0xffc1, 0x7f00, 0xff7f]) {
      for (const [where, who] of [
        [0, 1],
        [4095, 0],
        [4096, 2],
        [count - 1, 1],
      ] as const) {
        reset();
        const all = [1, 2, 3].map((seed) => narrow(count, seed));
        all[who]![where] = bad;
        const good = where - (where % block);
        const t = tables(2, count, topsOf(2), 0);
        const pointers = put(Uint32Array.from([put(all[1]!), put(all[2]!, 2)]), 4);
        const done = run.survey_census_bf16(t.state, put(all[0]!, 6), pointers, count);
        expect({ bad, where, who, done }).toEqual({ bad, where, who, done: good });
        const [base, ...models] = all.map((x) => x.slice(0, good));
        expect(text(t.read(good))).toBe(text(censusBf16(base!, models, topsOf(2))));
        expect(damage()).toBe("");
      }
    }
  });
});

describe("a slice of a census", () => {
  const kernel = createKernel(compileKernel(), 4 << 20);
  const count = 2 * block + 777;
  const models = 3;

  async function slice(
    inputs: Uint16Array[],
    dtype: "BF16" | "F32",
    cut: readonly [number, number] = [0, count],
  ): Promise<{ part: CensusPart; nonFinite: unknown }> {
    const stored = inputs.map((x) => (dtype === "BF16" ? x : reference.decode_bf16(x)));
    const io = {
      read: (at: { file: number }, offset: number, to: Uint8Array) => {
        const { buffer } = stored[at.file]!;
        to.set(new Uint8Array(buffer, offset, to.length));
      },
      write: () => {
        throw new Error("it writes nothing");
      },
    };
    const operands = [1, 2, 3].map((input) => ({ input, base: 0, keep: {} }));
    const round = { op: "census" as const, operands, tops: topsOf(models) };
    const task: SurveyTask = {
      kind: "survey",
      id: 1,
      first: cut[0],
      count: cut[1] - cut[0],
      inputs: inputs.map((_, file) => ({ file, start: 0 })),
      dtypes: inputs.map(() => dtype),
      round,
    };
    const receipt = await new CensusRun(kernel, task, round, io, () => 0).run();
    if (receipt.result.op !== "census") throw new TypeError(receipt.result.op);
    return { part: receipt.result, nonFinite: receipt.nonFinite };
  }
  const inputs = Array.from({ length: models + 1 }, (_, i) => reference.encode_bf16(sample(count, i + 1, true)));

  test("gives what the twin gives, from bf16 and from f32", async () => {
    const want = censusBf16(inputs[0]!, inputs.slice(1), topsOf(models));
    for (const dtype of ["BF16", "F32"] as const) {
      const { part } = await slice(inputs, dtype);
      expect(part.sums[0]!.length).toBe(3);
      const got: Census = {
        sums: want.sums.map((_, b) => part.sums.map((s) => s[b]!)),
        counts: [
          ...part.nonzero.flatMap((n, m) => [n, part.top[m]!, part.most[m]!]),
          ...part.pairs.flatMap((p) => [p.both, p.apart, p.top]),
        ],
        bins: part.bins.map((b, m) => new Map([...b].map((bin, i) => [bin, [part.counts[m]![i]!, part.lows[m]![i]!]]))),
        patterns: part.patterns,
      };
      expect(text(got)).toBe(text(want));
    }
  });

  test("takes an element that is not finite for unchanged, and tells it", async () => {
    const damaged = inputs.map((x) => x.slice());
    damaged[2]![5000] = 0x7fc0;
    damaged[0]![4100] = 0xff80;
    const mended = damaged.map((x) => x.slice());
    // What is not finite in the base is zero for all.
    for (const x of mended) x[4100] = 0;
    mended[2]![5000] = mended[0]![5000]!;
    const { part, nonFinite } = await slice(damaged, "BF16");
    expect(nonFinite).toEqual([
      { input: 0, count: 1, first: 4100 },
      { input: 2, count: 1, first: 5000 },
    ]);
    expect({ ...part }).toEqual({ ...(await slice(mended, "BF16")).part });
  });

  test("blocks of slices are those of the whole", async () => {
    const whole = (await slice(inputs, "BF16")).part;
    const parts = [(await slice(inputs, "BF16", [0, block])).part, (await slice(inputs, "BF16", [block, count])).part];
    expect(whole.sums.map((s) => [...s])).toEqual(whole.sums.map((_, i) => parts.flatMap((p) => [...p.sums[i]!])));
    expect(whole.nonzero).toEqual(whole.nonzero.map((_, i) => parts[0]!.nonzero[i]! + parts[1]!.nonzero[i]!));
  });

  test("a worker's memory for it holds it", () => {
    const widest = censusBytes(16) + 17 * 65_536 * 8;
    expect(widest).toBeLessThan(32 * 2 ** 20);
  });
});
