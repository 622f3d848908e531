// The twins of assembly/contribute.ts, as reference.ts has them: from the formulas, one element at a time, on plain arrays.

import { keysOf } from "./reference.ts";

const f = Math.fround;
type Deltas = readonly Float32Array[];

function each(deltas: Deltas, at: (element: readonly number[], index: number) => number): Float32Array {
  return Float32Array.from(deltas[0] ?? [], (_, i) =>
    at(
      deltas.map((d) => d[i]!),
      i,
    ),
  );
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, x) => f(sum + x), 0);
}

/** NaN counts as changed, so that it is not lost. */
function contributes(delta: number, epsilon: number): boolean {
  return Number.isNaN(delta) || Math.abs(delta) > f(epsilon);
}

export function contribute(deltas: Deltas, boosts: ArrayLike<number>, epsilon: number): Float32Array {
  return each(deltas, (element) => {
    const who = element.flatMap((delta, m) => (contributes(delta, epsilon) ? [m] : []));
    if (who.length === 0) return 0;
    if (who.length === 1) return f(f(boosts[who[0]!]!) * element[who[0]!]!);
    return f(sumOf(who.map((m) => element[m]!)) / who.length);
  });
}

/** Pairs: changed by this model alone, changed by others too. */
export function contributors(deltas: Deltas, epsilon: number): number[] {
  const counts = deltas.flatMap(() => [0, 0]);
  each(deltas, (element) => {
    const who = element.flatMap((delta, m) => (contributes(delta, epsilon) ? [m] : []));
    for (const m of who) counts[2 * m + (who.length === 1 ? 0 : 1)]!++;
    return 0;
  });
  return counts;
}

export function largest(deltas: Deltas): Float32Array {
  const out = new Float32Array(deltas[0]!.length);
  const bits = deltas.map((d) => new Uint32Array(d.buffer, d.byteOffset, d.length));
  const keys = deltas.map(keysOf);
  const outBits = new Uint32Array(out.buffer);
  for (let i = 0; i < out.length; i++) {
    let best = 0;
    for (let m = 1; m < deltas.length; m++) if (keys[m]![i]! >= keys[best]![i]!) best = m;
    outBits[i] = bits[best]![i]!;
  }
  return out;
}

export function unify(deltas: Deltas): Float32Array {
  return each(deltas, (element) => {
    const sum = sumOf(element);
    if (Number.isNaN(sum)) return NaN;
    const sign = sum > 0 ? 1 : -1;
    const agreeing = element.filter((delta) => Math.sign(delta) === sign);
    return agreeing.length === 0 ? 0 : sign * Math.max(...agreeing.map(Math.abs));
  });
}

export function consent(total: Float32Array, deltas: Deltas, lambdas: ArrayLike<number>, least: number): Float32Array {
  return each(deltas, (element, i) => {
    const sum = total[i]!;
    if (!Number.isFinite(sum)) return sum;
    const backers = element.filter((delta, m) => Math.abs(delta) > f(f(lambdas[m]!) * Math.abs(f(sum - delta))));
    return backers.length >= least ? sum : 0;
  });
}

export function erase(deltas: Deltas, weights: ArrayLike<number>, floor: number): Float32Array {
  return each(deltas, (element) => {
    const sum = sumOf(element);
    if (Number.isNaN(sum)) return NaN;
    const sign = sum < 0 ? -1 : 1;
    const who = element.flatMap((delta, m) => (Math.sign(delta) === sign ? [m] : []));
    const divisor = Math.max(f(floor), sumOf(who.map((m) => f(weights[m]!))));
    return divisor > 0 ? f(sumOf(who.map((m) => f(f(weights[m]!) * element[m]!))) / divisor) : 0;
  });
}

export function variance(deltas: Deltas): Float32Array {
  const n = deltas.length;
  return each(deltas, (element) => {
    const mean = element.reduce((sum, x) => sum + x, 0) / n;
    return f(element.reduce((sum, x) => sum + (x - mean) * (x - mean), 0) / n);
  });
}

export function trim_by(
  x: Float32Array,
  scores: Float32Array,
  above: number,
  equalBefore: number,
): { x: Float32Array; kept: number } {
  let kept = 0;
  const keys = keysOf(scores);
  const out = x.map((value, i) => {
    const keep = keys[i]! > above || (keys[i] === above && i < equalBefore);
    if (keep) kept++;
    return keep ? value : 0;
  });
  return { x: out, kept };
}

export function nearswap(a: Float32Array, b: Float32Array, t: number): Float32Array {
  return a.map((base, i) => {
    const distance = Math.max(f(1e-6), Math.abs(f(base - b[i]!)));
    const w = Math.min(1, Math.max(0, f(f(t) / distance)));
    return f(f(w * b[i]!) + f(f(1 - w) * base));
  });
}
