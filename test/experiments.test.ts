// The page of the experiments is what its results say, its text too; and the results can be had again.
// After a change of charts or of the page's text: npm run experiments -- page

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Groups, type Row, seeds } from "../experiments/groups.ts";
import { fineTunes, scoreMerge } from "../experiments/models.ts";
import { agreement, page } from "../experiments/page.ts";
import { pictures } from "../experiments/pictures.ts";
import { pytorch } from "../experiments/pytorch.ts";
import { meanSpread } from "../experiments/statistics.ts";
import { projectRoot } from "./support/host.ts";

const read = (name: string) => readFileSync(join(projectRoot, "docs/experiments", name), "utf8");
const results = JSON.parse(read("results.json")) as Groups;

describe("the page", () => {
  test("has the tables of its results", () => {
    expect(read("README.md")).toBe(page(results));
  });
  test("has the pictures of its results", () => {
    for (const [name, svg] of Object.entries(pictures(results))) expect(read(`${name}.svg`)).toBe(svg);
  });
});

describe("what the page says", () => {
  const mean = (rows: readonly Row[]) => {
    expect(rows.length).toBeGreaterThan(0);
    return meanSpread(rows).mean;
  };
  const dropped = (model: string, label: string, p: number) =>
    mean(results.drop.filter((r) => r.model === model && r.label === label && r.p === p));
  const merged = (label: string, p?: number) => mean(results.merges.filter((r) => r.label === label && r.p === p));

  test("accuracies are PyTorch's where masks are the same", () => {
    const { equal, all, most } = agreement(results);
    expect(all).toBeGreaterThan(90);
    expect(equal / all).toBeGreaterThan(0.9);
    expect(most).toBeLessThanOrEqual(2);
  });

  test("nine of ten changes can go when what is left is rescaled, and not without it", () => {
    for (const model of fineTunes) {
      expect(dropped(model, "exact", 0.9)).toBeGreaterThan(0.99);
      expect(dropped(model, "exact", 0.95)).toBeGreaterThan(0.98);
      expect(dropped(model, "exact", 0.99)).toBeLessThan(0.8);
      expect(dropped(model, "none", 0.9)).toBeLessThan(0.35);
    }
  });

  test("DARE does not improve the merge of these models", () => {
    const plain = merged("task arithmetic, lambda 0.6");
    expect(Math.abs(plain - merged("DARE, sum, lambda 0.6", 0.5))).toBeLessThan(0.01);
    expect(plain - merged("DARE, sum, lambda 0.6", 0.9)).toBeGreaterThan(0.01);
    expect(merged("DARE-TIES, mean, lambda 1", 0.5)).toBeGreaterThan(merged("TIES keep 0.5, lambda 1"));
    expect(merged("DARE-TIES, mean, lambda 1", 0.9)).toBeLessThan(merged("TIES keep 0.5, lambda 1") - 0.03);
    for (const p of [0.5, 0.7, 0.9]) {
      const worst = merged("DARE, sum, lambda 0.6, no rescale", p);
      for (const other of ["DARE, average", "DARE, sum, lambda 0.6", "DARE-TIES, mean, lambda 1"]) {
        expect(worst).toBeLessThan(merged(other, p));
      }
    }
  });

  test("a q above 1 − p pays at p = 0.99", () => {
    for (const model of fineTunes) {
      const at = (q: number) => mean(results.q.filter((r) => r.model === model && r.q === q));
      const best = Math.max(...[...new Set(results.q.map((r) => r.q!))].map(at));
      expect(best).toBeGreaterThan(at(0.01) + 0.05);
      expect([at(0.015), at(0.02)].every((x) => x > 0.95)).toBe(true);
      // The grid's first column is what DARE itself does.
      const own = results.drop.filter((r) => r.model === model && r.label === "exact" && r.p === 0.99);
      expect(at(0.01)).toBeCloseTo(mean(own), 2);
    }
  });

  test("the formulas hold", () => {
    expect(results.laws.length).toBeGreaterThan(50);
    for (const { law, p, measured, theory, deviation } of results.laws) {
      const off =
        deviation === undefined ? Math.abs(measured / theory - 1) / 0.1 : Math.abs(measured - theory) / (4 * deviation);
      expect({ law, p, measured, fits: off < 1 }).toEqual({ law, p, measured, fits: true });
    }
  });

  test("own, disjoint and common masks are apart by less than the seeds are, at p = 0.9", () => {
    const of = (label: string) => meanSpread(results.masks.filter((r) => r.label === label && r.p === 0.9));
    const all = ["independent", "disjoint", "one for all"].map(of);
    const apart = Math.max(...all.map((s) => s.mean)) - Math.min(...all.map((s) => s.mean));
    expect(apart).toBeLessThan(Math.max(...all.map((s) => s.high - s.low)));
    expect(all.every((s) => s.runs === seeds.length)).toBe(true);
  });
});

describe("merged and scored again", () => {
  test("a fine-tune at p = 0.99 with seed 42 answers what PyTorch's answers with the same mask", async () => {
    const what = { method: "dare_linear", models: ["ft-add"], weight: 1, seed: 42, parameters: { drop_rate: 0.99 } };
    const { add } = await scoreMerge(what, ["add"]);
    expect(Math.round(add! * 300)).toBe(
      Math.round(pytorch.braid_mask_v1_seed42.single["ft-add"]!.rescale["0.99"]! * 300),
    );
    const row = results.drop.find((r) => r.model === "ft-add" && r.label === "exact" && r.p === 0.99 && r.seed === 42);
    expect(row!.scores.add).toBe(add!);
  });

  test("the average of three at p = 0.9 too", async () => {
    const scores = await scoreMerge({ method: "dare_linear", seed: 42, parameters: { drop_rate: 0.9 } }, ["rev"]);
    const other = pytorch.braid_mask_v1_seed42.merge["dare_linear reference p 0.9 lambda 1"]!;
    expect(Math.round(scores.rev! * 300)).toBe(Math.round(other.rev * 300));
  });
});
