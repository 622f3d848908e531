// From a recipe and the tensor names of its models to every output tensor: its inputs and the value of every parameter.

import { BraidError, type Diagnostic, type Position, quote } from "../errors.ts";
import type { Catalogue, MethodSpec, ParameterSpec } from "./catalogue.ts";
import { collectTroubles, type Troubles, type WatchedFilters, watchFilters } from "./findings.ts";
import { layerCount } from "./layers.ts";
import { isText } from "./modules.ts";
import type { ParsedRecipe, ParsedSlice, ParsedSource } from "./parsed.ts";
import { inputName, type NamesOf, type Place, placesOf } from "./places.ts";
import { coerce, type Picked, pick } from "./select.ts";
import type { Settings } from "./settings.ts";

export interface AssignedInput {
  /** Index into the recipe's models. */
  readonly model: number;
  /** Name of the tensor in that model; the model need not have it. */
  readonly tensor: string;
  readonly parameters: Record<string, unknown>;
}

export interface TensorAssignment {
  /** Name in the output. */
  readonly name: string;
  /** Place in the slice's stack of layers, 0 to 1; 0 for tensors outside of layers. Gradients are read there. */
  readonly t: number;
  readonly slice: number;
  /** Layer in the output. */
  readonly layer: number | null;
  /** Index into the recipe's models. */
  readonly base: number | null;
  readonly shared: Record<string, unknown>;
  /** All sources of the slice, in the order of the recipe (an unlisted base last). */
  readonly inputs: readonly AssignedInput[];
}

export type { NamesOf } from "./places.ts";

/** Number of layers in the output: of the text, where modules are merged by themselves. */
export function outLayers(recipe: ParsedRecipe, namesOf: NamesOf): number {
  const { form, first, end } = recipe.modules.find(isText) ?? recipe.modules[0]!;
  const slices = recipe.slices.slice(first, end);
  if (form === "slices")
    return slices.reduce((sum, s) => sum + (s.sources[0]!.layerRange![1] - s.sources[0]!.layerRange![0]), 0);
  return Math.max(...slices[0]!.sources.map((s) => layerCount(namesOf(s.model))));
}

/**
 * Every output tensor with its parameters: first the embeddings, then layer by layer, then the rest; within each group by code
 * units of the name, so that the order does not depend on how a checkpoint is stored. A tensor is an output if any model of its
 * slice has it. Throws one `recipe-parameter` error with every value that is missing or out of range where it is used.
 */
export function assignTensors(
  recipe: ParsedRecipe,
  catalogue: Catalogue,
  namesOf: NamesOf,
  warn: (d: Diagnostic) => void = () => {},
): TensorAssignment[] {
  const method = catalogue.get(recipe.method);
  if (!method)
    throw new BraidError({
      kind: "unknown-method",
      message: `Cannot merge by ${quote(recipe.method)}: there is no such method`,
      where: recipe.methodAt,
    });
  const troubles = collectTroubles(recipe);
  const filters = watchFilters();
  const outputs = placesOf(recipe, namesOf).map((place): TensorAssignment => {
    const slice = recipe.slices[place.slice]!;
    const { name, t, layer } = place;
    const resolved = resolve(place, { recipe, method, slice, troubles, filters });
    return { name, slice: place.slice, t, layer, base: slice.base, ...resolved };
  });
  troubles.throwIfAny();
  for (const diagnostic of filters.unmatched()) warn(diagnostic);
  return outputs;
}

interface Context {
  readonly recipe: ParsedRecipe;
  readonly method: MethodSpec;
  readonly slice: ParsedSlice;
  readonly troubles: Troubles;
  readonly filters: WatchedFilters;
}

/** Levels from the inside: source, slice, module, top. Shared parameters are never read on a source. */
function resolve(place: Place, c: Context): { shared: Record<string, unknown>; inputs: AssignedInput[] } {
  const outer: Settings[] = [c.slice.parameters, c.recipe.modules[place.module]!.parameters, c.recipe.parameters];
  const shared: Record<string, unknown> = {};
  const sharedAt = new Map<string, Position>();
  for (const spec of c.method.parameters) {
    if (spec.per === "tensor") settle(spec, outer, place.name, place, c, shared, sharedAt, null);
  }
  const inputs = c.slice.sources.map((source) => ({
    model: source.model,
    tensor: inputName(place, source),
    parameters: {} as Record<string, unknown>,
  }));
  const counted = c.slice.sources.flatMap((source, i) =>
    c.method.baseIsInput || source.model !== c.slice.base
      ? [{ source, input: inputs[i]!, at: new Map<string, Position>() }]
      : [],
  );
  for (const { source, input, at } of counted) {
    for (const spec of c.method.parameters) {
      if (spec.per === "model")
        settle(spec, [source.parameters, ...outer], input.tensor, place, c, input.parameters, at, source);
    }
  }
  for (const spec of c.method.parameters) {
    if (spec.required !== "if-any" || !counted.some(({ at }) => at.has(spec.name))) continue;
    for (const { source, at } of counted) if (!at.has(spec.name)) missing(spec, source, place, c);
  }
  for (const complaint of c.method.check?.(
    shared,
    counted.map(({ input }) => input.parameters),
  ) ?? []) {
    const from = complaint.input === undefined ? undefined : counted[complaint.input];
    const where = (from?.at ?? sharedAt).get(complaint.parameter) ?? from?.source.at ?? c.recipe.methodAt;
    c.troubles.add(where, complaint.message, from?.source.model, place.name);
  }
  return { shared, inputs };
}

function settle(
  spec: ParameterSpec,
  levels: readonly Settings[],
  tensor: string,
  place: Place,
  c: Context,
  values: Record<string, unknown>,
  at: Map<string, Position>,
  source: ParsedSource | null,
): void {
  const picked: Picked | undefined = pick(spec, levels, tensor, place.t, (setting) => c.filters.ask(setting, tensor));
  if (!picked) {
    if (spec.default !== undefined) values[spec.name] = spec.default;
    else if (spec.required === true) missing(spec, source, place, c);
    return;
  }
  const result = coerce(spec, picked.value, picked.alias);
  at.set(spec.name, picked.at);
  if (result.ok) values[spec.name] = result.value;
  else c.troubles.add(picked.at, `${picked.alias?.name ?? spec.name} ${result.problem}`, source?.model, place.name);
}

function missing(spec: ParameterSpec, source: ParsedSource | null, place: Place, c: Context): void {
  const names = [spec.name, ...(spec.aliases ?? []).map((a) => a.name)].join(" or ");
  c.troubles.add(
    source?.at ?? c.recipe.methodAt,
    `${c.method.name} needs ${names}, which is not given`,
    source?.model,
    place.name,
  );
}
