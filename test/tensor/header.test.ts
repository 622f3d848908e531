import { describe, expect, test } from "bun:test";
import { memorySource } from "../../src/bytes/memory.ts";
import type { ByteSource } from "../../src/bytes/source.ts";
import { isBraidError } from "../../src/errors.ts";
import { dtypeBits, isDtype } from "../../src/tensor/dtype.ts";
import { defaultMaxHeaderBytes, type Header, hardMaxHeaderBytes, parseHeader } from "../../src/tensor/header.ts";
import corpus from "../vectors/headers.json" with { type: "json" };
import { failure, rawFile, utf8 } from "./fixture.ts";
import { createRandom, mutate } from "./mutate.ts";

interface Case {
  readonly case: number;
  readonly name: string;
  readonly accepted: boolean;
  readonly base64?: string;
}
const cases: readonly Case[] = corpus.cases;

function fileOf({ name, base64 }: Case): Uint8Array<ArrayBuffer> {
  if (base64 !== undefined) return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  // Too long to be stored.
  if (name === "nesting 100000") return rawFile(`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`);
  throw new Error(`no bytes for the case ${name}`);
}

/** What the reference takes and Braid does not, by case: what the error says, which is the rule. */
const stricter: Readonly<Record<string, string>> = {
  "leading ws": "does not start with '{'",
  "trailing tab/nl": "something other than spaces follows",
  "dup tensor key identical": 'the name "a" comes twice',
  "dup tensor key last differs dtype": 'the name "a" comes twice',
  "dup tensor key first BAD last ok": 'the name "a" comes twice',
  "dup via escape \\u0061": 'the name "a" comes twice',
  "dup key in __metadata__": 'the name "a" comes twice',
  "tensor as JSON array seq": "expected an object with dtype, shape and data_offsets",
  'dtype as {"F32":null}': "expected dtype to be a string",
  "shape [0,2^63,2^63]": "a number is above 9007199254740991, the limit",
  "rank 1000 of ones": "shape has more than 16 numbers, the limit",
  "name with NUL escape": "the name holds U+0000, a control or bidirectional character",
};

const parse = (file: Uint8Array, name = "x.safetensors") => parseHeader(memorySource(name, file));

/** The reference's ten rules, the slow and obvious way, for a file that was accepted. */
function brokenRule(file: Uint8Array, header: Header): string | null {
  if (file.length < 8) return "1";
  const n = new DataView(file.buffer, file.byteOffset).getBigUint64(0, true);
  if (n > 100_000_000n) return "2";
  if (n + 8n > BigInt(file.length)) return "3";
  const bytes = file.slice(8, 8 + Number(n));
  const text = new TextDecoder().decode(bytes);
  if (utf8(text).join() !== bytes.join()) return "4";
  let json: Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>;
  try {
    json = JSON.parse(text);
  } catch {
    return "5: JSON";
  }
  const tensors = Object.entries(json).filter(([name]) => name !== "__metadata__");
  if (tensors.length !== header.tensors.size) return "5: names";
  for (const value of Object.values(Object.getOwnPropertyDescriptor(json, "__metadata__")?.value ?? {})) {
    if (typeof value !== "string") return "5: metadata";
  }
  const places = tensors.map(([, t]) => t.data_offsets).sort((a, b) => a[0]! - b[0]! || a[1]! - b[1]!);
  let end = 0;
  for (const [from, to] of places as [number, number][]) {
    if (from !== end || to < from) return "6";
    end = to;
  }
  for (const [name, { dtype, shape, data_offsets: offsets }] of tensors) {
    if (!isDtype(dtype) || !Array.isArray(shape) || offsets.length !== 2) return "5: fields";
    if (![...shape, ...offsets].every((x) => Number.isSafeInteger(x) && x >= 0)) return "5: numbers";
    const bits = shape.reduce((product, d) => product * BigInt(d), 1n) * BigInt(dtypeBits[dtype]);
    if (bits >= 2n ** 64n) return "7";
    if (bits % 8n !== 0n) return "8";
    if (BigInt(offsets[1]! - offsets[0]!) * 8n !== bits) return "9";
    const entry = header.tensors.get(name);
    const base = 8 + Number(n);
    if (entry?.start !== base + offsets[0]! || entry.end !== base + offsets[1]!) return "what was returned";
    if (entry.dtype !== dtype || entry.shape.join() !== shape.join()) return "what was returned";
  }
  return BigInt(end) + 8n + n === BigInt(file.length) ? null : "10";
}

