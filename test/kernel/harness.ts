// Memory with guards, samples that catch lane swaps, and bit-exact comparison.

import type { Pointer } from "../../src/kernel/exports.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";

const kernel = createKernel(compileKernel(), 1 << 25);
export const run = kernel.exports;

const guardBytes = 64;
const guard = 0xa5;
let next = kernel.heapStart;
let areas: { pointer: Pointer; byteLength: number }[] = [];

/** Forgets all areas. */
export function reset(): void {
  next = kernel.heapStart;
  areas = [];
}

/** An area `misalign` bytes off a multiple of 64, filled with garbage and with guard bytes around it. */
export function room(byteLength: number, misalign = 0): Pointer {
  const pointer = Math.ceil((next + guardBytes) / 64) * 64 + misalign;
  kernel.u8(pointer - guardBytes, byteLength + 2 * guardBytes).fill(guard);
  next = pointer + byteLength + guardBytes;
  areas.push({ pointer, byteLength });
  return pointer;
}

export function put(data: ArrayBufferView, misalign = 0): Pointer {
  const pointer = room(data.byteLength, misalign);
  kernel.u8(pointer, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return pointer;
}

export function write(pointer: Pointer, data: ArrayBufferView): void {
  kernel.u8(pointer, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

export function bytes(pointer: Pointer, byteLength: number): Uint8Array<ArrayBuffer> {
  return kernel.u8(pointer, byteLength).slice();
}

export function halves(pointer: Pointer, count: number): Uint16Array<ArrayBuffer> {
  return new Uint16Array(bytes(pointer, count * 2).buffer);
}

export function words(pointer: Pointer, count: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array(bytes(pointer, count * 4).buffer);
}

export function floats(pointer: Pointer, count: number): Float32Array<ArrayBuffer> {
  return new Float32Array(bytes(pointer, count * 4).buffer);
}

/** Says which area's surroundings were written to, or nothing. */
export function damage(): string {
  for (const { pointer, byteLength } of areas) {
    for (const start of [pointer - guardBytes, pointer + byteLength]) {
      if (!kernel.u8(start, guardBytes).every((byte) => byte === guard)) {
        return `wrote outside of ${byteLength} bytes at ${pointer}, near ${start}`;
      }
    }
  }
  return "";
}

/** Lengths around every vector and unroll boundary, and around the tile. */
export const lengths = [...Array(53).keys(), 63, 64, 65, 79, 127, 128, 129, 4095, 4096, 4097];
export const misalignments = [0, 1, 2, 4, 12];

/** xorshift32: the samples are the same in every run and runtime. */
export function random(seed: number): () => number {
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

export const specialBits = [
  0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0xff812345, 0x7fffffff,
  0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x7f7f8000, 0x7f7f7fff,
  0x477fe000, 0x477fefff, 0x477ff000, 0xc77ff000, 0x38800000, 0x387fffff, 0x33800000, 0x33000000, 0x33000001,
  0xb3000000, 0x3f808000, 0x3f818000,
];

/**
 * `count` floats, no two neighbours alike: weights as models have them, arbitrary bit patterns, and (unless `finite`) every
 * fifth a special value. The order of the specials differs with `seed`.
 */
export function sample(count: number, seed: number, finite = false): Float32Array<ArrayBuffer> {
  const draw = random(seed);
  const bits = new Uint32Array(count);
  const out = new Float32Array(bits.buffer);
  for (let i = 0; i < count; i++) {
    const kind = draw() % 5;
    if (kind === 0 && !finite) bits[i] = specialBits[draw() % specialBits.length]!;
    else if (kind === 1 && !finite) bits[i] = draw();
    else out[i] = ((draw() / 2 ** 31 - 1) * 2 ** (draw() % 7)) / 64;
  }
  return out;
}

/** As `sample`, of few distinct magnitudes, as deltas of bf16 models have them; some elements are ±0. */
export function coarse(count: number, seed: number): Float32Array<ArrayBuffer> {
  const draw = random(seed);
  return Float32Array.from({ length: count }, () => ((draw() % 17) - 8) / 1024 || (draw() % 2 ? -0 : 0));
}

const anyNan = 0x7fc00000;
const isNanBits = (bits: number) => (bits & 0x7fffffff) > 0x7f800000;

/** The first difference in bits, or nothing. Any NaN equals any other unless `payloads`: the engine may choose its bits. */
export function difference(actual: Float32Array, expected: Float32Array, payloads = false): string {
  if (actual.length !== expected.length) return `${actual.length} elements instead of ${expected.length}`;
  const a = new Uint32Array(actual.buffer, actual.byteOffset, actual.length);
  const e = new Uint32Array(expected.buffer, expected.byteOffset, expected.length);
  for (let i = 0; i < a.length; i++) {
    const x = !payloads && isNanBits(a[i]!) ? anyNan : a[i]!;
    const y = !payloads && isNanBits(e[i]!) ? anyNan : e[i]!;
    if (x !== y) return `element ${i} of ${a.length}: ${actual[i]} (${hex(x)}) instead of ${expected[i]} (${hex(y)})`;
  }
  return "";
}

export function integerDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): string {
  if (actual.length !== expected.length) return `${actual.length} elements instead of ${expected.length}`;
  for (let i = 0; i < actual.length; i++) {
    if (actual[i] !== expected[i])
      return `element ${i} of ${actual.length}: ${hex(actual[i]!)} instead of ${hex(expected[i]!)}`;
  }
  return "";
}

export function hex(x: number): string {
  return `0x${(x >>> 0).toString(16)}`;
}

/**
 * Runs `body` for every length and misalignment. It returns what is wrong, or nothing; the first fault of each sweep is
 * returned with its length and misalignment, so that a test can expect "".
 */
export function sweep(body: (count: number, misalign: number) => string): string {
  for (const count of lengths) {
    for (const misalign of count > 200 ? [0, 4] : misalignments) {
      reset();
      const wrong = body(count, misalign) || damage();
      if (wrong) return `${count} elements, ${misalign} bytes off: ${wrong}`;
    }
  }
  return "";
}
