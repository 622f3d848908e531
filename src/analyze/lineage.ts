// Whether the models descend from the base, from all of their tensors.

import type { InputModel } from "../plan/model.ts";
import { tensorNames } from "../plan/model.ts";
import type { Group, Lineage } from "./analysis.ts";
import type { Counted } from "./counted.ts";
import type { AnalysisPlan } from "./plan.ts";

/** ‖δ‖/‖base‖ from which on the base is doubted: weights of one scale whose correlation is r are √(2(1 − r)) apart; r = 0.875. */
export const farFromBase = 0.5;
/** Cosine from which on two fine-tunes may be one. */
export const duplicateCosine = 0.98;

export function lineageOf(plan: AnalysisPlan, counted: readonly Counted[], whole: Group): Lineage {
  const bases = tensorNames(plan.base);
  const models = plan.models.map((model, m): Lineage["models"][number] => {
    let [tensors, identical, moved, size] = [0, 0, 0, 0];
    for (const [i, c] of counted.entries()) {
      const own = c.models[m];
      if (!own) continue;
      tensors++;
      identical += own.identical;
      if (plan.tensors[i]!.shape.length < 2) continue;
      moved += own.l2;
      size += own.baseL2;
    }
    const names = tensorNames(model);
    const distance = size > 0 ? Math.sqrt(moved) / Math.sqrt(size) : null;
    return {
      model: m,
      stored: isAdapted(model) ? "adapter" : "checkpoint",
      tensors,
      identical,
      missing: [...bases].filter((name) => !names.has(name)).sort(),
      distance,
      verdict:
        identical === tensors ? "identical" : distance !== null && distance >= farFromBase ? "doubtful" : "descendant",
    };
  });
  const duplicates = whole.pairs.flatMap(({ a, b, cosine }) =>
    cosine !== null && cosine > duplicateCosine ? [{ a, b, cosine }] : [],
  );
  return { models, duplicates, leftOut: plan.leftOut };
}

function isAdapted({ overrides }: InputModel): boolean {
  return [...overrides.values()].some(({ view }) => view?.op === "adapter");
}
