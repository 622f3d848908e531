// The hand-sized vectors of test/vectors/methods.json (computed from the published formulas), through whole merges.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rankRow } from "../../src/kernel/reference.ts";
import { rankThreshold } from "../../src/kernel/rows.ts";
import { merge } from "../../src/merge.ts";
import { projectRoot, requestFor, testHost, withTempFolder } from "../support/host.ts";
import { writeModel } from "../support/models.ts";
import { readCheckpoint } from "../support/tensors.ts";

interface VectorCase {
  method: string;
  params: Record<string, unknown>;
  expected: number[];
}

const vectors = JSON.parse(readFileSync(join(projectRoot, "test/vectors/methods.json"), "utf8")) as {
  fixture: Record<"base" | "dA" | "dB" | "dC" | "keepA" | "keepB", number[]>;
  cases: VectorCase[];
};
const { fixture } = vectors;
const ofMethod = (...names: string[]) => vectors.cases.filter((c) => names.includes(c.method));
const zeros = fixture.base.map(() => 0);
const plus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x + b[i]!);
const deltaOf = (letter: string) => fixture[`d${letter}` as "dA"];

/** Merges one tensor "w" of f32 models and gives its values. `base` null: no base_model. */
async function mergeOne(
  method: string,
  base: readonly number[] | null,
  models: readonly (readonly number[])[],
  recipe: Record<string, unknown>,
  perModel: readonly Record<string, unknown>[],
  seed = "42",
  dtype = "float32",
): Promise<number[]> {
  return withTempFolder(async (temp) => {
    const folders = models.map((data, i) => writeModel(join(temp, `m${i}`), { w: { data } }));
    const text = JSON.stringify({
      merge_method: method,
      ...(base ? { base_model: writeModel(join(temp, "base"), { w: { data: base } }) } : {}),
      models: folders.map((model, i) => ({ model, parameters: perModel[i] ?? {} })),
      parameters: recipe,
      dtype,
    });
    await merge(requestFor(text, { seed }), join(temp, "out"), { overwrite: false }, testHost());
    return [...readCheckpoint(join(temp, "out")).get("w")!.values];
  });
}

function expectNear(got: readonly number[], want: readonly number[]): void {
  expect(got.length).toBe(want.length);
  got.forEach((x, i) => {
    expect(Math.abs(x - want[i]!)).toBeLessThanOrEqual(1e-6);
  });
}

/** The same, of a matrix. */
async function mergeRows(
  method: string,
  rows: readonly (readonly number[])[],
  recipe: Record<string, unknown>,
): Promise<number[][]> {
  const shape = [rows.length, rows[0]!.length];
  return withTempFolder(async (temp) => {
    const base = writeModel(join(temp, "base"), { w: { shape, data: rows.flatMap((r) => r.map(() => 0)) } });
    const model = writeModel(join(temp, "m"), { w: { shape, data: rows.flat() } });
    const models = [{ model, parameters: { weight: 1 } }];
    const text = JSON.stringify({ merge_method: method, base_model: base, models, parameters: recipe });
    await merge(requestFor(text), join(temp, "out"), { overwrite: false }, testHost());
    const { values } = readCheckpoint(join(temp, "out")).get("w")!;
    return rows.map((r, i) => [...values.slice(i * r.length, (i + 1) * r.length)]);
  });
}

const title = (c: VectorCase) => `${c.method} ${JSON.stringify(c.params)}`;
const withWeights = (models: string, weights: unknown) =>
  [...models].map((_, i) => ({ weight: (weights as number[])[i]! }));

