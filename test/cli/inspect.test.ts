// `braid inspect` on the examples, on a hub cache and on what is not there; statistics against plain formulas.

import { describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memorySource } from "../../src/bytes/memory.ts";
import { readStatistics } from "../../src/cli/statistics.ts";
import { decodeF16 } from "../../src/tensor/decode.ts";
import { inFolder, root, start } from "./braid.ts";

describe("inspect", () => {
  test("shows files, config and tensors of a sharded checkpoint", async () => {
    const { exit, out, err } = await start(["inspect", "examples/models/base-sharded"]);
    expect(err).toBe("");
    expect(exit).toBe(0);
    for (const text of [
      "39 tensors, 763,008 parameters",
      "model-00002-of-00002.safetensors",
      "hidden_size              128",
      "model.norm.weight",
      "format  pt",
    ]) {
      expect(out).toContain(text);
    }
  });

  test("--json has every tensor with its place", async () => {
    const { out } = await start(["inspect", "examples/models/tied-add", "--json"]);
    const document = JSON.parse(out);
    expect(document.parameters).toBe(314016);
    expect(document.tied).toBe(true);
    expect(document.tensors.length).toBe(29);
    expect(document.tensors.find((t: { name: string }) => t.name === "model.norm.weight")).toEqual({
      name: "model.norm.weight",
      dtype: "BF16",
      shape: [96],
      count: 96,
      file: "model.safetensors",
      start: 630856,
      end: 631048,
    });
    expect(document.config.model_type).toBe("llama");
  });

  test("a tensor: statistics and first values", async () => {
    const { out } = await start(["inspect", "examples/models/base", "lm_head.weight", "--json"]);
    const { statistics } = JSON.parse(out);
    expect(statistics.nonFinite).toBe(0);
    expect(statistics.first.length).toBe(8);
    expect(statistics.min).toBeLessThan(statistics.mean);
    const text = await start(["inspect", "examples/models/base", "lm_head.weight"]);
    expect(text.out).toContain("96 × 128");
    expect(text.out).toContain("std");
  });

  test("a mistyped tensor gets the nearest name", async () => {
    const { exit, err } = await start(["inspect", "examples/models/base", "model.norm.weigth"]);
    expect(exit).toBe(65);
    expect(err).toContain('Did you mean "model.norm.weight"?');
  });

  test("an id is looked up in the hub cache; a missing one says where", async () => {
    await inFolder(async (folder) => {
      const model = join(folder, "models--org--tiny");
      const snapshot = join(model, "snapshots", "0".repeat(40));
      mkdirSync(join(model, "refs"), { recursive: true });
      writeFileSync(join(model, "refs/main"), "0".repeat(40));
      cpSync(join(root, "examples/models/tied-add"), snapshot, { recursive: true });
      const env = { HF_HUB_CACHE: folder };
      expect((await start(["inspect", "org/tiny"], { env })).out).toContain("org/tiny at 0000");
      const { exit, err } = await start(["inspect", "org/none"], { env });
      expect(exit).toBe(66);
      expect(err).toContain(join(folder, "models--org--none"));
    });
  });

  test("--json of an error is a document", async () => {
    const { exit, out } = await start(["inspect", "nowhere", "--json"]);
    expect(exit).toBe(66);
    expect(JSON.parse(out)).toMatchObject({ exitCode: 66, errors: [{ kind: "model-not-found" }] });
  });
});

describe("statistics", () => {
  const never = new AbortController().signal;

  test.each([
    [0x0000, 0],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65504],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0x7e00, Number.NaN],
  ])("f16 %i is %d", (bits, value) => {
    expect(decodeF16(bits)).toBe(value);
  });

  test("come out right across pieces, with non-finite values left out", async () => {
    const values = Float32Array.from({ length: 600_000 }, (_, i) => (i % 1000 === 0 ? Number.NaN : (i % 7) - 2));
    const finite = values.filter((x) => Number.isFinite(x));
    const mean = finite.reduce((sum, x) => sum + x, 0) / finite.length;
    const bytes = new Uint8Array(values.buffer);
    const s = (await readStatistics(
      memorySource("x", bytes),
      { dtype: "F32", start: 0, end: bytes.length },
      3,
      never,
    ))!;
    expect(s.nonFinite).toBe(600);
    expect(s.zeros).toBe(finite.filter((x) => x === 0).length);
    expect([s.min, s.max]).toEqual([-2, 4]);
    expect(s.mean!).toBeCloseTo(mean, 9);
    expect(s.std!).toBeCloseTo(Math.sqrt(finite.reduce((sum, x) => sum + (x - mean) ** 2, 0) / finite.length), 9);
    expect(s.first).toEqual([Number.NaN, -1, 0]);
  });

  test("an empty tensor has none, an exotic dtype is not decoded", async () => {
    const empty = await readStatistics(
      memorySource("x", new Uint8Array(0)),
      { dtype: "F32", start: 0, end: 0 },
      3,
      never,
    );
    expect(empty).toMatchObject({ min: null, mean: null, first: [] });
    expect(
      await readStatistics(memorySource("x", new Uint8Array(1)), { dtype: "F8_E5M2", start: 0, end: 1 }, 3, never),
    ).toBeNull();
  });
});
