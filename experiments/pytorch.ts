// The same tables made with PyTorch and transformers (docs/experiments/pytorch.json): other code, and other random masks but where
// "braid-mask-v1" is said.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root, type Task } from "./models.ts";

type Accuracy = Readonly<Record<Task, number>>;
type Merged = Accuracy & { readonly mean: number; readonly mean_min?: number; readonly mean_max?: number };
type Rescaled<T> = Readonly<Record<"rescale" | "no_rescale", Readonly<Record<string, T>>>>;

export const pytorch = JSON.parse(readFileSync(join(root, "docs/experiments/pytorch.json"), "utf8")) as {
  readonly single: Readonly<Record<string, Accuracy>>;
  readonly tied: Readonly<Record<string, Accuracy>>;
  readonly drop: Readonly<
    Record<string, Rescaled<{ readonly mean: number; readonly min: number; readonly max: number }>>
  >;
  readonly merge: Readonly<Record<string, Merged>>;
  readonly task_arithmetic_grid: Readonly<Record<string, Merged>>;
  readonly braid_mask_v1_seed42: {
    readonly single: Readonly<Record<string, Rescaled<number>>>;
    readonly merge: Readonly<Record<string, Merged>>;
  };
};

/** PyTorch's name of a row of ours. */
export function pytorchMerge(label: string, p: number | undefined): Merged | undefined {
  const lambda = /^task arithmetic, lambda (.*)$/.exec(label)?.[1];
  if (lambda !== undefined) return pytorch.task_arithmetic_grid[lambda === "1" ? "1.0" : lambda];
  const ties = /^TIES keep (.*), lambda (.*)$/.exec(label);
  if (ties) return pytorch.merge[`TIES keep ${ties[1]} lambda ${Number(ties[2]).toFixed(1)}`];
  const names: Readonly<Record<string, string>> = {
    "linear average": "linear average",
    "DARE, average": `DARE-linear p ${p} (average, lambda 1)`,
    "DARE, sum, lambda 0.6": `DARE-linear p ${p} (sum, lambda 0.6)`,
    "DARE, sum, lambda 0.6, no rescale": `DARE-linear p ${p} WITHOUT rescale (sum, lambda 0.6)`,
    "DARE-TIES, mean, lambda 1": `DARE-TIES p ${p} keep 0.5 lambda 1`,
  };
  return pytorch.merge[names[label] ?? ""];
}
