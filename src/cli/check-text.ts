// The tables of `braid check`: models, configs, lineage, adapters.

import type { Examined } from "../check/examine.ts";
import type { AdapterFacts, ModelFacts } from "../check/models.ts";
import type { Plan } from "../plan/plan.ts";
import { formatBytes, formatParameters, formatShare, formatTable, formatValue, printable, truncate } from "./format.ts";
import { paint, type Screen } from "./terminal.ts";

/** A value of a config in a table; lists of layer types are long. */
const valueWidth = 40;
const none = "–";

/** "BF16" or "BF16 36, F32 3". */
export function dtypeCounts(plan: Plan): string {
  const counts: Record<string, number> = {};
  for (const { dtype } of plan.tensors) counts[dtype] = (counts[dtype] ?? 0) + 1;
  return dtypeText(counts);
}

function dtypeText(counts: Readonly<Record<string, number>>): string {
  const entries = Object.entries(counts);
  return entries.length === 1 ? entries[0]![0] : entries.map(([dtype, n]) => `${dtype} ${n}`).join(", ");
}

function vocabulary({ embeddingRows, headRows, tied }: ModelFacts): string {
  if (embeddingRows === null) return none;
  return `${embeddingRows}${tied ? " tied" : headRows !== embeddingRows ? `, head ${headRows ?? none}` : ""}`;
}

function tokenizerText({ tokenizer }: ModelFacts): string {
  if (!tokenizer) return none;
  return `${tokenizer.size === null ? "" : `${tokenizer.size}, `}${tokenizer.sha256.slice(0, 8)}`;
}

function adapterText({ changed, replaced, ranks, scales, modules, share }: AdapterFacts): string {
  const list = Object.entries(modules)
    .map(([name, n]) => `${printable(name)} ${n}`)
    .join(", ");
  const low = changed > 0 ? [`rank ${ranks.join(", ")}`, `scale ${scales.map(formatValue).join(", ")}`] : [];
  const whole = replaced > 0 ? [`${replaced} replaced`] : [];
  return [...low, ...whole, list, `${formatShare(share)} of the parameters`].join("; ");
}

export function writeExamined(screen: Screen, one: Examined, index: number, count: number): void {
  const { recipe, models, config, shares, from, distances } = one;
  const section = (title: string, rows: string[][], right: number[] = []) => {
    screen.write(`${paint(screen, "bold", title)}\n${formatTable(rows, right)}\n`);
  };
  if (count > 1) screen.write(`Recipe ${index + 1} of ${count}: ${printable(recipe.name ?? "the output")}\n\n`);
  if (models.length === 0) return;
  const names = models.map((m) => printable(m.reference));
  section(
    "Models",
    [
      ["", "files", "size", "parameters", "tensors", "dtypes", "vocabulary", "tokenizer", "licence"],
      ...models.map((m, i) => [
        names[i]!,
        String(m.files),
        formatBytes(m.bytes),
        formatParameters(m.parameters),
        String(m.tensors),
        dtypeText(m.dtypes),
        vocabulary(m),
        tokenizerText(m),
        m.license ?? none,
      ]),
    ],
    [1, 2, 3, 4],
  );
  const adapters = models.flatMap((m, i) => (m.adapter ? [[names[i]!, adapterText(m.adapter)]] : []));
  if (adapters.length > 0) section("Adapters", adapters);
  const different = config.filter((key) => key.differs);
  if (different.length > 0)
    section("Configs that differ", [
      ["", ...different.map(({ key }) => key)],
      ...names.map((name, i) => [
        name,
        ...different.map(({ values }) => truncate(printable(values[i] ?? none), valueWidth)),
      ]),
    ]);
  if (from === null || models.length < 2) return;
  const others = models.flatMap((_, i) => (i === from ? [] : [i]));
  section(
    `Beside ${names[from]}`,
    [
      [
        "",
        "same tensors",
        "same dtype",
        ...(distances ? ["sampled", "identical", "mean |δ|", "of mean |base|", "most in"] : []),
      ],
      ...others.map((i) => {
        const share = shares.find((s) => s.a === Math.min(i, from) && s.b === Math.max(i, from))!;
        const row = [
          names[i]!,
          formatShare(share.equalShape / share.tensors),
          formatShare(share.equalShapeAndDtype / share.tensors),
        ];
        const d = distances?.find((x) => x.model === i);
        if (!distances) return row;
        if (!d || d.relative === null) return [...row, ...Array<string>(5).fill(none)];
        const far = d.farthest;
        return [
          ...row,
          String(d.sampled),
          formatShare(d.identical / d.sampled),
          formatValue(Number(d.meanDelta!.toPrecision(3))),
          formatShare(Number(d.relative.toPrecision(3))),
          far ? `${printable(far.tensor)} (${formatShare(Number(far.relative.toPrecision(3)))})` : none,
        ];
      }),
    ],
    [1, 2, 3, 4, 5, 6],
  );
}
