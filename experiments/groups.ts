// The experiments: what is merged, with what, and what is looked at. Each group takes a minute or two and is kept as JSON.

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  fineTunes,
  type Merge,
  modelsFolder,
  readValues,
  type Scores,
  score,
  scoreMerge,
  type Task,
  tasks,
  withMerged,
} from "./models.ts";

export const rates = [0.5, 0.7, 0.8, 0.9, 0.95, 0.99] as const;
/** Those of the tables made with PyTorch. */
export const seeds = [42, 142, 242, 342, 442] as const;

export interface Row {
  readonly label: string;
  readonly model?: string;
  readonly p?: number;
  readonly q?: number;
  readonly seed?: number;
  readonly scores: Scores;
}

export interface Law {
  readonly law: string;
  readonly p: number;
  /** The mean over the seeds. */
  readonly measured: number;
  readonly theory: number;
  /** Standard deviation that chance gives the measured mean, where a formula says it. */
  readonly deviation?: number;
}

export interface Groups {
  singles: Row[];
  drop: Row[];
  merges: Row[];
  masks: Row[];
  q: Row[];
  laws: Law[];
}

export type Tell = (done: string) => void;

const ownTask = (model: string): Task => tasks.find((t) => model.endsWith(t))!;

async function singles(tell: Tell): Promise<Row[]> {
  const rows: Row[] = [];
  for (const model of ["base", ...fineTunes, "tied-base", "tied-add", "tied-rev"]) {
    rows.push({ label: model, scores: await score(`${modelsFolder}/${model}`) });
    tell(model);
  }
  return rows;
}

/** One fine-tune, dropped at p, with and without rescale, on its own task. */
async function drop(tell: Tell): Promise<Row[]> {
  const rows: Row[] = [];
  for (const model of fineTunes) {
    const own = [ownTask(model)];
    rows.push({ label: "whole", model, p: 0, scores: await score(`${modelsFolder}/${model}`, own) });
    for (const rescale of ["exact", "none"]) {
      for (const p of rates) {
        for (const seed of seeds) {
          const what: Merge = {
            method: "dare_linear",
            models: [model],
            weight: 1,
            seed,
            parameters: { drop_rate: p, rescale },
          };
          rows.push({ label: rescale, model, p, seed, scores: await scoreMerge(what, own) });
        }
        tell(`${model} ${rescale} ${p}`);
      }
    }
  }
  return rows;
}

/** All three fine-tunes together. */
async function merges(tell: Tell): Promise<Row[]> {
  const rows: Row[] = [];
  const once = async (label: string, what: Merge) => {
    rows.push({ label, scores: await scoreMerge(what) });
    tell(label);
  };
  await once("linear average", { method: "linear", weight: 1, base: null });
  for (const lambda of [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.2]) {
    await once(`task arithmetic, lambda ${lambda}`, { method: "task_arithmetic", weight: 1, parameters: { lambda } });
  }
  for (const density of [0.2, 0.5]) {
    for (const lambda of [1, 1.5]) {
      await once(`TIES keep ${density}, lambda ${lambda}`, {
        method: "ties",
        weight: 1,
        parameters: { density, lambda },
      });
    }
  }
  const several = async (label: string, p: number, what: Merge) => {
    for (const seed of seeds) {
      const own = { ...what, seed, parameters: { ...what.parameters, drop_rate: p } };
      rows.push({ label, p, seed, scores: await scoreMerge(own) });
    }
    tell(`${label} ${p}`);
  };
  for (const p of [0.5, 0.7, 0.9]) {
    await several("DARE, average", p, { method: "dare_linear" });
    await several("DARE, sum, lambda 0.6", p, { method: "dare_linear", weight: 1, parameters: { lambda: 0.6 } });
    await several("DARE, sum, lambda 0.6, no rescale", p, {
      method: "dare_linear",
      weight: 1,
      parameters: { lambda: 0.6, rescale: "none" },
    });
    await several("DARE-TIES, mean, lambda 1", p, {
      method: "dare_ties",
      weight: 1,
      parameters: { combine: "mean", lambda: 1 },
    });
    await several("DARE-TIES, mean, lambda 1, trim 0.5 of survivors", p, {
      method: "dare_ties",
      weight: 1,
      parameters: { combine: "mean", lambda: 1, trim: 0.5 },
    });
  }
  return rows;
}

/** The sum of three with lambda 0.6: masks of their own, masks that never meet, one mask for all. */
async function masks(tell: Tell): Promise<Row[]> {
  const rows: Row[] = [];
  for (const p of [0.9, 0.95, 0.99]) {
    for (const seed of seeds) {
      for (const mask of ["independent", "disjoint"]) {
        const what: Merge = { method: "dare_linear", weight: 1, seed, parameters: { drop_rate: p, lambda: 0.6, mask } };
        rows.push({ label: mask, p, seed, scores: await scoreMerge(what) });
      }
    }
    tell(`masks ${p}`);
  }
  // One mask on the sum of all deltas is the same mask on each of them.
  await withMerged({ method: "task_arithmetic", weight: 1, parameters: { lambda: 0.6 } }, async (sum) => {
    for (const p of [0.9, 0.95, 0.99]) {
      for (const seed of seeds) {
        const what: Merge = { method: "dare_linear", models: [sum], weight: 1, seed, parameters: { drop_rate: p } };
        rows.push({ label: "one for all", p, seed, scores: await scoreMerge(what) });
      }
      tell(`one mask ${p}`);
    }
  });
  return rows;
}