describe("the corpus of good and bad headers", () => {
  test("has its 114 cases", () => {
    expect(cases.length).toBe(114);
    expect(cases.filter(({ accepted }) => accepted).length).toBe(48);
  });

  for (const each of cases) {
    const rule = stricter[each.name];
    const verb = !each.accepted ? "refuses" : rule === undefined ? "accepts" : "is stricter than the reference about";
    test(`${verb} ${each.case}: ${each.name}`, async () => {
      const file = fileOf(each);
      if (each.accepted && rule === undefined) {
        expect(brokenRule(file, await parse(file))).toBe(null);
        return;
      }
      const error = await failure(() => parse(file));
      expect(error.kind).toBe("safetensors-header");
      expect(error.exitCode).toBe(65);
      expect(error.message.startsWith('Cannot read header of "x.safetensors": ')).toBe(true);
      if (rule !== undefined) expect(error.message).toContain(rule);
    });
  }
});

describe("mutants of the corpus", () => {
  // A slow run: BRAID_MUTANTS=1000000 bun test ./test/tensor/header.test.ts
  const count = Number(process.env.BRAID_MUTANTS ?? 10_000);
  test(`${count} mutants: no crash, and whatever is accepted obeys all ten rules`, async () => {
    const random = createRandom(20261122);
    const accepted = cases.filter((each) => each.accepted).map(fileOf);
    const seeds = [...accepted, ...accepted, ...cases.filter((each) => each.base64 !== undefined).map(fileOf)];
    const wrong: string[] = [];
    let taken = 0;
    let slowest = 0;
    for (let i = 0; i < count; i++) {
      const file = mutate(seeds, random);
      const started = performance.now();
      try {
        const header = await parse(file);
        taken++;
        const rule = brokenRule(file, header);
        if (rule !== null) wrong.push(`mutant ${i} breaks rule ${rule}: ${new TextDecoder().decode(file)}`);
      } catch (e) {
        if (!isBraidError(e) || e.kind !== "safetensors-header") wrong.push(`mutant ${i}: ${e}`);
      }
      slowest = Math.max(slowest, performance.now() - started);
    }
    expect(wrong).toEqual([]);
    // Enough of them are good, or the rules were not tested.
    expect(taken).toBeGreaterThan(count / 100);
    // Sanity only: a mutant takes microseconds, a busy machine what it likes.
    expect(slowest).toBeLessThan(5000);
  });
});

const tensor = (fields: string) => `{"a":{${fields}}}`;
const f32 = '"dtype":"F32","shape":[1],"data_offsets":[0,4]';

describe("a header", () => {
  test("gives absolute offsets in the order of the bytes, metadata and a hash", async () => {
    const text =
      '{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"__metadata__":{"k":"v"},"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}';
    const file = rawFile(text, 8);
    const header = await parse(file);
    const start = 8 + text.length;
    expect([...header.tensors.values()]).toEqual([
      { name: "a", dtype: "BF16", shape: [1, 2], start, end: start + 4 },
      { name: "b", dtype: "F32", shape: [1], start: start + 4, end: start + 8 },
    ]);
    expect([...header.metadata]).toEqual([["k", "v"]]);
    expect(header.dataStart).toBe(start);
    expect(header.headerBytes).toBe(text.length);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", file.slice(0, start)));
    expect(header.sha256).toBe(Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join(""));
  });

  test("may have tensors named as properties of objects are", async () => {
    for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty", ""]) {
      const header = await parse(rawFile(`{${JSON.stringify(name)}:{${f32}}}`, 4));
      expect([...header.tensors.keys()]).toEqual([name]);
    }
  });

  test("names the file, the tensor, what was found and what is allowed", async () => {
    const dtype = await failure(() => parse(rawFile(tensor('"dtype":"F31","shape":[1],"data_offsets":[0,4]'), 4)));
    expect(dtype.message).toContain(
      'Cannot read header of "x.safetensors": tensor "a": dtype is "F31", allowed are BOOL, F4,',
    );
    const size = await failure(() => parse(rawFile(tensor('"dtype":"F32","shape":[2],"data_offsets":[0,4]'), 4)));
    expect(size.message).toBe(
      'Cannot read header of "x.safetensors": tensor "a" has 4 bytes in data_offsets, expected 8 for the shape [2] of F32',
    );
  });

  test("escapes what a name could do to a terminal", async () => {
    const error = await failure(() => parse(rawFile(`{"a\\u001b[31m":{${f32}}}`, 4), "evil\u001b\u202e.safetensors"));
    expect(error.message).toContain('"evil\\u{1b}\\u{202e}.safetensors"');
    expect(error.message).toContain('"a\\u{1b}[31m"');
  });

  for (const [what, bad] of [
    ["a right-to-left override", "\\u202e"],
    ["an isolate", "\\u2066"],
    ["a delete character", "\\u007f"],
    ["a C1 control", "\\u009b"],
    ["1,025 bytes", `${"é".repeat(512)}x`],
  ]) {
    test(`is refused with ${what} in a name`, async () => {
      expect((await failure(() => parse(rawFile(`{"${bad}":{${f32}}}`, 4)))).message).toContain("the name h");
    });
  }

  test("may have a name of 1,024 bytes", async () => {
    expect((await parse(rawFile(`{"${"é".repeat(512)}":{${f32}}}`, 4))).tensors.size).toBe(1);
  });

  test("may have 16 dimensions and no more", async () => {
    const shape = (rank: number) => tensor(`"dtype":"F32","shape":[${Array(rank).fill(1)}],"data_offsets":[0,4]`);
    expect((await parse(rawFile(shape(16), 4))).tensors.get("a")!.shape.length).toBe(16);
    expect((await failure(() => parse(rawFile(shape(17), 4)))).message).toContain("more than 16 numbers");
  });

  test("may lie 127 containers deep and no deeper", async () => {
    const nested = (depth: number) => tensor(`${f32},"x":${"[".repeat(depth - 2)}${"]".repeat(depth - 2)}`);
    expect((await parse(rawFile(nested(127), 4))).tensors.size).toBe(1);
    expect((await failure(() => parse(rawFile(nested(128), 4)))).message).toContain("more than 127 deep");
  });
});

