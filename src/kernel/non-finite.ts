// Non-finite elements of a task's inputs, counted as they go by.

import type { NonFinite } from "./program.ts";

/** Counts non-finite elements per input as tiles go by. */
export class NonFiniteTally {
  private readonly seen: { count: number; first: number }[];

  constructor(inputs: number) {
    this.seen = Array.from({ length: inputs }, () => ({ count: 0, first: -1 }));
  }

  add(input: number, count: number, first: number): void {
    const s = this.seen[input]!;
    if (s.first < 0) s.first = first;
    s.count += count;
  }

  list(): NonFinite[] {
    return this.seen.flatMap((s, input) => (s.count > 0 ? [{ input, count: s.count, first: s.first }] : []));
  }
}
