// What a census would count of deltas that are given as numbers, by the slow twin: for tests of the measures alone.

import { CensusMerger } from "../../src/analyze/census-merger.ts";
import { type Counted, nothing, pairsOf } from "../../src/analyze/counted.ts";
import type { CensusPart } from "../../src/kernel/census-program.ts";
import { census } from "../../src/kernel/reference-census.ts";

/** Of one tensor: a base, and what each model adds to it. `share` of the elements count as the largest. */
export function countsOf(base: readonly number[], deltas: readonly (readonly number[])[], share = 0.2): Counted {
  const given = deltas.map((d) => Float32Array.from(d));
  const tops = given.map((d) => topKey(d, share));
  const found = census(Float32Array.from(base), given, tops);
  const n = deltas.length;
  const triple = (i: number) => found.counts.slice(3 * i, 3 * i + 3) as [number, number, number];
  const sorted = found.bins.map((b) => [...b].sort(([x], [y]) => x - y));
  const part: CensusPart = {
    op: "census",
    sums: found.sums[0]!.map((_, i) => Float64Array.from(found.sums, (row) => row[i]!)),
    nonzero: given.map((_, m) => triple(m)[0]),
    top: given.map((_, m) => triple(m)[1]),
    most: given.map((_, m) => triple(m)[2]),
    pairs: pairsOf(n).map((_, i) => {
      const [both, apart, top] = triple(n + i);
      return { both, apart, top };
    }),
    patterns: found.patterns,
    bins: sorted.map((b) => Uint16Array.from(b, ([bin]) => bin)),
    counts: sorted.map((b) => Uint32Array.from(b, ([, [count]]) => count)),
    lows: sorted.map((b) => Float64Array.from(b, ([, [, low]]) => low)),
  };
  const merger = new CensusMerger(n);
  merger.add(part, 0, base.length);
  return merger.counted({ count: base.length, present: given.map((_, m) => m) }, n);
}

export { nothing };

function topKey(d: Float32Array, share: number): number {
  const keys = [...new Uint32Array(d.buffer)].map((k) => k % 2 ** 31).sort((a, b) => b - a);
  return Math.max(1, keys[Math.max(1, Math.round(share * d.length)) - 1]!);
}
