// What `braid analyze` prints: tables of models, pairs, kinds, layers and tensors, then the advice.

import type { Analysis, Bounded, Group, ModelCypher } from "../analyze/analysis.ts";
import type { Analysed } from "../analyze/analyze.ts";
import {
  formatBytes,
  formatMemory,
  formatParameters,
  formatSeconds,
  formatTable,
  plural,
  printable,
} from "./format.ts";
import { paint, type Screen } from "./terminal.ts";

/** Tensors of the table without --per-tensor, and models that have columns of their own in the tables of groups. */
const shownTensors = 10;
const shownModels = 4;

/** Three digits that can be compared at a glance. */
function small(x: number | null | undefined): string {
  if (x === null || x === undefined) return "–";
  if (x === 0) return "0";
  return Math.abs(x) < 1e-3 || Math.abs(x) >= 1e4 ? x.toExponential(2) : String(Number(x.toPrecision(3)));
}

function signed(x: number | null): string {
  return x === null ? "–" : `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`;
}

function percent(x: number | null): string {
  return x === null ? "–" : `${(100 * x).toFixed(1)} %`;
}

function bounded({ value, low, high }: Bounded): string {
  return high - low < 0.001 ? percent(value) : `${percent(value)} ± ${(50 * (high - low)).toFixed(1)}`;
}

/** A, B, … Z, then M27. */
function letter(m: number): string {
  return m < 26 ? String.fromCharCode(65 + m) : `M${m + 1}`;
}

export function analysisText(
  analysed: Analysed,
  how: { readonly perTensor: boolean; readonly modelCypher: boolean },
  screen: Screen,
): string {
  const { analysis } = analysed;
  const title = (text: string) => `\n${paint(screen, "bold", text)}\n`;
  const several = analysis.models.length > 1;
  const head = `${plural(analysis.models.length, "model")} against ${printable(analysis.base)}: ${plural(analysis.tensors.length, "tensor")}, ${formatParameters(analysis.parameters)} parameters`;
  const tensors = how.perTensor ? analysis.tensors : mostChanged(analysis);
  return [
    `${paint(screen, "bold", head)}\n`,
    modelTable(analysis),
    ...(several ? [title("Between models"), pairTable(analysis), togetherText(analysis.whole)] : []),
    title("Kinds of tensors: ‖δ‖/‖base‖ by model"),
    groupTable(analysis, analysis.kinds, (k) => k.kind),
    ...(analysis.layers.length > 0
      ? [title("Layers"), groupTable(analysis, analysis.layers, (l) => `${printable(l.stack)}.${l.layer}`)]
      : []),
    title(
      how.perTensor
        ? "Tensors"
        : `Tensors that changed most${tensors.length < analysis.tensors.length ? " (all: --per-tensor)" : ""}`,
    ),
    groupTable(analysis, tensors, (t) => printable(t.name)),
    ...(analysis.lineage.leftOut.length > 0
      ? [`  ${plural(analysis.lineage.leftOut.length, "tensor")} left out\n`]
      : []),
    ...(how.modelCypher ? [title("ModelCypher's dare_sparsity"), cypherTable(analysis)] : []),
    title("Advice"),
    adviceText(analysis, screen),
    "\n",
    footText(analysed),
  ].join("");
}