describe("averages", () => {
  for (const c of ofMethod("linear")) {
    test(title(c), async () => {
      const p = c.params as { models: string; weights: number[]; normalize: boolean };
      const models = [...p.models].map((m) => plus(fixture.base, deltaOf(m)));
      expectNear(
        await mergeOne("linear", null, models, { normalize: p.normalize }, withWeights(p.models, p.weights)),
        c.expected,
      );
    });
  }
  test("equal bf16 models average to themselves, bit for bit", async () => {
    const model = [1.0078125 * 2 ** -5, -1.9921875 * 2 ** -30, 1.5 * 2 ** 101, -0, 1.3359375, 2 ** -130];
    const got = await mergeOne(
      "linear",
      null,
      [model, model, model],
      {},
      [{ weight: 1 }, { weight: 1 }, { weight: 1 }],
      "42",
      "bfloat16",
    );
    expect(got.map((x) => Object.is(x, -0))).toEqual(model.map((x) => Object.is(x, -0)));
    expect(got).toEqual(model);
  });
  for (const c of ofMethod("task_arithmetic")) {
    test(title(c), async () => {
      const p = c.params as { models: string; weights: number[]; lam: number };
      const models = [...p.models].map((m) => plus(fixture.base, deltaOf(m)));
      expectNear(
        await mergeOne("task_arithmetic", fixture.base, models, { lambda: p.lam }, withWeights(p.models, p.weights)),
        c.expected,
      );
    });
  }
});

describe("the trim", () => {
  for (const c of ofMethod("topk_mask").filter((c) => c.params.tie !== "ties-paper-code")) {
    test(title(c), async () => {
      const p = c.params as { delta: string; density: number; tie: string };
      const ties = p.tie === "include" ? "include" : "exact";
      const got = await mergeOne("ties", zeros, [deltaOf(p.delta)], { density: p.density, ties, normalize: false }, [
        { weight: 1 },
      ]);
      expect(got.map((x) => (x === 0 ? 0 : 1))).toEqual(
        c.expected.map((keep, i) => (keep && deltaOf(p.delta)[i] !== 0 ? 1 : 0)),
      );
    });
  }
});

describe("TIES", () => {
  // The paper's code keeps one more than k; that is no choice of ours.
  const ours = ofMethod("ties_delta", "ties_merged").filter((c) => c.params.mask !== "ties-paper-code");
  for (const c of ours) {
    test(title(c), async () => {
      const p = c.params as {
        models: string;
        density: number;
        mask: string;
        tie: string;
        combine: string;
        weights?: number[];
        elect?: string;
        lam?: number;
      };
      const merged = c.method === "ties_merged";
      const base = merged ? fixture.base : zeros;
      const models = [...p.models].map((m) => plus(base, deltaOf(m)));
      const recipe = {
        density: p.density,
        ties: p.mask,
        zero: p.tie === "pos" ? "positive" : p.tie === "majority" ? "majority" : "drop",
        combine: p.combine,
        elect: p.elect === "count" ? "count" : "weighted",
        lambda: p.lam ?? 1,
      };
      expectNear(
        await mergeOne("ties", base, models, recipe, withWeights(p.models, p.weights ?? [1, 1, 1])),
        c.expected,
      );
    });
  }
});

describe("Model Breadcrumbs", () => {
  for (const c of ofMethod("breadcrumbs_delta")) {
    test(title(c), async () => {
      const p = c.params as { delta: string; density: number; gamma: number };
      const recipe = { density: p.density, gamma: p.gamma, ties: "exact" };
      expectNear(await mergeOne("breadcrumbs", zeros, [deltaOf(p.delta)], recipe, []), c.expected);
    });
  }
  test("equal magnitudes at the ends all stay unless the recipe says exact", async () => {
    const recipe = { density: 0.5, gamma: 0.125 };
    expectNear(
      await mergeOne("breadcrumbs", zeros, [fixture.dA], recipe, []),
      [0.5, -0.25, 0.125, 0, -0.375, 0, 0, -0.125],
    );
    const equal = [1, -2, 2, 2, -2, 1, 4, 3];
    expectNear(
      await mergeOne("breadcrumbs", zeros, [equal], { density: 0.25, gamma: 0.25 }, []),
      [0, -2, 2, 2, -2, 0, 0, 0],
    );
    expectNear(
      await mergeOne("breadcrumbs", zeros, [equal], { density: 0.25, gamma: 0.375, ties: "exact" }, []),
      [0, 0, 2, 2, 0, 0, 0, 0],
    );
  });
  test("a tensor of fewer than 1/gamma elements loses no outlier and is not erased", async () => {
    expectNear(await mergeOne("breadcrumbs", [0, 0, 0, 0], [[3, -1, 2, 4]], { density: 0.75 }, []), [3, 0, 2, 4]);
    expectNear(
      await mergeOne("breadcrumbs", [0, 0, 0, 0], [[3, -1, 2, 4]], { density: 0.75, gamma: 0 }, []),
      [3, 0, 2, 4],
    );
    expectNear(await mergeOne("breadcrumbs", [0], [[3]], { density: 0.5 }, []), [3]);
  });
  test("where density + gamma is above 1, density holds", async () => {
    expectNear(
      await mergeOne("breadcrumbs", [0, 0, 0, 0], [[3, -1, 2, 4]], { density: 0.75, gamma: 0.5 }, []),
      [3, -1, 2, 0],
    );
  });
  test("with an election", async () => {
    const recipe = { density: 0.5, gamma: 0.125, ties: "exact" };
    expectNear(
      await mergeOne("breadcrumbs_ties", zeros, [fixture.dA, fixture.dB], recipe, []),
      [0.5, -0.75, 0.375, 0, 0, 0, 0, 0.5],
    );
  });
});

