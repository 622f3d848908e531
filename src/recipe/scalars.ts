// How YAML 1.1, as PyYAML reads it, turns a plain scalar into a value. https://yaml.org/type/ has the patterns; where PyYAML
// is narrower (no `y`/`n`, an exponent needs a dot and a sign) this follows PyYAML, since mergekit's recipes are written for it.

/** A value of a plain scalar. Integers beyond ±2⁵³ are bigint; a date is kept as text under its own type. */
export type ScalarValue = string | number | bigint | boolean | null;
export type ScalarType = "text" | "number" | "boolean" | "null" | "date";

export interface Resolved {
  readonly type: ScalarType;
  readonly value: ScalarValue;
  /** Written as an integer (only for numbers). */
  readonly integer?: boolean;
}

const truths = new Set(["yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"]);
const falsehoods = new Set(["no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"]);
const nulls = new Set(["", "~", "null", "Null", "NULL"]);

const decimal = /^[-+]?(?:0|[1-9][0-9_]*)$/;
const binary = /^[-+]?0b[01_]+$/;
const octal = /^[-+]?0[0-7_]+$/;
const hexadecimal = /^[-+]?0x[0-9a-fA-F_]+$/;
const base60 = /^[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+$/;
// PyYAML takes no sign before a leading dot: -.3 is text.
const fixed = /^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?)$/;
const base60Fixed = /^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*$/;
const infinite = /^[-+]?\.(?:inf|Inf|INF)$/;
const notANumber = /^\.(?:nan|NaN|NAN)$/;
const date = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/;
const dateTime =
  /^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?$/;

function integer(sign: string, digits: string): Resolved {
  const big = sign === "-" ? -BigInt(digits) : BigInt(digits);
  const value = Number.isSafeInteger(Number(big)) ? Number(big) : big;
  return { type: "number", value, integer: true };
}

function float(value: number): Resolved {
  return { type: "number", value };
}

/** 1:30 is 90, 1:30.5 is 90.5: base 60, most significant place first. */
function sexagesimal(digits: string): number {
  return digits.split(":").reduce((sum, part) => sum * 60 + Number(part === "" ? 0 : part), 0);
}

/**
 * The value of a plain scalar, or undefined where PyYAML's pattern matches but its reader then fails (`0b_`, `=`, `<<` as a value).
 */
export function resolvePlain(text: string): Resolved | undefined {
  if (nulls.has(text)) return { type: "null", value: null };
  if (truths.has(text)) return { type: "boolean", value: true };
  if (falsehoods.has(text)) return { type: "boolean", value: false };
  if (text === "=" || text === "<<") return undefined;
  const first = text.charCodeAt(0);
  // Numbers and dates begin with + - . or a digit; most scalars do not.
  if (!(first === 43 || first === 45 || first === 46 || (first >= 48 && first <= 57)))
    return { type: "text", value: text };

  const bare = text.replaceAll("_", "");
  const sign = bare[0] === "-" ? "-" : "+";
  const digits = bare[0] === "-" || bare[0] === "+" ? bare.slice(1) : bare;
  if (fixed.test(text)) return float((sign === "-" ? -1 : 1) * Number(digits));
  if (base60Fixed.test(text)) return float((sign === "-" ? -1 : 1) * sexagesimal(digits));
  if (infinite.test(text)) return float(sign === "-" ? -Infinity : Infinity);
  if (notANumber.test(text)) return float(NaN);
  if (binary.test(text)) return digits.length > 2 ? integer(sign, digits) : undefined;
  if (decimal.test(text)) return integer(sign, digits);
  if (octal.test(text)) return integer(sign, digits === "0" ? "0" : `0o${digits.slice(1)}`);
  if (hexadecimal.test(text)) return digits.length > 2 ? integer(sign, digits) : undefined;
  if (base60.test(text)) {
    const value = sexagesimal(digits);
    return { type: "number", value: sign === "-" ? -value : value, integer: true };
  }
  if (date.test(text) || dateTime.test(text)) return { type: "date", value: text };
  return { type: "text", value: text };
}

const numeric =
  /^[-+]?(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)(?:[eE][-+]?[0-9](?:_?[0-9])*)?$/;

/** A number written as text ("0.7", 1e-5, inf), as Python's float() reads it; undefined when it is not one. */
export function numberFromText(text: string): number | undefined {
  const trimmed = text.trim();
  if (numeric.test(trimmed)) return Number(trimmed.replaceAll("_", ""));
  const word = /^([-+]?)(?:inf|infinity)$/i.exec(trimmed);
  if (word) return word[1] === "-" ? -Infinity : Infinity;
  return /^[-+]?nan$/i.test(trimmed) ? NaN : undefined;
}
