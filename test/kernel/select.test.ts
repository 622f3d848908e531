import { describe, expect, test } from "bun:test";
import { noKey, severalKeys } from "../../src/kernel/program.ts";
import * as reference from "../../src/kernel/reference.ts";
import { coarse, hex, integerDifference, put, random, run, sample, sweep, words } from "./harness.ts";

/** A key of `coarse` and of `coarseBf16`. */
const frequent = reference.bitsOf(3 / 1024);

const brackets: [low: number, high: number, shift: number, hot: number][] = [
  [1, 0x80000000, 20, noKey],
  [1, 0x80000000, 20, frequent],
  [1, 0x7f800001, 21, noKey],
  [0x3b000000, 0x3d000000, 16, frequent],
  [0x3b000000, 0x3d000000, 16, 0x3b123456],
  [frequent, frequent + 1, 0, frequent],
  [frequent, frequent + 1, 0, noKey],
  [frequent + 1, frequent + 77, 3, noKey],
  [0x7f800000, 0x80000000, 12, noKey],
];

/** Slots that are empty, hold one key or hold several, as other tiles may have left them. */
function used(low: number, high: number, shift: number): Uint32Array<ArrayBuffer> {
  const size = Math.ceil((high - low) / 2 ** shift);
  return Uint32Array.from({ length: 2 * size }, (_, i) => {
    const slot = i >> 1;
    if (slot % 3 === 0) return 0;
    if (i % 2 === 1) return slot + 5;
    return slot % 3 === 1 ? low + slot * 2 ** shift : noKey;
  });
}

function check(
  from: number,
  slots: Uint32Array,
  above: number,
  expected: ReturnType<typeof reference.bracket>,
): string {
  if (above !== expected.above) return `${above} above instead of ${expected.above}`;
  return integerDifference(words(from, slots.length), expected.slots);
}

describe("brackets", () => {
  for (const [low, high, shift, hot] of brackets) {
    const name = `from ${hex(low)} to ${hex(high)} in slots of 2^${shift}, ${hex(hot)} apart`;
    test(`${name}: keys of f32`, () => {
      expect(
        sweep((count, misalign) => {
          const x = count % 2 ? sample(count, count + 1) : coarse(count, count + 1);
          const slots = used(low, high, shift);
          const at = put(slots, misalign);
          const above = run.bracket(at, put(x, misalign), count, low, high, shift, hot);
          return check(at, slots, above, reference.bracket(slots, x, low, high, shift));
        }),
      ).toBe("");
    });

    test(`${name}: keys of f32 deltas`, () => {
      expect(
        sweep((count, misalign) => {
          // What a NaN of an input leaves of its payload is the processor's affair: a survey takes tiles with one another way.
          const of = (seed: number) =>
            (count % 2 ? sample : coarse)(count, seed).map((value) => (Number.isNaN(value) ? 0.3 : value));
          const [x, base] = [of(count + 5), of(count + 6)];
          const deltas = reference.delta(x, base);
          const slots = used(low, high, shift);
          const at = put(slots, misalign);
          const above = run.bracket_f32(at, put(x, misalign), put(base, misalign), count, low, high, shift, hot);
          return check(at, slots, above, reference.bracket(slots, deltas, low, high, shift));
        }),
      ).toBe("");
    });

    test(`${name}: keys of bf16 deltas`, () => {
      expect(
        sweep((count, misalign) => {
          const draw = random(count + 9);
          const narrow = () =>
            count % 2
              ? Uint16Array.from({ length: count }, () => (draw() % 5 ? 0x3b00 + (draw() & 0x81ff) : draw() & 0xbfff))
              : reference.encode_bf16(coarse(count, draw()));
          const [x, base] = [narrow(), narrow()];
          const deltas = reference.delta(reference.decode_bf16(x), reference.decode_bf16(base));
          const slots = used(low, high, shift);
          const at = put(slots, misalign);
          const above = run.bracket_bf16(at, put(x, misalign), put(base, misalign), count, low, high, shift, hot);
          return check(at, slots, above, reference.bracket(slots, deltas, low, high, shift));
        }),
      ).toBe("");
    });
  }
});

describe("used slots", () => {
  /** Filled sparsely, densely, at the ends, not at all. */
  const fillings: [string, (slot: number, count: number, draw: () => number) => boolean][] = [
    ["none", () => false],
    ["all", () => true],
    ["one in forty", (_s, _c, draw) => draw() % 40 === 0],
    ["two of three", (slot) => slot % 3 > 0],
    ["the first and the last", (slot, count) => slot === 0 || slot === count - 1],
  ];
  for (const [name, isUsed] of fillings) {
    test(`${name}: move to the front, with the first key of those that have seen several`, () => {
      expect(
        sweep((count, misalign) => {
          const draw = random(count + 3);
          const [low, shift] = [0x37000001, 9];
          const slots = new Uint32Array(2 * count);
          const want: number[] = [];
          for (let slot = 0; slot < count; slot++) {
            if (!isUsed(slot, count, draw)) continue;
            const first = low + slot * 2 ** shift;
            const several = draw() % 2 === 0;
            slots[2 * slot] = several ? noKey : first + (draw() % 2 ** shift);
            slots[2 * slot + 1] = 1 + (draw() % 1_000_000);
            want.push(several ? severalKeys + first : slots[2 * slot]!, slots[2 * slot + 1]!);
          }
          const at = put(slots, misalign);
          const found = run.used_slots(at, count, low, shift);
          if (found !== want.length / 2) return `${found} instead of ${want.length / 2}`;
          return integerDifference(words(at, want.length), Uint32Array.from(want));
        }),
      ).toBe("");
    });
  }
});
