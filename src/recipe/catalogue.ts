// What the recipe layer needs to know of merge methods, as data. The table itself belongs to the methods.

export type ParameterKind = "number" | "boolean" | "string" | "choice";

/** Values of one tensor, by parameter name, after filters, gradients and defaults. */
export type Values = Readonly<Record<string, unknown>>;

export interface ParameterAlias {
  readonly name: string;
  /** `same`: another spelling. `complement`: stands for 1 − value, as `drop_rate` does for `density`. */
  readonly as: "same" | "complement";
}

export interface ParameterSpec {
  readonly name: string;
  readonly kind: ParameterKind;
  /** `model`: one value for each input model. `tensor`: one value for the whole tensor, never read on a single model. */
  readonly per: "model" | "tensor";
  /** Used where no level gives a value; `undefined` leaves the parameter out of the values, `null` puts null there. */
  readonly default?: unknown;
  /** `true`: every input (or tensor) needs it. `if-any`: all inputs of a tensor or none, as for weights that fall back to 1/N. */
  readonly required?: boolean | "if-any";
  /** For `choice`. A boolean among them is accepted as true/false/yes/no/0/1. */
  readonly choices?: readonly (string | boolean)[];
  /** For `number`: whole numbers only. */
  readonly integer?: boolean;
  readonly min?: number;
  readonly max?: number;
  readonly exclusiveMin?: boolean;
  readonly exclusiveMax?: boolean;
  /** One line for the documentation and the editor schema. */
  readonly describe: string;
  readonly aliases?: readonly ParameterAlias[];
}

/** A rule over several parameters that a method finds broken. `input` counts the inputs that have per-model parameters. */
export interface Complaint {
  readonly parameter: string;
  readonly input?: number;
  readonly message: string;
}

export interface MethodSpec {
  readonly name: string;
  readonly title: string;
  readonly parameters: readonly ParameterSpec[];
  /** `required` and `optional`: base_model plays a part of its own. `none`: it is an input like any other, if it is one at all. */
  readonly base: "required" | "optional" | "none";
  /** Whether the base has per-model parameters and counts for `minModels` and `maxModels`. True where `base` is `none`. */
  readonly baseIsInput: boolean;
  /** Inputs of a slice: all of them if `baseIsInput`, else those that are not the base. */
  readonly minModels: number;
  readonly maxModels: number;
  readonly implemented: boolean;
  /** Rules over several parameters of one tensor, e.g. density ± epsilon of DELLA. */
  readonly check?: (shared: Values, inputs: readonly Values[]) => readonly Complaint[];
}

export type Catalogue = ReadonlyMap<string, MethodSpec>;

/** The spec of a parameter by its name or by one of its aliases. */
export function findParameter(
  method: MethodSpec,
  name: string,
): { spec: ParameterSpec; alias: ParameterAlias | null } | undefined {
  for (const spec of method.parameters) {
    if (spec.name === name) return { spec, alias: null };
    const alias = spec.aliases?.find((a) => a.name === name);
    if (alias) return { spec, alias };
  }
  return undefined;
}

/** Every parameter name of every method, aliases included. */
export function parameterNames(catalogue: Catalogue): ReadonlySet<string> {
  const names = new Set<string>();
  for (const method of catalogue.values()) {
    for (const spec of method.parameters) {
      names.add(spec.name);
      for (const alias of spec.aliases ?? []) names.add(alias.name);
    }
  }
  return names;
}
