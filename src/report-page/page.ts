// The report on a merge: one HTML file that needs nothing else, reads without scripts and is the same for the same facts.

import type { ReportFacts } from "./facts.ts";
import { htmlDocument, p, type Section } from "./html.ts";
import { distributionsSection } from "./sections/distributions.ts";
import { filesSection } from "./sections/files.ts";
import { interferenceSection } from "./sections/interference.ts";
import { layersSection } from "./sections/layers.ts";
import { lineageSection } from "./sections/lineage.ts";
import { headerOf, notesList, notesOf } from "./sections/overview.ts";
import { ratesSection } from "./sections/rates.ts";
import { timingsSection } from "./sections/timings.ts";
import { troubleSection } from "./sections/trouble.ts";
import { pageStyle } from "./style.ts";
import { recipeText } from "./yaml-text.ts";

export function reportPage(facts: ReportFacts): string {
  const { manifest } = facts;
  const sections: (Section | null)[] = [
    { id: "notes", title: "What to know first", body: notesList(notesOf(facts)) },
    { id: "recipe", title: "Recipe", body: recipeText(manifest.recipe) },
    lineageSection(facts),
    ratesSection(facts),
    layersSection(facts),
    distributionsSection(facts),
    interferenceSection(facts),
    troubleSection(facts),
    timingsSection(facts),
    filesSection(facts),
  ];
  return htmlDocument({
    title: `${facts.title} · Braid report`,
    style: pageStyle,
    header: headerOf(facts),
    sections: sections.filter((s) => s !== null),
    footer: p(
      `Written by Braid ${manifest.version}. This page holds no script and loads nothing. δ is a model minus the base, Δ the output minus the base.`,
    ),
  });
}
