import { describe, expect, test } from "bun:test";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";
import { pieceElements, type SurveyTask } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { Runner, workerBytesFor } from "../../src/kernel/run.ts";
import { coarse, integerDifference, put, random, room, run, sample, sweep, words } from "./harness.ts";

const magnitude = 0x7fffffff;
const binCount = 65_536;

/** Any bits, the few values of deltas, or keys of one bin and its neighbours. */
function bitsOf(count: number, kind: number): Uint32Array<ArrayBuffer> {
  const draw = random(count + kind);
  if (kind === 0) return new Uint32Array(sample(count, count + 3).buffer);
  if (kind === 1) return new Uint32Array(coarse(count, count + 5).buffer);
  return Uint32Array.from({ length: count }, () => 0x3b800000 + (draw() % 3) * 0x8000 - (draw() % 2));
}

const keysOf = (count: number, kind: number) => bitsOf(count, kind).map((bits) => bits & magnitude);

describe("of a sample", () => {
  for (const kind of [0, 1, 2]) {
    test(`keys take the place of numbers, kind ${kind}`, () => {
      expect(
        sweep((count, misalign) => {
          const bits = bitsOf(count, kind);
          const at = put(bits, misalign);
          run.sample_keys(at, count);
          return integerDifference(words(at, count), keysOf(count, kind));
        }),
      ).toBe("");
    });

    test(`keys are counted in bins, kind ${kind}`, () => {
      const expected = new Uint32Array(binCount);
      // Counts are added to what is there.
      const at = put(expected);
      for (const count of [0, 1, 2, 3, 4, 5, 17, 64, 4095]) {
        const keys = keysOf(count, kind);
        for (const key of keys) expected[key >>> 15]!++;
        run.sample_bins(at, put(keys, 4), count);
        expect(integerDifference(words(at, binCount), expected)).toBe("");
      }
    });

    test(`keys above two limits and above 0 are counted piece by piece, kind ${kind}`, () => {
      for (const length of [4, 8, 12, 64, 512]) {
        for (const pieces of [1, 2, 7]) {
          const keys = keysOf(length * pieces, kind);
          const ranked = keys.toSorted();
          for (const [first, second] of [
            [0, magnitude],
            [ranked[ranked.length >> 1]!, ranked[ranked.length >> 2]!],
            [ranked.at(-1)!, ranked[0]!],
          ] as const) {
            const counts = room(12 * pieces);
            run.sample_above(counts, put(keys, 4), pieces, length, first, second);
            const expected = Array.from({ length: pieces }, (_, p) =>
              [first, second, 0].map(
                (limit) => keys.subarray(p * length, (p + 1) * length).filter((key) => key > limit).length,
              ),
            );
            expect([...words(counts, 3 * pieces)]).toEqual(expected.flat());
          }
        }
      }
    });

    test(`keys of a bin are found in their order, kind ${kind}`, () => {
      for (const count of [0, 4, 8, 12, 60, 64, 68, 4096]) {
        const keys = keysOf(count, kind);
        for (const bin of new Set([0, 0x7700, 0xffff, ...[...keys].slice(0, 9).map((key) => key >>> 15)])) {
          const expected = keys.filter((key) => key >>> 15 === bin);
          const out = room(4 * expected.length + 16);
          expect(run.sample_within(out, put(keys, 4), count, bin)).toBe(expected.length);
          expect(integerDifference(words(out, expected.length), expected)).toBe("");
        }
      }
    });
  }
});

describe("the sample of a tensor", () => {
  const count = 65_536;
  const x = sample(count, 7, true);
  const pieces = Array.from({ length: 37 }, (_, i) => Math.floor((i * (count - pieceElements)) / 37 / 16) * 16);
  const drop = { key: [0x12345678, 0x9abcdef0] as const, threshold: 0x60000001 };

  async function keysIn(keep: object): Promise<Uint32Array> {
    const stride = 8192;
    const runner = new Runner(
      createKernel(compileKernel(), workerBytesFor(1, 4, stride)),
      { read: (_, offset, target) => target.set(new Uint8Array(x.buffer, offset, target.length)), write: () => {} },
      () => 0,
    );
    const task: SurveyTask = {
      kind: "survey",
      id: 0,
      first: 0,
      count: pieces.length * pieceElements,
      inputs: [{ file: 0, start: 0 }],
      dtypes: ["F32"],
      round: { op: "sample", operands: [{ input: 0, base: null, keep }] },
      pieces,
    };
    const receipt = await runner.run(task);
    if (receipt.kind !== "survey" || receipt.result.op !== "sample") throw new TypeError("not a sample");
    return receipt.result.keys[0]!;
  }

  const inPieces = (values: Float32Array) => {
    const keys = new Uint32Array(values.buffer).map((bits) => bits & magnitude);
    return pieces.flatMap((first) => [...keys.subarray(first, first + pieceElements)]);
  };

  test("has the keys of its pieces, one piece after the other", async () => {
    expect(integerDifference(await keysIn({}), inPieces(x))).toBe("");
  });

  test("drops at random by where an element lies in the tensor", async () => {
    const kept = reference.select(x, reference.keep_mask(drop.key, 0, 0, drop.threshold, count));
    expect(integerDifference(await keysIn({ random: drop }), inPieces(kept))).toBe("");
  });
});
