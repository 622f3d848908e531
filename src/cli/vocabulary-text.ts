// What became of the vocabularies, in one line.

import type { Joined } from "../tokenizer.ts";
import { formatCount, plural, printable } from "./format.ts";

/** `332 rows (union): 303 tokens of a, 29 more of b; filled in where missing: 71 from the only model that has them`. */
export function vocabularyText(
  { source, outcome, output, donorName }: Joined,
  models: readonly { readonly reference: string }[],
): string {
  const { rows, tokens, filled, zero, appended } = outcome;
  const own = tokens - output.appended.length;
  const more = models.flatMap(({ reference }, i) =>
    appended[i]! > 0 ? [`${formatCount(appended[i]!)} more of ${printable(reference)}`] : [],
  );
  const named = output.appended.filter((t) => t.model === null).length;
  if (named > 0) more.push(`${formatCount(named)} more that the recipe names`);
  const ways = [
    [filled.explicit, "as the recipe says"],
    [filled.sole, "from the only model that has them"],
    [filled.base, "from the base"],
    [filled.mean, "by their mean"],
    [zero, "by zeros"],
  ] as const;
  const given = ways.flatMap(([count, way]) => (count > 0 ? [`${formatCount(count)} ${way}`] : []));
  const fill = given.length > 0 ? `; rows that a model lacks are filled in ${given.join(", ")}` : "";
  return `${plural(rows, "row")} (${source}): ${[`${formatCount(own)} tokens of ${printable(donorName)}`, ...more].join(", ")}${fill}`;
}