describe("DARE", () => {
  // With this seed braid-mask-v1 draws keepA for model 0 and keepB for model 1 of the tensor "w" at p = 0.5.
  const seed = "8958";
  test("the seed draws the fixture's masks", async () => {
    const ones = fixture.base.map(() => 1);
    expect(
      await mergeOne("dare_linear", zeros, [ones], { drop_rate: 0.5, rescale: false }, [{ weight: 1 }], seed),
    ).toEqual(fixture.keepA);
  });
  for (const c of ofMethod("dare_merged", "dare_linear")) {
    test(title(c), async () => {
      const p = c.params as { models: string; p: number; weights?: number[] };
      const models = [...p.models].map((m) => plus(fixture.base, deltaOf(m)));
      const got = await mergeOne(
        "dare_linear",
        fixture.base,
        models,
        { drop_rate: p.p },
        withWeights(p.models, p.weights ?? [1]),
        seed,
      );
      expectNear(got, c.expected);
    });
  }
  test("no weights mean 1/N", async () => {
    const models = ["A", "B"].map((m) => plus(fixture.base, deltaOf(m)));
    expectNear(
      await mergeOne("dare_linear", fixture.base, models, { drop_rate: 0.5 }, [], seed),
      [1.5, -2.5, 1, 0, 1.875, -1, 2.75, 0],
    );
  });
  for (const c of ofMethod("dare_ties_delta")) {
    test(title(c), async () => {
      const p = c.params as {
        models: string;
        p: number;
        trim: number | null;
        tie: string;
        combine: string;
        weights: number[];
      };
      const recipe = {
        drop_rate: p.p,
        zero: p.tie === "pos" ? "positive" : p.tie === "majority" ? "majority" : "drop",
        combine: p.combine,
        ...(p.trim === null ? {} : { trim: p.trim, trim_basis: "survivors", ties: "include" }),
      };
      const models = [...p.models].map((m) => deltaOf(m));
      expectNear(
        await mergeOne("dare_ties", zeros, models, recipe, withWeights(p.models, p.weights ?? [1, 1]), seed),
        c.expected,
      );
    });
  }
  for (const c of ofMethod("rescale")) {
    test(title(c), async () => {
      const p = c.params as { delta: string; rule: string; q?: number };
      // Model B's mask belongs to model index 1: a first model of weight 0 takes index 0.
      const first = p.delta === "A" ? [] : [zeros];
      const recipe = { drop_rate: 0.5, rescale: p.rule, ...(p.q === undefined ? {} : { q: p.q }) };
      const weights = p.delta === "A" ? [{ weight: 1 }] : [{ weight: 0 }, { weight: 1 }];
      expectNear(await mergeOne("dare_linear", zeros, [...first, deltaOf(p.delta)], recipe, weights, seed), c.expected);
    });
  }
});

