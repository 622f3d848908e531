// What config.json may say, and how much memory that takes.

import { describe, expect, test } from "bun:test";
import { isBraidError } from "../../src/errors.ts";
import { readArchitecture } from "../../src/infer/architecture.ts";
import { assertFits, mostMemoryBytes, planRoom, positionBytes } from "../../src/infer/memory.ts";
import { ropeFrequencies, ropeTables } from "../../src/infer/rope.ts";
import { compileKernel, createKernel } from "../../src/kernel/kernel.ts";

const config = {
  model_type: "llama",
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 100,
  max_position_embeddings: 512,
};
const of = (change: Record<string, unknown>) => readArchitecture({ ...config, ...change }, "m");
const failure = (run: () => unknown): string => {
  try {
    run();
  } catch (e) {
    return isBraidError(e) ? `${e.kind}: ${e.message.split("\n")[0]}` : String(e);
  }
  return "nothing";
};

describe("readArchitecture", () => {
  test("takes transformers' defaults for what is not said", () => {
    expect(of({})).toMatchObject({
      keyHeads: 4,
      headSize: 16,
      epsilon: 1e-6,
      ropeTheta: 10_000,
      ropeScaling: { kind: "none" },
      tied: undefined,
      stops: [],
    });
  });
  test("reads RoPE in both spellings, and ends of text as a number or a list", () => {
    const old = of({ rope_theta: 5e5, rope_scaling: { type: "linear", factor: 4 }, eos_token_id: [1, 2] });
    expect(old).toMatchObject({ ropeTheta: 5e5, ropeScaling: { kind: "linear", factor: 4 }, stops: [1, 2] });
    const now = of({ rope_parameters: { rope_type: "default", rope_theta: 7 }, rope_theta: 5, eos_token_id: 3 });
    expect(now).toMatchObject({ ropeTheta: 7, ropeScaling: { kind: "none" }, stops: [3] });
  });
  test("a sliding window is the context, where it is used", () => {
    expect(of({ model_type: "mistral", sliding_window: 128 }).context).toBe(128);
    expect(of({ model_type: "qwen2", sliding_window: 128, use_sliding_window: false }).context).toBe(512);
    expect(of({ sliding_window: 128, layer_types: ["full_attention", "full_attention"] }).context).toBe(512);
    expect(of({ sliding_window: 128, layer_types: ["full_attention", "sliding_attention"] }).context).toBe(128);
  });
  test.each([
    [{ model_type: "gemma3_text" }, "model-unsupported", 'its model_type is "gemma3_text"'],
    [{ quantization_config: { quant_method: "gptq" } }, "model-unsupported", "its weights are quantized"],
    [{ hidden_act: "gelu" }, "model-unsupported", 'its hidden_act is "gelu", expected "silu"'],
    [{ partial_rotary_factor: 0.5 }, "model-unsupported", "it turns only a part of each head"],
    [{ rope_scaling: { rope_type: "dynamic", factor: 2 } }, "model-unsupported", 'its RoPE is scaled by "dynamic"'],
    [
      { rope_scaling: { rope_type: "llama3", factor: 2 } },
      "model-unsupported",
      "low_freq_factor of its RoPE is undefined",
    ],
    [{ num_key_value_heads: 3 }, "model-config", "4 heads are not a multiple of 3 heads of keys"],
    [{ head_dim: 15 }, "model-config", "its head_dim is 15"],
    [{ vocab_size: 0 }, "model-config", "vocab_size of its config.json is 0"],
    [{ hidden_size: 63 }, "model-config", "head_dim of its config.json is 15.75"],
  ])("refuses %p", (change, kind, message) => {
    const start = `${kind}: Cannot run "m": ${message}`;
    expect(failure(() => of(change)).slice(0, start.length)).toBe(start);
  });
  test("a model without config.json cannot be run", () => {
    expect(failure(() => readArchitecture(null, "m"))).toContain('model-config: Cannot run "m": it has no config.json');
  });
});

describe("RoPE", () => {
  const { exports } = createKernel(compileKernel(), 1 << 16);
  test("turns pairs by θ^(−2i/d), to f32", () => {
    const frequencies = ropeFrequencies(of({ rope_theta: 500_000, head_dim: 64 }), exports);
    for (const [i, f] of frequencies.entries()) expect(Math.abs(f / 500_000 ** (-i / 32) - 1)).toBeLessThan(1e-7);
  });
  test("cosines and sines are those of the angle, also far out", () => {
    const frequencies = Float32Array.of(1, 0.37, 1e-4);
    const { cosines, sines } = ropeTables(frequencies, 5000);
    for (const position of [0, 1, 7, 4999]) {
      for (const [i, f] of frequencies.entries()) {
        const angle = Math.fround(position * f);
        expect(cosines[position * 3 + i]).toBeCloseTo(Math.cos(angle), 6);
        expect(sines[position * 3 + i]).toBeCloseTo(Math.sin(angle), 6);
      }
    }
  });
});

describe("memory", () => {
  test("is known beforehand: rooms do not overlap, and grow by a position's bytes", () => {
    const a = of({});
    const room = planRoom(a, 3, 100, 128);
    const { rows, logitRows, byteLength, ...offsets } = room;
    expect([rows, logitRows]).toEqual([128, 128]);
    const starts = Object.values(offsets);
    expect(starts.every((s, i) => s % 64 === 0 && (i === 0 || s > starts[i - 1]!))).toBe(true);
    const longer = planRoom(a, 3, 200, 128).byteLength - byteLength;
    expect(longer).toBeGreaterThanOrEqual(3 * 100 * positionBytes(a));
    expect(longer).toBeLessThan(3 * 100 * positionBytes(a) + 100 * 1024);
  });
  test("what does not fit is told with its figures and what to do", () => {
    expect(failure(() => assertFits("m", 2 ** 32, 1, mostMemoryBytes))).toBe(
      'memory-budget: Cannot run "m": it needs 4097 MiB (4096 MiB of weights), the limit is 4096 MiB, all that WebAssembly addresses',
    );
    expect(failure(() => assertFits("m", 1 << 20, 1 << 20, 1 << 20))).toBe(
      'memory-budget: Cannot run "m": it needs 2 MiB (1 MiB of weights), the limit is 1 MiB',
    );
  });
});
