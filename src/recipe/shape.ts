// The zod schema's verdict on a recipe, in our own words and with places in the text.

import type { Reading } from "./parsed.ts";
import { recipeSchema } from "./schema.ts";
import { describeNode, type MapNode, type Node, toPlain } from "./yaml.ts";

const missingHints: Readonly<Record<string, string>> = {
  layer_range: "To merge whole models, list them under models: instead of slices:.",
};

/** Wrong types and missing keys, by the zod schema, told with our own words and places. */
export function checkShape(root: MapNode, error: Reading["error"]): void {
  const result = recipeSchema.safeParse(toPlain(root));
  for (const issue of result.success ? [] : result.error.issues) {
    let node: Node | undefined = root;
    let parent: Node = root;
    let path = "";
    for (const step of issue.path) {
      parent = node ?? parent;
      path += typeof step === "number" ? `[${step}]` : `${path && "."}${String(step)}`;
      node =
        node?.kind === "list"
          ? node.items[Number(step)]
          : node?.kind === "map"
            ? node.entries.find((e) => String(e.key.value) === String(step))?.value
            : undefined;
    }
    if (node) error(node.at, `${path} must be ${issue.message}, found ${describeNode(node)}`);
    else error(parent.at, `${path} is missing: it must be ${issue.message}`, missingHints[String(issue.path.at(-1))]);
  }
}
