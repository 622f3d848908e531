import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { memorySource } from "../../src/bytes/memory.ts";
import { type Dtype, dtypeBits } from "../../src/tensor/dtype.ts";
import { encodeHeader, layoutHeader, maxWrittenHeaderBytes, type NewTensor } from "../../src/tensor/encode.ts";
import { parseHeader } from "../../src/tensor/header.ts";
import { compareNames, nameFault } from "../../src/tensor/names.ts";
import { failure, goodFile } from "./fixture.ts";

const jsonOf = (header: Uint8Array): string => new TextDecoder().decode(header.subarray(8));

describe("a written header", () => {
  test("is what safetensors 0.8.0 (serialize, with metadata format: pt) writes for the same tensors", () => {
    const header = encodeHeader([
      { name: "b", dtype: "F16", shape: [2, 3] },
      { name: "a", dtype: "BF16", shape: [3] },
      { name: "\u{1f600}", dtype: "F32", shape: [1] },
      { name: "\uffee", dtype: "F32", shape: [1] },
      { name: 'q"\\/é', dtype: "I64", shape: [] },
      { name: "z", dtype: "U8", shape: [5] },
      { name: "e", dtype: "F64", shape: [0, 4] },
      { name: "bo", dtype: "BOOL", shape: [1] },
      { name: "c64", dtype: "C64", shape: [1] },
      { name: "u64", dtype: "U64", shape: [1] },
    ]);
    const json =
      '{"__metadata__":{"format":"pt"},' +
      '"u64":{"dtype":"U64","shape":[1],"data_offsets":[0,8]},' +
      '"q\\"\\\\/é":{"dtype":"I64","shape":[],"data_offsets":[8,16]},' +
      '"e":{"dtype":"F64","shape":[0,4],"data_offsets":[16,16]},' +
      '"c64":{"dtype":"C64","shape":[1],"data_offsets":[16,24]},' +
      '"\uffee":{"dtype":"F32","shape":[1],"data_offsets":[24,28]},' +
      '"\u{1f600}":{"dtype":"F32","shape":[1],"data_offsets":[28,32]},' +
      '"a":{"dtype":"BF16","shape":[3],"data_offsets":[32,38]},' +
      '"b":{"dtype":"F16","shape":[2,3],"data_offsets":[38,50]},' +
      '"z":{"dtype":"U8","shape":[5],"data_offsets":[50,55]},' +
      '"bo":{"dtype":"BOOL","shape":[1],"data_offsets":[55,56]}}';
    expect(jsonOf(header).trimEnd()).toBe(json);
    expect(header.length % 8).toBe(0);
    expect(new DataView(header.buffer).getBigUint64(0, true)).toBe(BigInt(header.length - 8));
  });

  test("has __metadata__ first, format: pt first in it, whatever the caller gives", () => {
    const header = encodeHeader(
      [],
      new Map([
        ["zeta", "1"],
        ["format", "flax"],
        ["alpha", '"2"'],
      ]),
    );
    expect(jsonOf(header).trimEnd()).toBe('{"__metadata__":{"format":"pt","alpha":"\\"2\\"","zeta":"1"}}');
  });

  test("does not depend on the order of the tensors", () => {
    const tensors: NewTensor[] = ["b", "a", "10", "9", "__proto__"].map((name) => ({
      name,
      dtype: "BF16",
      shape: [2],
    }));
    expect(jsonOf(encodeHeader(tensors))).toBe(jsonOf(encodeHeader([...tensors].reverse())));
    expect([...layoutHeader(tensors).tensors.keys()]).toEqual(["10", "9", "__proto__", "a", "b"]);
  });

  test("is read back as it was written", async () => {
    const name = fc
      .string({ unit: "grapheme", maxLength: 40 })
      .filter((s) => s !== "__metadata__" && nameFault(s) === null);
    const dtype = fc.constantFrom(...(Object.keys(dtypeBits) as Dtype[]).filter((d) => dtypeBits[d] % 8 === 0));
    const tensor = fc.record({ name, dtype, shape: fc.array(fc.nat(5), { maxLength: 4 }) });
    const list = fc.uniqueArray(tensor, { selector: (t) => t.name, maxLength: 12 });
    const metadata = fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(list, metadata, async (tensors, pairs) => {
        const extra = new Map(pairs.filter(([key]) => key !== "format"));
        const layout = layoutHeader(tensors, extra);
        const header = await parseHeader(memorySource("x", goodFile(tensors, extra)));
        expect(new Map([...header.metadata].sort())).toEqual(
          new Map([["format", "pt"] as [string, string], ...extra].sort()),
        );
        expect(header.tensors.size).toBe(tensors.length);
        for (const { name, dtype, shape } of tensors) {
          expect(header.tensors.get(name)).toEqual({ name, dtype, shape, ...layout.tensors.get(name)! });
        }
        // Aligned to its own width, which is what the order is for.
        for (const { dtype, start } of header.tensors.values()) expect(start % (dtypeBits[dtype] / 8)).toBe(0);
      }),
      { numRuns: 200, seed: 42 },
    );
  });

  for (const [what, tensors, says] of [
    ["the same name twice", [1, 2].map(() => ({ name: "a", dtype: "F32", shape: [1] })), "the name comes twice"],
    ["the name of the metadata", [{ name: "__metadata__", dtype: "F32", shape: [1] }], "taken by the format"],
    ["half a surrogate pair", [{ name: "a\ud800", dtype: "F32", shape: [1] }], "half a surrogate pair"],
    ["a control character", [{ name: "a\nb", dtype: "F32", shape: [1] }], "U+000A"],
    ["17 dimensions", [{ name: "a", dtype: "F32", shape: Array(17).fill(1) }], "the limit is 16"],
    ["a negative dimension", [{ name: "a", dtype: "F32", shape: [-1] }], "the shape is [-1]"],
    ["a size above 2^53", [{ name: "a", dtype: "F32", shape: [2 ** 30, 2 ** 30] }], "does not fill whole bytes"],
    ["half a byte", [{ name: "a", dtype: "F4", shape: [3] }], "does not fill whole bytes"],
  ] as [string, NewTensor[], string][]) {
    test(`is refused with ${what}`, async () => {
      const error = await failure(() => encodeHeader(tensors));
      expect(error.kind).toBe("safetensors-header");
      expect(error.message).toContain("Cannot write tensor ");
      expect(error.message).toContain(says);
    });
  }

  test("is at most 5 MiB long", async () => {
    const long = "x".repeat(1000);
    const tensors = (count: number): NewTensor[] =>
      Array.from({ length: count }, (_, i) => ({ name: `${i}${long}`, dtype: "F32", shape: [1] }));
    expect(encodeHeader(tensors(4500)).length).toBeLessThan(maxWrittenHeaderBytes + 9);
    expect((await failure(() => encodeHeader(tensors(5500)))).message).toContain("the limit is 5242880");
  });
});

test("names compare as their UTF-8 bytes do", () => {
  const text = fc.string({ unit: "binary", maxLength: 6 });
  fc.assert(
    fc.property(text, text, (a, b) => {
      const order = Buffer.compare(Buffer.from(a), Buffer.from(b));
      expect(Math.sign(compareNames(a, b))).toBe(order);
    }),
    { numRuns: 500, seed: 42 },
  );
  expect(compareNames("\uffee", "\u{1f600}")).toBeLessThan(0);
  expect("\uffee" < "\u{1f600}").toBe(false);
});
