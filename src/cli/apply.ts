// `braid apply`: one model with what belongs on it (an adapter, masks of an EMR export), as a checkpoint.

import { fail, quote } from "../errors.ts";
import { defaultRequest } from "../host.ts";
import { parseModelText } from "../recipe/model.ts";
import type { Context } from "./main.ts";
import { mergeRecipe } from "./merge.ts";
import { noNodes } from "./node-options.ts";
import type { CommandOf } from "./program.ts";

/** The recipe that `apply` stands for. A string of JSON is one of YAML too. */
export function applyRecipe(model: string, dtype: string | undefined): string {
  if (!parseModelText(model)) {
    fail("usage", `Cannot read the model ${quote(model)}: expected path[@revision][+adapter[@revision]]`, {
      hint: "For a path that itself holds + or @, write a passthrough recipe with {model: {path: …}, lora: {path: …}}.",
    });
  }
  const line = dtype === undefined ? "" : `dtype: ${dtype}\n`;
  return `merge_method: passthrough\nmodels:\n  - model: ${JSON.stringify(model)}\n${line}`;
}

export function runApply(command: CommandOf<"apply">, context: Context): Promise<number> {
  const { compat, rounding, allowMissing } = defaultRequest;
  const text = applyRecipe(command.model, command.dtype);
  // Elements that are not finite in the base are so in the output: nothing is merged.
  const rest = { seed: undefined, compat, nonFinite: "keep" as const, rounding, allowMissing };
  const unused = {
    asAdapter: undefined,
    exportMasks: false,
    intermediateDir: undefined,
    ...noNodes,
    profile: undefined,
    report: undefined,
    unneeded: [],
  };
  return mergeRecipe({ ...command, ...rest, ...unused }, context, (host) => ({
    text,
    file: "<apply>",
    folder: host.cwd,
  }));
}