describe("DELLA", () => {
  for (const c of ofMethod("della_keep")) {
    test(title(c), () => {
      const p = c.params as { row: string | number[]; density: number; epsilon: number };
      const row = typeof p.row === "string" ? deltaOf(p.row) : p.row;
      const got = rankRow(Float32Array.from(row)).map(
        (rank) => 1 - rankThreshold(rank, row.length, p.density, p.epsilon) / 2 ** 32,
      );
      expectNear(got, c.expected);
    });
  }
  // With this seed the draws of model 0 and the tensor "w" give the vectors' mask, 1 0 1 1.
  const seed = "29";
  for (const c of ofMethod("della_delta")) {
    test(title(c), async () => {
      const p = c.params as { row: number[]; density: number; epsilon: number; rescale: string };
      const base = p.row.map(() => 0);
      const recipe = {
        density: p.density,
        epsilon: p.epsilon,
        rescale: p.rescale === "per-element" ? "exact" : p.rescale,
      };
      for (const method of ["della", "della_linear"])
        expectNear(await mergeOne(method, base, [p.row], recipe, [{ weight: 1 }], seed), c.expected);
    });
  }
  test("density 1 keeps everything, a single column stays with the density itself", async () => {
    expectNear(await mergeOne("della_linear", zeros, [deltaOf("A")], { density: 1 }, []), deltaOf("A"));
    expect(rankThreshold(0, 1, 0.75, 0.125)).toBe(2 ** 30);
  });
});

describe("scope row", () => {
  // Rows of different scales: a trim of the tensor would keep the second one only.
  const rows = ["A", "B"].map(deltaOf).map((row, i) => row.map((x) => x * 2 ** (10 * i)));
  const backToScale = (got: number[][]) => got.map((row, i) => row.map((x) => x / 2 ** (10 * i)));

  test("TIES trims each row by itself", async () => {
    const masks = ["A", "B"].map(
      (delta) =>
        ofMethod("topk_mask").find(
          ({ params: p }) => p.delta === delta && p.density === 0.5 && p.tie === "exact-lowest-index",
        )!.expected,
    );
    const got = await mergeRows("ties", rows, { density: 0.5, ties: "exact", scope: "row" });
    expect(backToScale(got)).toEqual(["A", "B"].map((d, i) => deltaOf(d).map((x, k) => (masks[i]![k] ? x : 0))));
  });

  test("Breadcrumbs drops both tails of each row", async () => {
    const recipe = { density: 0.5, gamma: 0.125, ties: "exact", scope: "row" };
    const got = await mergeRows("breadcrumbs", rows, recipe);
    expect(backToScale(got)).toEqual(ofMethod("breadcrumbs_delta").map((c) => c.expected));
  });

  test("DARE-TIES trims what is left of each row", async () => {
    const recipe = { drop_rate: 0.5, rescale: false, trim: 0.5, ties: "exact", scope: "row" };
    const untrimmed = await mergeRows("dare_ties", rows, { drop_rate: 0.5, rescale: false });
    const got = await mergeRows("dare_ties", rows, recipe);
    got.forEach((row, i) => {
      const left = untrimmed[i]!.filter((x) => x !== 0).sort((a, b) => Math.abs(b) - Math.abs(a));
      expect(left.length).toBeGreaterThan(1);
      const kept = left.slice(0, Math.max(1, Math.round(left.length / 2)));
      expect(
        row
          .filter((x) => x !== 0)
          .sort((a, b) => Math.abs(b) - Math.abs(a))
          .map(Math.abs),
      ).toEqual(kept.map(Math.abs));
    });
  });
});

describe("SLERP", () => {
  for (const c of ofMethod("slerp")) {
    test(title(c), async () => {
      const p = c.params as { v0: unknown; v1: unknown; t: number };
      const vector = (v: unknown) =>
        v === "base+A"
          ? plus(fixture.base, fixture.dA)
          : v === "base+B"
            ? plus(fixture.base, fixture.dB)
            : (v as number[]);
      expectNear(await mergeOne("slerp", vector(p.v0), [vector(p.v1)], { t: p.t }, []), c.expected);
    });
  }
  test("a tensor without a direction is met on a straight line", async () => {
    expectNear(await mergeOne("slerp", [0, 0], [[2, 4]], { t: 0.25 }, []), [0.5, 1]);
  });
});