describe("limits on the length", () => {
  /** Claims a length, answers the first eight bytes, and fails on any other read. */
  function claim(declared: bigint, byteLength: number): ByteSource {
    return {
      name: "x.safetensors",
      byteLength,
      read(start, target) {
        if (start !== 0 || target.length !== 8) throw new Error(`read ${target.length} bytes from ${start}`);
        new DataView(target.buffer).setBigUint64(0, declared, true);
      },
      close() {},
    };
  }

  test("nothing is allocated or read for a length above the limit or above the file", async () => {
    for (const [declared, size] of [
      [2n ** 64n - 1n, 2 ** 50],
      [BigInt(hardMaxHeaderBytes) + 1n, 2 ** 40],
      [BigInt(defaultMaxHeaderBytes) + 1n, 2 ** 40],
      [1_000_000n, 1_000_007],
    ] as const) {
      expect((await failure(() => parseHeader(claim(declared, size)))).kind).toBe("safetensors-header");
    }
  });

  test("a longer one is read when the caller says so, up to the reference's limit", async () => {
    const text = `${tensor(f32)}${" ".repeat(200)}`;
    const source = () => memorySource("x.safetensors", rawFile(text, 4));
    const error = await failure(() => parseHeader(source(), { maxHeaderBytes: 100 }));
    expect(error.message).toBe(
      `Cannot read header of "x.safetensors": length is ${text.length}, the limit is 100\n  If you trust the file: --max-header ${text.length}`,
    );
    expect((await parseHeader(source(), { maxHeaderBytes: 1000 })).tensors.size).toBe(1);
    const above = await failure(() => parseHeader(claim(100_000_001n, 2 ** 40), { maxHeaderBytes: 2 ** 40 }));
    expect(above.message).toContain("length is 100000001, the limit is 100000000");
  });

  for (const [what, start, says] of [
    ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1", "git lfs pull"],
    ["a zip archive", "PK\u0003\u0004\u0000\u0000\u0008\u0008", "Convert the checkpoint"],
    ["GGUF", "GGUF\u0003\u0000\u0000\u0000\u0001", "Merge the safetensors checkpoint"],
    ["a web page", "<!DOCTYPE html>", "Download the file again"],
  ] as const) {
    test(`${what} is recognised`, async () => {
      expect((await failure(() => parse(utf8(start)))).message).toContain(says);
    });
  }
});

test("a header of 10 MB with 100,000 tensors is read in linear time", async () => {
  const build = (count: number): Uint8Array => {
    let end = 0;
    const members = Array.from({ length: count }, (_, i) => {
      end += 12;
      return `"model.layers.${i}.self_attn.q_proj.weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[${end - 12},${end}]}`;
    });
    return rawFile(`{${members.join(",")}}`, end);
  };
  const time = async (file: Uint8Array): Promise<number> => {
    const started = performance.now();
    await parse(file);
    return performance.now() - started;
  };
  const small = build(10_000);
  await time(small);
  const [fast, slow] = [await time(small), await time(build(100_000))];
  // Ten times the tensors; a quadratic step would cost a hundred times.
  expect(slow / Math.max(fast, 5)).toBeLessThan(50);
});

test("100,000 levels, 1 MB of backslashes and 1 MB of digits are refused at once", async () => {
  for (const text of [
    `{"a":${"[".repeat(100_000)}`,
    `{"a":${'{"a":'.repeat(100_000)}`,
    `{"${"\\\\".repeat(500_000)}`,
    tensor(`${f32},"x":${"9".repeat(1_000_000)}`),
    `{"a":{"dtype":"F32","shape":[${"0,".repeat(500_000)}0],"data_offsets":[0,4]}}`,
  ]) {
    expect((await failure(() => parse(rawFile(text, 4)))).kind).toBe("safetensors-header");
  }
});
