// Against transformers (test/oracles/llama.py): its logits are f32 too, in another order of sums.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { localFolder } from "../../src/bytes/file.ts";
import { memoryFolder } from "../../src/bytes/memory.ts";
import { type Network, openNetwork } from "../../src/infer/network.ts";
import { openTokenizer } from "../../src/infer/tokenizer.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import { openCheckpoint } from "../../src/tensor/checkpoint.ts";
import { projectRoot } from "../support/host.ts";
import { type NewTestTensor, safetensorsBytes } from "../support/models.ts";

interface Recorded {
  readonly models: Readonly<Record<string, readonly { prompt: string; ids: number[]; logits: number[] }[]>>;
  readonly made: Readonly<
    Record<
      string,
      {
        config: Record<string, unknown>;
        tensors: Record<string, number[]>;
        ids: number[];
        positions: number[];
        logits: number[][];
      }
    >
  >;
}
const recorded = JSON.parse(readFileSync(join(projectRoot, "test/oracles/llama.json"), "utf8")) as Recorded;
const module = compileKernel();

/** Both round after every step, in another order: the most that was seen is 1.1e-5, of logits up to 18. */
const tolerance = 3e-5;

function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce<number>((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}

/** The weights of test/oracles/llama.py. */
function drawWeights(name: string, shape: readonly number[]): number[] {
  let state = 2166136261;
  for (const byte of new TextEncoder().encode(name)) state = Math.imul(state ^ byte, 16777619) >>> 0;
  const shift = name.endsWith("norm.weight") ? 0.5 : -0.5;
  return Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24 + shift;
  });
}

async function openMade(name: string, dtype: "F32" | "F64" = "F32"): Promise<Network> {
  const { config, tensors } = recorded.made[name]!;
  const file = Object.fromEntries(
    Object.entries(tensors).map(([key, shape]) => [
      key,
      { dtype, shape, data: drawWeights(key, shape) } satisfies NewTestTensor,
    ]),
  );
  const files = new Map([
    ["config.json", new TextEncoder().encode(JSON.stringify(config))],
    ["model.safetensors", safetensorsBytes(file)],
  ]);
  const folder = memoryFolder(name, files);
  return openNetwork(await openCheckpoint(name, folder), folder, module);
}

describe("logits of the example models are those of transformers", () => {
  for (const [name, prompts] of Object.entries(recorded.models)) {
    test(name, async () => {
      const folder = localFolder(join(projectRoot, "examples/models", name));
      const network = await openNetwork(await openCheckpoint(name, folder), folder, module);
      const tokenizer = await openTokenizer(folder);
      expect(prompts.map(({ prompt }) => tokenizer.encode(prompt))).toEqual(prompts.map(({ ids }) => ids));
      network.reserve(prompts.length, 40);
      const got: Float32Array[] = [];
      network.forward(
        prompts.map(({ ids }, text) => ({ text, start: 0, tokens: ids })),
        (run, _, logits) => {
          got[run] = logits.slice();
        },
      );
      for (const [i, { logits }] of prompts.entries()) expect(difference(got[i]!, logits)).toBeLessThan(tolerance);
    });
  }
});

describe("logits of made-up models are those of transformers, at every position", () => {
  for (const [name, { ids, positions, logits }] of Object.entries(recorded.made)) {
    test(name, async () => {
      const network = await openMade(name);
      network.reserve(1, ids.length);
      const all: Float32Array[] = [];
      network.forward(
        [{ text: 0, start: 0, tokens: ids }],
        (_, position, row) => {
          all[position] = row.slice();
        },
        true,
      );
      for (const [i, position] of positions.entries()) {
        expect(difference(all[position]!, logits[i]!)).toBeLessThan(tolerance);
      }
      // A wrong angle, bias or head would be seen: the logits are not all alike.
      expect(difference(all[1]!, all[39]!)).toBeGreaterThan(0.1);
    });
  }

  test("weights in f64 are the same ones, rounded", async () => {
    const [a, b] = [await openMade("qwen2"), await openMade("qwen2", "F64")];
    const last = (network: Network) => {
      network.reserve(1, 8);
      let out: Float32Array = new Float32Array(0);
      network.forward([{ text: 0, start: 0, tokens: [5, 22, 39] }], (_, __, row) => {
        out = row.slice();
      });
      return out;
    };
    expect(last(a)).toEqual(last(b));
  });
});

describe("a text's logits do not depend on", () => {
  const models = ["base", "tied-rev"] as const;
  const ids = (name: string) => recorded.models[name]!.map((p) => p.ids);

  async function open(name: string): Promise<Network> {
    const folder = localFolder(join(projectRoot, "examples/models", name));
    return openNetwork(await openCheckpoint(name, folder), folder, module);
  }

  for (const name of models) {
    test(`the texts beside it, or how many tokens go in at once (${name})`, async () => {
      const texts = ids(name);
      const network = await open(name);
      network.reserve(texts.length, 40);
      const together: Float32Array[] = [];
      network.forward(
        texts.map((tokens, text) => ({ text, start: 0, tokens })),
        (run, _, logits) => {
          together[run] = logits.slice();
        },
      );
      for (const [i, tokens] of texts.entries()) {
        const alone = await open(name);
        alone.reserve(1, tokens.length, 1);
        let last: Float32Array = new Float32Array(0);
        for (const [start, token] of tokens.entries()) {
          alone.forward([{ text: 0, start, tokens: [token] }], (_, __, logits) => {
            last = logits.slice();
          });
        }
        // To the bit: one row in bf16, many rows decoded, cached or not.
        expect(last).toEqual(together[i]!);
      }
    });
  }
});
