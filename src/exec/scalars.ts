// Puts the numbers that a method made of its surveys into the places that its program and later surveys name.

import type { Keep, MergeProgram, Scalar } from "../kernel/program.ts";

type Scalars = Readonly<Record<string, number>>;

function number(scalar: Scalar, scalars: Scalars): number {
  if (typeof scalar === "number") return scalar;
  const value = Object.hasOwn(scalars, scalar.from) ? scalars[scalar.from] : undefined;
  if (value === undefined) throw new Error(`no survey gave the scalar ${scalar.from}`);
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

/** The program with every scalar a number, ready for a worker. */
export function resolveProgram(program: MergeProgram, scalars: Scalars): MergeProgram {
  const terms = program.terms.map((t) => ({
    input: t.input,
    weight: number(t.weight, scalars),
    scale: number(t.scale, scalars),
    keep: resolveKeep(t.keep, scalars),
  }));
  return { ...program, terms, lambda: number(program.lambda, scalars) };
}
