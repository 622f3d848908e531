// Methods that choose by element: the vectors of test/vectors/methods.json, and what they do with non-finite elements.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../support/host.ts";
import { expectNear, mergeOne } from "../support/one-tensor.ts";

interface VectorCase {
  method: string;
  params: Record<string, unknown>;
  expected: number[];
}

const vectors = JSON.parse(readFileSync(join(projectRoot, "test/vectors/methods.json"), "utf8")) as {
  fixture: Record<"base" | "dA" | "dB" | "dC", number[]>;
  cases: VectorCase[];
};
const { base, dA, dB, dC } = vectors.fixture;
const of = (method: string) => vectors.cases.filter((c) => c.method === method);
const zeros = base.map(() => 0);
const plus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x + b[i]!);
const title = (c: VectorCase) => `${c.method} ${JSON.stringify(c.params)}`;

/** The merged delta of A, B and C on a base of zeros. */
async function deltaOf(method: string, parameters: Record<string, unknown>, models = [dA, dB, dC]): Promise<number[]> {
  return (await mergeOne({ method, base: zeros, models, parameters })).values;
}

describe("near-swap", () => {
  for (const c of of("nearswap")) {
    test(title(c), async () => {
      const { a, b, t } = c.params as { a: number[]; b: number[]; t: number };
      expectNear((await mergeOne({ method: "nearswap", base: a, models: [b], parameters: { t } })).values, c.expected);
    });
  }
  test("what is nearer than t is the other model's value, bit for bit", async () => {
    // 1e8 + (1 − 1e8) would be 0 in f32.
    const { values } = await mergeOne({ method: "nearswap", base: [1e8, 3], models: [[1, 3]], parameters: { t: 2e8 } });
    expect(values).toEqual([1, 3]);
  });
});

describe("RAM", () => {
  test("adds what one model alone changed and averages the rest", async () => {
    const got = await deltaOf("ram", { epsilon: 0.01 });
    // Index 3: A is zero there. Index 1, 2, …: three contributors.
    expectNear(got, [0.625 / 3, -0.5 / 3, 0.375 / 3, 0.375 / 2, 0.5 / 3, 0.25 / 3, 0.5 / 3, 0.125 / 3]);
  });
  test("epsilon decides who counts", async () => {
    // |δ| > 0.3: A | B | B | – | A B C | – | A B C | B.
    const got = await deltaOf("ram", { epsilon: 0.3 });
    expectNear(got, [0.5, -0.5, 0.375, 0, 0.5 / 3, 0, 0.5 / 3, 0.5]);
  });
});

describe("MagMax", () => {
  for (const c of of("magmax_delta")) {
    test(title(c), async () => {
      expectNear(await deltaOf("magmax", { lambda: c.params.scale }), c.expected);
    });
  }
  test("half of it unless told otherwise", async () => {
    expectNear(
      await deltaOf("magmax", {}),
      of("magmax_delta")[0]!.expected.map((x) => x / 2),
    );
  });
});