export const factors = [0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.3, 1] as const;

/** DAREx: survivors divided by q instead of 1 − p, at p = 0.99. */
async function daRex(tell: Tell): Promise<Row[]> {
  const rows: Row[] = [];
  for (const model of fineTunes) {
    for (const q of factors) {
      for (const seed of seeds) {
        const parameters = { drop_rate: 0.99, rescale: "q", q };
        const what: Merge = { method: "dare_linear", models: [model], weight: 1, seed, parameters };
        rows.push({ label: "q", model, p: 0.99, q, seed, scores: await scoreMerge(what, [ownTask(model)]) });
      }
      tell(`${model} q ${q}`);
    }
  }
  return rows;
}

/** What DARE does to a delta, against what it should do in expectation. Over all 763,008 elements of ft-add, in the mean over the seeds. */
async function laws(tell: Tell): Promise<Law[]> {
  // A recipe lists a model once: equal deltas are copies of it.
  const temp = mkdtempSync(join(tmpdir(), "braid-experiment-"));
  try {
    const same = [0, 1, 2].map((i) => join(temp, `copy-${i}`));
    for (const copy of same) cpSync(join(modelsFolder, "ft-add"), copy, { recursive: true });
    return await measureLaws(same, tell);
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

async function measureLaws(same: readonly string[], tell: Tell): Promise<Law[]> {
  const found: Law[] = [];
  const base = await readValues(`${modelsFolder}/base`);
  const minusBase = (x: Float64Array) => x.map((v, i) => v - base[i]!);
  const delta = minusBase(await readValues(`${modelsFolder}/ft-add`));
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i]!, 0);
  const square = dot(delta, delta);
  const deltaOf = (what: Merge) => withMerged(what, async (folder) => minusBase(await readValues(folder)));
  const error = (d: Float64Array, times: number) =>
    d.reduce((sum, v, i) => sum + (v - times * delta[i]!) ** 2, 0) / square;
  const fourth = delta.reduce((sum, v) => sum + v ** 4, 0);
  for (const p of rates) {
    // Of Σ m·δ²/(1 − p) over Σ δ², m ~ Bernoulli(1 − p).
    const chance = Math.sqrt(((p / (1 - p)) * fourth) / seeds.length) / square;
    const sums = new Map<string, Law>();
    for (const seed of seeds) {
      const add = (law: string, measured: number, theory: number, deviation?: number) => {
        const before = sums.get(law)?.measured ?? 0;
        const found = { law, p, measured: before + measured / seeds.length, theory };
        sums.set(law, deviation === undefined ? found : { ...found, deviation });
      };
      const one = (weight: number, rescale = "exact") =>
        deltaOf({ method: "dare_linear", models: ["ft-add"], weight, seed, parameters: { drop_rate: p, rescale } });
      const kept = await one(1);
      add("expectation ⟨δ̂, δ⟩ / ‖δ‖²", dot(kept, delta) / square, 1, chance);
      add("variance ‖δ̂ − δ‖² / ‖δ‖²", error(kept, 1), p / (1 - p));
      add("energy ‖δ̂‖² / ‖δ‖²", dot(kept, kept) / square, 1 / (1 - p), chance / (1 - p));
      add("cosine of δ̂ and δ", dot(kept, delta) / Math.sqrt(square * dot(kept, kept)), Math.sqrt(1 - p));
      add("⟨δ̂, δ⟩ / ‖δ‖² without rescale", dot(await one(1, "none"), delta) / square, 1 - p, chance * (1 - p));
      const three = (parameters: Merge["parameters"]) =>
        deltaOf({ method: "dare_linear", models: same, weight: 1, seed, parameters: { drop_rate: p, ...parameters } });
      add("variance, 3 equal deltas, own masks", error(await three({}), 3), (3 * p) / (1 - p));
      add("variance, 3 equal deltas, one mask", error(await one(3), 3), (9 * p) / (1 - p));
      if (3 * (1 - p) <= 1) {
        add(
          "variance, 3 equal deltas, disjoint masks",
          error(await three({ mask: "disjoint" }), 3),
          (3 * p) / (1 - p) - 6,
        );
      }
      const mean: Merge = {
        method: "dare_ties",
        models: same,
        weight: 1,
        seed,
        parameters: { drop_rate: p, combine: "mean" },
      };
      add(
        "inflation of the disjoint mean, 3 equal deltas",
        dot(await deltaOf(mean), delta) / square,
        (1 - p ** 3) / (1 - p),
      );
    }
    found.push(...sums.values());
    tell(`laws ${p}`);
  }
  return found;
}

export const groups: { readonly [K in keyof Groups]: (tell: Tell) => Promise<Groups[K]> } = {
  singles,
  drop,
  merges,
  masks,
  q: daRex,
  laws,
};
