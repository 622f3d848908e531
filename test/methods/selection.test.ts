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

describe("RAM+", () => {
  test("boosts what one model alone changed by its ratio of shared to unique changes, capped", async () => {
    // |δ| > 0.3: A 0 4 6, B 1 2 4 6 7, C 4 6. A: 1 alone, 2 shared; B: 3 alone, 2 shared; C: 0 alone.
    const [ofA, ofB] = [1 + 0.3 * 0.5, 1 + 0.3 * 0.5];
    expectNear(await deltaOf("ramplus_tl", { epsilon: 0.3, r: 0.3, alpha: 0.5 }), [
      0.5 * ofA,
      -0.5 * ofB,
      0.375 * ofB,
      0,
      0.5 / 3,
      0,
      0.5 / 3,
      0.5 * ofB,
    ]);
    // Below the cap: 2 shared of 3 alone.
    const got = await deltaOf("ramplus_tl", { epsilon: 0.3, r: 0.3, alpha: 1 });
    expectNear([got[0]!, got[1]!], [0.5 * 1.3, -0.5 * (1 + (0.3 * 2) / 3)]);
  });
  test("counts whole tensors, whatever the slices", async () => {
    const count = 3 * 4096 + 77;
    const change = (every: number) => Array.from({ length: count }, (_, i) => (i % every === 0 ? 0.5 : 0));
    // Alone at multiples of 2 that are not multiples of 3, and the other way round.
    const shared = Math.ceil(count / 6);
    const alone = [Math.ceil(count / 2) - shared, Math.ceil(count / 3) - shared];
    const c = { method: "ramplus_tl", base: change(count + 1).map(() => 0), models: [change(2), change(3)] };
    for (const sliceElements of [4096, 8192, null]) {
      const parameters = { r: 1, alpha: 10 };
      const { values } = await mergeOne({ ...c, parameters, request: { sliceElements } });
      expectNear(
        [values[2]!, values[3]!, values[6]!, values[1]!],
        [0.5 * (1 + shared / alone[0]!), 0.5 * (1 + shared / alone[1]!), 0.5, 0],
      );
    }
  });
});

