// Which tensors belong to which module of a recipe. mergekit has tables of architectures for it; here the names of tensors say it,
// with mergekit's names of modules where the common architectures agree on what they mean.

import { BraidError, type Diagnostic, quote } from "../errors.ts";
import { layerOf } from "./layers.ts";
import type { ParsedModule, ParsedRecipe } from "./parsed.ts";

const projector = /(?:^|\.)(?:multi_modal_projector|mm_projector|merger|deepstack_merger_list)\./;
const vision = /(?:^|\.)(?:vision_tower|vision_model|visual)\./;
const encoder = /^(?:model\.)?encoder\./;
const decoder = /^(?:model\.)?decoder\./;
const common = /^(?:shared|lm_head)\./;

/** What takes a tensor by its name: LLaVA's, Gemma's, Mistral's and Qwen's vision models, T5, Whisper. The first that fits counts. */
const roles: Readonly<Record<string, (tensor: string) => boolean>> = {
  multi_modal_projector: (t) => projector.test(t),
  vision_tower: (t) => vision.test(t) && !projector.test(t),
  vision_model: (t) => vision.test(t) && !projector.test(t),
  encoder: (t) => encoder.test(t),
  decoder: (t) => decoder.test(t),
  shared: (t) => common.test(t),
  text_decoder: (t) => !vision.test(t) && !projector.test(t),
};

/** The module that takes what no other one does. */
const rest = "default";

/** Modules whose number of layers config.json tells, so that they can be stacked anew. */
export function isText({ name }: ParsedModule): boolean {
  return name === null || name === rest || name === "text_decoder";
}

/** The index of the module that a tensor belongs to, or −1. A prefix of names goes before a role, a longer one before a shorter. */
export function moduleFinder(modules: readonly ParsedModule[]): (tensor: string) => number {
  const named = modules.map(({ name }, index) => ({ name, index }));
  if (named.length === 1 && (named[0]!.name === null || named[0]!.name === rest)) return () => 0;
  const byLength = [...named].sort((a, b) => (b.name?.length ?? 0) - (a.name?.length ?? 0));
  const order = Object.keys(roles);
  const byRole = named
    .filter(({ name }) => name !== null && Object.hasOwn(roles, name))
    .sort((a, b) => order.indexOf(a.name!) - order.indexOf(b.name!));
  const last = named.find(({ name }) => name === rest)?.index ?? -1;
  return (tensor) =>
    byLength.find(({ name }) => name !== null && name !== rest && tensor.startsWith(`${name}.`))?.index ??
    byRole.find(({ name }) => roles[name!]!(tensor))?.index ??
    last;
}

/**
 * Every tensor must belong to a module, and every module must have one.
 *
 * @throws BraidError `recipe-schema`.
 */
export function checkModules({ modules }: ParsedRecipe, tensors: ReadonlySet<string>): void {
  const find = moduleFinder(modules);
  const taken = new Set<number>();
  const left: string[] = [];
  for (const tensor of tensors) {
    const module = find(tensor);
    if (module < 0) left.push(tensor);
    else taken.add(module);
  }
  const errors: Diagnostic[] = modules
    .filter((_, i) => !taken.has(i))
    .map(({ name, at }) => ({
      kind: "recipe-schema",
      message: `modules.${name} takes no tensor: the models have none that its name stands for`,
      where: at,
      hint: `A module is the start of tensor names (${examples(tensors)}), one of ${Object.keys(roles).join(", ")}, or default, which takes what is left.`,
    }));
  if (left.length > 0) {
    const more = left.length > 1 ? ` and ${left.length - 1} more` : "";
    errors.push({
      kind: "recipe-schema",
      message: `No module of the recipe takes ${quote(left.sort()[0]!)}${more}`,
      where: modules[0]!.at,
      hint: "Add a module for them, or default, which takes what is left.",
    });
  }
  if (errors.length > 0) throw new BraidError(errors);
}

/** Starts of names that stand for stacks of layers, as mergekit infers modules where it has no table. */
function examples(tensors: ReadonlySet<string>): string {
  const prefixes = new Set([...tensors].flatMap((t) => layerOf(t)?.prefix.replace(/\.$/, "") ?? []));
  const names = prefixes.size > 0 ? prefixes : new Set([...tensors].map((t) => t.split(".")[0]!));
  return [...names]
    .sort()
    .slice(0, 3)
    .map((n) => quote(n))
    .join(", ");
}
