import { describe, expect, test } from "bun:test";
import { memorySource } from "../../src/bytes/memory.ts";
import { maxWrittenHeaderBytes, type NewTensor } from "../../src/tensor/encode.ts";
import { parseHeader } from "../../src/tensor/header.ts";
import { readIndex } from "../../src/tensor/index-file.ts";
import { indexJson, layoutShards } from "../../src/tensor/shards.ts";
import { failure, utf8 } from "./fixture.ts";

/** Tensors a, b, c … of so many bytes. */
const bytes = (...sizes: number[]): NewTensor[] =>
  sizes.map((size, i) => ({ name: String.fromCharCode(97 + i), dtype: "U8", shape: [size] }));

describe("shards", () => {
  // Bytes of the tensors in order, the limit, and which tensors go together.
  for (const [sizes, limit, expected] of [
    [[], 10, [""]],
    [[10], 10, ["a"]],
    [[4, 6], 10, ["ab"]],
    [[4, 7], 10, ["a", "b"]],
    [[4, 7, 3, 1], 10, ["a", "bc", "d"]],
    [[25, 1, 25, 25], 10, ["a", "b", "c", "d"]],
    [[1, 25, 1, 1], 10, ["a", "b", "cd"]],
    [[0, 0, 10, 0], 10, ["abcd"]],
    [[1, 1, 1], 1, ["a", "b", "c"]],
  ] as [number[], number, string[]][]) {
    test(`[${sizes}] by ${limit} are ${expected.map((s) => s || "nothing").join(" | ")}`, () => {
      const files = layoutShards(bytes(...sizes), { shardBytes: limit });
      expect(files.map((file) => [...file.tensors.keys()].sort().join(""))).toEqual(expected);
      const total = String(files.length).padStart(5, "0");
      const names = files.map((_, i) => `model-${String(i + 1).padStart(5, "0")}-of-${total}.safetensors`);
      expect(files.map((file) => file.name)).toEqual(files.length === 1 ? ["model.safetensors"] : names);
    });
  }

  test("are files that the reader takes", async () => {
    const tensors: NewTensor[] = [
      { name: "w", dtype: "F32", shape: [2, 3] },
      { name: "v", dtype: "BF16", shape: [3] },
      { name: "u", dtype: "I64", shape: [] },
    ];
    const metadata = new Map([["recipe", "abc"]]);
    for (const file of layoutShards(tensors, { shardBytes: 30, metadata })) {
      const whole = new Uint8Array(file.byteLength);
      whole.set(file.header);
      const header = await parseHeader(memorySource(file.name, whole));
      expect([...header.tensors].map(([name, { start, end }]) => [name, { start, end }])).toEqual([...file.tensors]);
      expect([...header.metadata]).toEqual([
        ["format", "pt"],
        ["recipe", "abc"],
      ]);
    }
  });

  test("are more when the header would be above 5 MiB", () => {
    const long = "x".repeat(1000);
    const tensors: NewTensor[] = Array.from({ length: 12_000 }, (_, i) => ({
      name: `${i}${long}`,
      dtype: "U8",
      shape: [1],
    }));
    const files = layoutShards(tensors, { shardBytes: 5e9 });
    expect(files.length).toBe(3);
    for (const file of files) expect(file.header.length).toBeLessThan(maxWrittenHeaderBytes + 9);
    expect(files.flatMap((file) => [...file.tensors]).length).toBe(12_000);
  });

  test("refuse a limit of nothing, more files than five digits count, and a name twice", async () => {
    expect((await failure(() => layoutShards(bytes(1), { shardBytes: 0 }))).kind).toBe("usage");
    const many: NewTensor[] = Array.from({ length: 100_000 }, (_, i) => ({ name: `t${i}`, dtype: "U8", shape: [1] }));
    expect((await failure(() => layoutShards(many, { shardBytes: 1 }))).message).toContain("the limit is 99999");
    const twice = [...bytes(1), ...bytes(1)];
    expect((await failure(() => layoutShards(twice, { shardBytes: 1 }))).message).toContain("comes twice");
  });
});

describe("the index", () => {
  test("counts bytes and parameters, and sorts names by code point", async () => {
    const tensors: NewTensor[] = [
      { name: "b", dtype: "BF16", shape: [2, 3] },
      { name: "\u{1f600}", dtype: "F32", shape: [1] },
      { name: "\uffee", dtype: "F32", shape: [1] },
      { name: "2", dtype: "F32", shape: [1] },
      { name: "10", dtype: "F32", shape: [1] },
      { name: "__proto__", dtype: "F32", shape: [2] },
    ];
    const files = layoutShards(tensors, { shardBytes: 20 });
    const text = indexJson(files);
    expect(
      text.startsWith(
        '{\n  "metadata": {\n    "total_parameters": 12,\n    "total_size": 36\n  },\n  "weight_map": {\n',
      ),
    ).toBe(true);
    const names = [...text.matchAll(/^ {4}"([^"]+)": "model-/gm)].map((match) => match[1]);
    expect(names).toEqual(["10", "2", "__proto__", "b", "\uffee", "\u{1f600}"]);
    const index = await readIndex(memorySource("model.safetensors.index.json", utf8(text)));
    for (const file of files) for (const name of file.tensors.keys()) expect(index.weightMap.get(name)).toBe(file.name);
    expect(index.shards).toEqual(files.map((file) => file.name));
  });
});
