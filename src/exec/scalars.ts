// Puts the numbers that a method made of its surveys into the places that its program and later surveys name.

import type {
  Combine,
  Keep,
  LineCoefficients,
  MergeProgram,
  Scalar,
  Selection,
  VoteOperand,
} from "../kernel/program.ts";

type Scalars = Readonly<Record<string, number | Float32Array>>;

function number(scalar: Scalar, scalars: Scalars): number {
  if (typeof scalar === "number") return scalar;
  const value = Object.hasOwn(scalars, scalar.from) ? scalars[scalar.from] : undefined;
  if (typeof value !== "number") throw new Error(`no survey gave the scalar ${scalar.from}`);
  return value;
}

export function resolveKeep(keep: Keep, scalars: Scalars): Keep {
  if (!keep.magnitude) return keep;
  const { above, equalBefore, equalFrom, top } = keep.magnitude;
  const magnitude = {
    above: number(above, scalars),
    equalBefore: number(equalBefore, scalars),
    ...(equalFrom === undefined ? {} : { equalFrom: number(equalFrom, scalars) }),
    ...(top && { top: { key: number(top.key, scalars), equalBefore: number(top.equalBefore, scalars) } }),
  };
  return { ...keep, magnitude };
}

export function resolveSelection<T extends { readonly select?: Selection }>(rule: T, scalars: Scalars): T {
  if (!rule.select) return rule;
  const { above, equalBefore } = rule.select;
  return { ...rule, select: { above: number(above, scalars), equalBefore: number(equalBefore, scalars) } };
}

function resolveCombine(combine: Combine, scalars: Scalars): Combine {
  if (combine.op === "erase") return resolveSelection(combine, scalars);
  if (combine.op !== "elect" || typeof combine.zero === "string") return combine;
  const sign = number(combine.zero, scalars);
  return { ...combine, zero: sign > 0 ? "positive" : sign < 0 ? "negative" : "drop" };
}

/** The votes of a survey with every factor a number. */
export function resolveVote(operand: VoteOperand, scalars: Scalars): VoteOperand {
  return { ...operand, factor: number(operand.factor, scalars) };
}

/** The program with every scalar a number, ready for a worker. */
export function resolveProgram(program: MergeProgram, scalars: Scalars): MergeProgram {
  const terms = program.terms.map((t) => ({
    input: t.input,
    weight: number(t.weight, scalars),
    scale: number(t.scale, scalars),
    keep: resolveKeep(t.keep, scalars),
  }));
  const combine = resolveCombine(program.combine, scalars);
  const { lambda, baseWeight, lines } = program;
  return {
    ...program,
    terms,
    combine,
    lambda: number(lambda, scalars),
    ...(baseWeight === undefined ? {} : { baseWeight: number(baseWeight, scalars) }),
    ...(lines ? { lines: { ...lines, of: lines.of.map((c) => coefficients(c, scalars)) } } : {}),
  };
}

function coefficients(of: LineCoefficients["of"][number], scalars: Scalars): Float32Array {
  const value = of instanceof Float32Array ? of : scalars[of.from];
  if (!(value instanceof Float32Array)) throw new Error("no survey gave the coefficients of the lines");
  return value;
}

/** The program for elements [first, first + count), with the coefficients of their lines only. */
export function cutLines(program: MergeProgram, first: number, count: number): MergeProgram {
  const { lines } = program;
  if (lines?.by !== "row") return program;
  const from = Math.floor(first / lines.length);
  const end = Math.floor((first + count - 1) / lines.length) + 1;
  // A copy: of a view, all of what it looks at would be sent.
  const of = lines.of.map((c) => (c instanceof Float32Array ? c.slice(from - lines.first, end - lines.first) : c));
  return { ...program, lines: { ...lines, first: from, of } };
}
