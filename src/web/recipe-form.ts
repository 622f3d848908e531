// Recipe text ↔ controls. The text is what counts: controls write it, and read it as far as they can say all that it says.

import { parse, stringify } from "yaml";

/** What a control moves. */
export interface Knob {
  readonly key: string;
  readonly label: string;
  readonly help: string;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly start: number;
}

const dropRate: Knob = {
  key: "drop_rate",
  label: "Drop rate p",
  help: "The share of every fine-tune's changes that is dropped at random; the rest is rescaled by 1/(1 − p).",
  min: 0,
  max: 0.99,
  step: 0.01,
  start: 0.9,
};
const density: Knob = {
  key: "density",
  label: "Density",
  help: "The share of every fine-tune's changes that stays.",
  min: 0.01,
  max: 1,
  step: 0.01,
  start: 0.5,
};
const lambda: Knob = {
  key: "lambda",
  label: "Scale λ",
  help: "What the merged change is multiplied by before it is added to the base.",
  min: 0,
  max: 2,
  step: 0.05,
  start: 1,
};
const t: Knob = {
  key: "t",
  label: "Position t",
  help: "0 is the first model, 1 the second.",
  min: 0,
  max: 1,
  step: 0.01,
  start: 0.5,
};
const gamma: Knob = {
  key: "gamma",
  label: "Outliers γ",
  help: "The share of the largest changes that is dropped.",
  min: 0,
  max: 0.1,
  step: 0.005,
  start: 0.01,
};
const epsilon: Knob = {
  key: "epsilon",
  label: "Spread ε",
  help: "How much more often small changes are dropped than large ones.",
  min: 0,
  max: 0.2,
  step: 0.01,
  start: 0.05,
};

export interface FormMethod {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  /** `interpolates`: exactly two models, no weights; the base is the first of them unless `delta`. */
  readonly models: "many" | "two";
  readonly base: "needed" | "first" | "none";
  readonly weights: boolean;
  readonly random: boolean;
  readonly knobs: readonly Knob[];
}

/** The methods that the controls offer; a recipe may name any. */
export const formMethods = [
  {
    name: "dare_ties",
    title: "DARE + TIES",
    about: "Drop changes at random, elect a sign for every weight, add up what agrees.",
    models: "many",
    base: "needed",
    weights: true,
    random: true,
    knobs: [dropRate, lambda],
  },
  {
    name: "dare_linear",
    title: "DARE",
    about: "Drop changes at random, rescale the rest, add up.",
    models: "many",
    base: "needed",
    weights: true,
    random: true,
    knobs: [dropRate, lambda],
  },
  {
    name: "ties",
    title: "TIES",
    about: "Keep the largest changes, elect a sign for every weight, average what agrees.",
    models: "many",
    base: "needed",
    weights: true,
    random: false,
    knobs: [density, lambda],
  },
  {
    name: "task_arithmetic",
    title: "Task arithmetic",
    about: "Add up the changes of all fine-tunes.",
    models: "many",
    base: "needed",
    weights: true,
    random: false,
    knobs: [lambda],
  },
  {
    name: "slerp",
    title: "SLERP",
    about: "Go along the arc between two models.",
    models: "two",
    base: "first",
    weights: false,
    random: false,
    knobs: [t],
  },
  {
    name: "linear",
    title: "Linear",
    about: "The weighted average of the models.",
    models: "many",
    base: "none",
    weights: true,
    random: false,
    knobs: [],
  },
  {
    name: "dare_slerp",
    title: "DARE + SLERP",
    about: "Drop changes of two models at random, then go along the arc between them.",
    models: "two",
    base: "needed",
    weights: false,
    random: true,
    knobs: [dropRate, t],
  },
  {
    name: "della",
    title: "DELLA",
    about: "Drop small changes more often than large ones, then as TIES.",
    models: "many",
    base: "needed",
    weights: true,
    random: true,
    knobs: [density, epsilon, lambda],
  },
  {
    name: "breadcrumbs",
    title: "Breadcrumbs",
    about: "Drop the smallest and the largest changes, add up the rest.",
    models: "many",
    base: "needed",
    weights: true,
    random: false,
    knobs: [density, gamma, lambda],
  },
  {
    name: "model_stock",
    title: "Model Stock",
    about: "The base, as far towards the mean as the fine-tunes agree.",
    models: "many",
    base: "needed",
    weights: false,
    random: false,
    knobs: [],
  },
] as const satisfies readonly FormMethod[];

