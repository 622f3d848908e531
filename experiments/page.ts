// docs/experiments/README.md: tables and pictures from the results, so that no number is written by hand. What the text says of them is
// held to the results in test/experiments.test.ts.

import { factors, type Groups, type Row, rates, seeds } from "./groups.ts";
import { fineTunes, type Scores, type Task, tasks } from "./models.ts";
import { pytorch, pytorchMerge } from "./pytorch.ts";
import { byLabel, cells, meanSpread, percent, range, table } from "./statistics.ts";

const number = (x: number) => (Math.abs(x) >= 100 ? x.toFixed(1) : x.toPrecision(4));

function singlesTable({ singles }: Groups): string {
  const other = (model: string) => pytorch.single[model] ?? pytorch.tied[model];
  return table(
    ["model", ...tasks, "PyTorch"],
    singles.map((r) => [r.label, ...cells([r]), tasks.map((t) => percent(other(r.label)![t])).join(", ")]),
  );
}

function dropTable({ drop }: Groups, rescale: "exact" | "none"): string {
  const key = rescale === "exact" ? "rescale" : "no_rescale";
  const all = [0, ...rates];
  const rowsOf = (model: string, p: number) =>
    drop.filter((r) => r.model === model && r.p === p && (p === 0 || r.label === rescale));
  return table(
    ["model", "", ...all.map((p) => `p = ${p}`)],
    fineTunes.flatMap((model) => [
      [model, "Braid", ...all.map((p) => percent(meanSpread(rowsOf(model, p)).mean))],
      ["", "range", ...all.map((p) => range(meanSpread(rowsOf(model, p))))],
      ["", "PyTorch", ...all.map((p) => percent(pytorch.drop[model]![key][String(p)]!.mean))],
      [
        "",
        "Braid, seed 42",
        ...all.map((p) => percent(meanSpread(rowsOf(model, p).filter((r) => p === 0 || r.seed === 42)).mean)),
      ],
      [
        "",
        "PyTorch, the same masks",
        ...all.map((p) => percent(pytorch.braid_mask_v1_seed42.single[model]![key][String(p)]!)),
      ],
    ]),
  );
}

function mergeTable({ merges }: Groups): string {
  const groups = byLabel(merges).flatMap(([label, rows]) =>
    [...new Set(rows.map((r) => r.p))].map((p) => ({ label, p, rows: rows.filter((r) => r.p === p) })),
  );
  return table(
    ["merge", "p", ...tasks, "mean", "range over seeds", "PyTorch"],
    groups.map(({ label, p, rows }) => {
      const all = meanSpread(rows);
      const other = pytorchMerge(label, p);
      return [
        label,
        p === undefined ? "" : String(p),
        ...cells(rows),
        percent(all.mean),
        range(all),
        other ? percent(other.mean) : "",
      ];
    }),
  );
}

/** Merges that PyTorch made with the same masks. */
function sameMaskTable({ merges }: Groups): string {
  const pairs: [string, string][] = [["DARE, average", "dare_linear reference"]];
  return table(
    ["merge, seed 42", "p", ...tasks, "PyTorch"],
    pairs.flatMap(([ours, theirs]) =>
      [0.5, 0.7, 0.9].map((p) => {
        const rows = merges.filter((r) => r.label === ours && r.p === p && r.seed === 42);
        const other = pytorch.braid_mask_v1_seed42.merge[`${theirs} p ${p} lambda 1`]!;
        return [ours, String(p), ...cells(rows), tasks.map((t) => percent(other[t])).join(", ")];
      }),
    ),
  );
}

function rateTable(rows: readonly Row[]): string {
  const ps = [...new Set(rows.map((r) => r.p!))];
  return table(
    ["masks", ...ps.map((p) => `p = ${p}`)],
    byLabel(rows).map(([label, some]) => [
      label,
      ...ps.map((p) => {
        const all = meanSpread(some.filter((r) => r.p === p));
        return `${percent(all.mean)} (${range(all)})`;
      }),
    ]),
  );
}

function qTable({ q }: Groups): string {
  return table(
    ["model", ...factors.map((x) => `q = ${x}`)],
    fineTunes.map((model) => [
      model,
      ...factors.map((x) => percent(meanSpread(q.filter((r) => r.model === model && r.q === x)).mean)),
    ]),
  );
}

function lawTable({ laws }: Groups): string {
  const names = [...new Set(laws.map((l) => l.law))];
  return table(
    ["law", ...rates.map((p) => `p = ${p}`)],
    names.map((name) => [
      name,
      ...rates.map((p) => {
        const l = laws.find((x) => x.law === name && x.p === p);
        if (!l) return "";
        const chance = l.deviation === undefined ? "" : ` ± ${l.deviation.toPrecision(1)}`;
        return `${number(l.measured)} (${number(l.theory)}${chance})`;
      }),
    ]),
  );
}

