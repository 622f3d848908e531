// Accuracy of the example models is PyTorch's, prompt for prompt (examples/README.md; greedy, exact match).

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { localFolder } from "../../src/bytes/file.ts";
import { isBraidError } from "../../src/errors.ts";
import { generate, greedy } from "../../src/infer/generate.ts";
import { type Network, openNetwork } from "../../src/infer/network.ts";
import { draw, largest, uniform } from "../../src/infer/sample.ts";
import { parseCases, scoreExactMatch, stopsOf } from "../../src/infer/score.ts";
import { openTokenizer, type Tokenizer } from "../../src/infer/tokenizer.ts";
import { compileKernel } from "../../src/kernel/kernel.ts";
import { exp } from "../../src/kernel/reference-importance.ts";
import { openCheckpoint } from "../../src/tensor/checkpoint.ts";
import { projectRoot } from "../support/host.ts";

const module = compileKernel();

async function open(name: string): Promise<{ network: Network; tokenizer: Tokenizer }> {
  const folder = localFolder(join(projectRoot, "examples/models", name));
  const network = await openNetwork(await openCheckpoint(name, folder), folder, module);
  return { network, tokenizer: await openTokenizer(folder) };
}

const tests = (task: string) => readFileSync(join(projectRoot, "examples/models/tests", `${task}.jsonl`), "utf8");

/** Right answers of 300, by PyTorch and transformers with the protocol of this test. */
const pytorch: readonly [string, string, number][] = [
  ["base", "add", 85],
  ["ft-add", "rev", 52],
  ["ft-rev", "sort", 68],
  ["tied-base", "sort", 62],
  ["tied-add", "add", 298],
  ["tied-rev", "sort", 94],
];

describe("exact match", () => {
  for (const [name, task, right] of pytorch) {
    test(`${name} on ${task}: ${right} of 300, as with PyTorch`, async () => {
      const { network, tokenizer } = await open(name);
      const score = await scoreExactMatch(network, tokenizer, parseCases(tests(task), task));
      expect([score.correct, score.total]).toEqual([right, 300]);
      expect(score.accuracy).toBe(right / 300);
    });
  }

  test("compares to the last character", async () => {
    const { network, tokenizer } = await open("ft-add");
    const cases = parseCases(tests("add"), "add").slice(0, 3);
    const wrong = cases.map((c, i) => (i === 1 ? { ...c, answer: `${c.answer}0` } : c));
    const score = await scoreExactMatch(network, tokenizer, wrong);
    expect(score.correct).toBe(2);
    expect(score.answers[1]).toBe(cases[1]!.answer);
  });
});

describe("generate", () => {
  test("draws the same with the same seed, alone or beside others, and otherwise with another", async () => {
    const { network, tokenizer } = await open("base");
    const prompts = ["rev:abc=", "12+30=", "sort:"].map((p) => tokenizer.encode(p));
    const options = { maxTokens: 12, stops: [], temperature: 2, seed: "7" };
    const together = await generate(network, prompts, options);
    expect(together.map((t) => t.length)).toEqual([12, 12, 12]);
    expect(await generate(network, prompts.slice(0, 1), options)).toEqual(together.slice(0, 1));
    expect(await generate(network, prompts, options)).toEqual(together);
    expect(await generate(network, prompts, { ...options, seed: "8" })).not.toEqual(together);
    const cold = await generate(network, prompts, { ...options, ...greedy });
    expect(await generate(network, prompts, { ...options, temperature: 1e-6 })).toEqual(cold);
  });

  test("tells tokens as they come, pauses between steps, and stops when told", async () => {
    const { network, tokenizer } = await open("ft-add");
    const heard: number[] = [];
    let pauses = 0;
    const options = {
      maxTokens: 9,
      stops: stopsOf(network, tokenizer),
      ...greedy,
      onToken: (_: number, token: number) => void heard.push(token),
      pause: () => void pauses++,
    };
    const [tokens] = await generate(network, [tokenizer.encode("63+88=")], options);
    expect(tokenizer.decode(tokens!)).toBe("151");
    expect(heard).toEqual(tokens!);
    expect(pauses).toBe(4);
    const stopped = AbortSignal.abort(new Error("enough"));
    await expect(generate(network, [[1, 2]], { ...options, signal: stopped })).rejects.toThrow("enough");
  });

  test("refuses more than the model's context, and an empty prompt", async () => {
    const { network } = await open("tied-base");
    const kindOf = async (prompts: number[][], maxTokens: number) => {
      try {
        await generate(network, prompts, { maxTokens, stops: [], ...greedy });
      } catch (e) {
        return isBraidError(e) ? `${e.kind}: ${e.message.split("\n")[0]}` : e;
      }
    };
    expect(await kindOf([[1, 2, 3]], 63)).toBe("usage: Cannot run tied-base with 65 tokens: the model was made for 64");
    expect(await kindOf([[1], []], 1)).toBe("usage: Cannot continue prompt 2: it has no tokens");
    expect(await generate(network, [[1, 2, 3]], { maxTokens: 0, stops: [], ...greedy })).toEqual([[]]);
  });
});