export const methodOf = (name: string): FormMethod | undefined => formMethods.find((method) => method.name === name);

export interface RecipeForm {
  readonly method: string;
  readonly base: string | null;
  readonly models: readonly { readonly model: string; readonly weight: number }[];
  readonly values: Readonly<Record<string, number>>;
  readonly seed: number;
  readonly dtype: string;
}

const dtypes = ["bfloat16", "float16", "float32"];
export const formDtypes = dtypes;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const only = (record: Record<string, unknown>, keys: readonly string[]) =>
  Object.keys(record).every((key) => keys.includes(key));

/** The controls' values for a recipe; null when it is no recipe, or says what they cannot say. */
export function formOf(text: string): RecipeForm | null {
  let root: unknown;
  try {
    root = parse(text, { version: "1.1", maxAliasCount: 0 });
  } catch {
    return null;
  }
  const known = ["merge_method", "base_model", "models", "parameters", "random_seed", "dtype"];
  if (!isRecord(root) || !only(root, known) || !Array.isArray(root.models)) return null;
  const method = typeof root.merge_method === "string" ? methodOf(root.merge_method) : undefined;
  if (!method) return null;
  const shared = root.parameters ?? {};
  if (!isRecord(shared) || !only(shared, ["weight", ...method.knobs.map((knob) => knob.key)])) return null;
  const values: Record<string, number> = {};
  for (const knob of method.knobs) {
    const value = shared[knob.key];
    if (value !== undefined && !isNumber(value)) return null;
    values[knob.key] = isNumber(value) ? value : knob.key === "lambda" ? 1 : knob.start;
  }
  if (shared.weight !== undefined && !isNumber(shared.weight)) return null;
  const models: { model: string; weight: number }[] = [];
  for (const each of root.models as unknown[]) {
    if (!isRecord(each) || !only(each, ["model", "parameters"]) || typeof each.model !== "string") return null;
    const own = each.parameters ?? {};
    if (!isRecord(own) || !only(own, method.weights ? ["weight"] : [])) return null;
    const weight = own.weight ?? shared.weight ?? 1;
    if (!isNumber(weight)) return null;
    models.push({ model: each.model, weight });
  }
  const { base_model: base = null, random_seed: seed = 42, dtype = "bfloat16" } = root;
  if ((base !== null && typeof base !== "string") || !isNumber(seed)) return null;
  if (typeof dtype !== "string" || !dtypes.includes(dtype)) return null;
  return { method: method.name, base, models, values, seed, dtype };
}

/** The recipe that the controls say. */
export function textOf(form: RecipeForm): string {
  const method = methodOf(form.method);
  if (!method) throw new RangeError(`There are no controls for ${form.method}`);
  const parameters = Object.fromEntries(method.knobs.map((knob) => [knob.key, form.values[knob.key] ?? knob.start]));
  const recipe = {
    merge_method: method.name,
    ...(method.base === "none" || form.base === null ? {} : { base_model: form.base }),
    models: form.models.map(({ model, weight }) => (method.weights ? { model, parameters: { weight } } : { model })),
    ...(Object.keys(parameters).length > 0 ? { parameters } : {}),
    ...(method.random ? { random_seed: form.seed } : {}),
    dtype: form.dtype,
  };
  return stringify(recipe, { version: "1.1" });
}

/**
 * The form with another method: values that it shares stay, the others begin where their knobs do. Of models that do not fit, as many
 * stay as fit; for SLERP the first of them is the base.
 */
export function withMethod(form: RecipeForm, name: string, base: string | null): RecipeForm {
  const method = methodOf(name)!;
  const values = Object.fromEntries(method.knobs.map((knob) => [knob.key, form.values[knob.key] ?? knob.start]));
  const models = method.models === "two" ? form.models.slice(0, 2) : form.models;
  const own = method.base === "none" ? null : method.base === "first" ? (models[0]?.model ?? null) : base;
  return { ...form, method: name, base: own, models, values };
}