/** How many of PyTorch's accuracies with the same masks are met to the prompt, and the most that one is off. */
export function agreement({ singles, drop, merges }: Groups): { equal: number; all: number; most: number } {
  const pairs: [number, number][] = [];
  const compare = (a: Scores, b: Readonly<Record<Task, number>>) => {
    for (const t of tasks) pairs.push([a[t]!, b[t]]);
  };
  for (const r of singles) compare(r.scores, (pytorch.single[r.label] ?? pytorch.tied[r.label])!);
  for (const r of drop.filter((d) => d.seed === 42 || d.p === 0)) {
    for (const key of r.p === 0
      ? (["rescale", "no_rescale"] as const)
      : [r.label === "exact" ? ("rescale" as const) : ("no_rescale" as const)]) {
      pairs.push([Object.values(r.scores)[0]!, pytorch.braid_mask_v1_seed42.single[r.model!]![key][String(r.p)]!]);
    }
  }
  for (const r of merges) {
    if (r.label.startsWith("task arithmetic") || r.label === "linear average")
      compare(r.scores, pytorchMerge(r.label, r.p)!);
    if (r.label === "DARE, average" && r.seed === 42) {
      compare(r.scores, pytorch.braid_mask_v1_seed42.merge[`dare_linear reference p ${r.p} lambda 1`]!);
    }
  }
  const prompts = pairs.map(([a, b]) => Math.abs(Math.round(a * 300) - Math.round(b * 300)));
  return { equal: prompts.filter((d) => d === 0).length, all: prompts.length, most: Math.max(...prompts) };
}

function agreementText(results: Groups): string {
  const { equal, all, most } = agreement(results);
  return equal === all
    ? `all ${all} accuracies are equal, to the prompt`
    : `${equal} of ${all} accuracies are equal to the prompt, and none is off by more than ${most} of 300`;
}

export function page(results: Groups): string {
  return `# Experiments: what DARE does to really trained models

Made by \`npm run experiments\` (\`bun run\`, \`deno task\`), which writes this page, its pictures and its numbers
([results.csv](results.csv), [results.json](results.json)). Merges are made and stored in f32, and scored by Braid's own inference: greedy, exact
match, 300 prompts a task that no training run saw. Values are in %, DARE's the mean of the seeds ${seeds.join(", ")}; ranges are over these
seeds. One prompt is 0.33 points.

The models ([examples](../../examples/README.md)) are character-level Llamas of 763,008 parameters that add, reverse and sort. They are small,
their tasks are narrow, and their deltas are large beside those of fine-tuned chat models. **What they show**: how accuracy falls with the
drop rate, what the rescale is for, how far chance moves a result, that the formulas hold. **What they do not show**: that a method is
better on large models, or at which drop rate those fail.

Beside each table is what PyTorch and transformers gave for the same models and prompts ([pytorch.json](pytorch.json)). Where both
use the same masks or none, ${agreementText(results)}.

## The models

${singlesTable(results)}
## Drop rate

The delta of one fine-tune, dropped at p and multiplied by 1/(1 − p), on the fine-tune's own task:

${dropTable(results, "exact")}
![Accuracy against drop rate, rescaled](drop.svg)

The same without the rescale:

${dropTable(results, "none")}
![Accuracy against drop rate, not rescaled](drop-none.svg)

With the rescale nine of ten changes can go at no cost, as the DARE paper says, and 95 % at almost none. At 99 % all three fail, each to
its own degree, and the seed decides how much: a single run there says nothing. Without the rescale the model is no fine-tune any more at
p = 0.9: what is left is close to the base. The rescale is the method; dropping alone is harm.

## Merges of the three

${mergeTable(results)}
![Mean accuracy of merges](merges.svg)

DARE does not improve the merge of these models. At its best λ, task arithmetic without any dropping is as good as DARE at p = 0.5 and
better than DARE at p = 0.9: interference is no problem here that dropping could solve, and the variance it adds is not free. Of the
elections, DARE-TIES at p = 0.5 is a little above TIES that keeps half, and at p = 0.9 far below it; λ makes a larger difference than either.
Of the variants that drop, those without rescale are the worst.

DARE-TIES with a trim of what survived differs from the PyTorch rows, which trim all elements, zeros included: that trims nothing once
p ≥ 0.5, so they stand beside the rows without a trim. TIES and DARE-TIES are not equal to the prompt: equal magnitudes at the threshold all
stay in Braid (\`ties: include\`), and sums run in another order.

With the same masks as in Braid:

${sameMaskTable(results)}
## Seeds and masks

The sum of all three with λ 0.6, when every model has masks of its own, when no two models keep the same element (\`mask: disjoint\`), and when
one mask serves all:

${rateTable(results.masks)}
![Own masks, disjoint masks, one mask for all](masks.svg)

For equal deltas one mask has three times the variance of own masks (last section). The deltas of these models have little in common
(cosines from −0.03 to 0.09, by \`braid analyze\`), so the rows are apart by less than the seeds are.

## DAREx: dividing by q

At p = 0.99, survivors divided by q instead of 1 − p = 0.01:

${qTable(results)}
![Dividing by q at p = 0.99](q.svg)

A q above 1 − p gives up some of the expectation for less variance, and at this rate that pays: with q from 0.015
to 0.02 all three are back above 95 %. q is chosen here by looking at the answers; DAREx chooses it from a few inputs. At the far end, q = 1 is
dropping without rescale.

## The formulas

Of the delta of ft-add, measured on the merged checkpoints (in brackets what the formula says, ± one standard deviation that chance leaves
in the mean of ${seeds.length} seeds):

${lawTable(results)}
![Variance of DARE](laws.svg)

DARE keeps the expectation; its squared error is p/(1 − p) of the delta's square, and what it leaves points away from the delta by an angle
of cosine √(1 − p): at p = 0.9 a delta and its dropped self have a cosine of 0.32. That accuracy stays all the same is the remarkable thing. The
mean over those that survive, which TIES takes, inflates equal deltas by (1 − p³)/(1 − p).
`;
}