describe("Consensus", () => {
  for (const c of of("consensus_ta_delta")) {
    test(title(c), async () => {
      const { lam, k, alpha } = c.params;
      expectNear(await deltaOf("consensus_ta", { lambda_mask: lam, k, alpha }), c.expected);
    });
  }
  test("k counts the TALL masks", async () => {
    const masks = of("tall_mask").map((c) => c.expected);
    expect(masks.length).toBe(3);
    const backers = masks.reduce(plus);
    const total = [dA, dB, dC].reduce(plus);
    for (const k of [1, 2, 3]) {
      const want = total.map((x, i) => (backers[i]! >= k ? x : 0));
      expectNear(await deltaOf("consensus_ta", { lambda_mask: 0.4, k }), want);
    }
  });
  test("with TIES: half trimmed, elected, added; masks compare it with whole deltas", async () => {
    // Halves: A ±0.5 −0.375 0.75 and the tie ±0.25; B −0.5 0.375 0.375 −0.75 0.5; C 0.25 0.25 0.5 0.25 0.5 −0.25 (ties stay).
    // Elected sums: 0.5 + 0.25 | −0.5 | 0.375 | 0 | 0.375 + 0.5 | 0.25 | 0.75 + 0.5 | 0.5. Index 1: −0.25 of A, −0.5 of B, +0.25 of C
    // elect −; k = 4 of 8 keeps keys ≥ 0.375 of B and A's 0.25 is its fourth.
    const trim = (d: readonly number[]) => {
      const fourth = d.map(Math.abs).sort((a, b) => b - a)[3]!;
      return d.map((x) => (Math.abs(x) >= fourth ? x : 0));
    };
    const trimmed = [dA, dB, dC].map(trim);
    const total = base.map((_, i) => {
      const sum = trimmed.reduce((s, d) => s + d[i]!, 0);
      return trimmed.filter((d) => d[i]! * sum > 0).reduce((s, d) => s + d[i]!, 0);
    });
    for (const k of [1, 2, 3]) {
      const want = total.map((x, i) => {
        const backers = [dA, dB, dC].filter((d) => Math.abs(d[i]!) > 0.4 * Math.abs(x - d[i]!)).length;
        return backers >= k ? 0.5 * x : 0;
      });
      const parameters = { lambda_mask: 0.4, k, alpha: 0.5, density: 0.5 };
      expectNear(await deltaOf("consensus_ties", parameters), want);
    }
  });
  test("asking for more models than there are is refused", async () => {
    await expect(deltaOf("consensus_ta", { k: 4 })).rejects.toThrow("k is 4, the recipe has 3 models");
  });
});

describe("EMR", () => {
  for (const c of of("emr_unified")) {
    test(title(c), async () => {
      expectNear(await deltaOf("emr", {}), c.expected);
    });
  }
});

describe("non-finite elements", () => {
  const flat = (value: number, at: Record<number, number> = {}) =>
    Array.from({ length: 5000 }, (_, i) => at[i] ?? value + (i % 7) / 64);
  const recipes: [string, Record<string, unknown>, number][] = [
    ["nearswap", { t: 0.25 }, 1],
    ["ram", {}, 2],
    ["magmax", {}, 2],
    ["consensus_ta", { k: 1 }, 2],
    ["consensus_ties", { k: 1, density: 0.5 }, 2],
    ["emr", {}, 2],
  ];
  for (const [method, parameters, models] of recipes) {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const inputs = (at: Record<number, number>) => [flat(2, at), flat(3)].slice(0, models);
      test(`${method}: ${bad} is refused`, async () => {
        await expect(mergeOne({ method, base: flat(1), models: inputs({ 4500: bad }), parameters })).rejects.toThrow(
          "1 NaN or infinite elements, the first at index 4500",
        );
      });
      test(`${method}: kept, ${bad} spoils its own element alone`, async () => {
        const shared = { method, base: flat(1), parameters, request: { nonFinite: "keep" } } as const;
        const good = (await mergeOne({ ...shared, models: inputs({}) })).values;
        const { values } = await mergeOne({ ...shared, models: inputs({ 4500: bad }) });
        const differ = values.flatMap((x, i) => (x === good[i] ? [] : [i]));
        expect(differ).toEqual([4500]);
        expect(Number.isFinite(values[4500]!)).toBe(false);
      });
      test(`${method}: with the base's element in its place, ${bad} counts as no change`, async () => {
        const shared = { method, base: flat(1), parameters, request: { nonFinite: "base" } } as const;
        const want = (await mergeOne({ ...shared, models: inputs({ 4500: flat(1)[4500]! }) })).values;
        expect((await mergeOne({ ...shared, models: inputs({ 4500: bad }) })).values).toEqual(want);
      });
    }
  }
  test("a result beyond the output's range is an error", async () => {
    const c = { base: [6e4, 1], models: [[1e9, 2]], dtype: "float16" };
    await expect(mergeOne({ ...c, method: "ram" })).rejects.toThrow(/overflow|too large|beyond/);
    await expect(mergeOne({ ...c, method: "nearswap", parameters: { t: 1e10 } })).rejects.toThrow(
      /overflow|too large|beyond/,
    );
  });
});
