// The parts of a tensor's census, merged into the same bits whatever the slices were and in whatever order they come.

import { type CensusPart, censusSums } from "../kernel/census-program.ts";
import { type Counted, type CountedPair, emptyModel, nothing, pairsOf } from "./counted.ts";
import type { AnalysisTensor } from "./plan.ts";
import { addTo } from "./spread.ts";

export class CensusMerger {
  private readonly operands: number;
  private readonly waiting = new Map<number, { sums: readonly Float64Array[]; count: number }>();
  private next = 0;
  private readonly sums: number[];
  private readonly models: ReturnType<typeof emptyModel>[];
  private readonly pairs: { both: number; apart: number; top: number }[];
  private readonly patterns: number[];
  private readonly nonFinite: number[];

  constructor(operands: number) {
    this.operands = operands;
    this.sums = new Array<number>(censusSums(operands)).fill(0);
    this.models = Array.from({ length: operands }, emptyModel);
    this.pairs = pairsOf(operands).map(() => ({ both: 0, apart: 0, top: 0 }));
    this.patterns = new Array<number>((operands + 1) ** 2).fill(0);
    this.nonFinite = new Array<number>(operands + 1).fill(0);
  }

  /** Takes the part of elements [first, first + count). Sums of blocks are added in element order: what comes early waits. */
  add(part: CensusPart, first: number, count: number): void {
    this.waiting.set(first, { sums: part.sums, count });
    for (let got = this.waiting.get(this.next); got; got = this.waiting.get(this.next)) {
      this.waiting.delete(this.next);
      this.next += got.count;
      got.sums.forEach((blocks, i) => {
        let total = this.sums[i]!;
        for (const s of blocks) total += s;
        this.sums[i] = total;
      });
    }
    this.models.forEach((m, i) => {
      m.nonzero += part.nonzero[i]!;
      m.top += part.top[i]!;
      m.most = Math.max(m.most, part.most[i]!);
      m.spread = addTo(m.spread, { bins: part.bins[i]!, counts: part.counts[i]!, lows: part.lows[i]! });
    });
    this.pairs.forEach((p, i) => {
      const { both, apart, top } = part.pairs[i]!;
      p.both += both;
      p.apart += apart;
      p.top += top;
    });
    part.patterns.forEach((n, i) => {
      this.patterns[i]! += n;
    });
  }

  addNonFinite(input: number, count: number): void {
    this.nonFinite[input]! += count;
  }

  /** What was counted, over all of the analysis' models: null for those that lack the tensor. */
  counted({ count, present }: Pick<AnalysisTensor, "count" | "present">, all: number): Counted {
    const n = this.operands;
    const [baseL1, baseL2, together] = this.sums as [number, number, number];
    const dot = (i: number, j: number) => this.sums[3 + n + i * n - (i * (i - 1)) / 2 + (j - i)]!;
    const to = nothing(all);
    to.tensors = 1;
    to.parameters = count;
    to.base = { l1: baseL1, l2: baseL2, nonFinite: this.nonFinite[0]! };
    to.together = together;
    this.patterns.forEach((cell, i) => {
      if (cell > 0) to.patterns[Math.floor(i / (n + 1)) * (all + 1) + (i % (n + 1))]! += cell;
    });
    present.forEach((model, i) => {
      const m = this.models[i]!;
      to.models[model] = {
        ...m,
        count,
        identical: m.nonzero === 0 ? 1 : 0,
        nonFinite: this.nonFinite[i + 1]!,
        l1: this.sums[3 + i]!,
        l2: dot(i, i),
        baseL2,
      };
    });
    const places = pairsOf(all);
    pairsOf(n).forEach(([i, j], k) => {
      // Operands are in the order of the models.
      const [a, b] = [present[i]!, present[j]!];
      const [topA, topB] = [this.models[i]!.top, this.models[j]!.top];
      const pair: CountedPair = {
        a,
        b,
        count,
        dot: dot(i, j),
        ...this.pairs[k]!,
        topA,
        topB,
        topChance: (topA * topB) / count,
        squareA: dot(i, i),
        squareB: dot(j, j),
      };
      to.pairs[places.findIndex(([x, y]) => x === a && y === b)] = pair;
    });
    return to;
  }
}
