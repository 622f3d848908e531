// What was merged, in a few figures, and what a reader should know first.

import { formatCount, formatParameters, formatSeconds, plural } from "../../format.ts";
import { formatNumber, formatPercent } from "../../svg/index.ts";
import { type ReportFacts, take } from "../facts.ts";
import { type Content, tag } from "../html.ts";
import { inputIndices, modelNames } from "../names.ts";

export interface Note {
  readonly level: "note" | "warning";
  readonly text: string;
}

/** Cosines of models that are almost the same, and of models that undo one another (docs/analyze.md). */
const duplicateCosine = 0.98;
const opposedCosine = -0.2;
/** A delta ten times as long as another drowns it. */
const imbalanced = 10;
/** Above this share of changes lost to rounding, a finer output dtype is worth a thought. */
const muchAbsorbed = 0.05;

/** What is out of the ordinary. */
export function notesOf(facts: ReportFacts): Note[] {
  const { manifest } = facts;
  const notes: Note[] = facts.warnings.map((text) => ({ level: "warning", text }));
  const add = (level: Note["level"], text: string) => void notes.push({ level, text });
  const nonFinite = manifest.nonFinite.reduce((sum, n) => sum + n.count, 0);
  if (nonFinite > 0) {
    add(
      "warning",
      `The inputs hold ${plural(nonFinite, "NaN or infinite element")} in ${plural(manifest.nonFinite.length, "place")}.`,
    );
  }
  if (manifest.overflow > 0)
    add("warning", `${plural(manifest.overflow, "merged value")} did not fit the output dtype.`);
  const absorbed = take(facts.absorbed);
  if (absorbed) {
    const changed = absorbed.tensors.reduce((sum, t) => sum + t.changed, 0);
    const lost = absorbed.tensors.reduce((sum, t) => sum + t.absorbed, 0);
    if (changed > 0) {
      const share = lost / changed;
      add(
        share > muchAbsorbed ? "warning" : "note",
        lost === 0
          ? `Rounding to the output dtype took back none of ${plural(changed, "changed element")}.`
          : `Rounding to the output dtype took back ${formatCount(lost)} of ${plural(changed, "changed element")} (${formatPercent(share)}).`,
      );
    }
  }
  const comparison = take(facts.comparison);
  if (comparison) {
    const { analysis } = comparison;
    const names = modelNames(comparison);
    const inputs = inputIndices(comparison);
    for (const { a, b, cosine } of analysis.whole.pairs) {
      if (cosine === null || !inputs.includes(a) || !inputs.includes(b)) continue;
      const both = `${names[a]} and ${names[b]}`;
      const said = formatNumber(cosine, 3);
      if (cosine > duplicateCosine)
        add(
          "warning",
          `${both} change the base almost alike (cosine ${said}): they may be one fine-tune, counted twice.`,
        );
      if (cosine < opposedCosine) add("warning", `${both} pull in opposite directions (cosine ${said}).`);
    }
    const norms = inputs.map((i) => analysis.whole.models[i]?.norm ?? 0);
    const [least, most] = [Math.min(...norms.filter((n) => n > 0)), Math.max(0, ...norms)];
    if (most > imbalanced * least) {
      add(
        "warning",
        `The largest delta is ${formatNumber(most / least, 3)} times as long as the smallest, and drowns it.`,
      );
    }
    for (const { model, verdict, distance } of analysis.lineage.models) {
      if (verdict !== "doubtful" || model === comparison.output) continue;
      add(
        "warning",
        `${names[model]} may not come from this base: its distance is ${formatNumber(distance, 3)} of the base's own length.`,
      );
    }
  }
  return notes;
}

export function notesList(notes: readonly Note[]): Content {
  if (notes.length === 0) return tag("p", {}, "Nothing out of the ordinary was found.");
  return tag(
    "ul",
    { class: "notes" },
    notes.map(({ level, text }) =>
      tag(
        "li",
        { class: level },
        level === "warning" ? [tag("strong", { class: "warning" }, "Warning:"), " "] : null,
        text,
      ),
    ),
  );
}

export function headerOf(facts: ReportFacts): Content {
  const { manifest, title } = facts;
  const models = facts.inputs.filter((i) => i.role !== "base").length;
  const timings = take(facts.timings);
  const tiles: [string, string][] = [
    ["Models", facts.inputs.some((i) => i.role === "base") ? `${models} + base` : String(models)],
    ["Parameters", formatParameters(manifest.parameters)],
    ["Tensors", formatCount(manifest.tensors)],
    ["Stored as", facts.outputDtypes.map((d) => d.dtype).join(", ") || "unknown"],
    ["Seed", manifest.seed],
    ...(timings ? [["Took", formatSeconds(timings.seconds)] satisfies [string, string]] : []),
  ];
  return [
    tag("h1", {}, tag("bdi", {}, title)),
    tag("p", { class: "lead" }, `A merge by ${manifest.method}, written by Braid ${manifest.version}`),
    tag(
      "dl",
      { class: "tiles" },
      tiles.map(([term, value]) => tag("div", {}, tag("dt", {}, term), tag("dd", {}, value))),
    ),
  ];
}