describe("draw", () => {
  test("takes the token in whose share of the distribution u falls", () => {
    const logits = Float32Array.of(1, 3, 2);
    const shares = [...logits].map((x) => Math.exp(x / 2));
    const sum = shares.reduce((a, b) => a + b, 0);
    const edges = [shares[0]! / sum, (shares[0]! + shares[1]!) / sum];
    const at = (u: number) => draw(logits, 2, u, exp);
    expect([0, edges[0]! - 1e-9, edges[0]! + 1e-9, edges[1]! - 1e-9, edges[1]! + 1e-9, 1 - 2 ** -53].map(at)).toEqual([
      0, 0, 1, 1, 2, 2,
    ]);
    expect(draw(logits, 0, 0.99, exp)).toBe(1);
  });

  test("the largest is the first of equals, and NaN is larger than all, as in torch", () => {
    expect(largest(Float32Array.of(1, 5, 5))).toBe(1);
    expect(largest(Float32Array.of(1, Number.NaN, Infinity, Number.NaN))).toBe(1);
    expect(largest(Float32Array.of(-Infinity, -Infinity))).toBe(0);
  });

  test("numbers are uniform, and each of its own text and position", () => {
    const numbers = Array.from({ length: 2000 }, (_, i) => uniform("1", i % 40, Math.floor(i / 40)));
    expect(new Set(numbers).size).toBe(2000);
    expect(numbers.every((u) => u >= 0 && u < 1)).toBe(true);
    // Ten bins of 200 each: the 99.99 % point of χ² with 9 degrees is 33.7.
    const bins = Array(10).fill(0) as number[];
    for (const u of numbers) bins[Math.floor(u * 10)]!++;
    expect(bins.reduce((sum, n) => sum + (n - 200) ** 2 / 200, 0)).toBeLessThan(33.7);
  });
});

describe("cases", () => {
  const kindOf = (text: string) => {
    try {
      return parseCases(text, "x.jsonl");
    } catch (e) {
      return isBraidError(e) ? `${e.kind}: ${e.message.split("\n")[0]}` : e;
    }
  };
  test("are read line by line", () => {
    expect(parseCases('{"prompt":"a","answer":"b","more":1}\r\n\n{"prompt":"c","completion":""}', "x")).toEqual([
      { prompt: "a", answer: "b" },
      { prompt: "c", answer: "" },
    ]);
  });
  test.each([
    ['{"prompt":"a","answer":"b"}\n{', 'prompts: Cannot read line 2 of "x.jsonl": it is not JSON'],
    ["[]", 'prompts: Cannot read line 1 of "x.jsonl": it is not an object'],
    ['{"answer":"b"}', 'prompts: Cannot read line 1 of "x.jsonl": it has no text "prompt"'],
    ['{"prompt":"b","answer":4}', 'prompts: Cannot read line 1 of "x.jsonl": it has no text "answer"'],
    ["\n", 'prompts: Cannot read "x.jsonl": it has no prompts'],
  ])("%s", (text, message) => {
    expect(kindOf(text)).toBe(message);
  });
});