describe("SCE", () => {
  for (const c of of("sce_delta")) {
    test(title(c), async () => {
      expectNear(await deltaOf("sce", { select_topk: c.params.tau }), c.expected);
    });
  }
  test("small deltas weigh as large ones do; mergekit takes them for equal", async () => {
    const small = [dA, dB, dC].map((d) => d.map((x) => x / 4096));
    const want = of("sce_delta").find((c) => c.params.tau === 1)!.expected;
    expectNear(
      (await deltaOf("sce", {}, small)).map((x) => x * 4096),
      want,
    );
    const request = { compat: "mergekit" } as const;
    const { values } = await mergeOne({ method: "sce", base: zeros, models: small, request });
    // Index 2: A 0.125 and B 0.375 agree.
    expectNear([values[2]! * 4096], [0.25]);
  });
  test("the elements that vary most, of more than a sample, by a plain sort", async () => {
    const count = 2 ** 18 + 5000;
    let state = 7;
    const draw = () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return (state >>> 16) / 65536;
    };
    // Steps of 2⁻¹⁰: many variances are equal, and a fifth of the elements do not vary.
    const models = [0, 1, 2].map((m) =>
      Array.from({ length: count }, (_, i) => (i % 5 === 0 ? 0.25 : Math.round((draw() - 0.5) * (16 << m)) / 1024)),
    );
    const at = (i: number) => models.map((m) => m[i]!);
    const varianceAt = (i: number) => {
      const mean = at(i).reduce((s, x) => s + x, 0) / 3;
      return Math.fround(at(i).reduce((s, x) => s + (x - mean) ** 2, 0) / 3);
    };
    const variances = Array.from({ length: count }, (_, i) => varianceAt(i));
    const ranked = variances.filter((v) => v > 0).sort((a, b) => b - a);
    const parameters = { select_topk: 0.3 };
    for (const ties of ["include", "exact"]) {
      const k = Math.floor(ranked.length * 0.3);
      const limit = ranked[k - 1]!;
      let left = k - ranked.filter((v) => v > limit).length;
      const selected = variances.map((v) => v > limit || (v === limit && (ties === "include" || left-- > 0)));
      const weights = models.map((m) => m.reduce((s, x, i) => s + (selected[i] ? x * x : 0), 0));
      const want = selected.map((keep, i) => {
        if (!keep) return 0;
        const sign = at(i).reduce((s, x) => s + x, 0) >= 0 ? 1 : -1;
        const agree = [0, 1, 2].filter((m) => at(i)[m]! * sign > 0);
        const divisor = agree.reduce((s, m) => s + weights[m]!, 0);
        return divisor > 0 ? agree.reduce((s, m) => s + weights[m]! * at(i)[m]!, 0) / divisor : 0;
      });
      const base = want.map(() => 0);
      for (const sliceElements of [65_536, null]) {
        const c = { method: "sce", base, models, parameters: { ...parameters, ties } };
        const { values } = await mergeOne({ ...c, request: { sliceElements } });
        const wrong = values.findIndex((x, i) => Math.abs(x - want[i]!) > 1e-7);
        expect({ ties, sliceElements, wrong, is: values[wrong], not: want[wrong] }).toEqual({
          ties,
          sliceElements,
          wrong: -1,
        } as never);
      }
    }
  }, 60_000);
  test("one model and a selection leave the base, and say so", async () => {
    const { values, warnings } = await mergeOne({
      method: "sce",
      base,
      models: [plus(base, dA)],
      parameters: { select_topk: 0.5 },
    });
    expectNear(values, base);
    expect(warnings).toEqual(["sce: with one model nothing varies, so select_topk below 1 leaves the base as it is"]);
  });
  test("a fraction outside of (0, 1] is refused", async () => {
    for (const select_topk of [0, -1, 1.5])
      await expect(deltaOf("sce", { select_topk })).rejects.toThrow("select_topk");
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

describe("Arcee Fusion", () => {
  const [rows, columns] = [61, 211];
  let state = 3;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 16) / 65536 - 0.5;
  };
  const start = Array.from({ length: rows * columns }, () => Math.fround(draw()));
  // Rows change by different amounts, some not at all.
  const tuned = start.map((b, i) => Math.fround(b + (draw() * (Math.floor(i / columns) % 4)) / 16));

  /** By Math.exp, Math.log and a sort. */
  function oracle(x: readonly number[]): number[] {
    const softmax = (v: readonly number[]) => {
      const powers = v.map(Math.exp);
      const sum = powers.reduce((a, b) => a + b, 0);
      return powers.map((p) => p / sum + 1e-8);
    };
    const importance = x.map(() => 0);
    for (let at = 0; at < x.length; at += columns) {
      const [p, q] = [softmax(x.slice(at, at + columns)), softmax(start.slice(at, at + columns))];
      const divergence = Math.max(
        0,
        p.reduce((sum, a, i) => sum + a * Math.log(a / q[i]!), 0),
      );
      for (let i = at; i < at + columns; i++) importance[i] = Math.abs(x[i]! - start[i]!) * divergence;
    }
    const sorted = [...importance].sort((a, b) => a - b);
    const [first, median, third] = [0.25, 0.5, 0.75].map((q) => sorted[Math.floor(q * (sorted.length - 1))]!);
    const limit = median! + 1.5 * (third! - first!);
    return importance.map((v, i) => (v >= limit ? x[i]! : start[i]!));
  }

  const fuse = (x: readonly number[], request: object = {}) =>
    mergeOne({ method: "arcee_fusion", base: start, models: [x], shape: [rows, columns], request });

  test("takes over what is important in its row, by plain arithmetic and a sort, whatever the slices", async () => {
    const want = oracle(tuned);
    const taken = want.filter((x, i) => x !== start[i]).length;
    expect(taken).toBeGreaterThan(500);
    expect(taken).toBeLessThan(start.length / 4);
    for (const sliceElements of [4096, 8192, null]) {
      const { values } = await fuse(tuned, { sliceElements });
      expectNear(values, want, 1e-7);
    }
  });
  test("where no row diverges all is at the threshold of 0 and taken over", async () => {
    const shifted = { base: [1, 2, 3], models: [[2, 3, 5]], shape: [3, 1] };
    expect((await mergeOne({ method: "arcee_fusion", ...shifted })).values).toEqual([2, 3, 5]);
    // More than three quarters unchanged: the threshold is 0 too.
    const sparse = start.map((b, i) => (i === 100 ? b + 1 : b));
    expectNear((await fuse(sparse)).values, sparse, 1e-6);
  });
  test("kept, a bad element spoils itself and not its row", async () => {
    const bad = tuned.map((x, i) => (i === 1000 ? Number.NaN : i === 5000 ? Number.POSITIVE_INFINITY : x));
    const { values } = await fuse(bad, { nonFinite: "keep" });
    expect(values.flatMap((x, i) => (Number.isFinite(x) ? [] : [i]))).toEqual([1000, 5000]);
    // The divergence of their two rows is a little different, so a few decisions may be.
    const want = (await fuse(tuned)).values;
    expect(values.filter((x, i) => x !== want[i]).length).toBeLessThan(20);
    const replaced = (await fuse(bad, { nonFinite: "base" })).values;
    expect([replaced[1000], replaced[5000]]).toEqual([start[1000], start[5000]]);
  });
});

describe("non-finite elements", () => {
  const flat = (value: number, at: Record<number, number> = {}) =>
    Array.from({ length: 5000 }, (_, i) => at[i] ?? value + (i % 7) / 64);
  const recipes: [string, Record<string, unknown>, number][] = [
    ["nearswap", { t: 0.25 }, 1],
    ["arcee_fusion", {}, 1],
    ["ram", {}, 2],
    ["ramplus_tl", {}, 2],
    ["sce", {}, 2],
    ["sce", { select_topk: 0.5 }, 2],
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
        // Surveys see no change there.
        const good = (await mergeOne({ ...shared, models: inputs({ 4500: flat(1)[4500]! }) })).values;
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
