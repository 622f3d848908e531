// Frames carry every bit, and damaged ones are refused.

import { describe, expect, test } from "bun:test";
import { isBraidError } from "../../src/errors.ts";
import { Blank, decodeFrame, encodeFrame } from "../../src/remote/frame.ts";

const limit = 1 << 18;
const bits = (x: number) => [...new Uint8Array(Float64Array.of(x).buffer)];

/** Arrays as their type and bytes, so that every bit counts and nothing else. */
const flat = (value: unknown) =>
  JSON.stringify(value, (_, v: unknown) =>
    ArrayBuffer.isView(v) ? [v.constructor.name, ...new Uint8Array(v.buffer, v.byteOffset, v.byteLength)] : v,
  );

describe("a frame", () => {
  const numbers = [
    0,
    -0,
    1,
    -1.5,
    0.1,
    5e-324,
    Number.MAX_VALUE,
    2 ** 53,
    Number.NaN,
    Infinity,
    -Infinity,
    1 / 3,
    1e21,
  ];

  test.each(numbers)("keeps the number %p", (x) => {
    const { x: back } = decodeFrame(encodeFrame({ x }).bytes, limit) as { x: number };
    expect(bits(back)).toEqual(bits(x));
  });

  test("keeps arrays of every type and length, wherever it lies in memory", () => {
    for (let length = 0; length < 19; length++) {
      const value = {
        a: Float64Array.from({ length }, (_, i) => i / 3 - 1),
        b: [Float32Array.of(-0, Number.NaN), new Uint32Array(length).fill(0xdeadbeef)],
        c: new Uint8Array(length).map((_, i) => i * 37),
        d: { e: null, f: true, g: "é\n" },
      };
      const { bytes } = encodeFrame(value);
      const shifted = new Uint8Array(bytes.length + 3);
      shifted.set(bytes, 3);
      expect(flat(decodeFrame(shifted.subarray(3), limit))).toBe(flat(value));
    }
  });

  test("leaves blanks to be filled in place", () => {
    const frame = encodeFrame({ a: new Blank(5), b: new Blank(3) });
    expect(frame.blanks.map((b) => b.length)).toEqual([5, 3]);
    frame.blanks[0]!.set([1, 2, 3, 4, 5]);
    frame.blanks[1]!.set([6, 7, 8]);
    expect(decodeFrame(frame.bytes, limit)).toEqual({ a: Uint8Array.of(1, 2, 3, 4, 5), b: Uint8Array.of(6, 7, 8) });
  });

  const text = (json: string) => {
    const descriptor = new TextEncoder().encode(json);
    const bytes = new Uint8Array(8 + descriptor.length);
    bytes.set([0x42, 0x52, 0x44, 0x31]);
    new DataView(bytes.buffer).setUint32(4, descriptor.length, true);
    bytes.set(descriptor, 8);
    return bytes;
  };
  test.each([
    ["nothing", new Uint8Array()],
    ["another magic", Uint8Array.of(0x42, 0x52, 0x44, 0x32, 0, 0, 0, 0)],
    ["a length beyond its end", Uint8Array.of(0x42, 0x52, 0x44, 0x31, 9, 0, 0, 0, 0x7b, 0x7d)],
    ["no JSON", text("{")],
    ["no UTF-8", text('"\ud800"').map((b) => (b === 0xef ? 0xff : b))],
    ["an array outside of it", text('{"$array":"u8","at":0,"length":1}')],
    ["an array before it", text('{"$array":"u8","at":-8,"length":1}')],
    ["an array of half a place", text('{"$array":"f64","at":0.5,"length":0}')],
    ["an unknown array", text('{"$array":"u64","at":0,"length":0}')],
    ["an inherited array", text('{"$array":"constructor","at":0,"length":0}')],
    ["a number that is none", text('{"$number":"1"}')],
    ["too many levels", text(`${"[".repeat(40)}${"]".repeat(40)}`)],
    ["a descriptor above the limit", text(`"${"x".repeat(limit)}"`)],
  ] as const)("with %s is refused", (_, bytes) => {
    let caught: unknown;
    try {
      decodeFrame(bytes as Uint8Array<ArrayBuffer>, limit);
    } catch (e) {
      caught = e;
    }
    expect(isBraidError(caught) && caught.kind).toBe("node-answer");
  });
});
