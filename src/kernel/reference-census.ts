// The slow twin of the kernels in assembly/census.ts, from what index.ts says of them.

import { decode_bf16, delta, dot, keysOf, l1 } from "./reference.ts";

export interface Census {
  /** A row for each block of 4,096. */
  readonly sums: readonly (readonly number[])[];
  /** Of each model: not zero, key ≥ top, largest key; of each pair: both not zero, of unlike signs, both ≥ their tops. */
  readonly counts: readonly number[];
  /** By model, then by the upper half of the bits: how many, and the sum of the lower halves. */
  readonly bins: readonly ReadonlyMap<number, readonly [count: number, low: number]>[];
  /** (N + 1)² cells. */
  readonly patterns: readonly number[];
}

/** Of f32: the base, and the deltas of every model. */
export function census(base: Float32Array, deltas: readonly Float32Array[], tops: readonly number[]): Census {
  const keys = deltas.map(keysOf);
  const bits = deltas.map((d) => new Uint32Array(d.buffer, d.byteOffset, d.length));
  const elements = [...base.keys()];
  const countWhere = (test: (i: number) => boolean) => elements.filter(test).length;
  const sums: number[][] = [];
  for (let at = 0; at < base.length; at += 4096) {
    const b = base.slice(at, at + 4096);
    const d = deltas.map((x) => x.slice(at, at + 4096));
    const together = b.map((_, i) => d.reduce((sum, x) => Math.fround(sum + x[i]!), 0));
    const products = d.flatMap((x, i) => d.slice(i).map((y) => dot(x, y)));
    sums.push([l1(b), dot(b, b), l1(together), ...d.map(l1), ...products]);
  }
  const counts: number[] = [];
  deltas.forEach((_, m) => {
    const largest = keys[m]!.reduce((most, k) => Math.max(most, k), 0);
    counts.push(
      countWhere((i) => keys[m]![i]! > 0),
      countWhere((i) => keys[m]![i]! >= tops[m]!),
      largest,
    );
  });
  for (let a = 0; a < deltas.length; a++) {
    for (let b = a + 1; b < deltas.length; b++) {
      const both = (i: number) => keys[a]![i]! > 0 && keys[b]![i]! > 0;
      counts.push(
        countWhere(both),
        countWhere((i) => both(i) && deltas[a]![i]! < 0 !== deltas[b]![i]! < 0),
        countWhere((i) => keys[a]![i]! >= tops[a]! && keys[b]![i]! >= tops[b]!),
      );
    }
  }
  const bins = bits.map((values) => {
    const found = new Map<number, [number, number]>();
    for (const v of values) {
      const bin = Math.floor(v / 65_536);
      const [count, low] = found.get(bin) ?? [0, 0];
      found.set(bin, [count + 1, low + (v % 65_536)]);
    }
    return found;
  });
  const side = deltas.length + 1;
  const patterns = new Array<number>(side * side).fill(0);
  for (const i of elements) {
    const up = deltas.filter((d) => d[i]! > 0).length;
    const down = deltas.filter((d) => d[i]! < 0).length;
    patterns[up * side + down]!++;
  }
  return { sums, counts, bins, patterns };
}

/** δ = x − base in f32. */
export function censusBf16(base: Uint16Array, models: readonly Uint16Array[], tops: readonly number[]): Census {
  const b = decode_bf16(base);
  return census(
    b,
    models.map((m) => delta(decode_bf16(m), b)),
    tops,
  );
}
