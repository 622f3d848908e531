// What a method asks of a recipe before any tensor is known: how many models, which base, parameters where they are read.

import { quote } from "../errors.ts";
import { findParameter, type MethodSpec } from "./catalogue.ts";
import type { Layout, Reading } from "./parsed.ts";
import type { Setting, Settings } from "./settings.ts";
import { get } from "./yaml.ts";

/** Slices with their modules, and their indices in them. */
function each(
  { slices, modules }: Layout,
  look: (slice: Layout["slices"][number], module: Layout["modules"][number], index: number) => void,
): void {
  for (const module of modules)
    for (const [i, slice] of slices.slice(module.first, module.end).entries()) look(slice, module, i);
}

function placeOf({ name, form }: Layout["modules"][number], index: number): string {
  const own = form === "models" ? "models" : `slices[${index}]`;
  return name === null ? own : `modules.${name}.${own}`;
}

/** The number of models and the part of the base. */
export function checkModels(r: Reading, layout: Layout, method: MethodSpec): void {
  each(layout, (slice, module, i) => {
    const where = placeOf(module, i);
    const baseListed = slice.sources.some((s) => s.model === slice.base);
    if (slice.base === null && method.base === "required") {
      const hint = method.baseIsInput
        ? "Name the model to start from (t = 0) as base_model."
        : "Name the model that the others were fine-tuned from as base_model.";
      if (slice === layout.slices[0])
        r.error(get(r.root, "merge_method")!.value.at, `${method.name} needs a base_model`, hint, "recipe-models");
    } else if (slice.base !== null && !baseListed && method.base !== "none") {
      const message = `base_model ${quote(r.models[slice.base]!.display)} is not among the sources of ${where}`;
      r.error(
        slice.at,
        message,
        "List it there with the layer_range that the other sources are compared with.",
        "recipe-models",
      );
      return;
    }
    const counted = slice.sources.filter((s) => method.baseIsInput || s.model !== slice.base).length;
    if (counted < method.minModels || counted > method.maxModels) {
      const wanted =
        method.minModels === method.maxModels
          ? `exactly ${method.minModels}`
          : counted < method.minModels
            ? `at least ${method.minModels}`
            : `at most ${method.maxModels}`;
      const which =
        method.base === "none"
          ? ""
          : method.baseIsInput
            ? " (base_model is one of them)"
            : slice.base === null
              ? ""
              : " beside the base_model";
      r.error(
        slice.at,
        `${method.name} needs ${wanted} model${wanted.endsWith(" 1") ? "" : "s"}${which} in ${where}, found ${counted}`,
        undefined,
        "recipe-models",
      );
    }
  });
}

/** Parameters at a level where they are never read, two spellings at once, conditions that can never be reached. */
export function checkSettings(r: Reading, layout: Layout, method: MethodSpec): void {
  const outer: [string, Settings][] = [["parameters", layout.parameters]];
  for (const { name, parameters } of layout.modules)
    if (name !== null) outer.push([`modules.${name}.parameters`, parameters]);
  for (const [path, settings] of outer) checkLevel(settings, path, method, r);
  each(layout, (slice, module, i) => {
    const prefix = module.form === "models" ? placeOf(module, i) : `${placeOf(module, i)}.sources`;
    checkLevel(slice.parameters, `${placeOf(module, i)}.parameters`, method, r);
    slice.sources.forEach((source, j) => {
      const path = `${prefix}[${j}].parameters`;
      checkLevel(source.parameters, path, method, r);
      for (const [name, setting] of source.parameters) {
        const found = findParameter(method, name);
        const isBase = source.model === slice.base && !method.baseIsInput;
        if (found?.spec.per === "model" && isBase)
          r.warn(setting.at, `${quote(name)} in ${path} is not used: the base_model has none of its own`);
        if (found?.spec.per !== "tensor") continue;
        const message = `${quote(name)} is one value for all models and is never read in ${path}`;
        const read = [slice.parameters, module.parameters, layout.parameters];
        const names = [found.spec.name, ...(found.spec.aliases ?? []).map((a) => a.name)];
        const elsewhere = read.some((level) => names.some((n) => level.has(n)));
        if (elsewhere) r.warn(setting.at, `${message}; the value under the outer parameters: counts`);
        else r.error(setting.at, message, "It belongs under parameters: at the top of the recipe, or of a slice.");
      }
    });
  });
}

function checkLevel(settings: Settings, path: string, method: MethodSpec, r: Reading): void {
  const before = new Map<string, Setting>();
  for (const [name, setting] of settings) {
    const spec = findParameter(method, name)?.spec;
    if (!spec) continue;
    const other = before.get(spec.name);
    if (other)
      r.error(setting.at, `${quote(other.name)} and ${quote(name)} in ${path} say the same thing: give one of them`);
    before.set(spec.name, setting);
    const all = setting.cases.findIndex((c) => c.filter === null);
    const dead = all >= 0 ? setting.cases[all + 1] : undefined;
    if (dead)
      r.warn(
        dead.at,
        `A condition of ${quote(name)} in ${path} is never reached: the one before it takes every tensor`,
      );
  }
}
