// The value of a parameter for one tensor: which level, which condition, which point of the gradient, as which type.

import type { Position } from "../errors.ts";
import { quote } from "../errors.ts";
import type { ParameterAlias, ParameterSpec } from "./catalogue.ts";
import { numberFromText } from "./scalars.ts";
import type { Case, Plain, Setting, Settings } from "./settings.ts";

/** A value as a level gives it, before its type is checked. */
export interface Picked {
  readonly value: Plain;
  readonly at: Position;
  readonly setting: Setting;
  readonly alias: ParameterAlias | null;
}

/** A list is an empty setting: it gives nothing and the next level is asked. */
function settingOf(
  spec: ParameterSpec,
  level: Settings,
): { setting: Setting; alias: ParameterAlias | null } | undefined {
  const own = level.get(spec.name);
  if (own) return { setting: own, alias: null };
  for (const alias of spec.aliases ?? []) {
    const setting = level.get(alias.name);
    if (setting) return { setting, alias };
  }
  return undefined;
}

export function matches(filter: string | null, tensor: string): boolean {
  return filter === null || tensor.includes(filter);
}

/**
 * Asks the levels from the innermost to the outermost; within one, the first condition whose filter is part of the tensor's
 * name gives the value. Levels without a match pass the question on.
 */
export function pick(
  spec: ParameterSpec,
  levels: readonly Settings[],
  tensor: string,
  t: number,
  asked?: (setting: Setting) => void,
): Picked | undefined {
  for (const level of levels) {
    const found = settingOf(spec, level);
    if (!found) continue;
    asked?.(found.setting);
    const match = found.setting.cases.find((c) => matches(c.filter, tensor));
    if (match) return { value: atPoint(match, t), at: match.at, setting: found.setting, alias: found.alias };
  }
  return undefined;
}

/**
 * A gradient at t in [0, 1]: numbers are interpolated between the neighbours of x = t(n − 1), other values are picked at ⌊x⌋.
 * Numbers written as text count as numbers.
 */
export function atPoint({ values, gradient }: Case, t: number): Plain {
  const last = values.length - 1;
  if (!gradient || last === 0) return values[0]!;
  const x = t * last;
  const low = Math.min(Math.floor(x), last);
  const numbers = values.map((v) =>
    typeof v === "number" ? v : typeof v === "string" ? numberFromText(v) : undefined,
  );
  if (!numbers.every((n) => n !== undefined)) return values[low]!;
  const high = Math.min(low + 1, last);
  const part = x - low;
  // At a point of the list the value is taken as it is: 0 · Infinity would be NaN.
  return part === 0 ? numbers[low]! : (1 - part) * numbers[low]! + part * numbers[high]!;
}

const words: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  t: true,
  y: true,
  "1": true,
  false: false,
  no: false,
  off: false,
  f: false,
  n: false,
  "0": false,
};

function toBoolean(value: Plain): boolean | undefined {
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return value === 0 ? false : value === 1 ? true : undefined;
  return Object.hasOwn(words, value.toLowerCase()) ? words[value.toLowerCase()] : undefined;
}

export type Coerced = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: string };

/** A value as the spec wants it, or what is wrong with it: "must be …, found …". */
export function coerce(spec: ParameterSpec, value: Plain, alias: ParameterAlias | null = null): Coerced {
  const found = typeof value === "string" ? quote(value, 60) : String(value);
  const bad = (wanted: string): Coerced => ({ ok: false, problem: `must be ${wanted}, found ${found}` });
  if (spec.kind === "string") return typeof value === "string" ? { ok: true, value } : bad("text");
  if (spec.kind === "boolean") {
    const truth = toBoolean(value);
    return truth === undefined ? bad("true or false") : { ok: true, value: truth };
  }
  if (spec.kind === "choice") {
    const choices = spec.choices ?? [];
    if (typeof value === "string" && choices.includes(value)) return { ok: true, value };
    const truth = toBoolean(value);
    if (truth !== undefined && choices.includes(truth)) return { ok: true, value: truth };
    return bad(`one of ${choices.join(", ")}`);
  }
  const number = typeof value === "string" ? numberFromText(value) : value;
  if (typeof number !== "number") return bad(spec.integer ? "a whole number" : "a number");
  if (!Number.isFinite(number)) return bad("a finite number");
  if (spec.integer && !Number.isInteger(number)) return bad("a whole number");
  const complement = alias?.as === "complement";
  const actual = complement ? 1 - number : number;
  // 1 − p rounds to 1 for a tiny p and to 0 for none below 1, so the range is checked on what was written.
  return inRange(spec, complement, number) ? { ok: true, value: actual } : bad(`in ${rangeText(spec, complement)}`);
}

interface Range {
  min: number | undefined;
  max: number | undefined;
  exclusiveMin: boolean;
  exclusiveMax: boolean;
}

function rangeOf(spec: ParameterSpec, complement: boolean): Range {
  const plain = {
    min: spec.min,
    max: spec.max,
    exclusiveMin: spec.exclusiveMin === true,
    exclusiveMax: spec.exclusiveMax === true,
  };
  if (!complement) return plain;
  return {
    min: plain.max === undefined ? undefined : 1 - plain.max,
    max: plain.min === undefined ? undefined : 1 - plain.min,
    exclusiveMin: plain.exclusiveMax,
    exclusiveMax: plain.exclusiveMin,
  };
}

function inRange(spec: ParameterSpec, complement: boolean, n: number): boolean {
  const { min, max, exclusiveMin, exclusiveMax } = rangeOf(spec, complement);
  if (min !== undefined && (exclusiveMin ? n <= min : n < min)) return false;
  return !(max !== undefined && (exclusiveMax ? n >= max : n > max));
}

/** `(0, 1]`, `[0, ∞)`. */
export function rangeText(spec: ParameterSpec, complement = false): string {
  const { min, max, exclusiveMin, exclusiveMax } = rangeOf(spec, complement);
  return `${min === undefined ? "(−∞" : `${exclusiveMin ? "(" : "["}${min}`}, ${max === undefined ? "∞)" : `${max}${exclusiveMax ? ")" : "]"}`}`;
}