function modelTable({ models, whole, advice, lineage }: Analysis): string {
  const rows = models.map((name, m) => {
    const s = whole.models[m];
    if (!s) return [letter(m), printable(name)];
    return [
      letter(m),
      printable(name),
      advice.classes[m]!,
      small(s.mean),
      small(s.quantiles.p50),
      small(s.quantiles.p99),
      small(s.max),
      small(s.ratio),
      bounded(s.nearZero),
      percent(s.zeros / s.count),
      s.dominance === null ? "–" : percent(s.dominance),
      `${lineage.models[m]!.identical}/${lineage.models[m]!.tensors}`,
    ];
  });
  const header = [
    "",
    "model",
    "class",
    "mean |δ|",
    "median",
    "99 %",
    "max",
    "‖δ‖/‖base‖",
    "< 1 % of max",
    "zero",
    "of Σ‖δ‖²",
    "same tensors",
  ];
  return formatTable([header, ...rows], [3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

function pairTable({ whole, models }: Analysis): string {
  const names = models.map((_, m) => letter(m));
  const cosine = (a: number, b: number) => whole.pairs.find((p) => p.a === a && p.b === b)?.cosine ?? null;
  const matrix = models.slice(1).map((_, i) => [
    names[i + 1]!,
    ...names.slice(0, i + 1).map((_, a) => {
      const c = cosine(a, i + 1);
      return c === null ? "–" : `${c < 0 ? "−" : ""}${Math.abs(c).toFixed(3)}`;
    }),
  ]);
  const columns = names.slice(0, -1).map((_, i) => i + 1);
  const header = ["", "cosine", "signs apart", "expected", "excess", "largest shared", "by chance", "excess"];
  const rows = whole.pairs.map((p) => [
    `${names[p.a]}–${names[p.b]}`,
    small(p.cosine),
    percent(p.conflict),
    percent(p.conflictExpected),
    signed(p.conflictExcess),
    percent(p.overlap),
    percent(p.overlapExpected),
    signed(p.overlapExcess),
  ]);
  const cosines = models.length > 2 ? formatTable([["cosine", ...names.slice(0, -1)], ...matrix], columns) : "";
  return cosines + formatTable([header, ...rows], [1, 2, 3, 4, 5, 6, 7]);
}

function togetherText({ together, parameters }: Group): string {
  if (!together) return "";
  const changed = together.changedBy.map((n, i) => `${i}: ${percent(n / parameters)}`).join("  ");
  return formatTable([
    ["interference", `${percent(together.interference)} of Σ|δ| cancels in a sum`],
    ["mixed signs", `${percent(together.mixed)} of elements; agreement ${small(together.signAgreement)}`],
    ["changed by", changed],
    ["imbalance", `${small(together.imbalance)} × between the largest ‖δ‖ and the smallest`],
  ]);
}

function groupTable<G extends Group>({ models }: Analysis, groups: readonly G[], label: (group: G) => string): string {
  const each = models.length <= shownModels;
  const several = models.length > 1;
  const header = [
    "",
    "parameters",
    ...(each ? models.map((_, m) => letter(m)) : ["least", "most"]),
    "mean |δ|",
    ...(several ? ["interference", "mixed"] : []),
  ];
  const rows = groups.map((g) => {
    const ratios = g.models.map((m) => m?.ratio ?? null);
    const known = ratios.flatMap((r) => r ?? []);
    const extremes = known.length > 0 ? [Math.min(...known), Math.max(...known)] : [null, null];
    const held = g.models.flatMap((m) => m ?? []);
    const mean = held.reduce((sum, m) => sum + m.mean, 0) / Math.max(1, held.length);
    return [
      label(g),
      formatParameters(g.parameters),
      ...(each ? ratios : extremes).map(small),
      small(mean),
      ...(several ? [percent(g.together?.interference ?? null), percent(g.together?.mixed ?? null)] : []),
    ];
  });
  return formatTable(
    [header, ...rows],
    header.map((_, i) => i).filter((i) => i > 0),
  );
}

function mostChanged({ tensors }: Analysis): Analysis["tensors"] {
  const most = (g: Group) => Math.max(0, ...g.models.map((m) => m?.ratio ?? 0));
  return [...tensors].sort((a, b) => most(b) - most(a) || (a.name < b.name ? -1 : 1)).slice(0, shownTensors);
}

function cypherTable({ models, modelCypher }: Analysis): string {
  const row = (c: ModelCypher, m: number) => [
    letter(m),
    printable(models[m]!),
    small(c.effectiveSparsity),
    small(c.essentialFraction),
    String(c.recommendedDropRate),
    c.mergeReadiness,
    c.qualityAssessment,
    `${c.perLayerSparsity.filter((l) => l.hasSignificantUpdates).length}/${c.perLayerSparsity.length}`,
  ];
  const header = [
    "",
    "model",
    "effectiveSparsity",
    "essential",
    "recommendedDropRate",
    "mergeReadiness",
    "quality",
    "significant layers",
  ];
  return `${formatTable([header, ...modelCypher.map(row)], [2, 3, 4, 7])}${wrapped(`Defect: ${modelCypher[0]!.defect}`, 100, "  ")}`;
}

function adviceText({ advice, models }: Analysis, screen: Screen): string {
  const { method, dropRate, sweep, weights, lambda, filters, leaveOut, reasons } = advice;
  const used = models.flatMap((_, m) => (leaveOut.includes(m) ? [] : [`${letter(m)} ${small(weights[m]!)}`]));
  const rows = [
    ["method", method],
    ...(dropRate === null ? [] : [["drop rate", `${dropRate}; to try: ${sweep.join(", ")}`]]),
    ...(filters.length > 0 ? [["of", filters.map((f) => `${printable(f.filter)} ${f.dropRate}`).join(", ")]] : []),
    ...(used.length > 0 ? [["weights", `${used.join(", ")}${method === "linear" ? "" : `; λ ${lambda}`}`]] : []),
    ...(leaveOut.length > 0 ? [["leave out", leaveOut.map((m) => printable(models[m]!)).join(", ")]] : []),
  ];
  const width = Math.min(100, Math.max(40, screen.columns() - 1));
  const because = reasons.map((r) => {
    const text = wrapped(`${r.text} [${r.source}]`, width, "    ");
    const mark = r.level === "warning" ? paint(screen, "yellow", "!") : "·";
    return `  ${mark} ${printable(text.trimStart().replaceAll("\n", "\u0000")).replaceAll("\\u{0}", "\n")}`;
  });
  return formatTable(rows) + because.join("");
}

/** Lines of at most `width`, each after `indent`. */
function wrapped(text: string, width: number, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, line].map((l) => `${indent}${l}\n`).join("");
}

function footText({ analysis, seconds, bytesRead, peakMemoryBytes, plannedPeakBytes }: Analysed): string {
  const worst = Math.max(...analysis.whole.models.map((m) => m?.quantileError ?? 0));
  const error = worst > 0 ? "quantiles within 2⁻⁷ of themselves" : "all quantiles exact";
  const memory =
    peakMemoryBytes === null
      ? ""
      : `, ${formatMemory(peakMemoryBytes)} at the peak of ${formatMemory(plannedPeakBytes)} planned`;
  return `Read ${formatBytes(bytesRead)} in ${formatSeconds(seconds)}${memory}; ${error}\n`;
}
